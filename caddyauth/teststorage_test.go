package caddyauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/badgerstore"
)

func init() { caddy.RegisterModule(testStorage{}) }

// testStorage is Badger with faults: a storage module of somebody else's.
type testStorage struct {
	Folder string `json:"folder"`

	// Option is how the folder is opened, which does not make it another.
	Option string `json:"option,omitempty"`
}

func (testStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ldap_auth.storage.test", New: func() caddy.Module { return new(testStorage) }}
}

func (s *testStorage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&s.Folder) {
		return d.ArgErr()
	}
	return nil
}

func (s *testStorage) Resource() string { return "test:" + s.Folder }

func (s *testStorage) Open(logger *slog.Logger) (sessionstore.Store, error) {
	faults := faultsOf(s.Folder)
	faults.opened.Add(1)
	if faults.refuse.Load() {
		return nil, errStoreDown
	}
	store, err := badgerstore.Open(s.Folder, badgerstore.Options{}, logger)
	if err != nil {
		return nil, err
	}
	rig := faults.rigged()
	rig.mu.Lock()
	rig.store = store
	rig.mu.Unlock()
	return &riggedStore{Store: &faultyStore{Store: store, faults: faults}, rig: rig}, nil
}

var (
	errStoreDown = errors.New("the disk is on fire")
	allFaults    sync.Map // folder to *storeFaults
)

// storeFaults steers a test's store and counts what it is asked.
type storeFaults struct {
	down, refuse, invalid, listFails, noSpace        atomic.Bool
	full                                             atomic.Bool // as a folder that waits for space
	unreachable                                      atomic.Bool // as a server elsewhere that is down
	opened, closed, reads, creates, updates, cursors atomic.Int64

	newest atomic.Pointer[sessionstore.Session] // by the time of its sign-in

	// reply runs, once, when a session was stored or deleted and before the store
	// says so, which it does not do after an error, or if its caller is gone.
	reply   atomic.Pointer[func() error]
	answers atomic.Int64 // that come before

	// rig has any call fail.
	rigOnce sync.Once
	rig     *storeRig
}

func (f *storeFaults) replied(ctx context.Context) error {
	var err error
	if f.answers.Add(-1) < 0 {
		if reply := f.reply.Swap(nil); reply != nil {
			err = (*reply)()
		}
	}
	if over := ctx.Err(); over != nil {
		return over
	}
	return err
}

func faultsOf(folder string) *storeFaults {
	faults, _ := allFaults.LoadOrStore(folder, new(storeFaults))
	return faults.(*storeFaults)
}

// faultyStorage returns the storage line of a setup, and its faults.
func faultyStorage(t *testing.T) (string, *storeFaults) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "s")
	return "storage test " + folder, faultsOf(folder)
}

type faultyStore struct {
	sessionstore.Store
	faults *storeFaults
}

func (s *faultyStore) Create(ctx context.Context, key sessionstore.Key, session *sessionstore.Session, replaces *sessionstore.Key) error {
	s.faults.creates.Add(1)
	if s.faults.down.Load() {
		return errStoreDown
	}
	if s.faults.full.Load() {
		return sessionstore.ErrNoSpace
	}
	if err := s.Store.Create(ctx, key, session, replaces); err != nil {
		return err
	}
	for {
		newest := s.faults.newest.Load()
		if newest != nil && newest.Created.After(session.Created) || s.faults.newest.CompareAndSwap(newest, session) {
			return s.faults.replied(ctx)
		}
	}
}

func (s *faultyStore) Get(ctx context.Context, key sessionstore.Key) (session *sessionstore.Session, seen time.Time, ok bool, err error) {
	s.faults.reads.Add(1)
	if s.faults.down.Load() {
		return nil, seen, false, errStoreDown
	}
	if s.faults.unreachable.Load() {
		return nil, seen, false, fmt.Errorf("reading session: %w", sessionstore.ErrUnavailable)
	}
	if s.faults.full.Load() {
		return nil, seen, false, sessionstore.ErrNoSpace
	}
	if s.faults.invalid.Load() {
		return nil, seen, false, sessionstore.ErrInvalidRecord
	}
	return s.Store.Get(ctx, key)
}

func (s *faultyStore) Update(ctx context.Context, key sessionstore.Key, session *sessionstore.Session) (bool, error) {
	s.faults.updates.Add(1)
	if s.faults.down.Load() {
		return false, errStoreDown
	}
	return s.Store.Update(ctx, key, session)
}

func (s *faultyStore) Delete(ctx context.Context, key sessionstore.Key) (bool, error) {
	if s.faults.down.Load() {
		return false, errStoreDown
	}
	ok, err := s.Store.Delete(ctx, key)
	if err == nil {
		err = s.faults.replied(ctx)
	}
	return ok && err == nil, err
}

func (s *faultyStore) List(ctx context.Context, query sessionstore.ListQuery) ([]sessionstore.Listed, string, error) {
	if s.faults.down.Load() || s.faults.listFails.Load() {
		return nil, "", errStoreDown
	}
	return s.Store.List(ctx, query)
}

func (s *faultyStore) DeleteUser(ctx context.Context, directory, id string, keep *sessionstore.Key) ([]sessionstore.Listed, error) {
	if s.faults.down.Load() {
		return nil, errStoreDown
	}
	deleted, err := s.Store.DeleteUser(ctx, directory, id, keep)
	if err == nil {
		err = s.faults.replied(ctx)
	}
	if err != nil {
		return nil, err
	}
	return deleted, nil
}

func (s *faultyStore) Mark(ctx context.Context, at time.Time) (time.Time, error) {
	if s.faults.full.Load() {
		return time.Time{}, sessionstore.ErrNoSpace
	}
	return s.Store.Mark(ctx, at)
}

func (s *faultyStore) Secret(ctx context.Context, name string, fresh []byte) ([]byte, error) {
	if s.faults.full.Load() {
		return nil, sessionstore.ErrNoSpace
	}
	if name == "admin cursor" {
		s.faults.cursors.Add(1)
	}
	switch {
	case s.faults.down.Load():
		return nil, errStoreDown
	case s.faults.noSpace.Load():
		return nil, fmt.Errorf("storing a secret: %w", sessionstore.ErrNoSpace)
	}
	return s.Store.Secret(ctx, name, fresh)
}

func (s *faultyStore) Close() error {
	s.faults.closed.Add(1)
	return s.Store.Close()
}

var _ Storage = (*testStorage)(nil)
