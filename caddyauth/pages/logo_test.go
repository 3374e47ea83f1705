package pages

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"html/template"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	plainSVG = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="3" fill="#0a58ca"/></svg>`

	lossyWebP    = "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"
	losslessWebP = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="
	extendedWebP = "UklGRkoAAABXRUJQVlA4WAoAAAAQAAAAAAAAAAAAQUxQSAwAAAARBxAR/Q9ERP8DAABWUDggGAAAABQBAJ0BKgEAAQAAAP4AAA3AAP7mtQAAAA=="
)

func TestLogoOfEveryKind(t *testing.T) {
	small := image.Rect(0, 0, 8, 6)
	for _, c := range []struct {
		name      string
		content   []byte
		mediaType string
	}{
		{"PNG", pngOf(t, small), "image/png"},
		{"PNG, longest sides", pngOf(t, image.Rect(0, 0, maxLogoSide, 1)), "image/png"},
		{"JPEG", jpegOf(t, small), "image/jpeg"},
		{"JPEG with something after it", append(jpegOf(t, small), "camera data"...), "image/jpeg"},
		{"GIF", gifOf(t, small), "image/gif"},
		{"GIF of 1987", append([]byte("GIF87a"), gifOf(t, small)[6:]...), "image/gif"},
		{"GIF filled up", append(gifOf(t, small), 0, 0, 0), "image/gif"},
		{"WebP, lossy", unbase64(t, lossyWebP), "image/webp"},
		{"WebP, lossless", unbase64(t, losslessWebP), "image/webp"},
		{"WebP, extended", unbase64(t, extendedWebP), "image/webp"},
		{"SVG", []byte(plainSVG), "image/svg+xml"},
		{"SVG with nothing to draw", []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`), "image/svg+xml"},
		{"SVG with a declaration, comments and space", []byte("<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<!-- logo -->\r\n" + plainSVG + "\r\n<!-- end -->\r\n"), "image/svg+xml"},
		{"SVG after a byte order mark", []byte("\ufeff" + plainSVG), "image/svg+xml"},
		{"SVG with a declaration after a byte order mark", []byte("\ufeff<?xml version=\"1.0\"?>" + plainSVG), "image/svg+xml"},
		{"SVG after space", []byte("\n\t " + plainSVG), "image/svg+xml"},
		{"SVG by prefix", []byte(`<s:svg xmlns:s="http://www.w3.org/2000/svg"><s:circle r="1"/></s:svg>`), "image/svg+xml"},
		{"SVG with other namespaces", []byte(`<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" xml:space="preserve"><use xlink:href="#a"/><m:m xmlns:m="urn:m" m:a="" a=""/></svg>`), "image/svg+xml"},
		{"SVG that would be active elsewhere", []byte(`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script><foreignObject/></svg>`), "image/svg+xml"},
		{"SVG with text in other scripts", []byte(`<svg xmlns="http://www.w3.org/2000/svg"><text>Compañía 会社 &amp; &#x2603;</text></svg>`), "image/svg+xml"},
		{"SVG of the greatest length", padded(MaxLogo), "image/svg+xml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := logoURL(c.content)
			if err != nil {
				t.Fatal(err)
			}
			encoded, ok := strings.CutPrefix(string(got), "data:"+c.mediaType+";base64,")
			if !ok {
				t.Fatalf("URL %.40q, want one of %s", got, c.mediaType)
			}
			if !bytes.Equal(unbase64(t, encoded), c.content) {
				t.Error("the URL has another content")
			}
		})
	}
}

func TestNoLogo(t *testing.T) {
	for _, content := range [][]byte{nil, {}} {
		if got, err := logoURL(content); got != "" || err != nil {
			t.Errorf("%q and error %v, want neither", got, err)
		}
	}
}

func TestUselessLogosAreRefused(t *testing.T) {
	small := image.Rect(0, 0, 8, 6)
	svg := func(inside string) []byte {
		return []byte(`<svg xmlns="http://www.w3.org/2000/svg">` + inside + `</svg>`)
	}
	for _, c := range []struct {
		name    string
		content []byte
		want    string // in the error
	}{
		{"a byte too long", padded(MaxLogo + 1), "more than 32768 bytes"},
		{"a megabyte", make([]byte, 1<<20), "more than 32768 bytes"},

		{"PNG, half of it", half(pngOf(t, small)), "the PNG is cut short"},
		{"PNG, its signature", pngOf(t, small)[:8], "the PNG is cut short"},
		{"PNG, all but a byte", butLast(pngOf(t, small)), "the PNG is cut short"},
		{"PNG, header damaged", damaged(pngOf(t, small), 17), "reading the header of the PNG"},
		{"PNG, too wide", pngOf(t, image.Rect(0, 0, maxLogoSide+1, 1)), "4097 x 1 pixels"},
		{"PNG, too high", pngOf(t, image.Rect(0, 0, 1, maxLogoSide+1)), "1 x 4097 pixels"},
		{"JPEG, half of it", half(jpegOf(t, small)), "the JPEG is cut short"},
		{"JPEG, its first bytes", jpegOf(t, small)[:4], "the JPEG is cut short"},
		{"JPEG, all but a byte", butLast(jpegOf(t, small)), "the JPEG is cut short"},
		{"JPEG, cut after a whole thumbnail", jpegWithThumbnail(t, 2), "the JPEG is cut short"},
		{"JPEG, no header", []byte("\xff\xd8\xff\xda\xff\xd9"), "reading the header of the JPEG"},
		{"JPEG, too wide", jpegOf(t, image.Rect(0, 0, maxLogoSide+1, 1)), "4097 x 1 pixels"},
		{"GIF, half of it", half(gifOf(t, small)), "the GIF is cut short"},
		{"GIF, its version", []byte("GIF89a"), "the GIF is cut short"},
		{"GIF, all but a byte", butLast(gifOf(t, small)), "the GIF is cut short"},
		{"GIF, no header", []byte("GIF89a;"), "reading the header of the GIF"},
		{"GIF, no width", patched(gifOf(t, small), 6, 0, 0), "0 x 6 pixels"},
		{"GIF, too high", patched(gifOf(t, small), 8, 0xff, 0xff), "8 x 65535 pixels"},
		{"WebP, half of it", half(unbase64(t, lossyWebP)), "the WebP is cut short"},
		{"WebP, its container", unbase64(t, lossyWebP)[:12], "the WebP is cut short"},
		{"WebP, a container of nothing", []byte("RIFF\x04\x00\x00\x00WEBP"), "the WebP is cut short"},
		{"WebP, all but a byte", butLast(unbase64(t, losslessWebP)), "the WebP is cut short"},
		{"WebP, the longest length", patched(unbase64(t, lossyWebP), 4, 0xff, 0xff, 0xff, 0xff), "the WebP is cut short"},
		{"WebP of sound", patched(unbase64(t, lossyWebP), 12, 'W', 'A', 'V', 'E'), "the WebP has no image"},
		{"WebP, lossy, no key frame", patched(unbase64(t, lossyWebP), 23, 0), "the WebP has no image"},
		{"WebP, lossless, no signature", patched(unbase64(t, losslessWebP), 20, 0), "the WebP has no image"},
		{"WebP, lossy, header alone", patched(unbase64(t, lossyWebP)[:26], 4, 18, 0, 0, 0), "the WebP has no image"},
		{"WebP, extended, header alone", patched(unbase64(t, extendedWebP)[:29], 4, 21, 0, 0, 0), "the WebP has no image"},
		{"WebP, lossy, no width", patched(unbase64(t, lossyWebP), 26, 0, 0), "0 x 1 pixels"},
		{"WebP, lossy, too high", patched(unbase64(t, lossyWebP), 28, 0x01, 0x50), "1 x 4097 pixels"},
		{"WebP, lossless, too wide", patched(unbase64(t, losslessWebP), 21, 0x00, 0x10), "4097 x 1 pixels"},
		{"WebP, lossless, too high", patched(unbase64(t, losslessWebP), 23, 0x00, 0x04), "1 x 4097 pixels"},
		{"WebP, extended, too wide", patched(unbase64(t, extendedWebP), 24, 0xff, 0xff, 0xff), "16777216 x 1 pixels"},
		{"RIFF that is no WebP", []byte("RIFF\x04\x00\x00\x00WAVE"), "no PNG, JPEG, GIF, WebP or SVG"},
		{"RIFF alone", []byte("RIFF"), "no PNG, JPEG, GIF, WebP or SVG"},

		{"SVG, half of it", half([]byte(plainSVG)), "reading the SVG"},
		{"SVG, not closed", bytes.TrimSuffix([]byte(plainSVG), []byte("</svg>")), "reading the SVG"},
		{"SVG, elements crossed", svg("<g><a></g></a>"), "reading the SVG"},
		{"SVG, attribute without quotes", svg("<g id=a/>"), "reading the SVG"},
		{"SVG, two attributes of one name", svg(`<g id="a" id="b"/>`), `two attributes "id"`},
		{"SVG, two attributes of one name in a namespace", []byte(`<svg xmlns="http://www.w3.org/2000/svg" xmlns:a="urn:a" xmlns:b="urn:a"><g a:c="" b:c=""/></svg>`), `two attributes "c"`},
		{"SVG, ampersand", svg("<text>A & B</text>"), "reading the SVG"},
		{"SVG, entity of HTML", svg("<text>A&nbsp;B</text>"), "reading the SVG"},
		{"SVG, control character", svg("<text>\x01</text>"), "reading the SVG"},
		{"SVG, attribute with a prefix not declared", svg(`<use xlink:href="#a"/>`), `the prefix of "xlink:href"`},
		{"SVG, element with a prefix not declared", svg(`<sodipodi:namedview/>`), `the prefix of "sodipodi:namedview"`},
		{"SVG, no namespace", []byte(`<svg><circle r="1"/></svg>`), `<svg xmlns="http://www.w3.org/2000/svg"`},
		{"SVG, empty and no namespace", []byte(`<svg/>`), `<svg xmlns="http://www.w3.org/2000/svg"`},
		{"SVG, other namespace", []byte(`<svg xmlns="http://www.w3.org/2000/svg/"/>`), `<svg xmlns="http://www.w3.org/2000/svg"`},
		{"SVG, root of another name", []byte(`<g xmlns="http://www.w3.org/2000/svg"/>`), "a document of <g>"},
		{"SVG, name in capitals", []byte(`<SVG xmlns="http://www.w3.org/2000/svg"/>`), "a document of <SVG>"},
		{"SVG, two of them", []byte(plainSVG + plainSVG), "goes on after its </svg>"},
		{"SVG, text before", []byte("<!-- x -->logo" + plainSVG), "text outside its <svg>"},
		{"SVG, text after", []byte(plainSVG + "logo"), "text outside its <svg>"},
		{"SVG, line before its declaration", []byte("\n<?xml version=\"1.0\"?>" + plainSVG), "something before its <?xml"},
		{"SVG, DOCTYPE", []byte(`<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">` + plainSVG), "<!DOCTYPE"},
		{"SVG, DOCTYPE at the end", []byte(plainSVG + `<!DOCTYPE svg>`), "<!DOCTYPE"},
		{"SVG, entities that multiply", []byte(`<!DOCTYPE svg [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><svg xmlns="http://www.w3.org/2000/svg"><text>&b;</text></svg>`), "<!DOCTYPE"},
		{"SVG, Latin-1 declared", []byte(`<?xml version="1.0" encoding="iso-8859-1"?>` + plainSVG), "only UTF-8 is supported"},
		{"SVG, Latin-1", svg("<text>Compa\xf1\xeda</text>"), "not UTF-8"},
		{"SVG, UTF-16", []byte("\xff\xfe<\x00s\x00v\x00g\x00"), "no PNG, JPEG, GIF, WebP or SVG"},
		{"SVG, packed", zipped(t, plainSVG), "unpack it"},
		{"comment alone", []byte("<!-- logo -->"), "no <svg>"},

		{"HTML page", []byte("<!DOCTYPE html>\n<html><body><p>Sign in<br></body></html>"), "a web page"},
		{"HTML page, other case", []byte("<!doctype HTML><title>x</title>"), "a web page"},
		{"HTML page without DOCTYPE", []byte("<html><body><p>Sign in<br></body></html>"), "a document of <html>"},
		{"HTML page with an SVG in it", []byte("<body>" + plainSVG + "</body>"), "a document of <body>"},
		{"script", []byte("alert(1)"), "no PNG, JPEG, GIF, WebP or SVG"},
		{"spaces", []byte(" \n"), "no PNG, JPEG, GIF, WebP or SVG"},
		{"zeros", make([]byte, 64), "no PNG, JPEG, GIF, WebP or SVG"},
		{"icon", []byte("\x00\x00\x01\x00\x01\x00"), "no PNG, JPEG, GIF, WebP or SVG"},
		{"path in place of the content", []byte("/etc/caddy/logo.png"), "no PNG, JPEG, GIF, WebP or SVG"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := logoURL(c.content)
			if err == nil {
				t.Fatalf("URL %.60q", got)
			}
			if got != "" {
				t.Errorf("an error, and also the URL %.60q", got)
			}
			if message := err.Error(); !strings.HasPrefix(message, "logo: ") || !strings.Contains(message, c.want) {
				t.Errorf("error %q, want one with %q", message, c.want)
			} else if cure := message[strings.LastIndex(message, ": ")+2:]; !hasCure(cure) {
				t.Errorf("error %q says no cure", message)
			}
		})
	}
}

func TestThumbnailDoesNotEndAJPEG(t *testing.T) {
	if _, err := logoURL(jpegWithThumbnail(t, 1)); err != nil {
		t.Error(err)
	}
}

func TestLogoPassesTheTemplate(t *testing.T) {
	logo, err := logoURL(pngOf(t, image.Rect(0, 0, 8, 6)))
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	if err := template.Must(template.New("").Parse(`<img src="{{.}}" alt="">`)).Execute(&page, logo); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(`<img src="%s" alt="">`, strings.ReplaceAll(string(logo), "+", "&#43;")); page.String() != want {
		t.Errorf("page %q, want %q", page.String(), want)
	}
}

func FuzzLogo(f *testing.F) {
	small := image.Rect(0, 0, 8, 6)
	for _, seed := range [][]byte{
		nil, pngOf(f, small), jpegOf(f, small), gifOf(f, small),
		unbase64(f, lossyWebP), unbase64(f, losslessWebP), unbase64(f, extendedWebP),
		[]byte(plainSVG), []byte("\ufeff<?xml version=\"1.0\"?>" + plainSVG), zipped(f, plainSVG),
		[]byte("<!DOCTYPE html><html>"), []byte("RIFF\xff\xff\xff\xffWEBPVP8X"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		got, err := logoURL(content)
		switch {
		case err != nil:
			if got != "" || !strings.HasPrefix(err.Error(), "logo: ") || !utf8.ValidString(err.Error()) {
				t.Errorf("URL %.60q and error %q", got, err)
			}
			return
		case len(content) == 0:
			if got != "" {
				t.Errorf("URL %.60q", got)
			}
			return
		case len(content) > MaxLogo:
			t.Errorf("%d bytes pass", len(content))
		}
		kind, encoded, _ := strings.Cut(string(got), ",")
		if !strings.HasPrefix(kind, "data:image/") || !strings.HasSuffix(kind, ";base64") {
			t.Errorf("URL %.60q", got)
		}
		if strings.Trim(encoded, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") != "" {
			t.Errorf("URL of %q has more than base64", content)
		}
		if !bytes.Equal(unbase64(t, encoded), content) {
			t.Error("the URL has another content")
		}
	})
}

// hasCure tells whether the last part of an error is something to do.
func hasCure(part string) bool {
	for _, verb := range []string{"save ", "scale ", "copy ", "unpack ", "remove ", "name ", "begin ", "add "} {
		if strings.HasPrefix(part, verb) {
			return true
		}
	}
	return false
}

func pngOf(t testing.TB, size image.Rectangle) []byte {
	return drawn(t, func(w io.Writer) error { return png.Encode(w, picture(size)) })
}

func jpegOf(t testing.TB, size image.Rectangle) []byte {
	return drawn(t, func(w io.Writer) error { return jpeg.Encode(w, picture(size), nil) })
}

func gifOf(t testing.TB, size image.Rectangle) []byte {
	return drawn(t, func(w io.Writer) error { return gif.Encode(w, picture(size), nil) })
}

func picture(size image.Rectangle) image.Image {
	p := image.NewGray(size)
	p.SetGray(0, 0, color.Gray{Y: 0x80})
	return p
}

func drawn(t testing.TB, encode func(io.Writer) error) []byte {
	t.Helper()
	var content bytes.Buffer
	if err := encode(&content); err != nil {
		t.Fatal(err)
	}
	return content.Bytes()
}

// jpegWithThumbnail has a whole JPEG in a segment at its beginning, as cameras
// write it, and ends after that part of the rest.
func jpegWithThumbnail(t testing.TB, part int) []byte {
	t.Helper()
	outer, inner := jpegOf(t, image.Rect(0, 0, 64, 64)), jpegOf(t, image.Rect(0, 0, 8, 8))
	content := append([]byte{}, outer[:2]...)
	content = append(content, 0xff, 0xe1)
	content = binary.BigEndian.AppendUint16(content, uint16(len(inner)+2))
	content = append(content, inner...)
	scan := bytes.LastIndex(outer, []byte("\xff\xda"))
	return append(content, outer[2:scan+(len(outer)-scan)/part]...)
}

func zipped(t testing.TB, text string) []byte {
	return drawn(t, func(w io.Writer) error {
		z := gzip.NewWriter(w)
		if _, err := z.Write([]byte(text)); err != nil {
			return err
		}
		return z.Close()
	})
}

func unbase64(t testing.TB, text string) []byte {
	t.Helper()
	content, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// padded is an SVG of that many bytes.
func padded(length int) []byte {
	return []byte(plainSVG + strings.Repeat("\n", length-len(plainSVG)))
}

func half(content []byte) []byte    { return content[:len(content)/2] }
func butLast(content []byte) []byte { return content[:len(content)-1] }

func damaged(content []byte, at int) []byte {
	return patched(content, at, content[at]^0xff)
}

func patched(content []byte, at int, with ...byte) []byte {
	copy(content[at:], with)
	return content
}
