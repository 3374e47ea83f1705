package pages

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"strings"
	"unicode/utf8"
)

// MaxLogo is the most bytes that a logo's file may have. The logo travels with
// every page, a third longer.
const MaxLogo = 32 << 10

// maxLogoSide is in pixels. Browsers unpack the whole image, however small the
// page shows it.
const maxLogoSide = 4096

// logoURL makes the content of an image file the data: URL of an img element.
// No content gives no URL. The kind is found from the content alone: a file's
// name may be wrong, and a browser that is told the wrong kind shows nothing.
//
// What cannot be an image is refused, because only users would see that. It is
// no browser: of an SVG with odd XML it may take what a browser does not draw.
// What passes is base64, which no page can take for anything else.
func logoURL(content []byte) (template.URL, error) {
	if len(content) == 0 {
		return "", nil
	}
	if len(content) > MaxLogo {
		return "", fmt.Errorf("logo: the file has more than %d bytes: scale the image down, or save it as a smaller kind", MaxLogo)
	}
	mediaType, err := imageType(content)
	if err != nil {
		return "", fmt.Errorf("logo: %w", err)
	}
	return template.URL("data:" + mediaType + ";base64," + base64.StdEncoding.EncodeToString(content)), nil
}

func imageType(content []byte) (string, error) {
	has := func(start string) bool { return bytes.HasPrefix(content, []byte(start)) }
	switch {
	case has("\x89PNG\r\n\x1a\n"):
		return "image/png", checkRaster(content, "PNG", endsPNG, png.DecodeConfig)
	case has("\xff\xd8\xff"):
		return "image/jpeg", checkRaster(content, "JPEG", endsJPEG, jpeg.DecodeConfig)
	case has("GIF87a"), has("GIF89a"):
		return "image/gif", checkRaster(content, "GIF", endsGIF, gif.DecodeConfig)
	case has("RIFF") && len(content) >= 12 && string(content[8:12]) == "WEBP":
		return "image/webp", checkWebP(content)
	case has("\x1f\x8b"):
		return "", errors.New("the file is packed by gzip, as .svgz files are: unpack it, such as with gunzip, and name the .svg file")
	case bytes.HasPrefix(bytes.TrimLeft(withoutBOM(content), " \t\r\n"), []byte("<")):
		return "image/svg+xml", checkSVG(content)
	}
	return "", errors.New("the file is no PNG, JPEG, GIF, WebP or SVG (in UTF-8): save the image as one of these")
}

func cutShort(kind string) error {
	return fmt.Errorf("the %s is cut short: copy the file again, or save the image anew", kind)
}

// checkRaster looks for the end and reads the header. It does not decode what is
// between: a JPEG of a few kilobytes can ask for hundreds of megabytes, at every
// load of a configuration.
func checkRaster(content []byte, kind string, complete func([]byte) bool, header func(io.Reader) (image.Config, error)) error {
	if !complete(content) {
		return cutShort(kind)
	}
	config, err := header(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("reading the header of the %s: %w: save the image anew", kind, err)
	}
	return checkSides(config.Width, config.Height)
}

func checkSides(width, height int) error {
	if width < 1 || height < 1 || width > maxLogoSide || height > maxLogoSide {
		return fmt.Errorf("the image has %d x %d pixels, and each side may have 1 to %d: scale it", width, height, maxLogoSide)
	}
	return nil
}

// endsPNG looks for the IEND chunk, with its checksum.
func endsPNG(content []byte) bool {
	return bytes.Contains(content, []byte("\x00\x00\x00\x00IEND\xae\x42\x60\x82"))
}

// endsJPEG looks for an end after the last start of a scan: a thumbnail within
// the file has both of its own, before those of the image.
func endsJPEG(content []byte) bool {
	scan := bytes.LastIndex(content, []byte("\xff\xda"))
	return scan >= 0 && bytes.LastIndex(content, []byte("\xff\xd9")) > scan
}

// endsGIF looks for the trailer. Some programs fill up with zeros after it.
func endsGIF(content []byte) bool {
	return bytes.HasSuffix(bytes.TrimRight(content, "\x00"), []byte(";"))
}

// checkWebP reads the container's length, and the size of the image from the
// header of its first chunk (RFC 9649; RFC 6386, section 9.1).
func checkWebP(content []byte) error {
	if len(content) < 25 || int64(len(content)) < int64(binary.LittleEndian.Uint32(content[4:]))+8 {
		return cutShort("WebP")
	}
	number := func(from, to int) (n int) {
		for i := to - 1; i >= from; i-- {
			n = n<<8 | int(content[i])
		}
		return n
	}
	switch chunk := string(content[12:16]); {
	case chunk == "VP8L" && content[20] == 0x2f:
		sides := number(21, 25)
		return checkSides(sides&0x3fff+1, sides>>14&0x3fff+1)
	case chunk == "VP8X" && len(content) >= 30:
		return checkSides(number(24, 27)+1, number(27, 30)+1)
	case chunk == "VP8 " && len(content) >= 30 && string(content[23:26]) == "\x9d\x01\x2a":
		return checkSides(number(26, 28)&0x3fff, number(28, 30)&0x3fff)
	}
	return errors.New("the WebP has no image that browsers show: save the image anew")
}

const svgNamespace = "http://www.w3.org/2000/svg"

// checkSVG tells whether browsers would draw the file: they show nothing of XML
// that is not well-formed, its namespaces included.
//
// It does not look for script elements, event handlers, links or foreignObject.
// In an img element they are dead: such an image runs no script, loads nothing
// and takes no clicks (the secure modes of SVG 2, section 2.2). A list of what is
// forbidden would have gaps, and refuse what drawing programs write. Entities are
// another matter: a few lines of them unpack to gigabytes, in every browser.
func checkSVG(content []byte) error {
	content = withoutBOM(content)
	if !utf8.Valid(content) {
		return errors.New("the SVG is not UTF-8: save it as UTF-8")
	}
	d := xml.NewDecoder(bytes.NewReader(content))
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) {
		return nil, errors.New("only UTF-8 is supported")
	}
	depth, roots := 0, 0
	namespaces := map[string]bool{"": true, "xmlns": true, "http://www.w3.org/XML/1998/namespace": true}
	for {
		at := d.InputOffset()
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the SVG: %w: save the image anew, in UTF-8", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if depth == 0 {
				if roots++; roots > 1 {
					return errors.New("the SVG goes on after its </svg>: remove that")
				}
				if err := checkRoot(token.Name); err != nil {
					return err
				}
			}
			depth++
			if err := checkNames(token, namespaces); err != nil {
				return err
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(token)) > 0 {
				return errors.New("the SVG has text outside its <svg>: remove that")
			}
		case xml.ProcInst:
			if token.Target == "xml" && at > 0 {
				return errors.New("the SVG has something before its <?xml …?>: remove that")
			}
		case xml.Directive:
			return refuseDirective(string(token))
		}
	}
	if roots == 0 {
		return errors.New("the file has no <svg>: save the image anew")
	}
	return nil
}

func checkRoot(name xml.Name) error {
	switch {
	case name.Local != "svg":
		return fmt.Errorf("the file is a document of <%s>, not of <svg>: name the image itself", name.Local)
	case name.Space != svgNamespace:
		return fmt.Errorf("the <svg> is not in its namespace: begin it with <svg xmlns=%q", svgNamespace)
	}
	return nil
}

// checkNames checks what encoding/xml lets pass. It leaves a prefix that was not
// declared in place of the namespace. The namespaces are those of all elements
// so far.
func checkNames(element xml.StartElement, namespaces map[string]bool) error {
	names := []xml.Name{element.Name}
	seen := make(map[xml.Name]bool)
	for _, a := range element.Attr {
		if seen[a.Name] {
			return fmt.Errorf("the SVG has a <%s> with two attributes %q: remove one", element.Name.Local, a.Name.Local)
		}
		seen[a.Name] = true
		names = append(names, a.Name)
		if a.Name.Space == "xmlns" || a.Name == (xml.Name{Local: "xmlns"}) {
			namespaces[a.Value] = true
		}
	}
	for _, name := range names {
		if !namespaces[name.Space] {
			return fmt.Errorf("the SVG does not declare the prefix of \"%s:%s\": save the image anew, as plain SVG", name.Space, name.Local)
		}
	}
	return nil
}

func refuseDirective(directive string) error {
	if words := strings.Fields(directive); len(words) > 1 && strings.EqualFold(words[1], "html") {
		return errors.New("the file is a web page: name the image itself")
	}
	return errors.New("the SVG has a <!DOCTYPE …>: remove that, and save the image as plain SVG if it has entities")
}

func withoutBOM(content []byte) []byte {
	return bytes.TrimPrefix(content, []byte("\ufeff"))
}
