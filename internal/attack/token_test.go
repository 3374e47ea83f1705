package attack

import (
	"encoding/base64"
	"net/http"
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
		texts = append(texts, rawGet("/", "sessionid="+value))
	}
	for i, r := range s.burst(t, texts) {
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
				r, err := s.send("POST", "/api/login-ldap/", signInJSON(juan, ldaptest.DemoPassword), "Content-Type", "application/json")
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
