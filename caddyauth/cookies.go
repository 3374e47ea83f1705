package caddyauth

import (
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

const (
	// csrfCookie is fixed by its clients: they read it from their cookie jar
	// by this name.
	csrfCookie = "csrftoken"

	// csrfCookieAge is used where sessions have no absolute limit: 364 days,
	// as Django's.
	csrfCookieAge = 31449600 * time.Second

	// deviceCookie tells browsers that have signed in before from strangers,
	// see throttle.Request. It is of no use without a password.
	deviceCookie    = "ldap_device"
	deviceCookieAge = 180 * 24 * time.Hour

	// Neighbours on other hosts of the domain can set the device cookie too, and
	// are no reason to drop ours: so many values are looked at, each up to so long.
	maxDeviceCookies = 4
	maxDeviceCookie  = 512
)

// cookieConfig is how the cookies of a configuration look.
type cookieConfig struct {
	name         string // without a prefix
	prefix       string // "", __Host- or __Secure-; used over TLS only
	sameSite     string // Lax, Strict or None
	browserClose bool
	csrfAge      time.Duration
}

// newCookieConfig checks the options of the sessions block.
func newCookieConfig(name, prefix, sameSite string, browserClose bool, limits sessionstore.Limits) (cookieConfig, error) {
	c := cookieConfig{name: name, prefix: prefix, browserClose: browserClose, csrfAge: csrfCookieAge}
	if limits.Absolute > 0 {
		c.csrfAge = limits.Absolute
	}
	if !isToken(name) {
		return c, fmt.Errorf("cookie_name: %q is not a cookie name", name)
	}
	for _, reserved := range []string{"__host-", "__secure-"} {
		if strings.HasPrefix(strings.ToLower(name), reserved) {
			return c, fmt.Errorf("cookie_name: %q begins with a cookie prefix: use cookie_prefix, which is left out over plain HTTP", name)
		}
	}
	if strings.EqualFold(name, csrfCookie) {
		return c, fmt.Errorf("cookie_name: %q is the name of the CSRF cookie", name)
	}
	if strings.EqualFold(name, deviceCookie) {
		return c, fmt.Errorf("cookie_name: %q is the name of the device cookie", name)
	}
	switch prefix {
	case "", "__Host-", "__Secure-":
	default:
		return c, fmt.Errorf("cookie_prefix: unknown value %q: use __Host- or __Secure-", prefix)
	}
	switch sameSite {
	case "lax":
		c.sameSite = "Lax"
	case "strict":
		c.sameSite = "Strict"
	case "none":
		c.sameSite = "None"
	default:
		return c, fmt.Errorf("same_site: unknown value %q: use lax, strict or none", sameSite)
	}
	return c, nil
}

// sessionName returns the session cookie's name for a request. Browsers refuse
// a prefixed name without Secure, so plain HTTP has the bare one; over TLS only
// the prefixed one counts, which no plain-HTTP neighbour can set.
func (c *cookieConfig) sessionName(tls bool) string {
	if tls {
		return c.prefix + c.name
	}
	return c.name
}

// deviceName returns the device cookie's name for a request, like sessionName.
func (c *cookieConfig) deviceName(tls bool) string {
	if tls {
		return c.prefix + deviceCookie
	}
	return deviceCookie
}

// isSession tells whether a cookie of this name is the session cookie, with or
// without the prefix: applications neither see nor set it.
func (c *cookieConfig) isSession(name string) bool { return c.spells(c.name, name) }

// isDevice is isSession for the device cookie.
func (c *cookieConfig) isDevice(name string) bool { return c.spells(deviceCookie, name) }

func (c *cookieConfig) spells(own, name string) bool {
	return name == own || c.prefix != "" && len(name) == len(c.prefix)+len(own) &&
		name[:len(c.prefix)] == c.prefix && name[len(c.prefix):] == own
}

// sentCookies is what a request's Cookie header said of our cookies.
type sentCookies struct {
	present bool               // a session cookie was sent, however malformed
	token   sessionstore.Token // its token, when valid
	valid   bool               // there is exactly one value, and it is well-formed
	several bool               // there is more than one value

	csrf string       // the csrftoken cookie, "" when there is none
	more *moreCookies // nil where each was sent once, as nearly always
	line string       // the whole header, which only a sign-in reads again
}

// moreCookies are those that were sent more than once.
type moreCookies struct {
	// tokens are the well-formed ones where there is more than one value: none
	// of them is a session, but a sign-out or sign-in ends them all. Only the
	// server's limit for headers bounds them: leaving one out would leave a
	// session alive.
	tokens []sessionstore.Token

	csrf []string // as another path or host of ours sets them
}

// maxMoreCSRF bounds how many further csrftoken cookies are looked at.
const maxMoreCSRF = 8

// tokens are all sessions that the client claims.
func (sent *sentCookies) tokens() []sessionstore.Token {
	if sent.valid {
		return []sessionstore.Token{sent.token}
	}
	return sent.doubled()
}

// doubled are the tokens where there is more than one.
func (sent *sentCookies) doubled() []sessionstore.Token {
	if sent.more == nil {
		return nil
	}
	return sent.more.tokens
}

// hasCSRF tells whether one of the csrftoken cookies is the secret.
func (sent *sentCookies) hasCSRF(secret string) bool {
	return sent.csrf == secret || sent.more != nil && slices.Contains(sent.more.csrf, secret)
}

// another makes room for what was sent more than once.
func (sent *sentCookies) another() *moreCookies {
	if sent.more == nil {
		sent.more = new(moreCookies)
	}
	return sent.more
}

// devices returns the device cookies that were sent: which one is planted, their
// MACs tell.
func (c *cookieConfig) devices(sent *sentCookies, tls bool) []string {
	var devices []string
	wanted := c.deviceName(tls)
	for name, value := range cookiePairs(sent.line) {
		if name == wanted && value != "" && len(value) <= maxDeviceCookie && len(devices) < maxDeviceCookies {
			devices = append(devices, value)
		}
	}
	return devices
}

// takeCookies reads our cookies and removes the session cookie and the device
// cookie from the Cookie header, so that no upstream ever sees them. Two session cookies of different
// values are none: which of them is an attacker's, nobody can tell. Quoted or
// otherwise decorated values are not ours.
func (c *cookieConfig) takeCookies(h http.Header, tls bool) sentCookies {
	var sent sentCookies
	lines := h["Cookie"]
	if len(lines) == 0 {
		return sent
	}
	if sent.line = lines[0]; len(lines) > 1 {
		sent.line = strings.Join(lines, ";")
	}
	wanted := c.sessionName(tls)
	var value string
	var all map[string]struct{} // the values, where there are several
	found := false
	kept := lines[:0]
	for _, line := range lines {
		ours := false
		for name, val := range cookiePairs(line) {
			switch {
			case c.isSession(name):
				ours = true
				switch {
				case name != wanted:
				case !found:
					value, found = val, true
				case all != nil:
					all[val] = struct{}{}
				case val != value:
					all = map[string]struct{}{value: {}, val: {}}
				}
			case c.isDevice(name):
				ours = true
			case name != csrfCookie:
			case sent.csrf == "":
				sent.csrf = val
			default:
				if more := sent.another(); len(more.csrf) < maxMoreCSRF {
					more.csrf = append(more.csrf, val)
				}
			}
		}
		if ours {
			line = c.withoutOurs(line)
		}
		if line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
	} else {
		h["Cookie"] = kept
	}
	sent.present = found
	if all == nil {
		sent.token, sent.valid = sessionstore.ParseToken(value)
		return sent
	}
	sent.several = true
	for value := range all {
		if token, ok := sessionstore.ParseToken(value); ok {
			more := sent.another()
			more.tokens = append(more.tokens, token)
		}
	}
	return sent
}

// withoutOurs returns a Cookie line without the cookies that no application is
// to see, the others as they were.
func (c *cookieConfig) withoutOurs(line string) string {
	if rest, ok := c.oneRun(line); ok {
		return rest
	}
	var rest strings.Builder
	rest.Grow(len(line))
	for pair := range strings.SplitSeq(line, ";") {
		name, _, _ := strings.Cut(pair, "=")
		if name = trimOWS(name); c.isDevice(name) || c.isSession(name) {
			continue
		}
		if pair = trimOWS(pair); pair == "" {
			continue
		}
		if rest.Len() > 0 {
			rest.WriteString("; ")
		}
		rest.WriteString(pair)
	}
	return rest.String()
}

// oneRun returns what withoutOurs does, as a part of the line, if the cookies
// that stay are next to each other: mostly they are.
func (c *cookieConfig) oneRun(line string) (rest string, ok bool) {
	start, end := -1, -1
	for at := 0; at <= len(line); {
		next := len(line)
		if i := strings.IndexByte(line[at:], ';'); i >= 0 {
			next = at + i
		}
		pair := trimOWS(line[at:next])
		name, _, _ := strings.Cut(pair, "=")
		name = trimOWS(name)
		switch {
		case pair == "" || c.isDevice(name) || c.isSession(name):
		case start < 0:
			start, end = at, next
		case end+1 == at:
			end = next
		default:
			return "", false
		}
		at = next + 1
	}
	if start < 0 {
		return "", true
	}
	return trimOWS(line[start:end]), true
}

// cookiePairs yields the names and values of a Cookie line. White space around
// the sign of equality belongs to neither, and browsers send none: with it a
// value is another one.
func cookiePairs(line string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for rest, more := line, true; more; {
			var pair string
			pair, rest, more = strings.Cut(rest, ";")
			name, value, _ := strings.Cut(trimOWS(pair), "=")
			if bare := trimOWS(name); bare != name {
				name, value = bare, " "+value
			}
			if !yield(name, value) {
				return
			}
		}
	}
}

// trimOWS removes optional white space (RFC 9110 section 5.6.3) at both ends.
func trimOWS(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// setSession returns the Set-Cookie value of a live session.
func (c *cookieConfig) setSession(token sessionstore.Token, maxAge time.Duration, tls bool) string {
	b := make([]byte, 0, 160)
	b = append(b, c.sessionName(tls)...)
	b = append(b, '=')
	b = append(b, token.Value()...)
	if !c.browserClose {
		b = append(b, "; Max-Age="...)
		b = strconv.AppendInt(b, seconds(maxAge), 10)
	}
	b = append(b, "; Path=/; HttpOnly"...)
	return string(c.appendAttributes(b, tls))
}

// deleteSession returns the Set-Cookie value that makes a client forget the
// session cookie. It has the attributes of the cookie, without which browsers
// ignore it.
func (c *cookieConfig) deleteSession(tls bool) string {
	b := make([]byte, 0, 160)
	b = append(b, c.sessionName(tls)...)
	b = append(b, "=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly"...)
	return string(c.appendAttributes(b, tls))
}

// setCSRF returns the Set-Cookie value of the CSRF token, which scripts read.
func (c *cookieConfig) setCSRF(secret string, tls bool) string {
	b := make([]byte, 0, 128)
	b = append(b, csrfCookie+"="...)
	b = append(b, secret...)
	b = append(b, "; Max-Age="...)
	b = strconv.AppendInt(b, seconds(c.csrfAge), 10)
	b = append(b, "; Path=/"...)
	return string(c.appendAttributes(b, tls))
}

// setDevice returns the Set-Cookie value of the device cookie.
func (c *cookieConfig) setDevice(value string, tls bool) string {
	b := make([]byte, 0, 256)
	b = append(b, c.deviceName(tls)...)
	b = append(b, '=')
	b = append(b, value...)
	b = append(b, "; Max-Age="...)
	b = strconv.AppendInt(b, seconds(deviceCookieAge), 10)
	b = append(b, "; Path=/; HttpOnly"...)
	return string(c.appendAttributes(b, tls))
}

func (c *cookieConfig) appendAttributes(b []byte, tls bool) []byte {
	b = append(b, "; SameSite="...)
	b = append(b, c.sameSite...)
	if tls {
		b = append(b, "; Secure"...)
	}
	return b
}

// dropSetCookies removes what an application set under our names: it would
// sign people out, or plant a token.
func (c *cookieConfig) dropSetCookies(h http.Header) {
	values := h["Set-Cookie"]
	if len(values) == 0 {
		return
	}
	kept := make([]string, 0, len(values))
	for _, value := range values {
		name, rest, _ := strings.Cut(value, "=")
		if name = strings.TrimSpace(name); name == "" {
			// Browsers send a cookie without a name back as its bare value,
			// which may read like one of ours.
			rest, _, _ = strings.Cut(rest, ";")
			name, _, _ = strings.Cut(rest, "=")
			name = strings.TrimSpace(name)
		}
		if c.isSession(name) || name == csrfCookie || c.isDevice(name) {
			continue
		}
		kept = append(kept, value)
	}
	switch len(kept) {
	case len(values):
	case 0:
		delete(h, "Set-Cookie")
	default:
		h["Set-Cookie"] = kept
	}
}

// seconds rounds up: a Max-Age of 0 deletes a cookie, and the server's own
// deadline decides anyway.
func seconds(d time.Duration) int64 { return max(1, int64((d+time.Second-1)/time.Second)) }

// isToken tells whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return true
}
