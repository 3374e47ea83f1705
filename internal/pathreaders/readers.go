package pathreaders

import (
	"net/url"
	"path"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/text/unicode/norm"
)

// Reader makes a path of a request target's path, as it came over the wire.
type Reader struct {
	Name string
	Read func(raw string) string
}

// All returns the readers: those of known servers, then every combination of
// the habits that servers are known to have.
func All() []Reader {
	readers := []Reader{
		{"net/url and path.Clean", func(raw string) string { return path.Clean("/" + goPath(raw)) }},
		{"Caddy", func(raw string) string { return caddyhttp.CleanPath(goPath(raw), true) }},
		{"Caddy without merging slashes", func(raw string) string { return caddyhttp.CleanPath(goPath(raw), false) }},
		{"Caddy before decoding", func(raw string) string { return decoded(caddyhttp.CleanPath(raw, true)) }},
		{"a server that leaves encoded slashes", func(raw string) string { return resolved(decoded(keepingSlashes(raw))) }},
		{"WHATWG", func(raw string) string { return decoded(whatwg(raw)) }},
		{"WHATWG with merged slashes", func(raw string) string { return resolved(decoded(whatwg(raw))) }},
	}
	for _, first := range []Reader{
		{"decodes", decoded},
		{"cuts parameters, decodes", func(raw string) string { return decoded(withoutParameters(raw)) }}, // Tomcat, Jetty
	} {
		for set := range 1 << len(habits()) {
			readers = append(readers, combined(first, habits(), set))
		}
	}
	return readers
}

// combined is a server with some of the habits, in their order. All of them
// resolve dot segments and doubled slashes at the end.
func combined(first Reader, habits []Reader, set int) Reader {
	steps := []Reader{first}
	for i, habit := range habits {
		if set&(1<<i) != 0 {
			steps = append(steps, habit)
		}
	}
	steps = append(steps, Reader{"resolves dots", resolved})
	var names []string
	for _, step := range steps {
		names = append(names, step.Name)
	}
	return Reader{"a server that " + strings.Join(names, ", "), func(raw string) string {
		for _, step := range steps {
			raw = step.Read(raw)
		}
		return raw
	}}
}

// habits are what some servers do with a path that they have decoded, in the
// order in which they do it.
func habits() []Reader {
	return []Reader{
		{"decodes once more", decoded},
		{"cuts parameters", withoutParameters},
		{"looks for a query", func(p string) string { return cutAny(p, "?#") }}, // in rewrites
		{"ends at a NUL", func(p string) string { return cutAny(p, "\x00") }},   // C
		{"knows a code page only", codePage},
		{"takes a backslash for a slash", func(p string) string { return strings.ReplaceAll(p, `\`, "/") }}, // IIS
		{"drops streams, last dots and spaces", windows},
	}
}

func goPath(raw string) string {
	u, err := url.ParseRequestURI(raw)
	if err != nil {
		return raw
	}
	return u.Path
}

// keepingSlashes makes decoding leave encoded slashes as they are, as Apache's
// AllowEncodedSlashes NoDecode does.
func keepingSlashes(raw string) string {
	return strings.NewReplacer("%2f", "%252f", "%2F", "%252F").Replace(raw)
}

// decoded decodes what can be decoded: many servers leave the rest as it is.
func decoded(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// whatwg is the path state of the URL standard, section 4.4, for a special
// scheme: as browsers and Node read a target.
func whatwg(raw string) string {
	raw = strings.NewReplacer("\t", "", "\r", "", "\n", "", `\`, "/").Replace(cutAny(raw, "#?"))
	segments := strings.Split(strings.TrimPrefix(raw, "/"), "/")
	var kept []string
	for i, segment := range segments {
		last := i == len(segments)-1
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case "..":
			if len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
		case ".":
		default:
			kept = append(kept, segment)
			continue
		}
		if last {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}

func withoutParameters(p string) string {
	segments := strings.Split(p, "/")
	for i := range segments {
		segments[i] = cutAny(segments[i], ";")
	}
	return strings.Join(segments, "/")
}

func cutAny(s, chars string) string {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i]
	}
	return s
}

// codePage turns wide letters and the like into plain ones, as Windows does for
// programs that do not know Unicode, and drops invisible ones as HFS+ does.
func codePage(p string) string {
	p = strings.Map(func(c rune) rune {
		if unicode.Is(unicode.Cf, c) {
			return -1
		}
		return c
	}, norm.NFKC.String(p))
	return strings.NewReplacer("¥", `\`, "₩", `\`, "∖", `\`, "⁄", "/", "∕", "/").Replace(p)
}

func windows(p string) string {
	segments := strings.Split(p, "/")
	for i, segment := range segments {
		segment = cutAny(segment, ":")
		if trimmed := strings.TrimRight(segment, ". "); trimmed != "" || segment == "" {
			segments[i] = trimmed
		} else if strings.HasPrefix(segment, "..") {
			segments[i] = ".." // of old Windows, also with more dots
		} else {
			segments[i] = "."
		}
	}
	return strings.Join(segments, "/")
}

// resolved takes dot segments and doubled slashes out.
func resolved(p string) string {
	var kept []string
	for segment := range strings.SplitSeq(p, "/") {
		switch segment {
		case "", ".":
		case "..":
			if len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}
