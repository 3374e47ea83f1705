package caddyauth

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// listPlace is where a listing goes on.
type listPlace struct {
	// Users is where the page of users begins on which the next one is; the
	// next one is the one of Directory and ID, where these are set.
	Users     string `json:"u,omitempty"`
	Directory string `json:"d,omitempty"`
	ID        string `json:"i,omitempty"`

	// Sessions is where the next page of sessions begins: of that user, or of all.
	Sessions string `json:"s,omitempty"`
}

var (
	errForeignCursor = errors.New("the cursor is not one of this listing: begin again without it")
	errStaleCursor   = errors.New("the cursor's user is not there any more: begin again without it")
)

// place reads the query's cursor.
func (call *adminCall) place(ctx context.Context, of string) (listPlace, error) {
	var at listPlace
	if call.query.cursor == "" {
		return at, nil
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(call.query.cursor)
	if err != nil {
		return at, adminError(http.StatusBadRequest, errForeignCursor)
	}
	aead, err := call.app.store.cursors.cipher(ctx, call.sessions)
	if err != nil {
		return at, err
	}
	text, err := aead.Open(nil, nil, sealed, call.listing(of))
	if err != nil || json.Unmarshal(text, &at) != nil {
		return at, adminError(http.StatusBadRequest, errForeignCursor)
	}
	return at, nil
}

// cursor writes a place for the client. It is sealed: what stores go on from is
// theirs to choose, and may hold the key of a session.
func (call *adminCall) cursor(ctx context.Context, of string, at listPlace) (string, error) {
	text, err := json.Marshal(at)
	if err != nil {
		return "", fmt.Errorf("encoding a cursor: %w", err)
	}
	aead, err := call.app.store.cursors.cipher(ctx, call.sessions)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, text, call.listing(of))), nil
}

// listing is what a cursor belongs to: in another listing it would skip some.
func (call *adminCall) listing(of string) []byte {
	return fmt.Appendf(nil, "%q %q %q", of, call.query.user, call.query.directory)
}

// cursorSeal seals the cursors of one open store.
type cursorSeal struct {
	mu   sync.Mutex
	aead cipher.AEAD // nil: not made yet
}

// cipher returns what seals. Its key is in the store, so that a listing can go on
// after a restart, and is asked for once, as that is a write. On a full disk it
// is one of this process: then operators need their listings, and do not miss
// going on with one after a restart.
func (s *cursorSeal) cipher(ctx context.Context, sessions *sessionstore.Sessions) (cipher.AEAD, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aead != nil {
		return s.aead, nil
	}
	fresh := make([]byte, sha256.Size)
	rand.Read(fresh) // never fails: it ends the process instead
	secret, err := sessions.Secret(ctx, "admin cursor", fresh)
	switch {
	case errors.Is(err, sessionstore.ErrNoSpace):
		secret = fresh
	case err != nil:
		return nil, err
	}
	key := sha256.Sum256(secret) // whatever the length of a stored one
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("preparing the cursor's cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("preparing the cursor's cipher: %w", err)
	}
	s.aead = aead
	return aead, nil
}
