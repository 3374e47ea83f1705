package caddyauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/badgerstore"
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

// OptionedStorage is a Storage with options that a store keeps until it is
// closed.
type OptionedStorage interface {
	Storage

	// OptionsID tells options apart. It is kept in memory: secrets go in as
	// hashes.
	OptionsID() string
}

// sharedStorage is a Storage of which several stores may be open at once.
type sharedStorage interface {
	// shared marks it.
	shared()
}

// warningStorage is a Storage that may be configured in an unsafe way.
type warningStorage interface {
	// warn says so at each start, also where the store is open already.
	warn(logger *slog.Logger)
}

// Badger keeps sessions in a folder of this machine.
type Badger struct {
	// The folder. Only this Caddy may use it, and nobody else may read it.
	// Supports placeholders, as in `{env.STATE_DIRECTORY}`; a literal brace is
	// written `\{`. Default: the folder ldap_auth in Caddy's data folder
	Folder string `json:"folder,omitempty"`

	// A file with the key that the sessions are encrypted with, as AES: 16, 24 or
	// 32 bytes as hex or base64, or 32 bytes as they are. The file must be for
	// this user alone. Supports placeholders in its name, as the folder does. A
	// folder is encrypted from its beginning or not at all. Default: none, and
	// the sessions are protected by the folder's permissions
	EncryptionKey string `json:"encryption_key,omitempty"`

	// How many bytes must be free on the folder's disk, at least 16 MiB. With
	// less nobody signs in; sessions go on and can be ended. Default: 128 MiB
	MinFree int64 `json:"min_free,omitempty"`

	folder string
	key    []byte
}

// CaddyModule returns the Caddy module information.
func (Badger) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ldap_auth.storage.badger",
		New: func() caddy.Module { return new(Badger) },
	}
}

// leastMinFree is less than Badger needs for itself once nothing is written to
// it, but a tiny disk may be worth the risk.
const leastMinFree = 16 << 20

// Provision finds the folder's absolute path and reads the key. It creates
// nothing: it also runs for `caddy validate`, beside a server that has the
// folder open.
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
	if b.MinFree != 0 && b.MinFree < leastMinFree {
		return fmt.Errorf("storage badger: min_free %d is too little: it is at least %d bytes (16MiB)", b.MinFree, leastMinFree)
	}
	if b.EncryptionKey == "" {
		return nil
	}
	name, err := replaceAll(b.EncryptionKey)
	if err != nil {
		return fmt.Errorf("storage badger: encryption_key: reading the file's name: %w", err)
	}
	if b.key, err = readEncryptionKey(name); err != nil {
		return fmt.Errorf("storage badger: encryption_key %q: %w", name, err)
	}
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

// OptionsID implements OptionedStorage.
func (b *Badger) OptionsID() string {
	return fmt.Sprintf("encryption_key %x, min_free %d", sha256.Sum256(b.key), b.MinFree)
}

// Open implements Storage.
func (b *Badger) Open(logger *slog.Logger) (sessionstore.Store, error) {
	store, err := badgerstore.Open(b.folder, badgerstore.Options{EncryptionKey: b.key, MinFree: b.MinFree}, logger)
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
	throttle throttleHandle
	cursors  cursorSeal
	outages  outages
	options  string       // that the store was opened with
	shared   bool         // others have it open too
	logger   *slog.Logger // stays valid: see handoverHandler
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
	if warning, ok := storage.(warningStorage); ok {
		warning.warn(logger)
	}
	options := ""
	if optioned, ok := storage.(OptionedStorage); ok {
		options = optioned.OptionsID()
	}
	if h.sessions.Load() != nil {
		if options != h.options {
			logger.Warn("the options of the storage have changed, and the open one goes on with the old ones: restart to apply them", "storage", storage.Resource())
		}
		return nil
	}
	store, err := storage.Open(h.logger)
	if err != nil {
		return err
	}
	sessions := sessionstore.New(store, sessionstore.Options{Ended: h.ended}, h.logger)
	if err := h.throttle.open(sessions, h.logger); err != nil {
		return errors.Join(err, sessions.Close())
	}
	h.options = options
	_, h.shared = storage.(sharedStorage)
	h.sessions.Store(sessions)
	close(h.ready)
	return nil
}

// reasonEndedLate is the end of a session after whoever wanted it was told that
// the store had failed: the answer was lost, not the end.
const reasonEndedLate = "ended_late"

// ended records the end of a session that no request asked about.
func (h *storeHandle) ended(session *sessionstore.Session, result sessionstore.Result) {
	app, ok := h.handler.newest().(*App)
	if !ok {
		// The store outlives its configurations, see closeLater, and what it has
		// found out no other store will.
		var err error
		if app, err = activeApp(); err != nil {
			return
		}
	}
	switch {
	case result == sessionstore.Invalid:
		app.audit.sessionEnd(nil, "invalid_record")
	case result == sessionstore.Unknown:
		app.audit.sessionEnd(session, reasonEndedLate)
	default:
		app.audit.sessionEnd(session, "expired")
	}
}

// Destruct implements caddy.Destructor: the last configuration is gone.
func (h *storeHandle) Destruct() error {
	h.opening.Lock()
	defer h.opening.Unlock()
	sessions := h.sessions.Load()
	if sessions == nil {
		return nil
	}
	if h.shared && !caddy.Exiting() && sessions.Watched() {
		go h.closeLater(sessions)
		return nil
	}
	return h.close(sessions)
}

// unwatchedEvery is how often a store that is to be closed is asked whether it
// is still needed.
const unwatchedEvery = 100 * time.Millisecond

// closeLater closes the store once no answer is open any more of those that began
// with it. The sessions go on elsewhere: with a store that is closed, nothing
// would tell a stream that its session has ended there.
func (h *storeHandle) closeLater(sessions *sessionstore.Sessions) {
	for sessions.Watched() {
		time.Sleep(unwatchedEvery)
	}
	if err := h.close(sessions); err != nil {
		// There is no configuration left that h.logger could write to.
		caddy.Log().Named("ldap_auth").Error("closing the session store failed", zap.Error(err))
	}
}

func (h *storeHandle) close(sessions *sessionstore.Sessions) error {
	// The throttle first: it saves what it has counted.
	return errors.Join(h.throttle.close(), sessions.Close())
}

// readyTimeout bounds how long requests wait for the store while a
// configuration starts: Caddy starts apps in any order, so the HTTP server may
// serve before the store is open.
const readyTimeout = 5 * time.Second

var errStoreNotReady error = notReadyError("the session store is not open yet")

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
	_ OptionedStorage   = (*Badger)(nil)
	_ caddy.Provisioner = (*Badger)(nil)
	_ caddy.Destructor  = (*storeHandle)(nil)
)
