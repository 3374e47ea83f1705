package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// ErrPanicked is a store whose code panicked. What the call has done until then
// is not known: to whoever asked it is a store that failed.
var ErrPanicked = errors.New("the session store panicked")

const (
	// callTimeout bounds a call whose caller has no deadline: nobody is to wait
	// for a store that hangs for as long as the client is patient. It is far
	// longer than a disk that works needs, the search for a public id included.
	callTimeout = 10 * time.Second

	// stackEvery is how often the stack of a panic is logged: a store that
	// panics may do so with every request.
	stackEvery = time.Minute
)

// guarded is a store as the sessions call it. A panic of the backend is an
// error, which fails closed at every caller: in a request it would leave a
// flight open that later requests of the session wait for, in a goroutine of
// our own it would end the process, and all sites with it.
type guarded struct {
	store  Store
	logger *slog.Logger
	logged atomic.Int64 // when a stack was logged last, unix nanoseconds
}

// bounded is ctx, with a deadline if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// caught is deferred: it makes a panic of the call that it is about an error.
func (g *guarded) caught(doing string, err *error) {
	p := recover()
	if p == nil {
		return
	}
	*err = fmt.Errorf("%s: %w: %v", doing, ErrPanicked, p)
	now, last := time.Now().UnixNano(), g.logged.Load()
	if (last == 0 || now-last >= int64(stackEvery)) && g.logged.CompareAndSwap(last, now) {
		g.logger.Error("the session store panicked: what it was asked for counts as failed", "doing", doing, "panic", fmt.Sprint(p), "stack", PanicStack())
	}
}

// guardedShared is what others do to the store, as the sessions ask for it.
type guardedShared struct {
	guard *guarded
	store Shared
}

func (g *guardedShared) replaced(ctx context.Context, key Key) (replaced bool, err error) {
	defer g.guard.caught("looking for a session that was replaced", &err)
	return g.store.Replaced(ctx, key)
}

// PanicStack names the functions that led to a panic, for whoever catches it in
// a deferred function. It has no arguments, as debug.Stack has: bytes of tokens
// are among them.
func PanicStack() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var text strings.Builder
	for {
		frame, more := frames.Next()
		fmt.Fprintf(&text, "%s\n\t%s:%d\n", frame.Function, frame.File, frame.Line)
		if !more {
			return text.String()
		}
	}
}

func (g *guarded) Create(ctx context.Context, key Key, session *Session, replaces *Key) (err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("storing a session", &err)
	return g.store.Create(ctx, key, session, replaces)
}

// errNoRecord is a store that breaks its contract; who believed it would use a
// session that is not there.
var errNoRecord = errors.New("the session store says that there is a session, and returns none")

func (g *guarded) Get(ctx context.Context, key Key) (session *Session, lastSeen time.Time, ok bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("reading a session", &err)
	if session, lastSeen, ok, err = g.store.Get(ctx, key); ok && err == nil && session == nil {
		return nil, time.Time{}, false, errNoRecord
	}
	return session, lastSeen, ok, err
}

func (g *guarded) Update(ctx context.Context, key Key, session *Session) (ok bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("updating a session", &err)
	return g.store.Update(ctx, key, session)
}

func (g *guarded) Touch(ctx context.Context, touches []Touch) (err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("storing last-seen times", &err)
	return g.store.Touch(ctx, touches)
}

func (g *guarded) Delete(ctx context.Context, key Key) (ok bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("deleting a session", &err)
	return g.store.Delete(ctx, key)
}

func (g *guarded) Drop(ctx context.Context, keys []Key) (err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("dropping sessions", &err)
	return g.store.Drop(ctx, keys)
}

func (g *guarded) DeleteUser(ctx context.Context, directory, id string, keep *Key) (deleted []Listed, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("deleting a user's sessions", &err)
	return g.store.DeleteUser(ctx, directory, id, keep)
}

func (g *guarded) List(ctx context.Context, query ListQuery) (page []Listed, next string, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("listing sessions", &err)
	return g.store.List(ctx, query)
}

func (g *guarded) Find(ctx context.Context, id string) (key Key, ok bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("finding a session", &err)
	return g.store.Find(ctx, id)
}

func (g *guarded) Count(ctx context.Context) (counts Counts, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("counting sessions", &err)
	return g.store.Count(ctx)
}

func (g *guarded) User(ctx context.Context, directory, id string) (record UserRecord, ok bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("reading a user", &err)
	return g.store.User(ctx, directory, id)
}

func (g *guarded) Users(ctx context.Context, after string, limit int) (page []UserRecord, next string, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("listing users", &err)
	return g.store.Users(ctx, after, limit)
}

func (g *guarded) Mark(ctx context.Context, at time.Time) (latest time.Time, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("storing the latest time", &err)
	return g.store.Mark(ctx, at)
}

func (g *guarded) SaveCounters(ctx context.Context, counters []Counter) (err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("storing counters", &err)
	return g.store.SaveCounters(ctx, counters)
}

func (g *guarded) Counters(ctx context.Context, yield func(Counter) error) (err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("reading counters", &err)
	return g.store.Counters(ctx, yield)
}

func (g *guarded) Secret(ctx context.Context, name string, fresh []byte) (secret []byte, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.caught("reading a secret", &err)
	return g.store.Secret(ctx, name, fresh)
}

func (g *guarded) Close() (err error) {
	defer g.caught("closing the session store", &err)
	return g.store.Close()
}

var _ Store = (*guarded)(nil)
