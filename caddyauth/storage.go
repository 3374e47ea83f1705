package caddyauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/badgerstore"
	"github.com/caddyauth/caddy-ldap/throttle"
)

// Storage is a guest module of the app (namespace ldap_auth.storage) that keeps
// sessions.
type Storage interface {
	// Resource names what is opened, not how: two configurations with the same
	// resource share one open store across a reload.
	Resource() string

	// Open opens the store. It is called once for a resource, when the first
	// configuration that uses it starts, never to validate one.
	Open(logger *slog.Logger) (sessionstore.Store, error)
}

// Badger keeps sessions in a folder of this machine.
type Badger struct {
	// The folder. Only this Caddy may use it, and nobody else may read it.
	// Supports placeholders, as in `{env.STATE_DIRECTORY}`; a literal brace is
	// written `\{`. Default: the folder ldap_auth in Caddy's data folder
	Folder string `json:"folder,omitempty"`

	folder string
}

// CaddyModule returns the Caddy module information.
func (Badger) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ldap_auth.storage.badger",
		New: func() caddy.Module { return new(Badger) },
	}
}

// Provision finds the folder's absolute path. It creates nothing: it also runs
// for `caddy validate`, beside a server that has the folder open.
func (b *Badger) Provision(caddy.Context) error {
	folder := b.Folder
	if folder == "" {
		folder = filepath.Join(caddy.AppDataDir(), "ldap_auth")
	}
	folder, err := replaceAll(folder)
	if err != nil {
		return fmt.Errorf("storage badger: reading the folder's name: %w", err)
	}
	if b.folder, err = filepath.Abs(folder); err != nil {
		return fmt.Errorf("storage badger: finding the folder %q: %w", folder, err)
	}
	b.folder = resolveSymlinks(b.folder)
	return nil
}

// resolveSymlinks resolves as much of a path as exists, so that two spellings
// of one folder are one resource.
func resolveSymlinks(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path
	}
	return filepath.Join(resolveSymlinks(parent), filepath.Base(path))
}

// Resource implements Storage.
func (b *Badger) Resource() string { return "badger:" + b.folder }

// Open implements Storage.
func (b *Badger) Open(logger *slog.Logger) (sessionstore.Store, error) {
	store, err := badgerstore.Open(b.folder, logger)
	if err != nil {
		return nil, fmt.Errorf("storage badger: %w", err)
	}
	return store, nil
}

// stores holds the open stores of all configurations that live at one time:
// while a new one starts, and until the old one's requests are done.
var stores = caddy.NewUsagePool()

// storeHandle is one store with the sessions and the throttle's counters in it,
// for as long as any configuration uses it. It holds nothing of a configuration that could go
// before it.
type storeHandle struct {
	opening  sync.Mutex
	ready    chan struct{} // closed once sessions is set
	sessions atomic.Pointer[sessionstore.Sessions]
	attempts *throttle.Throttle // set before ready is closed
	logger   *slog.Logger       // stays valid: see handoverHandler
	handler  *handoverHandler
}

// acquireStore takes a reference to the resource's handle. Nothing is opened.
func acquireStore(resource string) (*storeHandle, error) {
	value, _, err := stores.LoadOrNew(resource, func() (caddy.Destructor, error) {
		handler := newHandoverHandler()
		return &storeHandle{ready: make(chan struct{}), handler: handler, logger: slog.New(handler)}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*storeHandle), nil
}

// open opens the store if no configuration has done so yet. From now on the
// store logs through the owner's logger, until the owner takes it back.
func (h *storeHandle) open(owner any, storage Storage, logger *slog.Logger) error {
	h.opening.Lock()
	defer h.opening.Unlock()
	h.handler.handOver(owner, logger.Handler())
	if h.sessions.Load() != nil {
		return nil
	}
	store, err := storage.Open(h.logger)
	if err != nil {
		return err
	}
	sessions := sessionstore.New(store, sessionstore.Options{}, h.logger)
	if h.attempts, err = openThrottle(sessions, h.logger); err != nil {
		return errors.Join(err, sessions.Close())
	}
	h.sessions.Store(sessions)
	close(h.ready)
	return nil
}

// Destruct implements caddy.Destructor: the last configuration is gone.
func (h *storeHandle) Destruct() error {
	h.opening.Lock()
	defer h.opening.Unlock()
	sessions := h.sessions.Load()
	if sessions == nil {
		return nil
	}
	// The throttle first: it saves what it has counted.
	return errors.Join(h.attempts.Close(), sessions.Close())
}

// readyTimeout bounds how long requests wait for the store while a
// configuration starts: Caddy starts apps in any order, so the HTTP server may
// serve before the store is open.
const readyTimeout = 5 * time.Second

var errStoreNotReady = errors.New("the session store is not open yet")

// wait returns the sessions once they are open.
func (h *storeHandle) wait(ctx context.Context) (*sessionstore.Sessions, error) {
	if sessions := h.sessions.Load(); sessions != nil {
		return sessions, nil
	}
	timer := time.NewTimer(readyTimeout)
	defer timer.Stop()
	select {
	case <-h.ready:
		return h.sessions.Load(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, errStoreNotReady
	}
}

// Interface guards
var (
	_ Storage           = (*Badger)(nil)
	_ caddy.Provisioner = (*Badger)(nil)
	_ caddy.Destructor  = (*storeHandle)(nil)
)
