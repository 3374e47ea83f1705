// Package sessionstore keeps sessions and user records: the rules (tokens,
// timeouts, the memory in front of the store) and the Store interface that
// backends implement. It knows nothing of HTTP, LDAP or Caddy.
package sessionstore

import (
	"context"
	"errors"
	"time"
)

// Store keeps records durably. Implementations are safe for concurrent use.
// An error means that the store failed, never that something is missing. A
// call whose context ends returns the context's error; whether a write was
// applied is then not known.
//
// A session is kept at least until the latest deadline that its own limits
// allow; dropping it later is the store's housekeeping and never decides
// whether it is valid. The store does not change a session that it was given,
// and the caller does not change one that it got.
type Store interface {
	// Create stores a new session under key and, in the same step, creates or
	// updates the record of its user and deletes the session that the sign-in
	// replaces (nil: none). When it returns, the session survives a crash of
	// the process; the deletion survives a power cut too.
	Create(ctx context.Context, key Key, session *Session, replaces *Key) error

	// Get returns the session under key and when it was last seen: at its
	// creation, or later. A missing one is ok == false. A record that is there
	// but cannot be trusted (cut short, of another key, of an unknown format) is
	// ErrInvalidRecord.
	Get(ctx context.Context, key Key) (session *Session, lastSeen time.Time, ok bool, err error)

	// Update replaces the session under key: its user, its groups. It is
	// conditional: a key that has no session is ok == false, so that an update
	// never brings one back; after an acknowledged Delete none takes effect. The
	// last-seen time stays. A record that cannot be trusted is left as it is:
	// ErrInvalidRecord. When it returns, the change survives a crash of the
	// process.
	Update(ctx context.Context, key Key, session *Session) (ok bool, err error)

	// Touch stores last-seen times. It is conditional: a key that has no
	// session is passed over, so that a touch never brings one back, and an
	// earlier time never replaces a later one.
	Touch(ctx context.Context, touches []Touch) error

	// Delete removes the session under key, durably: when it returns nil, the
	// session is gone after a power cut too. A missing one is ok == false.
	Delete(ctx context.Context, key Key) (ok bool, err error)

	// User returns a user's record. A missing one is ok == false.
	User(ctx context.Context, directory, id string) (record UserRecord, ok bool, err error)

	// SaveCounters stores counters, in place of those of the same keys; one
	// without a value is deleted. Of several with one key the last holds. One
	// that cannot be stored (CheckCounter) is an error, and then none of them is
	// stored; any other error may leave some of them stored. A crash of the
	// process may lose what was stored in the last second.
	SaveCounters(ctx context.Context, counters []Counter) error

	// Counters calls yield for every counter that has not expired, in no order.
	// It is not a snapshot: of what is saved meanwhile it may find either. One
	// that is damaged is passed over. An error of yield ends it and is returned
	// as it is. yield may keep the value and call the store.
	Counters(ctx context.Context, yield func(Counter) error) error

	// Secret returns the secret of that name. The first caller's fresh value is
	// stored, durably, and returned; of several first callers all get the same.
	// A stored one that is damaged is replaced by fresh: what was made with the
	// old one is then refused.
	Secret(ctx context.Context, name string, fresh []byte) ([]byte, error)

	// Close flushes and releases the store. Calls under way finish first, or
	// return ErrClosed; later ones return ErrClosed.
	Close() error
}

// Touch is the last-seen time of one session.
type Touch struct {
	Key  Key
	Seen time.Time
}

var (
	// ErrInvalidRecord is a record that was read but cannot be trusted. The
	// session that it was is refused; it is not a failure of the store.
	ErrInvalidRecord = errors.New("invalid session record")

	// ErrClosed is a store that was closed, or not opened yet.
	ErrClosed = errors.New("session store is closed")
)
