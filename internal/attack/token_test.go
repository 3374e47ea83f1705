package attack

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// tokenBytes decodes a session cookie's value.
func tokenBytes(t testing.TB, token string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != 32 {
		t.Fatalf("a token of %d bytes: %v", len(raw), err)
	}
	return raw
}

// tokensRefused fails unless each cookie value is as good as none.
func tokensRefused(t *testing.T, s *site, values []string) {
	t.Helper()
	s.echo.Forget()
	texts := make([]string, 0, len(values))
	for _, value := range values {
		texts = append(texts, sessionGet("/", "sessionid="+value))
	}
	for i, r := range s.sessionBurst(t, texts) {
		if r.status != http.StatusUnauthorized || r.body != unauthenticated {
			t.Errorf("number %d of %d: %d %q, want 401", i+1, len(values), r.status, r.body)
		}
	}
	s.wantNothingUpstream(t)
}

// Tokens are long, all different, and no bit of them can be guessed better than
// by tossing a coin.
func TestS01TokensAreRandom(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	const n = 150
	seen := map[string]bool{}
	var ones [256]int
	total := 0
	for range n {
		token := s.signIn(t, juan).token
		if seen[token] {
			t.Error("a token was given twice")
		}
		seen[token] = true
		for i, b := range tokenBytes(t, token) {
			for bit := range 8 {
				one := int(b >> bit & 1)
				ones[8*i+bit] += one
				total += one
			}
		}
	}
	// Nine standard deviations wide.
	if mean := float64(total) / (n * 256); mean < 0.477 || mean > 0.523 {
		t.Errorf("%f of all bits are 1", mean)
	}
	for i, count := range ones {
		if count == 0 || count == n {
			t.Errorf("bit %d is the same in all tokens", i)
		}
	}
}

// Two servers that start at the same moment draw nothing alike.
func TestP02NothingIsSeededWithTheClock(t *testing.T) {
	t.Parallel()
	sites := make([]*site, 2)
	texts := make([]string, 2)
	for i := range sites {
		sites[i], texts[i] = prepare(t, setup{})
	}
	for i, s := range sites {
		s.run(t, texts[i])
	}
	const n = 40
	drawn := make([][]string, len(sites))
	var wg sync.WaitGroup
	for i, s := range sites {
		wg.Go(func() {
			for range n {
				r, err := s.send("POST", "/api/login-ldap/", sessionJSON(juan, ldaptest.DemoPassword), "Content-Type", "application/json")
				if err != nil {
					t.Error(err)
					return
				}
				for _, cookie := range r.cookies {
					drawn[i] = append(drawn[i], cookie.Value)
				}
			}
		})
	}
	wg.Wait()
	for i, s := range sites {
		drawn[i] = append(drawn[i], s.sessionIDs(t, juan)...)
	}
	seen := map[string]bool{}
	for _, secrets := range drawn {
		if len(secrets) < 3*n {
			t.Errorf("%d values, want a token, a CSRF token and an id for each of %d", len(secrets), n)
		}
		for _, secret := range secrets {
			if seen[secret] {
				t.Error("a value was drawn twice")
			}
			seen[secret] = true
		}
	}
}

// A token with any one bit changed is nobody's, and neither is anything that
// claims to prove itself.
func TestS02AnyFlippedBitEndsTheMatch(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	juan := s.signIn(t, juan)
	raw := tokenBytes(t, juan.token)
	var values []string
	for bit := range 256 {
		flipped := append([]byte(nil), raw...)
		flipped[bit/8] ^= 1 << (bit % 8)
		values = append(values, base64.RawURLEncoding.EncodeToString(flipped))
	}
	encode := base64.RawURLEncoding.EncodeToString
	claims := encode([]byte(`{"sub":"ac12345","exp":9999999999}`))
	values = append(values,
		encode([]byte(`{"alg":"none"}`))+"."+claims+".",
		encode([]byte(`{"alg":"HS256"}`))+"."+claims+"."+juan.token,
		encode(make([]byte, 32)),
	)
	tokensRefused(t, s, values)
	wantServed(t, juan.get(t, "/"))
}

// The token is compared whole, in its one spelling: a part of it, more than it,
// or a character in another case is nothing.
func TestP55TruncatedOrRespeltTokensAreNone(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	juan := s.signIn(t, juan)
	token := juan.token
	var values []string
	for i := range token {
		values = append(values, token[:i], token[:i]+token[i+1:], token[i+1:])
		if c := rune(token[i]); unicode.IsLetter(c) {
			other := unicode.ToUpper(c)
			if other == c {
				other = unicode.ToLower(c)
			}
			values = append(values, token[:i]+string(other)+token[i+1:])
		}
	}
	// The last character holds four bits: its other spellings decode alike.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, c := range alphabet {
		if value := token[:42] + string(c); value != token {
			values = append(values, value)
		}
		values = append(values, token+string(c))
	}
	values = append(values, token+"=", token+"==", token+"%00", token+".x", "v1."+token, token+token,
		strings.NewReplacer("-", "+", "_", "/").Replace(token)+"=", strings.ToUpper(token), strings.ToLower(token))
	tokensRefused(t, s, values)
	wantServed(t, juan.get(t, "/"))
}

// There is no secret that could have a default: a token of one server, and
// whatever can be made of keys that are known, opens nothing on another.
func TestP68NoKeyThatOthersKnow(t *testing.T) {
	t.Parallel()
	first, second := start(t, setup{}), start(t, setup{})
	stolen := first.signIn(t, juan)
	second.signIn(t, juan)
	encode := base64.RawURLEncoding.EncodeToString
	known := func(text string) string { return encode(append([]byte(text), make([]byte, 32)...)[:32]) }
	tokensRefused(t, second, []string{
		stolen.token, stolen.csrf, known(""), known("super-secret-key"), known("secret"), known("ac12345"),
		"MTcwMDAwMDAwMHxEdi1CQkFFQ180SUFBUkFCRUFBQUdfLUNBQUVHYzNSeWFXNW5EQVlBQkhWelpYSUdjM1J5YVc1bkRBa0FCMkZqTVRJek5EVT18",
	})
	for _, id := range append(first.sessionIDs(t, juan), second.sessionIDs(t, juan)...) {
		tokensRefused(t, second, []string{id, known(id)})
	}
	wantServed(t, stolen.get(t, "/"))
}

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
