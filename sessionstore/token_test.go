package sessionstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTokenRoundTrip(t *testing.T) {
	for range 1000 {
		token := NewToken()
		value := token.Value()
		if got, ok := ParseToken(value); !ok || got != token || len(value) != 43 {
			t.Fatalf("%q: got %v, ok %v", value, got == token, ok)
		}
	}
	if a, b := NewToken(), NewToken(); a == b {
		t.Error("two tokens are equal")
	}
}

func TestParseTokenRefuses(t *testing.T) {
	good := strings.Repeat("A", 43)
	if _, ok := ParseToken(good); !ok {
		t.Fatal("a good value is refused")
	}
	for name, value := range map[string]string{
		"empty":                        "",
		"one short":                    good[1:],
		"one long":                     good + "A",
		"padded":                       good + "=",
		"padding inside":               good[1:] + "=",
		"standard alphabet":            good[:20] + "+/" + good[22:],
		"a second spelling of the end": good[:42] + "B",
		"another spelling of the end":  good[:42] + "D",
		"a line feed inside":           good[:20] + "\n" + good[21:],
		"line feeds to the length":     good[:40] + "\r\n\n",
		"line feed at the end":         good[:42] + "\n",
		"a space":                      " " + good[1:],
		"NUL":                          good[:42] + "\x00",
		"not ASCII":                    good[:41] + "ñ",
		"quoted":                       `"` + good[:41] + `"`,
		"long":                         strings.Repeat("A", 1<<20),
	} {
		if token, ok := ParseToken(value); ok || token != (Token{}) {
			t.Errorf("%s: ok %v", name, ok)
		}
	}
}

func TestOneTokenHasOneSpelling(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	seen := map[Token]string{}
	for _, c := range alphabet {
		value := strings.Repeat("x", 42) + string(c)
		if token, ok := ParseToken(value); ok {
			if old := seen[token]; old != "" {
				t.Errorf("%q and %q are one token", old, value)
			}
			seen[token] = value
		}
	}
	if len(seen) != 16 {
		t.Errorf("%d last characters are accepted, want 16", len(seen))
	}
}

func TestKeyIsTheHash(t *testing.T) {
	token := NewToken()
	if token.Key() != sha256.Sum256(token[:]) {
		t.Error("the key is not the SHA-256 of the token")
	}
}

func TestTokenIsNotPrinted(t *testing.T) {
	token := NewToken()
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", token)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", token)
	text := log.String() + fmt.Sprintf("%v %+v %#v %s %q %x %d", token, token, token, token, token, token, []any{token})
	for _, secret := range []string{
		token.Value(), hex.EncodeToString(token[:]), strings.ToUpper(hex.EncodeToString(token[:])),
		strings.Trim(fmt.Sprint([32]byte(token)), "[]"),
		strings.ReplaceAll(strings.Trim(fmt.Sprint([32]byte(token)), "[]"), " ", ","),
	} {
		if strings.Contains(text, secret) {
			t.Errorf("the token is in %s", text)
		}
	}
}

func TestCSRFSecret(t *testing.T) {
	counts := map[rune]int{}
	const n = 20000
	for range n {
		secret := NewCSRF()
		if len(secret) != 32 {
			t.Fatalf("%q has %d characters", secret, len(secret))
		}
		for _, c := range secret {
			counts[c]++
		}
	}
	if len(counts) != 62 {
		t.Errorf("%d different characters, want 62", len(counts))
	}
	// Taking bytes modulo 62 would make eight of them a quarter more likely.
	// The bounds are nine standard deviations wide.
	const mean = n * 32 / 62
	for c, got := range counts {
		if got < mean*91/100 || got > mean*109/100 {
			t.Errorf("%q was drawn %d times, want about %d", c, got, mean)
		}
		if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", c) {
			t.Errorf("%q is no letter or digit", c)
		}
	}
}

func TestSessionID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newSessionID()
		if len(id) != 16 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") != "" || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}
