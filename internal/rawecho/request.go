package rawecho

import (
	"slices"
	"strings"
)

// Field is one line of a header or trailer, as it was sent.
type Field struct{ Name, Value string }

// Request is what reached the upstream.
type Request struct {
	// Protocol is the major version of HTTP: 1 or 2.
	Protocol int

	// Line is the request line; on HTTP/2 what it would be: method, path.
	Line string

	// Header has the lines as they came; on HTTP/2 the pseudo-header fields
	// too.
	Header []Field

	Body    string // without its framing
	Trailer []Field

	// Raw are all bytes of an HTTP/1 request.
	Raw string
}

// Target is the request target, as it was sent.
func (r Request) Target() string {
	_, rest, _ := strings.Cut(r.Line, " ")
	target, _, _ := strings.Cut(rest, " ")
	return target
}

// Method is the request's method, as it was sent.
func (r Request) Method() string {
	method, _, _ := strings.Cut(r.Line, " ")
	return method
}

// Values returns the values of every header line of that name in any case.
func (r Request) Values(name string) []string { return valuesOf(r.Header, name) }

// CGI returns what a CGI-like server makes of the header and trailer: for every
// name in capitals, with each character but letters and digits turned into an
// underscore and runs of these into one, the values in order.
func (r Request) CGI() map[string][]string {
	folded := map[string][]string{}
	for _, field := range slices.Concat(r.Header, r.Trailer) {
		name := CGIName(field.Name)
		folded[name] = append(folded[name], field.Value)
	}
	return folded
}

// CGIName folds a name as the most tolerant of these servers does.
func CGIName(name string) string {
	var folded strings.Builder
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z':
			folded.WriteByte(c - 'a' + 'A')
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			folded.WriteByte(c)
		case !strings.HasSuffix(folded.String(), "_"):
			folded.WriteByte('_')
		}
	}
	return strings.Trim(folded.String(), "_")
}

func valuesOf(fields []Field, name string) []string {
	var values []string
	for _, field := range fields {
		if strings.EqualFold(field.Name, name) {
			values = append(values, field.Value)
		}
	}
	return values
}
