package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// historyUsers is how many users sign in in a random history.
const historyUsers = 10

// world is all sessions of a random concurrent history, and what is known of
// their users.
type world struct {
	mu     sync.Mutex
	models []*model // that were begun
	ready  []*model // that were acknowledged
	byKey  map[sessionstore.Key]*model

	// deleting counts, by user, the deletions of all sessions that may still
	// take effect: those under way, and those that were given up.
	deleting map[string]int
}

func newWorld() *world {
	return &world{byKey: map[sessionstore.Key]*model{}, deleting: map[string]int{}}
}

// add makes a session known before its sign-in is begun.
func (w *world) add(m *model) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.models = append(w.models, m)
	w.byKey[m.key] = m
	if w.deleting[m.session.User.ID] > 0 {
		m.deleteBegun.Store(true)
	}
}

// acknowledged makes a session one that others may work with. What ends before
// its sign-in was acknowledged may begin after that.
func (w *world) acknowledged(m *model) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m.created.Store(true)
	w.ready = append(w.ready, m)
}

// pick chooses a session, most of them recent, so that workers meet; nil while
// there is none.
func (w *world) pick(r *rand.Rand) *model {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.ready)
	if n == 0 {
		return nil
	}
	return w.ready[n-1-r.IntN(min(n, 16))]
}

// all returns what was begun, of a user or ("") of all.
func (w *world) all(user string) (models []*model) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.models {
		if user == "" || m.session.User.ID == user {
			models = append(models, m)
		}
	}
	return models
}

// deleteUser ends all sessions of m's user, or all but m.
func (w *world) deleteUser(ctx context.Context, store sessionstore.Store, m *model, keep bool) error {
	user := m.session.User.ID
	var kept *sessionstore.Key
	if keep {
		kept = &m.key
	}
	var before []*model // that must be gone afterwards
	w.mu.Lock()
	w.deleting[user]++
	for _, other := range w.models {
		if other.session.User.ID != user || keep && other == m {
			continue
		}
		other.deleteBegun.Store(true)
		if other.created.Load() {
			before = append(before, other)
		}
	}
	w.mu.Unlock()
	deleted, err := store.DeleteUser(ctx, m.session.User.Directory, user, kept)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deleting[user]--
	for _, other := range before {
		other.deleted.Store(true)
	}
	for i := range deleted {
		l := &deleted[i]
		other := w.byKey[l.Key]
		switch {
		case other == nil || other.session.User.ID != user:
			return fmt.Errorf("session %s was deleted with the user %s", l.ID, user)
		case keep && other == m:
			return fmt.Errorf("session %s was deleted and not kept", l.ID)
		}
		other.deleted.Store(true)
	}
	return nil
}

// known is what was certain of a session before a call.
type known struct {
	created, deleted bool
	seen             int64
}

// list reads all pages and checks them against everything that was certain from
// before the call to after it.
func (w *world) list(ctx context.Context, store sessionstore.Store, query sessionstore.ListQuery) error {
	before := map[*model]known{}
	for _, m := range w.all(query.UserID) {
		before[m] = known{m.created.Load(), m.deleted.Load(), m.seen.Load()}
	}
	counts := map[*model]int{}
	for {
		page, next, err := store.List(ctx, query)
		if err != nil {
			return err
		}
		for i := range page {
			m, err := w.checkListed(&page[i], query.UserID, before)
			if err != nil {
				return err
			}
			counts[m]++
		}
		if query.After = next; next == "" {
			break
		}
	}
	for m, was := range before {
		switch n := counts[m]; {
		case n > 1:
			return fmt.Errorf("session %s is listed %d times", m.session.ID, n)
		case n == 0 && was.created && !m.deleteBegun.Load():
			return fmt.Errorf("session %s is not listed, and nobody deleted it", m.session.ID)
		}
	}
	return nil
}

func (w *world) checkListed(l *sessionstore.Listed, user string, before map[*model]known) (*model, error) {
	w.mu.Lock()
	m := w.byKey[l.Key]
	w.mu.Unlock()
	switch {
	case m == nil:
		return nil, fmt.Errorf("session %s is listed, and nobody created it", l.ID)
	case before[m].deleted:
		return nil, fmt.Errorf("session %s is listed after its deletion was acknowledged", l.ID)
	case user != "" && l.UserID != user:
		return nil, fmt.Errorf("session %s of user %s is listed as one of %s", l.ID, l.UserID, user)
	case *l != asListed(m.key, m.session, l.LastSeen):
		return nil, fmt.Errorf("session %s is listed as %+v", m.session.ID, *l)
	case l.LastSeen.UnixNano() < before[m].seen:
		return nil, fmt.Errorf("session %s is listed without an acknowledged touch", l.ID)
	case l.LastSeen.UnixNano() > max(m.begun.Load(), m.session.Created.UnixNano()):
		return nil, fmt.Errorf("session %s is listed as seen when nobody touched it", l.ID)
	}
	return m, nil
}

func (w *world) count(ctx context.Context, store sessionstore.Store) error {
	var alive, gone []*model
	all := w.all("")
	for _, m := range all {
		if m.deleted.Load() {
			gone = append(gone, m)
		} else if m.created.Load() {
			alive = append(alive, m)
		}
	}
	counts, err := store.Count(ctx)
	if err != nil {
		return err
	}
	least := 0
	for _, m := range alive {
		if !m.deleteBegun.Load() {
			least++
		}
	}
	if most := len(w.all("")) - len(gone); counts.Sessions < least || counts.Sessions > most || counts.Users > historyUsers {
		return fmt.Errorf("counted %+v, want %d to %d sessions of at most %d users", counts, least, most, historyUsers)
	}
	return nil
}

// check compares everything after a restart, when nothing is under way.
func (w *world) check(t *testing.T, b *bench) {
	t.Helper()
	w.deleting = map[string]int{}
	if err := w.list(t.Context(), b, everybody); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	listed := map[sessionstore.Key]bool{}
	for _, l := range b.list(everybody) {
		listed[l.Key] = true
	}
	for _, m := range w.models {
		if err := m.get(t.Context(), b); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		if _, _, ok, err := b.Get(t.Context(), m.key); err != nil || ok != listed[m.key] {
			t.Errorf("after a restart: session %s: ok %v, error %v, listed %v", m.session.ID, ok, err, listed[m.key])
		}
	}
	counts, err := b.Count(t.Context())
	if err != nil || counts.Sessions != len(listed) || counts.Users != len(b.allUsers(3)) {
		t.Errorf("after a restart: %+v, error %v, want %d sessions", counts, err, len(listed))
	}
}
