package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// model is what is known of one session, from outside, while others work on
// it: what was begun and what was acknowledged.
type model struct {
	key     sessionstore.Key
	session *sessionstore.Session
	world   *world

	created, deleteBegun, deleted atomic.Bool
	seen                          atomic.Int64 // newest acknowledged, nanoseconds
	begun                         atomic.Int64 // newest that was begun

	// Updates carry numbers from 1 on, one at a time; those that were given up
	// may be stored at any time later, or never.
	updating sync.Mutex
	version  atomic.Int64 // newest acknowledged
	newest   atomic.Int64 // newest that was begun
	givenUp  sync.Map     // their numbers
}

// numbered is the session with the groups of update n.
func (m *model) numbered(n int64) *sessionstore.Session {
	s := *m.session
	s.User.PasswordSet = fmt.Sprint(n)
	s.User.Groups = []sessionstore.Group{{ID: "S-1-5-21-" + fmt.Sprint(n)}}
	return &s
}

// number is the update that s is of, 0 for the session as it was created; -1
// if it is of none, or of several.
func (m *model) number(s *sessionstore.Session) int64 {
	if reflect.DeepEqual(s, m.session) {
		return 0
	}
	n, err := strconv.ParseInt(s.User.PasswordSet, 10, 64)
	if err != nil || n < 1 || !reflect.DeepEqual(s, m.numbered(n)) {
		return -1
	}
	return n
}

func (m *model) update(ctx context.Context, store sessionstore.Store) error {
	m.updating.Lock()
	defer m.updating.Unlock()
	created, deleted := m.created.Load(), m.deleted.Load()
	n := m.newest.Add(1)
	ok, err := store.Update(ctx, m.key, m.numbered(n))
	switch {
	case err != nil:
		m.givenUp.Store(n, true)
		return err
	case ok && deleted:
		return fmt.Errorf("session %s was updated after its deletion was acknowledged", m.session.ID)
	case !ok && created && !m.deleteBegun.Load():
		return fmt.Errorf("session %s was not there to update, and nobody deleted it", m.session.ID)
	case ok:
		m.version.Store(n)
	}
	return nil
}

// get reads the session and checks the answer against everything that was
// certain from before the call to after it.
func (m *model) get(ctx context.Context, store sessionstore.Store) error {
	created, deleted, seen, version := m.created.Load(), m.deleted.Load(), m.seen.Load(), m.version.Load()
	s, lastSeen, ok, err := store.Get(ctx, m.key)
	deleteBegun, begun := m.deleteBegun.Load(), m.begun.Load()
	switch {
	case err != nil:
		return err
	case ok && deleted:
		return fmt.Errorf("session %s was read after its deletion was acknowledged", m.session.ID)
	case !ok && created && !deleteBegun:
		return fmt.Errorf("session %s is gone, and nobody deleted it", m.session.ID)
	case ok && s.ID != m.session.ID:
		return fmt.Errorf("session %s was read as %s", m.session.ID, s.ID)
	case ok && lastSeen.UnixNano() < seen:
		return fmt.Errorf("session %s lost an acknowledged touch", m.session.ID)
	case ok && lastSeen.UnixNano() > max(begun, m.session.Created.UnixNano()):
		return fmt.Errorf("session %s was seen at a time when nobody touched it", m.session.ID)
	case ok:
		n := m.number(s)
		_, givenUp := m.givenUp.Load(n)
		if n < 0 || n > m.newest.Load() || n < version && !givenUp {
			return fmt.Errorf("session %s was read as of update %d; %d was acknowledged, %d begun", m.session.ID, n, version, m.newest.Load())
		}
	}
	return nil
}

func (m *model) create(ctx context.Context, store sessionstore.Store, replaces *model) error {
	m.world.add(m)
	var old *sessionstore.Key
	if replaces != nil {
		old = &replaces.key
		replaces.deleteBegun.Store(true)
	}
	if err := store.Create(ctx, m.key, m.session, old); err != nil {
		return err
	}
	m.world.acknowledged(m)
	if replaces != nil {
		replaces.deleted.Store(true)
	}
	return nil
}

func (m *model) touch(ctx context.Context, store sessionstore.Store, seen int64) error {
	raise(&m.begun, seen)
	err := store.Touch(ctx, []sessionstore.Touch{{Key: m.key, Seen: time.Unix(0, seen).UTC()}})
	if err == nil {
		raise(&m.seen, seen)
	}
	return err
}

func (m *model) delete(ctx context.Context, store sessionstore.Store) error {
	m.deleteBegun.Store(true)
	_, err := store.Delete(ctx, m.key)
	if err == nil {
		m.deleted.Store(true)
	}
	return err
}

func (m *model) drop(ctx context.Context, store sessionstore.Store) error {
	m.deleteBegun.Store(true)
	err := store.Drop(ctx, []sessionstore.Key{m.key, NewKey()})
	if err == nil {
		m.deleted.Store(true)
	}
	return err
}

// revoke is what an operator does.
func (m *model) revoke(ctx context.Context, store sessionstore.Store) error {
	created := m.created.Load()
	key, ok, err := store.Find(ctx, m.session.ID)
	switch {
	case err != nil:
		return err
	case !ok && created && !m.deleteBegun.Load():
		return fmt.Errorf("session %s is not found, and nobody deleted it", m.session.ID)
	case !ok:
		return nil
	case key != m.key:
		return fmt.Errorf("session %s is found under another key", m.session.ID)
	}
	return m.delete(ctx, store)
}

func raise(v *atomic.Int64, n int64) {
	for old := v.Load(); old < n && !v.CompareAndSwap(old, n); old = v.Load() {
	}
}

// history lets several workers sign in, touch, update, replace, end, list and
// read the same sessions at once, some calls cancelled on the way, and restarts
// twice.
func history(t *testing.T, b *bench) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const workers, steps = 8, 250
	w := newWorld()
	step := func(r *rand.Rand) error {
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		if r.IntN(10) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(1000))*time.Microsecond)
		}
		defer cancel()
		m := w.pick(r)
		what := r.IntN(100)
		if m == nil || what < 15 {
			fresh := &model{key: NewKey(), session: NewSession(fmt.Sprint(r.IntN(historyUsers))), world: w}
			if what%3 != 0 {
				m = nil
			}
			return fresh.create(ctx, b, m)
		}
		switch {
		case what < 33:
			return m.touch(ctx, b, m.session.Created.UnixNano()+r.Int64N(int64(time.Hour)))
		case what < 39:
			return m.delete(ctx, b)
		case what < 41:
			return m.revoke(ctx, b)
		case what < 43:
			return m.drop(ctx, b)
		case what < 45:
			return w.deleteUser(ctx, b, m, r.IntN(2) == 0)
		case what < 60:
			return m.update(ctx, b)
		case what < 62:
			return w.list(ctx, b, everybody)
		case what < 66:
			query := of("empresa.local", m.session.User.ID)
			query.Limit = 1 + r.IntN(5)
			return w.list(ctx, b, query)
		case what < 67:
			return w.count(ctx, b)
		default:
			return m.get(ctx, b)
		}
	}
	for round := range 3 {
		var wg sync.WaitGroup
		for worker := range workers {
			r := rand.New(rand.NewPCG(seed, uint64(round*workers+worker)))
			wg.Go(func() {
				for range steps {
					err := step(r)
					if err != nil && !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		b.reopen()
		w.check(t, b)
	}
}

// closedUnderLoad closes the store while it is in use.
func closedUnderLoad(t *testing.T, b *bench) {
	store := b.Store
	var begun, wg sync.WaitGroup
	begun.Add(8)
	world := newWorld()
	for w := range 8 {
		wg.Go(func() {
			m := &model{key: NewKey(), session: NewSession(fmt.Sprint(w)), world: world}
			err := m.create(t.Context(), store, nil)
			begun.Done()
			for i := int64(1); err == nil; i++ {
				if err = m.get(t.Context(), store); err == nil {
					err = m.touch(t.Context(), store, m.session.Created.UnixNano()+i)
				}
				switch {
				case err != nil:
				case w == 0:
					_, err = store.DeleteUser(t.Context(), "empresa.local", "nobody", nil)
				case w < 3:
					err = world.list(t.Context(), store, everybody)
				case w == 3:
					_, err = store.Count(t.Context())
				}
			}
			if !errors.Is(err, sessionstore.ErrClosed) {
				t.Errorf("error %v, want ErrClosed", err)
			}
		})
	}
	begun.Wait()
	if err := store.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wg.Wait()
}
