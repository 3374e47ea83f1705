package caddyauth

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// trustedOrigins are the origins that may call a site from a browser. They are
// compared as whole strings: browsers send origins in one canonical form, and
// whatever is spelled otherwise is not from a browser.
type trustedOrigins struct {
	exact map[string]struct{}
	wild  []wildOrigin
}

// wildOrigin is scheme://*.domain[:port].
type wildOrigin struct {
	scheme string // with "://"
	suffix string // with the leading dot and the port, if any
}

func parseTrustedOrigins(list []string) (trustedOrigins, error) {
	if len(list) == 0 {
		return trustedOrigins{}, errors.New("trusted_origins: the list is empty: name at least one origin, or leave the option out")
	}
	t := trustedOrigins{exact: make(map[string]struct{}, len(list))}
	for _, item := range list {
		scheme, host, err := splitOrigin(item)
		if err != nil {
			return trustedOrigins{}, fmt.Errorf("trusted_origins: invalid origin %q: %w", item, err)
		}
		if domain, ok := strings.CutPrefix(host, "*."); ok {
			t.wild = append(t.wild, wildOrigin{scheme: scheme + "://", suffix: "." + domain})
			continue
		}
		t.exact[scheme+"://"+host] = struct{}{}
	}
	return t, nil
}

// splitOrigin checks a configured origin and returns it in the form that
// browsers send: lower case, without the scheme's default port.
func splitOrigin(origin string) (scheme, host string, err error) {
	if !strings.HasPrefix(origin, "http://") && !strings.HasPrefix(origin, "https://") {
		return "", "", errors.New("it must begin with http:// or https://")
	}
	wild := strings.Contains(origin, "*")
	parsed := origin
	if wild {
		if strings.Count(origin, "*") > 1 || !strings.Contains(origin, "://*.") {
			return "", "", errors.New("a * is allowed only as the whole first label")
		}
		parsed = strings.Replace(origin, "*.", "", 1)
	}
	u, err := url.Parse(parsed)
	if err != nil {
		return "", "", err
	}
	switch {
	case u.User != nil:
		return "", "", errors.New("user names are not allowed")
	case u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(origin, "#"):
		return "", "", errors.New("nothing may follow the host and port, not even a slash")
	case u.Hostname() == "":
		return "", "", errors.New("the host is missing")
	case strings.HasSuffix(u.Host, ":"):
		return "", "", errors.New("the port is missing")
	case !isASCII(u.Host):
		return "", "", errors.New("write international names in their xn-- form")
	}
	host = canonicalHost(u.Scheme, u.Host)
	if wild {
		if !strings.Contains(u.Hostname(), ".") {
			return "", "", errors.New("a wildcard needs a domain of at least two labels after it")
		}
		if _, err := netip.ParseAddr(u.Hostname()); err == nil {
			return "", "", errors.New("a wildcard cannot stand before an address")
		}
		host = "*." + host
	}
	return u.Scheme, host, nil
}

// any tells whether there is any.
func (t *trustedOrigins) any() bool { return len(t.exact) > 0 || len(t.wild) > 0 }

// trusts tells whether origin is listed: byte for byte, or as exactly one more
// label or several before a wildcard's domain. The bare domain is not meant.
func (t *trustedOrigins) trusts(origin string) bool {
	if t.trustsExactly(origin) {
		return true
	}
	for _, w := range t.wild {
		rest, ok := strings.CutPrefix(origin, w.scheme)
		if !ok {
			continue
		}
		if labels, ok := strings.CutSuffix(rest, w.suffix); ok && areLabels(labels) {
			return true
		}
	}
	return false
}

// trustsExactly leaves wildcards out: a redirect must never go to whatever
// name somebody may get hold of below a domain.
func (t *trustedOrigins) trustsExactly(origin string) bool {
	_, ok := t.exact[origin]
	return ok
}

// areLabels accepts lower-case DNS labels only, so that user names, ports,
// slashes and other tricks never match a wildcard.
func areLabels(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}

// canonicalHost lower-cases a host[:port] and drops the scheme's default port.
func canonicalHost(scheme, hostport string) string {
	hostport = strings.ToLower(hostport)
	switch scheme {
	case "http":
		return strings.TrimSuffix(hostport, ":80")
	case "https":
		return strings.TrimSuffix(hostport, ":443")
	}
	return hostport
}

// overTLS tells whether the client speaks TLS: to us, or to a proxy that is in
// trusted_proxies and says so. Anybody else's X-Forwarded-Proto means nothing.
func overTLS(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	if !peerIsTrustedProxy(r) {
		return false
	}
	values := r.Header["X-Forwarded-Proto"]
	if len(values) == 0 {
		return false
	}
	last := values[len(values)-1]
	if i := strings.LastIndexByte(last, ','); i >= 0 {
		last = last[i+1:]
	}
	return strings.EqualFold(strings.TrimSpace(last), "https")
}

// secureEnough tells whether a password may come over this connection: TLS, or
// this machine itself. Loopback with a forwarding header is a proxy, which
// speaks for somebody else over a line that we cannot see.
func (p *policy) secureEnough(r *http.Request, q *request) bool {
	if q.tls || p.insecureHTTP {
		return true
	}
	if !peerIsLoopback(r) {
		return false
	}
	for _, forwarding := range [...]string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		if _, ok := r.Header[forwarding]; ok {
			return false
		}
	}
	return true
}

// isOwnOrigin tells whether origin is the one that the client used to get
// here.
func isOwnOrigin(r *http.Request, origin string) bool {
	scheme := "http"
	if overTLS(r) {
		scheme = "https"
	}
	host, ok := strings.CutPrefix(origin, scheme+"://")
	if !ok || host == "" {
		return false
	}
	if host == canonicalHost(scheme, r.Host) {
		return true
	}
	// A proxy that rewrites Host tells the original one; several values mean
	// several proxies, and then nobody can say which one the browser saw.
	if peerIsTrustedProxy(r) {
		if values := r.Header["X-Forwarded-Host"]; len(values) == 1 && !strings.Contains(values[0], ",") {
			return host == canonicalHost(scheme, strings.TrimSpace(values[0]))
		}
	}
	return false
}

// listed tells whether origin is the site's own or a trusted one.
func (p *policy) listed(r *http.Request, origin string) bool {
	return origin != "" && (p.origins.trusts(origin) || isOwnOrigin(r, origin))
}

// originAllowed is the origin gate of sign-in, sign-out and unsafe methods. An
// Origin header decides alone; else Sec-Fetch-Site, which every browser since
// 2023 sends to https sites; else a Referer. A request with none of the three
// is not from a browser that somebody else's page could have driven (curl,
// Python requests), so this fails open by design: such clients hold the cookie
// on purpose.
func (p *policy) originAllowed(r *http.Request) bool {
	if values, ok := r.Header["Origin"]; ok {
		return len(values) == 1 && p.listed(r, values[0])
	}
	if values, ok := r.Header["Sec-Fetch-Site"]; ok {
		return len(values) == 1 && (values[0] == "same-origin" || values[0] == "none")
	}
	values, ok := r.Header["Referer"]
	if !ok {
		return true
	}
	return len(values) == 1 && p.listed(r, originOf(values[0]))
}

// originOf returns the origin of an absolute URL, or "".
func originOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.User != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return ""
	}
	return u.Scheme + "://" + canonicalHost(u.Scheme, u.Host)
}

// hostOnly returns the host of a host[:port] for logs.
func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return hostport
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
