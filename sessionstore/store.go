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
// A record that a newer version of this program has written (ErrNewerRecord) is
// never changed or replaced, only ended: what needs it is an error.
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

	// Drop removes sessions that nobody may use any more: past their limits, or
	// unreadable. A crash may bring them back. Missing ones are passed over.
	Drop(ctx context.Context, keys []Key) error

	// DeleteUser removes the sessions of a user, but the one under keep (nil:
	// none), durably, and returns them: of every sign-in that was acknowledged
	// before the call no session is left when it returns. After an error some
	// of them may be gone, and none is returned.
	DeleteUser(ctx context.Context, directory, id string, keep *Key) (deleted []Listed, err error)

	// List returns a page of the sessions that are there, and where the next
	// page begins: "" after the last. It reads no records. Those of a user stand
	// together, in the order of their sign-ins. It is not a snapshot: of what
	// comes and goes between two pages it may find either, but a session that is
	// there all the time is on exactly one page.
	List(ctx context.Context, query ListQuery) (page []Listed, next string, err error)

	// Find returns the key of the session with a public id. A missing one is
	// ok == false. It may take as long as listing all sessions.
	Find(ctx context.Context, id string) (key Key, ok bool, err error)

	// Count returns how much is there, without reading records.
	Count(ctx context.Context) (Counts, error)

	// User returns a user's record. A missing one is ok == false, one that cannot be
	// trusted ErrInvalidRecord.
	User(ctx context.Context, directory, id string) (record UserRecord, ok bool, err error)

	// Users returns a page of at most limit user records that begins behind
	// after ("": at the first), in a fixed order, and where the next one begins:
	// "" after the last. A record that cannot be read is passed over.
	Users(ctx context.Context, after string, limit int) (page []UserRecord, next string, err error)

	// Mark stores at as the latest time that was ever seen here, unless a later
	// one is stored, and returns the one that is stored then. The zero time
	// stores nothing; without a stored one it is returned.
	Mark(ctx context.Context, at time.Time) (time.Time, error)

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

// Shared is a Store whose records others change too: other processes, on other
// machines. Whoever keeps what it has read must learn of that.
type Shared interface {
	// Notify has functions called from now on, until Close: changed for every
	// session that somebody may have created, updated or deleted, this store
	// included, and lost when some calls of changed were or may have been missed:
	// whatever was read before then may be of the past. heard comes several times a
	// second while the store can say, with a time: every change that was made before
	// it has been told.
	//
	// changed or lost comes within a second, or the store cannot be reached and says
	// lost. What a Get returns that begins after a call is no older than the change;
	// a call may come while a Get is under way, and then concerns it too. All are
	// called in goroutines of the store, which wait for them: they are quick and do
	// not call the store. Notify is called once, before any other method.
	Notify(changed func(Key), lost func(), heard func(time.Time))

	// Replaced tells whether a Create of anybody's has replaced the session of
	// key within the last minute, about.
	Replaced(ctx context.Context, key Key) (bool, error)
}

// ListQuery chooses a page of sessions.
type ListQuery struct {
	// The user whose sessions are meant; both empty: all users.
	Directory, UserID string

	// After is where the page begins: the next of the page before. Empty: at
	// the first. One that no List has returned is an error or an arbitrary place.
	After string

	// Limit is how many sessions the page has at most; at least 1.
	Limit int
}

// Listed is what a store knows of a session without reading its record.
type Listed struct {
	Key               Key
	ID                string
	Directory, UserID string
	Created           time.Time
	LastSeen          time.Time // at the creation, or later
	Limits            Limits    // of the sign-in
}

// Counts is how much a store holds. Sessions that have expired count until they
// are deleted.
type Counts struct {
	Sessions, Users int
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

	// ErrNewerRecord is a record of a format that is newer than those known here.
	// This node cannot tell what it says, and it is no reason to end the session:
	// it is a failure of the store like any other, until the node is updated.
	ErrNewerRecord = errors.New("record of a newer version: update this node")

	// ErrNoSpace is a store that takes no new records because its disk is nearly
	// full. It still answers reads and deletes sessions, and takes new ones again
	// by itself.
	ErrNoSpace = errors.New("no space for sessions")

	// ErrUnavailable is a store whose server fails, or cannot be reached. What it
	// holds is not known until it works again, which it does by itself.
	ErrUnavailable = errors.New("the session store cannot be reached")

	// ErrClosed is a store that was closed, or not opened yet.
	ErrClosed = errors.New("session store is closed")
)
