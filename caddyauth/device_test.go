package caddyauth

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// known sends a device cookie.
func known(device string) change { return header("Cookie", deviceCookie+"="+device) }

func TestDeviceCookieAtASignIn(t *testing.T) {
	s := start(t, setup{global: strictProxies})
	for name, row := range map[string]struct {
		client change
		secure string
	}{
		"plain": {header("X-Test", ""), ""},
		"TLS":   {from("192.0.2.7"), "; Secure"},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.attempt("ac12345", ldaptest.DemoPassword, row.client)
			want(t, got, 200, bodySignedIn)
			set := got.setCookies(deviceCookie)
			if len(set) != 1 || !regexp.MustCompile(`^ldap_device=[\w-]{36}; Max-Age=15552000; Path=/; HttpOnly; SameSite=Lax`+row.secure+`$`).MatchString(set[0]) {
				t.Errorf("it set %q", set)
			}
			if all := got.Header["Set-Cookie"]; len(all) != 3 || len(got.setCookies("sessionid")) != 1 || len(got.setCookies("csrftoken")) != 1 {
				t.Errorf("it set %q, want exactly session, CSRF token and device", all)
			}
		})
	}
	first := s.signIn("ac12345")
	again := s.attempt("ac12345", ldaptest.DemoPassword, known(first.device))
	if all := again.Header["Set-Cookie"]; again.StatusCode != 200 || len(all) != 2 || len(again.setCookies(deviceCookie)) != 0 {
		t.Errorf("a device that is known: %d, it set %q", again.StatusCode, all)
	}
	both := s.signIn("mgarcia", known(first.device))
	if len(both.device) != 2*len(first.device) {
		t.Errorf("a second account on the same device: it set %q", both.device)
	}
	if s.signIn("mgarcia", known(both.device)).device != "" {
		t.Error("it was set again for the account that used it last")
	}
	for name, got := range map[string]reply{
		"a wrong password":  s.attempt("ac12345", wrongPassword),
		"a page":            s.do("GET", "/accounts/login/"),
		"a gated answer":    s.do("GET", "/x", first.cookies),
		"the session route": s.do("GET", "/api/session/", first.cookies),
		"a sign-out":        s.do("GET", "/api/logout/", first.cookies),
	} {
		if set := got.setCookies(deviceCookie); len(set) != 0 {
			t.Errorf("%s set %q", name, set)
		}
	}
	form := s.do("POST", "/accounts/login/", navigation, form("username=ac12345&password="+ldaptest.DemoPassword))
	if form.StatusCode != 303 || len(form.setCookies(deviceCookie)) != 1 {
		t.Errorf("a form: %d, it set %q", form.StatusCode, form.Header["Set-Cookie"])
	}
}

// TestStrangersCannotKeepTheOwnerOut: who has signed in from a browser before
// has wrong passwords of their own there, and so has nobody else.
func TestStrangersCannotKeepTheOwnerOut(t *testing.T) {
	s := start(t, setup{global: strictProxies})
	owner, other := s.signIn("ac12345"), s.signIn("mgarcia")
	stranger := from("198.51.100.1")
	block := func(t *testing.T) {
		t.Helper()
		s.fails(3, "ac12345", stranger)
		s.throttled("ac12345", ldaptest.DemoPassword, stranger)
	}

	t.Run("the owner signs in", func(t *testing.T) {
		block(t)
		s.throttled("ac12345", ldaptest.DemoPassword, from("192.0.2.1")) // but not from just anywhere
		for _, name := range []string{"ac12345", `EMPRESA\AC12345`} {
			if c := s.signIn(name, from("192.0.2.1"), known(owner.device)); c.device != "" {
				t.Errorf("the device cookie was set again: %q", c.device)
			}
			block(t) // the success has given the strangers three more
		}
	})
	t.Run("the owner may err twice", func(t *testing.T) {
		s.fails(1, "ac12345", known(owner.device))
		s.signIn("ac12345", known(owner.device))
		s.fails(3, "ac12345", stranger)
		s.fails(2, "ac12345", known(owner.device))
		s.throttled("ac12345", ldaptest.DemoPassword, known(owner.device))
		s.throttled("ac12345", ldaptest.DemoPassword)
	})
	t.Run("it is of no use for another account", func(t *testing.T) {
		s.fails(3, "mgarcia", stranger)
		s.throttled("mgarcia", ldaptest.DemoPassword, known(owner.device))
		s.signIn("mgarcia", known(other.device))
	})
	t.Run("it lets nobody in without the password, nor without end", func(t *testing.T) {
		s.fails(3, "mgarcia", stranger)
		s.fails(2, "mgarcia", known(other.device))
		s.throttled("mgarcia", wrongPassword, known(other.device))
		s.throttled("mgarcia", ldaptest.DemoPassword, known(other.device))
	})
}

func TestForgedDeviceCookies(t *testing.T) {
	s := start(t, setup{global: strictProxies})
	good := s.signIn("ac12345").device
	s.fails(3, "ac12345", from("198.51.100.1"))
	flipped := []byte(good)
	if flipped[len(flipped)-1]++; flipped[len(flipped)-1] > 'z' {
		flipped[len(flipped)-1] = 'A'
	}
	for name, changes := range map[string][]change{
		"none":                       {},
		"empty":                      {known("")},
		"one letter off":             {known(string(flipped))},
		"cut":                        {known(good[:len(good)-1])},
		"longer":                     {known(good + "A")},
		"quoted":                     {known(`"` + good + `"`)},
		"made up":                    {known(strings.Repeat("A", len(good)))},
		"too many accounts":          {known(strings.Repeat(good, 5))},
		"oversized":                  {known(strings.Repeat(good, 600))},
		"behind too many others":     {header("Cookie", strings.Repeat(deviceCookie+"=x; ", 4)+deviceCookie+"="+good)},
		"under another name":         {header("Cookie", "LDAP_DEVICE="+good)},
		"in a header of its own":     {header("Ldap_device", good)},
		"of another server's secret": {known("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")},
	} {
		t.Run(name, func(t *testing.T) {
			s.throttled("ac12345", ldaptest.DemoPassword, append(changes, from("192.0.2.1"))...)
		})
	}
	s.signIn("ac12345", known(good))
	s.signIn("ac12345", header("Cookie", `a="b; c"; `+deviceCookie+" = "+good+" ;d=e"))
	// Neighbours on other hosts of the domain can plant more of them.
	for name, changes := range map[string][]change{
		"twice in a line":         {header("Cookie", deviceCookie+"="+good+"; "+deviceCookie+"="+good)},
		"twice in two lines":      {known(good), known(good)},
		"beside a planted one":    {header("Cookie", deviceCookie+"=x; "+deviceCookie+"="+good)},
		"behind three of them":    {header("Cookie", deviceCookie+"="+strings.Repeat("A", 144)+"; "+deviceCookie+"=x; "+deviceCookie+"="+strings.Repeat("A", 36)+"; "+deviceCookie+"="+good)},
		"behind an oversized one": {header("Cookie", strings.Repeat(deviceCookie+"="+strings.Repeat("A", 513)+"; ", 4)+deviceCookie+"="+good)},
	} {
		t.Run(name, func(t *testing.T) {
			s.fails(3, "ac12345", from("198.51.100.1"))
			s.throttled("ac12345", ldaptest.DemoPassword, from("192.0.2.1"))
			s.signIn("ac12345", append(changes, from("192.0.2.1"))...)
		})
	}
	// A planted cookie costs the owner the own budget, never the sign-in.
	if c := s.signIn("mgarcia", known("planted")); len(c.device) != len(good) {
		t.Errorf("the planted cookie was answered with %q", c.device)
	}
}

// TestDeviceCookieStaysHere: no application sees it or sets it, and no log.
func TestDeviceCookieStaysHere(t *testing.T) {
	s := start(t, setup{site: "log\nrequire_session {\npublic /public/*\n}\nreverse_proxy UPSTREAM"})
	c := s.signIn("ac12345")
	if c.device == "" {
		t.Fatal("no device cookie")
	}
	for _, path := range []string{"/x", "/public/x"} {
		want(t, s.do("GET", path, header("Cookie", "a=b; "+deviceCookie+"="+c.device+"; sessionid="+c.token, deviceCookie+"="+c.device)), 200, "upstream")
		if got := s.upstream.last(t).header["Cookie"]; len(got) != 1 || got[0] != "a=b" {
			t.Errorf("%s: the upstream saw the cookies %q", path, got)
		}
		want(t, s.do("GET", path, c.cookies, known(c.device), known(c.device)), 200, "upstream")
		if text := strings.Join(s.upstream.last(t).header["Cookie"], "; "); strings.Contains(text, deviceCookie) {
			t.Errorf("%s: the upstream saw the cookies %q", path, text)
		}
	}
	s.upstream.answers(func(w http.ResponseWriter, _ *http.Request) {
		for _, cookie := range []string{deviceCookie + "=evil; Path=/", "app=1", deviceCookie + "=; Max-Age=0", "=" + deviceCookie + "=evil"} {
			w.Header().Add("Set-Cookie", cookie)
		}
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = w.Write([]byte("upstream"))
	})
	for _, path := range []string{"/x", "/public/x"} {
		if set := strings.Join(s.do("GET", path, c.cookies).Header["Set-Cookie"], "|"); set != "app=1" {
			t.Errorf("%s set %q", path, set)
		}
	}
	found := false
	for value, name := range logged.secrets { // TestMain looks for them in all logs
		found = found || value == c.device && name == "device cookie"
	}
	if !found {
		t.Error("the device cookie is not among the secrets that no log may show")
	}
}

// TestDeviceCookieHasThePrefix: over TLS nobody on plain HTTP, or on another
// host of the domain, can plant it then.
func TestDeviceCookieHasThePrefix(t *testing.T) {
	s := start(t, setup{
		global: strictProxies, sessions: "cookie_prefix __Host-", site: "require_session {\npublic /public/*\n}\nreverse_proxy UPSTREAM",
	})
	tls := from("192.0.2.7")
	const prefixed = "__Host-" + deviceCookie
	got := s.attempt("ac12345", ldaptest.DemoPassword, tls)
	value := got.cookie(prefixed)
	logged.keepSecret("device cookie", value)
	if got.StatusCode != 200 || value == "" || len(got.setCookies(deviceCookie)) != 0 || !strings.HasSuffix(got.setCookies(prefixed)[0], "; Path=/; HttpOnly; SameSite=Lax; Secure") {
		t.Fatalf("%d, it set %q", got.StatusCode, got.Header["Set-Cookie"])
	}
	s.fails(3, "ac12345", from("198.51.100.1"))
	s.throttled("ac12345", ldaptest.DemoPassword, tls, known(value))
	again := s.attempt("ac12345", ldaptest.DemoPassword, tls, header("Cookie", deviceCookie+"=planted; "+prefixed+"="+value))
	if again.StatusCode != 200 || len(again.setCookies(prefixed)) != 0 {
		t.Errorf("%d, it set %q", again.StatusCode, again.Header["Set-Cookie"])
	}
	s.upstream.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Set-Cookie", prefixed+"=evil; Path=/; Secure")
		w.Header().Add("Set-Cookie", deviceCookie+"=evil; Path=/")
		_, _ = w.Write([]byte("upstream"))
	})
	for _, client := range []change{tls, header("X-Test", "")} {
		answer := s.do("GET", "/public/x", client, header("Cookie", "a=b; "+deviceCookie+"=x; "+prefixed+"=y"))
		want(t, answer, 200, "upstream")
		if sent := s.upstream.last(t).header["Cookie"]; len(sent) != 1 || sent[0] != "a=b" || len(answer.Header["Set-Cookie"]) != 0 {
			t.Errorf("the upstream saw %q and set %q", sent, answer.Header["Set-Cookie"])
		}
	}
}
