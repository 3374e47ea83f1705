package sessionstore

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// Token is what the session cookie carries: 32 random bytes. It is never
// stored, logged or listed.
type Token [32]byte

// Key is the SHA-256 of a token, and the store's key. Nobody can get a token
// from it.
type Key [32]byte

const (
	tokenLength = 43
	csrfLength  = 32
	idLength    = 16
)

// tokenEncoding is strict: without it four spellings of the last character
// would name one token, and a token that was refused could come back respelt.
var tokenEncoding = base64.RawURLEncoding.Strict()

// NewToken returns a token from crypto/rand.
func NewToken() Token {
	var t Token
	rand.Read(t[:]) // never fails: it ends the process instead
	return t
}

// ParseToken reads a cookie's value: exactly 43 characters of unpadded
// base64url in their one canonical form. Anything else is ok == false, so that
// the store is never asked for it.
func ParseToken(value string) (token Token, ok bool) {
	if len(value) != tokenLength {
		return Token{}, false
	}
	// The decoder passes over line breaks: what had one comes out shorter.
	var text [tokenLength]byte
	copy(text[:], value)
	n, err := tokenEncoding.Decode(token[:], text[:])
	if err != nil || n != len(token) {
		return Token{}, false
	}
	return token, true
}

// Value returns the token as the cookie carries it, 43 characters.
func (t Token) Value() string {
	return tokenEncoding.EncodeToString(t[:])
}

// Key returns the store's key of the token.
func (t Token) Key() Key {
	return sha256.Sum256(t[:])
}

// Format hides the token from error messages that print it, with any verb.
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, "(token)") }

// MarshalText hides the token from logs in JSON or text.
func (t Token) MarshalText() ([]byte, error) { return []byte("(token)"), nil }

// NewCSRF returns a CSRF secret. Bytes above the last multiple of 62 are
// drawn again, so that every character is equally likely.
func NewCSRF() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	const fair = 256 / len(alphabet) * len(alphabet)
	secret := make([]byte, 0, csrfLength)
	var random [2 * csrfLength]byte
	for {
		rand.Read(random[:])
		for _, b := range random {
			if int(b) >= fair {
				continue
			}
			secret = append(secret, alphabet[int(b)%len(alphabet)])
			if len(secret) == csrfLength {
				return string(secret)
			}
		}
	}
}

// newSessionID returns 80 random bits in lower-case base32: drawn on their
// own, so that a listing tells nothing about token or key.
func newSessionID() string {
	return strings.ToLower(rand.Text()[:idLength])
}
