package caddyauth

import (
	"context"
	"errors"
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
	store, err := badgerstore.Open(s.Folder, logger)
	if err != nil {
		return nil, err
	}
	return &faultyStore{Store: store, faults: faults}, nil
}

var (
	errStoreDown = errors.New("the disk is on fire")
	allFaults    sync.Map // folder to *storeFaults
)

// storeFaults steers a test's store and counts what it is asked.
type storeFaults struct {
	down, refuse, invalid                   atomic.Bool
	opened, closed, reads, creates, updates atomic.Int64
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
	return s.Store.Create(ctx, key, session, replaces)
}

func (s *faultyStore) Get(ctx context.Context, key sessionstore.Key) (session *sessionstore.Session, seen time.Time, ok bool, err error) {
	s.faults.reads.Add(1)
	if s.faults.down.Load() {
		return nil, seen, false, errStoreDown
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
	return s.Store.Delete(ctx, key)
}

func (s *faultyStore) Close() error {
	s.faults.closed.Add(1)
	return s.Store.Close()
}

var _ Storage = (*testStorage)(nil)
