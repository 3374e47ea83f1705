package caddyauth

import (
	"fmt"
	"net/http"
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
	if strings.EqualFold(name, languageCookie) {
		return c, fmt.Errorf("cookie_name: %q is the name of the language cookie", name)
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

// setLanguage returns the Set-Cookie value of the language cookie. Whatever
// same_site is: a link on another site leads to a page in the language that was
// picked, and an image there picks none.
func (c *cookieConfig) setLanguage(language string, tls bool) string {
	b := make([]byte, 0, 128)
	b = append(b, languageCookie+"="...)
	b = append(b, language...)
	b = append(b, "; Max-Age="...)
	b = strconv.AppendInt(b, seconds(languageCookieAge), 10)
	b = append(b, "; Path=/; HttpOnly; SameSite=Lax"...)
	if tls {
		b = append(b, "; Secure"...)
	}
	return string(b)
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
