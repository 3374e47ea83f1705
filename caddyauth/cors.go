package caddyauth

import (
	"net/http"
	"strings"
)

const (
	// corsMethods are what every preflight is told; the method that it asks
	// for is added, whatever an application behind us makes of it.
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

	// corsHeaders is what a preflight that asks for no headers, or for an
	// absurd number of them, is told.
	corsHeaders = "Content-Type, X-CSRFToken"

	// maxCORSHeaders bounds the list of headers that a preflight may ask for.
	maxCORSHeaders = 4 << 10

	// corsMaxAge is how long browsers keep a preflight's answer, in seconds.
	corsMaxAge = "600"
)

// trustedOrigin returns the request's Origin if it is a listed one, else "".
// The own origin needs no CORS.
func (p *policy) trustedOrigin(r *http.Request) string {
	values := r.Header["Origin"]
	if len(values) != 1 || !p.origins.trusts(values[0]) {
		return ""
	}
	return values[0]
}

// isPreflight tells whether a browser asks what a page of another origin may
// send.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header["Origin"]) > 0 && len(r.Header["Access-Control-Request-Method"]) > 0
}

// allowOrigin lets the page of a trusted origin read an answer, with cookies.
// For everybody else an upstream's permission to do so is withdrawn: it was
// given without knowing of our session.
func allowOrigin(h http.Header, origin string) {
	if origin == "" {
		delete(h, "Access-Control-Allow-Credentials")
		return
	}
	h["Access-Control-Allow-Origin"] = []string{origin}
	h["Access-Control-Allow-Credentials"] = []string{"true"}
	addVary(h, "Origin")
}

// allowPreflight adds what a trusted origin's preflight asks for. The header
// names are given back as they were asked for, because a page of a trusted
// origin may send any; there is no wildcard with credentials.
func allowPreflight(h http.Header, r *http.Request) {
	methods := corsMethods
	if method := r.Header.Get("Access-Control-Request-Method"); isToken(method) && len(method) <= 32 &&
		!isTokenIn(method, corsMethods+", CONNECT, TRACE") {
		methods += ", " + method
	}
	h["Access-Control-Allow-Methods"] = []string{methods}
	h["Access-Control-Max-Age"] = []string{corsMaxAge}
	asked := strings.Join(r.Header["Access-Control-Request-Headers"], ",")
	if asked == "" || len(asked) > maxCORSHeaders || !isTokenList(asked) {
		asked = corsHeaders
	}
	h["Access-Control-Allow-Headers"] = []string{asked}
	addVary(h, "Access-Control-Request-Method")
	addVary(h, "Access-Control-Request-Headers")
}

func isTokenIn(token, list string) bool {
	for listed := range strings.SplitSeq(list, ", ") {
		if listed == token {
			return true
		}
	}
	return false
}

func isTokenList(list string) bool {
	for token := range strings.SplitSeq(list, ",") {
		if !isToken(trimOWS(token)) {
			return false
		}
	}
	return true
}
