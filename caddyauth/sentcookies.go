package caddyauth

import (
	"iter"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// sentCookies is what a request's Cookie header said of our cookies.
type sentCookies struct {
	present bool               // a session cookie was sent, however malformed
	token   sessionstore.Token // its token, when valid
	valid   bool               // there is exactly one value, and it is well-formed
	several bool               // there is more than one value

	csrf string       // the csrftoken cookie, "" when there is none
	more *moreCookies // nil where each was sent once, as nearly always
	line string       // the whole header, which sign-ins and pages read again
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
// cookie from the Cookie header, so that no upstream ever sees them. Two session
// cookies of different values are none: which of them is an attacker's, nobody
// can tell. Quoted or otherwise decorated values are not ours.
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
		if name = textproto.TrimString(name); c.isDevice(name) || c.isSession(name) {
			continue
		}
		if pair = textproto.TrimString(pair); pair == "" {
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
		pair := textproto.TrimString(line[at:next])
		name, _, _ := strings.Cut(pair, "=")
		name = textproto.TrimString(name)
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
	return textproto.TrimString(line[start:end]), true
}

// cookiePairs yields the names and values of a Cookie line. White space, as
// net/http trims it, around the sign of equality belongs to neither, and browsers
// send none: with it a value is another one.
func cookiePairs(line string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for rest, more := line, true; more; {
			var pair string
			pair, rest, more = strings.Cut(rest, ";")
			name, value, _ := strings.Cut(textproto.TrimString(pair), "=")
			if bare := textproto.TrimString(name); bare != name {
				name, value = bare, " "+value
			}
			if !yield(name, value) {
				return
			}
		}
	}
}
