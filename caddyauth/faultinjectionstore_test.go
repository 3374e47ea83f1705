package caddyauth

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// storeRig has every call of a store pass by a test, which may have it fail in
// the place of being done, or after it was.
type storeRig struct {
	mu      sync.Mutex
	calls   map[string]int // by method, since the last set
	created map[sessionstore.Key]string
	fault   storeFault
	store   sessionstore.Store
}

// storeFault is what happens at a call; n is 1 for the first one of a method
// since the fault was set. done: the call was carried out already. nil: nothing
// ever goes wrong.
type storeFault func(ctx context.Context, method string, n int, done bool) error

// rigged returns the rig of a folder's store.
func (f *storeFaults) rigged() *storeRig {
	f.rigOnce.Do(func() {
		f.rig = &storeRig{calls: map[string]int{}, created: map[sessionstore.Key]string{}}
	})
	return f.rig
}

// set has fault decide from now on, and counts anew.
func (r *storeRig) set(fault storeFault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
	clear(r.calls)
}

// counted is how often each method was called since the last set.
func (r *storeRig) counted() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counted := make(map[string]int, len(r.calls))
	for method, n := range r.calls {
		counted[method] = n
	}
	return counted
}

// idOf is the public id of a session that was stored.
func (r *storeRig) idOf(t *testing.T, token string) string {
	t.Helper()
	parsed, ok := sessionstore.ParseToken(token)
	if !ok {
		t.Fatal("that is no token")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.created[parsed.Key()]
}

// put stores a session past all faults, and returns its token.
func (r *storeRig) put(t *testing.T, session *sessionstore.Session) signedIn {
	t.Helper()
	token := sessionstore.NewToken()
	r.mu.Lock()
	store := r.store
	r.mu.Unlock()
	if err := store.Create(context.Background(), token.Key(), session, nil); err != nil {
		t.Fatal(err)
	}
	logged.keepSecret("token", token.Value())
	return signedIn{token: token.Value(), csrf: session.CSRF}
}

func (r *storeRig) call(ctx context.Context, method string, do func() error) error {
	r.mu.Lock()
	r.calls[method]++
	n, fault := r.calls[method], r.fault
	r.mu.Unlock()
	if fault == nil {
		return do()
	}
	if err := fault(ctx, method, n, false); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return fault(ctx, method, n, true)
}

// riggedStore is the store that is asked.
type riggedStore struct {
	sessionstore.Store
	rig *storeRig
}

func (s *riggedStore) Create(ctx context.Context, key sessionstore.Key, session *sessionstore.Session, replaces *sessionstore.Key) error {
	return s.rig.call(ctx, "Create", func() error {
		s.rig.mu.Lock()
		s.rig.created[key] = session.ID
		s.rig.mu.Unlock()
		return s.Store.Create(ctx, key, session, replaces)
	})
}

func (s *riggedStore) Get(ctx context.Context, key sessionstore.Key) (session *sessionstore.Session, seen time.Time, ok bool, err error) {
	err = s.rig.call(ctx, "Get", func() (err error) { session, seen, ok, err = s.Store.Get(ctx, key); return err })
	return session, seen, ok && err == nil, err
}

func (s *riggedStore) Update(ctx context.Context, key sessionstore.Key, session *sessionstore.Session) (ok bool, err error) {
	err = s.rig.call(ctx, "Update", func() (err error) { ok, err = s.Store.Update(ctx, key, session); return err })
	return ok && err == nil, err
}

func (s *riggedStore) Touch(ctx context.Context, touches []sessionstore.Touch) error {
	return s.rig.call(ctx, "Touch", func() error { return s.Store.Touch(ctx, touches) })
}

func (s *riggedStore) Delete(ctx context.Context, key sessionstore.Key) (ok bool, err error) {
	err = s.rig.call(ctx, "Delete", func() (err error) { ok, err = s.Store.Delete(ctx, key); return err })
	return ok && err == nil, err
}

func (s *riggedStore) Drop(ctx context.Context, keys []sessionstore.Key) error {
	return s.rig.call(ctx, "Drop", func() error { return s.Store.Drop(ctx, keys) })
}

func (s *riggedStore) DeleteUser(ctx context.Context, directory, id string, keep *sessionstore.Key) (deleted []sessionstore.Listed, err error) {
	err = s.rig.call(ctx, "DeleteUser", func() (err error) { deleted, err = s.Store.DeleteUser(ctx, directory, id, keep); return err })
	if err != nil {
		return nil, err
	}
	return deleted, nil
}

func (s *riggedStore) List(ctx context.Context, query sessionstore.ListQuery) (page []sessionstore.Listed, next string, err error) {
	err = s.rig.call(ctx, "List", func() (err error) { page, next, err = s.Store.List(ctx, query); return err })
	return page, next, err
}

func (s *riggedStore) Find(ctx context.Context, id string) (key sessionstore.Key, ok bool, err error) {
	err = s.rig.call(ctx, "Find", func() (err error) { key, ok, err = s.Store.Find(ctx, id); return err })
	return key, ok && err == nil, err
}

func (s *riggedStore) Count(ctx context.Context) (counts sessionstore.Counts, err error) {
	err = s.rig.call(ctx, "Count", func() (err error) { counts, err = s.Store.Count(ctx); return err })
	return counts, err
}

func (s *riggedStore) User(ctx context.Context, directory, id string) (record sessionstore.UserRecord, ok bool, err error) {
	err = s.rig.call(ctx, "User", func() (err error) { record, ok, err = s.Store.User(ctx, directory, id); return err })
	return record, ok && err == nil, err
}

func (s *riggedStore) Users(ctx context.Context, after string, limit int) (page []sessionstore.UserRecord, next string, err error) {
	err = s.rig.call(ctx, "Users", func() (err error) { page, next, err = s.Store.Users(ctx, after, limit); return err })
	return page, next, err
}

func (s *riggedStore) Mark(ctx context.Context, at time.Time) (latest time.Time, err error) {
	err = s.rig.call(ctx, "Mark", func() (err error) { latest, err = s.Store.Mark(ctx, at); return err })
	return latest, err
}

func (s *riggedStore) SaveCounters(ctx context.Context, counters []sessionstore.Counter) error {
	return s.rig.call(ctx, "SaveCounters", func() error { return s.Store.SaveCounters(ctx, counters) })
}

func (s *riggedStore) Counters(ctx context.Context, yield func(sessionstore.Counter) error) error {
	return s.rig.call(ctx, "Counters", func() error { return s.Store.Counters(ctx, yield) })
}

func (s *riggedStore) Secret(ctx context.Context, name string, fresh []byte) (secret []byte, err error) {
	err = s.rig.call(ctx, "Secret", func() (err error) { secret, err = s.Store.Secret(ctx, name, fresh); return err })
	return secret, err
}

func (s *riggedStore) Close() error {
	return s.rig.call(context.Background(), "Close", s.Store.Close)
}
