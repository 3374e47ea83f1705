package pages

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

type headerFacts struct {
	language   string
	length     int
	styleHash  string
	scriptHash string
	next       string // origin, or empty
}

// setHeaders sets what every page carries. Vary is added to, because others may
// have named their own there.
func setHeaders(h http.Header, f headerFacts) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(f.length))
	h.Set("Content-Language", f.language)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", contentSecurityPolicy(f))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	addVary(h, "Accept-Language")
	addVary(h, "Cookie")
}

// contentSecurityPolicy allows the one style sheet and the one script by their
// hashes, the logo as a part of the page, and nothing else.
// Browsers apply form-action to the redirect after a form post as well
// (https://github.com/w3c/webappsec-csp/issues/8), so the one origin that a good
// sign-in goes on to has to be in it.
func contentSecurityPolicy(f headerFacts) string {
	form := "'self'"
	if f.next != "" {
		form += " " + f.next
	}
	return "default-src 'none'; style-src " + f.styleHash + "; script-src " + f.scriptHash + "; img-src data:; form-action " + form +
		"; frame-ancestors 'none'; base-uri 'none'"
}

// sourceHash is the CSP hash-source of an inline element's text.
func sourceHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// formTarget returns the origin of an absolute next, on the pages whose form
// leads there. Whatever could not stand in a policy as one plain source (spaces,
// semicolons, wildcards, user names, IPv6 literals) gives none: the browser then
// blocks that redirect, and the policy stays closed.
func (p Page) formTarget() string {
	if p.Kind != SignIn && p.Kind != SignedIn {
		return ""
	}
	u, err := url.Parse(p.Next)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Hostname() == "" {
		return ""
	}
	for _, c := range []byte(u.Host) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == ':':
		default:
			return ""
		}
	}
	return u.Scheme + "://" + u.Host
}

func addVary(h http.Header, name string) {
	for _, line := range h.Values("Vary") {
		for listed := range strings.SplitSeq(line, ",") {
			if listed = strings.TrimSpace(listed); listed == "*" || strings.EqualFold(listed, name) {
				return
			}
		}
	}
	h.Add("Vary", name)
}
