package sessionstore

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hookStore is a fakeStore in whose calls a test does something.
type hookStore struct {
	*fakeStore
	afterCreate func(Key)
	afterList   func(page []Listed)
	hangs       atomic.Bool // reads, deletions, drops and marks wait for their context's end

	// reply runs in Create, Delete and DeleteUser once they have written and
	// before they return: the answer is lost if it has an error, or if their
	// context is over by then.
	reply func() error

	mu    sync.Mutex
	marks []time.Time // as they were offered; zero: a question
}

func (h *hookStore) wait(ctx context.Context) error {
	if !h.hangs.Load() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (h *hookStore) Create(ctx context.Context, key Key, s *Session, replaces *Key) error {
	err := h.fakeStore.Create(ctx, key, s, replaces)
	if err == nil && h.afterCreate != nil {
		h.afterCreate(key)
	}
	if err == nil {
		err = h.lost(ctx)
	}
	return err
}

func (h *hookStore) lost(ctx context.Context) error {
	var err error
	if h.reply != nil {
		err = h.reply()
	}
	if over := ctx.Err(); over != nil {
		return over
	}
	return err
}

func (h *hookStore) Delete(ctx context.Context, key Key) (bool, error) {
	if err := h.wait(ctx); err != nil {
		return false, err
	}
	ok, err := h.fakeStore.Delete(ctx, key)
	if err == nil {
		err = h.lost(ctx)
	}
	return ok && err == nil, err
}

func (h *hookStore) DeleteUser(ctx context.Context, directory, id string, keep *Key) ([]Listed, error) {
	deleted, err := h.fakeStore.DeleteUser(ctx, directory, id, keep)
	if err == nil {
		err = h.lost(ctx)
	}
	if err != nil {
		return nil, err
	}
	return deleted, nil
}

func (h *hookStore) Get(ctx context.Context, key Key) (*Session, time.Time, bool, error) {
	if err := h.wait(ctx); err != nil {
		return nil, time.Time{}, false, err
	}
	return h.fakeStore.Get(ctx, key)
}

func (h *hookStore) Drop(ctx context.Context, keys []Key) error {
	if err := h.wait(ctx); err != nil {
		return err
	}
	return h.fakeStore.Drop(ctx, keys)
}

func (h *hookStore) List(ctx context.Context, query ListQuery) ([]Listed, string, error) {
	page, next, err := h.fakeStore.List(ctx, query)
	if h.afterList != nil && err == nil {
		h.afterList(page)
	}
	return page, next, err
}

func (h *hookStore) Mark(ctx context.Context, at time.Time) (time.Time, error) {
	h.mu.Lock()
	h.marks = append(h.marks, at)
	h.mu.Unlock()
	if err := h.wait(ctx); err != nil {
		return time.Time{}, err
	}
	return h.fakeStore.Mark(ctx, at)
}

func (h *hookStore) offered() []time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]time.Time(nil), h.marks...)
}

// newHookedWorld is newWorld with a store that has hooks.
func newHookedWorld(t *testing.T, options Options) (*world, *hookStore) {
	w := &world{t: t, store: newFakeStore(), clock: &testClock{}}
	w.clock.at.Store(time.Date(2025, 11, 21, 12, 0, 0, 0, time.UTC).UnixNano())
	options.Now = w.clock.now
	hooks := &hookStore{fakeStore: w.store}
	w.Sessions = New(hooks, options, nil)
	t.Cleanup(func() { w.Sessions.Close() })
	return w, hooks
}

// signInAs is signIn of another user.
func (w *world) signInAs(id string, limits Limits) (Token, Handle) {
	w.t.Helper()
	token, h, err := w.SignIn(w.t.Context(), User{Directory: "d", ID: id}, "192.0.2.1", limits, nil)
	if err != nil {
		w.t.Fatalf("SignIn: %v", err)
	}
	return token, h
}

// look does what is otherwise done once a second.
func (w *world) look() {
	w.t.Helper()
	w.followWall()
	ask := make(map[Key]Handle)
	w.lookAtAnswers(ask)
	w.askStore(w.t.Context(), ask)
	w.askDoubts(w.t.Context())
}

// reports counts what Options.Ended is told.
type reports struct {
	mu       sync.Mutex
	expired  map[string]int // by the session's ID
	late     map[string]int // ended after all
	invalid  int
	sessions []*Session
}

func (r *reports) ended(session *Session, result Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if result == Invalid {
		r.invalid++
		return
	}
	if r.expired == nil {
		r.expired, r.late = map[string]int{}, map[string]int{}
	}
	if result == Unknown {
		r.late[session.ID]++
		return
	}
	r.expired[session.ID]++
	r.sessions = append(r.sessions, session)
}

func (r *reports) of(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.expired[id]
}

// ofLate is of for what ended after all.
func (r *reports) ofLate(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.late[id]
}

func (r *reports) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}

// openAnswer counts how often it is ended.
type openAnswer struct {
	watch Watch
	told  atomic.Int32
}

func (a *openAnswer) SessionEnded() { a.told.Add(1) }

// open watches the session of h until the test ends.
func (w *world) open(h Handle, whenIdle bool) *openAnswer {
	w.t.Helper()
	a := &openAnswer{}
	if !h.Watch(&a.watch, a) {
		w.t.Fatal("a live session cannot be watched")
	}
	if whenIdle {
		a.watch.WhenIdle()
	}
	w.t.Cleanup(a.watch.Stop)
	return a
}

// openAnswers counts what the rings hold.
func (w *world) openAnswers() int {
	n := 0
	for i := range w.watches {
		l := &w.watches[i]
		l.mu.Lock()
		for a := l.ring.next; a != &l.ring; a = a.next {
			n++
		}
		l.mu.Unlock()
	}
	return n
}
