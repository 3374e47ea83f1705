package attack

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// The cookie is one opaque value under a name that no neighbour can set; two
// values are none.
func TestR07OneOpaqueTokenInOneExactCookie(t *testing.T) {
	t.Parallel()
	s := start(t, setup{tls: true, sessions: "cookie_prefix __Host-"})
	r := s.trySignIn(t, juan, ldaptest.DemoPassword)
	cookie := r.cookies["__Host-sessionid"]
	if cookie == nil || r.cookies["sessionid"] != nil {
		t.Fatalf("the cookies are %q", r.header["Set-Cookie"])
	}
	tokenBytes(t, cookie.Value)
	if !cookie.Secure || !cookie.HttpOnly || cookie.Path != "/" || cookie.Domain != "" {
		t.Errorf("it is not what __Host- asks for: %q", cookie.Raw)
	}
	if files := s.hasWritten(t, cookie.Value); files != nil {
		t.Errorf("the token is in %q", files)
	}
	own, other := "__Host-sessionid="+cookie.Value, "__Host-sessionid="+strings.Repeat("A", 43)
	for _, cookies := range []string{own, own + "; " + own, "sessionid=" + cookie.Value[1:] + "A; " + own, "__Secure-sessionid=x; " + own, "x=y; " + own} {
		wantServed(t, s.do(t, "GET", "/", "", "Cookie", cookies))
	}
	for _, cookies := range []string{
		own + "; " + other, other + "; " + own, own + "; __Host-sessionid=", "sessionid=" + cookie.Value,
		"__Secure-sessionid=" + cookie.Value, "__host-sessionid=" + cookie.Value, "__Host-sessionid =x; " + own, "__HOST-SESSIONID=" + cookie.Value,
	} {
		wantRefused(t, s.do(t, "GET", "/", "", "Cookie", cookies))
	}
	wantRefused(t, s.do(t, "GET", "/?sessionid="+cookie.Value, "", "Authorization", "Bearer "+cookie.Value, "X-Session-Id", cookie.Value))
}

// tokenAttributes are what is said of the cookies, by name.
func tokenAttributes(r reply) map[string]string {
	attributes := map[string]string{}
	for _, line := range r.header["Set-Cookie"] {
		name, rest, _ := strings.Cut(line, "=")
		_, rest, _ = strings.Cut(rest, "; ")
		attributes[name] = regexp.MustCompile(`Max-Age=\d+; `).ReplaceAllString(rest, "")
	}
	return attributes
}

// Each attribute is there, over TLS and without, and the token is nowhere but
// in the cookie. Without TLS, a sign-in from elsewhere is refused.
func TestS13CookieAttributes(t *testing.T) {
	t.Parallel()
	const (
		plain  = "Path=/; HttpOnly; SameSite=Lax"
		script = "Path=/; SameSite=Lax"
	)
	for _, test := range []struct {
		name  string
		setup setup
		want  map[string]string
	}{
		{"over TLS", setup{tls: true}, map[string]string{"sessionid": plain + "; Secure", "csrftoken": script + "; Secure"}},
		{"without", setup{}, map[string]string{"sessionid": plain, "csrftoken": script}},
		{
			"with a prefix and strict", setup{tls: true, sessions: "cookie_prefix __Secure-\nsame_site strict\ncookie_name sid"},
			map[string]string{"__Secure-sid": "Path=/; HttpOnly; SameSite=Strict; Secure", "csrftoken": "Path=/; SameSite=Strict; Secure"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, test.setup)
			r := s.trySignIn(t, juan, ldaptest.DemoPassword)
			got := tokenAttributes(r)
			for name, want := range test.want {
				if got[name] != want {
					t.Errorf("%s is %q, want %q", name, got[name], want)
				}
			}
			for name := range got {
				if test.want[name] == "" && !strings.HasSuffix(name, "ldap_device") {
					t.Errorf("there is a cookie %s", name)
				}
			}
			for name, cookie := range r.cookies {
				if name == "csrftoken" {
					continue
				}
				if strings.Contains(r.body, cookie.Value) {
					t.Errorf("the answer's body has the value of %s", name)
				}
				for field, values := range r.header {
					if field != "Set-Cookie" && strings.Contains(strings.Join(values, "\n"), cookie.Value) {
						t.Errorf("the header %s has the value of %s", field, name)
					}
				}
			}
		})
	}
	// Some other proxy in front, or somebody far away: TLS is asked for.
	s := start(t, setup{})
	wantCode(t, s.trySignIn(t, juan, ldaptest.DemoPassword, "X-Forwarded-For", "203.0.113.7"), http.StatusForbidden, "https_required")
	if n := s.sessionCounts(t).Sessions; n != 0 {
		t.Errorf("there are %d sessions", n)
	}
}

// A cookie tells nothing of whose it is, and is gone soon after its session.
func TestS14CookiesHoldNothingPersonal(t *testing.T) {
	t.Parallel()
	s := start(t, setup{sessions: "idle_timeout 10m\nabsolute_timeout 2h"})
	r := s.trySignIn(t, juan, ldaptest.DemoPassword)
	session := s.sessionOf(t, r)
	var who struct {
		Username, DisplayName, Email string
	}
	if err := json.Unmarshal([]byte(session.get(t, "/api/session/").body), &who); err != nil || who.Username != juan {
		t.Fatalf("who is signed in: %v, %v", who, err)
	}
	for name, cookie := range r.cookies {
		decoded := cookie.Value
		for _, encoding := range []*base64.Encoding{base64.RawURLEncoding, base64.RawStdEncoding} {
			if raw, err := encoding.DecodeString(cookie.Value); err == nil {
				decoded += string(raw)
			}
		}
		for _, fact := range []string{juan, "Juan", "Pérez", "empresa", "127.0.0.1", "Ingenieria", s.sessionIDs(t, juan)[0]} {
			if strings.Contains(strings.ToLower(decoded), strings.ToLower(fact)) {
				t.Errorf("the cookie %s holds %q", name, fact)
			}
		}
	}
	tokenBytes(t, session.token)
	if age := r.cookies["sessionid"].MaxAge; age < 1 || age > 600 {
		t.Errorf("the session's cookie is kept for %d s, and the session lives for 600", age)
	}
	if age := r.cookies["csrftoken"].MaxAge; age < 1 || age > 7200 {
		t.Errorf("the token's cookie is kept for %d s, and the session lives for 7200 at most", age)
	}
	// Two sign-ins of one person have nothing in common.
	again := s.signIn(t, juan)
	if again.token[:8] == session.token[:8] || again.csrf[:8] == session.csrf[:8] {
		t.Error("the cookies of two sign-ins begin alike")
	}
}
