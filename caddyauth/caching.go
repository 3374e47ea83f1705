package caddyauth

import (
	"iter"
	"net/http"
	"strings"
)

// forOneClient tells caches whom the answer is for. What a browser shows as a
// page, it is not to keep at all: after a sign-out, its button to go back would
// show it again, from memory, without asking anybody.
func (a *answer) forOneClient(h http.Header) {
	vary := h["Vary"]
	if len(h["Cache-Control"]) > 0 || len(vary) > 1 || len(vary) == 1 && vary[0] != "Accept-Encoding" {
		keepPrivate(h, a.page)
		addVary(h, "Cookie")
		return
	}
	// The usual cases, in one piece of memory.
	private := "private"
	if a.page {
		private = "private, no-store"
	}
	values := append(make([]string, 0, 3), private)
	values = append(append(values, vary...), "Cookie")
	h["Cache-Control"], h["Vary"] = values[0:1:1], values[1:]
}

// keepPrivate tells shared caches to keep their hands off: cookies alone do not
// forbid them to store an answer (RFC 9111 section 3). Directives that are as
// strict or stricter stay. noStore keeps browsers from storing it too.
func keepPrivate(h http.Header, noStore bool) {
	values := h["Cache-Control"]
	private, kept := false, make([]string, 0, 4)
	for _, value := range values {
		for directive := range cacheDirectives(value) {
			name, _, argument := strings.Cut(directive, "=")
			switch strings.ToLower(trimOWS(name)) {
			case "", "public", "s-maxage":
				continue
			case "private", "no-store":
				if argument {
					// It means the fields that it lists, and some caches have
					// the last of two count.
					continue
				}
				private = true
				noStore = noStore && !strings.EqualFold(trimOWS(name), "no-store")
			}
			kept = append(kept, directive)
		}
	}
	if !private {
		kept = append(kept, "private")
	}
	if noStore {
		kept = append(kept, "no-store")
	}
	h["Cache-Control"] = []string{strings.Join(kept, ", ")}
}

// cacheDirectives yields the directives of a line. A comma in quotes ends none
// (RFC 9110 section 5.6.4): what stands there looks like a directive and is not.
// What begins a quote and does not end it would take all that we add for a part
// of it, and is left out.
func cacheDirectives(line string) iter.Seq[string] {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i < len(line); i++ {
			switch c := line[i]; {
			case c == '\\' && quoted:
				i++
			case c == '"':
				quoted = !quoted
			case c == ',' && !quoted:
				if !yield(trimOWS(line[start:i])) {
					return
				}
				start = i + 1
			}
		}
		if !quoted {
			yield(trimOWS(line[start:]))
		}
	}
}

// dropCacheOverrides removes headers that some shared caches obey instead of
// Cache-Control.
func dropCacheOverrides(h http.Header) {
	delete(h, "Surrogate-Control")
	delete(h, "Edge-Control")
	delete(h, "X-Accel-Expires")
	for name := range h {
		if strings.HasSuffix(name, "-Cache-Control") { // RFC 9213, and vendors' own
			delete(h, name)
		}
	}
}

// addVary adds a name to Vary, once.
func addVary(h http.Header, name string) {
	values := h["Vary"]
	for _, value := range values {
		for listed := range strings.SplitSeq(value, ",") {
			if listed = trimOWS(listed); listed == "*" || strings.EqualFold(listed, name) {
				return
			}
		}
	}
	h["Vary"] = append(values, name)
}
