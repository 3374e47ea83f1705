package caddyauth

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

func cookiesOf(t testing.TB, prefix string) *cookieConfig {
	t.Helper()
	c, err := newCookieConfig("sessionid", prefix, "lax", false, sessionstore.Limits{Idle: time.Hour, Absolute: 12 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

func TestTakeCookies(t *testing.T) {
	token := sessionstore.NewToken()
	good, other := token.Value(), sessionstore.NewToken().Value()
	// The last character has its case kept: most others would not be canonical.
	flipped := strings.ToUpper(good[:42]) + good[42:]
	many := strings.Repeat("c=d; ", 1000)
	for _, test := range []struct {
		name           string
		prefix         string
		tls            bool
		lines          []string
		present, valid bool
		csrf           string
		rest           []string // the Cookie lines that go on
	}{
		{name: "none"},
		{name: "ours alone", lines: []string{"sessionid=" + good}, present: true, valid: true},
		{name: "among others", lines: []string{"a=b; sessionid=" + good + "; c=d"}, present: true, valid: true, rest: []string{"a=b; c=d"}},
		{name: "first", lines: []string{"sessionid=" + good + "; a=b"}, present: true, valid: true, rest: []string{"a=b"}},
		{name: "last without a space", lines: []string{"a=b;sessionid=" + good}, present: true, valid: true, rest: []string{"a=b"}},
		{name: "with csrftoken, which goes on", lines: []string{"sessionid=" + good + "; csrftoken=" + testSecret}, present: true, valid: true, csrf: testSecret, rest: []string{"csrftoken=" + testSecret}},
		{name: "spaces and tabs around the pair", lines: []string{" \tsessionid=" + good + " \t; a=b"}, present: true, valid: true, rest: []string{"a=b"}},
		{name: "a space before the sign", lines: []string{"sessionid =" + good + "; a=b"}, present: true, rest: []string{"a=b"}},
		{name: "a tab behind the sign", lines: []string{"sessionid=\t" + good + "; a=b"}, present: true, rest: []string{"a=b"}},
		{name: "a decorated one beside the exact", lines: []string{"sessionid= " + good + "; sessionid=" + good}, present: true},
		{name: "twice the same", lines: []string{"sessionid=" + good + "; sessionid=" + good}, present: true, valid: true},
		{name: "twice the same on two lines", lines: []string{"sessionid=" + good, "sessionid=" + good}, present: true, valid: true},
		{name: "two different", lines: []string{"sessionid=" + good + "; sessionid=" + other}, present: true},
		{name: "two different on two lines", lines: []string{"sessionid=" + other + "; a=b", "sessionid=" + good}, present: true, rest: []string{"a=b"}},
		{name: "a good one and an empty one", lines: []string{"sessionid=; sessionid=" + good}, present: true},
		{name: "good, other, good", lines: []string{"sessionid=" + good + "; sessionid=" + other + "; sessionid=" + good}, present: true},
		{name: "quoted", lines: []string{`sessionid="` + good + `"`}, present: true},
		{name: "truncated", lines: []string{"sessionid=" + good[:42]}, present: true},
		{name: "one character more", lines: []string{"sessionid=" + good + "A"}, present: true},
		{name: "padded", lines: []string{"sessionid=" + good + "="}, present: true},
		{name: "case flipped is another", lines: []string{"sessionid=" + flipped}, present: true, valid: true},
		{name: "empty", lines: []string{"sessionid="}, present: true},
		{name: "no equals sign", lines: []string{"sessionid"}, present: true},
		{name: "Django's key", lines: []string{"sessionid=0123456789abcdefghijklmnopqrstuv"}, present: true},
		{name: "NUL", lines: []string{"sessionid=" + good[:42] + "\x00"}, present: true},
		{name: "non-ASCII", lines: []string{"sessionid=" + good[:41] + "é"}, present: true},
		{name: "other case of the name", lines: []string{"SessionID=" + good}, rest: []string{"SessionID=" + good}},
		{name: "longer name", lines: []string{"sessionid2=" + good + "; xsessionid=a"}, rest: []string{"sessionid2=" + good + "; xsessionid=a"}},
		{name: "$Version", lines: []string{`$Version=1; sessionid=` + good + `; $Path="/"`}, present: true, valid: true, rest: []string{`$Version=1; $Path="/"`}},
		{name: "a thousand others", lines: []string{many + "sessionid=" + good}, present: true, valid: true, rest: []string{strings.TrimSuffix(many, "; ")}},
		{name: "a thousand of ours", lines: []string{strings.Repeat("sessionid="+other+"; ", 1000) + "sessionid=" + good}, present: true},
		{name: "others stay byte for byte", lines: []string{` a = "b;  c==d;;e`}, rest: []string{` a = "b;  c==d;;e`}},
		{name: "the first csrftoken counts", lines: []string{"csrftoken=" + testSecret + "; csrftoken=x"}, csrf: testSecret, rest: []string{"csrftoken=" + testSecret + "; csrftoken=x"}},
		{name: "prefixed name without a prefix configured", lines: []string{"__Host-sessionid=" + good}, rest: []string{"__Host-sessionid=" + good}},
		{name: "prefix over TLS", prefix: "__Host-", tls: true, lines: []string{"__Host-sessionid=" + good}, present: true, valid: true},
		{name: "the bare name over TLS is a neighbour's", prefix: "__Host-", tls: true, lines: []string{"sessionid=" + good}},
		{name: "a planted bare name beside the prefixed", prefix: "__Host-", tls: true, lines: []string{"sessionid=" + other + "; __Host-sessionid=" + good}, present: true, valid: true},
		{name: "the bare name without TLS", prefix: "__Secure-", lines: []string{"sessionid=" + good}, present: true, valid: true},
		{name: "the prefixed name without TLS", prefix: "__Secure-", lines: []string{"__Secure-sessionid=" + good + "; a=b"}, rest: []string{"a=b"}},
		{name: "another prefix", prefix: "__Secure-", tls: true, lines: []string{"__Host-sessionid=" + good}, rest: []string{"__Host-sessionid=" + good}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{"Other": {"x"}}
			if test.lines != nil {
				h["Cookie"] = slices.Clone(test.lines)
			}
			got := cookiesOf(t, test.prefix).takeCookies(h, test.tls)
			if got.present != test.present || got.valid != test.valid || got.csrf != test.csrf {
				t.Errorf("present %v, valid %v, csrf %q, want %+v", got.present, got.valid, got.csrf, test)
			}
			if same := got.token == token; test.valid && same == (test.name == "case flipped is another") {
				t.Error("the token is not the one that was sent")
			}
			if rest, ok := h["Cookie"]; !slices.Equal(rest, test.rest) || ok != (test.rest != nil) {
				t.Errorf("the Cookie header goes on as %q, want %q", rest, test.rest)
			}
		})
	}
}

func FuzzTakeCookies(f *testing.F) {
	good := sessionstore.NewToken().Value()
	f.Add("sessionid="+good, "a=b")
	f.Add(`a="b; sessionid=x"; sessionid=`+good, "sessionid=")
	f.Add(";;; =;sessionid", "csrftoken")
	f.Fuzz(func(t *testing.T, first, second string) {
		h := http.Header{"Cookie": {first, second}}
		for _, tls := range []bool{false, true} {
			c := cookiesOf(t, "__Host-")
			header := h.Clone()
			sent := c.takeCookies(header, tls)
			if sent.valid && !sent.present {
				t.Error("valid but not present")
			}
			for _, line := range header["Cookie"] {
				for pair := range strings.SplitSeq(line, ";") {
					name, _, _ := strings.Cut(pair, "=")
					if c.isSession(trimOWS(name)) {
						t.Errorf("%q keeps the session cookie: %q", h["Cookie"], header["Cookie"])
					}
				}
			}
			// What Go's parser takes for our cookie must be gone too.
			for _, cookie := range (&http.Request{Header: header}).Cookies() {
				if c.isSession(cookie.Name) {
					t.Errorf("net/http still reads %q", cookie)
				}
			}
			// What another parser takes for the one good cookie must be ours.
			if !sent.valid {
				continue
			}
			for _, cookie := range (&http.Request{Header: h}).CookiesNamed(c.sessionName(tls)) {
				if cookie.Value != sent.token.Value() {
					t.Errorf("%q: we take one token, net/http %q", h["Cookie"], cookie.Value)
				}
			}
		}
	})
}

func TestSetCookies(t *testing.T) {
	token := sessionstore.NewToken()
	limits := sessionstore.Limits{Idle: time.Hour, Absolute: 12 * time.Hour}
	for _, test := range []struct {
		name                  string
		prefix, sameSite      string
		browserClose, tls     bool
		absolute              time.Duration
		session, gone, secret string
	}{
		{
			name: "plain", sameSite: "lax", absolute: 12 * time.Hour,
			session: "sessionid=T; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax",
			gone:    "sessionid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly; SameSite=Lax",
			secret:  "csrftoken=S; Max-Age=43200; Path=/; SameSite=Lax",
		},
		{
			name: "TLS", sameSite: "lax", tls: true, absolute: 12 * time.Hour,
			session: "sessionid=T; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax; Secure",
			gone:    "sessionid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure",
			secret:  "csrftoken=S; Max-Age=43200; Path=/; SameSite=Lax; Secure",
		},
		{
			name: "strict, no absolute limit", sameSite: "strict",
			session: "sessionid=T; Max-Age=3600; Path=/; HttpOnly; SameSite=Strict",
			gone:    "sessionid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly; SameSite=Strict",
			secret:  "csrftoken=S; Max-Age=31449600; Path=/; SameSite=Strict",
		},
		{
			name: "__Host- over TLS, none", prefix: "__Host-", sameSite: "none", tls: true, absolute: time.Minute,
			session: "__Host-sessionid=T; Max-Age=3600; Path=/; HttpOnly; SameSite=None; Secure",
			gone:    "__Host-sessionid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly; SameSite=None; Secure",
			secret:  "csrftoken=S; Max-Age=60; Path=/; SameSite=None; Secure",
		},
		{
			name: "__Secure- without TLS", prefix: "__Secure-", sameSite: "lax", absolute: time.Minute,
			session: "sessionid=T; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax",
			gone:    "sessionid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly; SameSite=Lax",
			secret:  "csrftoken=S; Max-Age=60; Path=/; SameSite=Lax",
		},
		{
			name: "browser_close", sameSite: "lax", browserClose: true, absolute: time.Minute,
			session: "sessionid=T; Path=/; HttpOnly; SameSite=Lax",
			gone:    "sessionid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly; SameSite=Lax",
			secret:  "csrftoken=S; Max-Age=60; Path=/; SameSite=Lax",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			limits.Absolute = test.absolute
			c, err := newCookieConfig("sessionid", test.prefix, test.sameSite, test.browserClose, limits)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := c.setSession(token, time.Hour, test.tls), strings.Replace(test.session, "=T", "="+token.Value(), 1); got != want {
				t.Errorf("session\n got %s\nwant %s", got, want)
			}
			if got := c.deleteSession(test.tls); got != test.gone {
				t.Errorf("deletion\n got %s\nwant %s", got, test.gone)
			}
			if got, want := c.setCSRF(testSecret, test.tls), strings.Replace(test.secret, "=S", "="+testSecret, 1); got != want {
				t.Errorf("csrftoken\n got %s\nwant %s", got, want)
			}
		})
	}
	c := cookiesOf(t, "")
	for left, want := range map[time.Duration]string{1: "Max-Age=1;", time.Second: "Max-Age=1;", time.Second + 1: "Max-Age=2;", -time.Hour: "Max-Age=1;"} {
		if got := c.setSession(token, left, false); !strings.Contains(got, want) {
			t.Errorf("with %s left: %s, want %s: a Max-Age of 0 would delete it", left, got, want)
		}
	}
}

func TestCookieOptionsThatAreRefused(t *testing.T) {
	for _, test := range [][3]string{
		{"", "", "lax"}, {"a b", "", "lax"}, {"a=b", "", "lax"}, {"a;b", "", "lax"}, {"é", "", "lax"}, {"csrftoken", "", "lax"}, {"CSRFToken", "", "lax"}, {"ldap_device", "", "lax"}, {"LDAP_Device", "", "lax"},
		{"__Host-sessionid", "", "lax"}, {"__secure-x", "", "lax"},
		{"sessionid", "__host-", "lax"}, {"sessionid", "__Host", "lax"}, {"sessionid", "x", "lax"},
		{"sessionid", "", ""}, {"sessionid", "", "Lax"}, {"sessionid", "", "off"},
	} {
		if _, err := newCookieConfig(test[0], test[1], test[2], false, sessionstore.Limits{}); err == nil {
			t.Errorf("newCookieConfig(%q) is accepted", test)
		}
	}
}

func TestDropSetCookies(t *testing.T) {
	c := cookiesOf(t, "__Host-")
	h := http.Header{"Set-Cookie": {"sessionid=x", "a=b; Path=/", "csrftoken=y; Path=/", "__Host-sessionid=z", " sessionid =x", "sessionid2=ok", "Sessionid=ok", "sessionid", "=sessionid=x", "= csrftoken=x; Path=/", "=app"}}
	c.dropSetCookies(h)
	if got, want := fmt.Sprint(h["Set-Cookie"]), "[a=b; Path=/ sessionid2=ok Sessionid=ok =app]"; got != want {
		t.Errorf("kept %s, want %s", got, want)
	}
	h = http.Header{"Set-Cookie": {"sessionid=x"}}
	c.dropSetCookies(h)
	if _, ok := h["Set-Cookie"]; ok {
		t.Error("an empty Set-Cookie list stays")
	}
}
