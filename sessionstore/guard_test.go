package sessionstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// guardedCalls is every call of a store, with what it returned beside its error.
func guardedCalls(ctx context.Context, s Store) map[string]func() (string, error) {
	text := func(values ...any) string { return fmt.Sprint(values...) }
	return map[string]func() (string, error){
		"Create": func() (string, error) { return "", s.Create(ctx, Key{}, exampleSession(), nil) },
		"Get": func() (string, error) {
			session, seen, ok, err := s.Get(ctx, Key{})
			return text(session == nil, seen.IsZero(), ok), err
		},
		"Update": func() (string, error) { ok, err := s.Update(ctx, Key{}, exampleSession()); return text(ok), err },
		"Touch":  func() (string, error) { return "", s.Touch(ctx, []Touch{{}}) },
		"Delete": func() (string, error) { ok, err := s.Delete(ctx, Key{}); return text(ok), err },
		"Drop":   func() (string, error) { return "", s.Drop(ctx, []Key{{}}) },
		"DeleteUser": func() (string, error) {
			deleted, err := s.DeleteUser(ctx, "d", "1", nil)
			return text(len(deleted)), err
		},
		"List": func() (string, error) {
			page, next, err := s.List(ctx, ListQuery{Limit: 1})
			return text(len(page), next), err
		},
		"Find":         func() (string, error) { key, ok, err := s.Find(ctx, "id"); return text(key == Key{}, ok), err },
		"Count":        func() (string, error) { counts, err := s.Count(ctx); return text(counts == Counts{}), err },
		"User":         func() (string, error) { _, ok, err := s.User(ctx, "d", "1"); return text(ok), err },
		"Users":        func() (string, error) { page, next, err := s.Users(ctx, "", 1); return text(len(page), next), err },
		"Mark":         func() (string, error) { latest, err := s.Mark(ctx, time.Time{}); return text(latest.IsZero()), err },
		"SaveCounters": func() (string, error) { return "", s.SaveCounters(ctx, nil) },
		"Counters":     func() (string, error) { return "", s.Counters(ctx, func(Counter) error { return nil }) },
		"Secret":       func() (string, error) { secret, err := s.Secret(ctx, "n", []byte("x")); return text(len(secret)), err },
		"Close":        func() (string, error) { return "", s.Close() },
	}
}

// TestAPanicOfTheStoreIsAnError: of every call, and nothing that the call may
// have found before is believed.
func TestAPanicOfTheStoreIsAnError(t *testing.T) {
	var log bytes.Buffer
	store := rig(newFakeStore())
	store.late = true
	store.fault = func(context.Context, string, int) error { panic("index out of range") }
	g := &guarded{store: store, logger: slog.New(slog.NewTextHandler(&log, nil))}
	nothing := map[string]string{
		"Get": "true true false", "Update": "false", "Delete": "false", "DeleteUser": "0", "List": "0", "Find": "true false",
		"Count": "true", "User": "false", "Users": "0", "Mark": "true", "Secret": "0",
	}
	calls := guardedCalls(t.Context(), g)
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		if name == "Close" {
			continue
		}
		got, err := calls[name]()
		if !errors.Is(err, ErrPanicked) || errors.Is(err, ErrInvalidRecord) || strings.TrimSpace(got) != nothing[name] {
			t.Errorf("%s: %q, error %v, want %q and ErrPanicked", name, got, err, nothing[name])
		}
	}
	if _, err := calls["Close"](); !errors.Is(err, ErrPanicked) {
		t.Errorf("Close: %v", err)
	}
	if n := strings.Count(log.String(), "stack="); n != 1 {
		t.Errorf("%d stacks were logged, want 1:\n%s", n, log.String())
	}
	if !strings.Contains(log.String(), "guard_test.go") || strings.Contains(log.String(), "0x") {
		t.Errorf("the stack does not lead to the panic, or shows arguments:\n%s", log.String())
	}
}

// TestAStoreThatHangsIsLeft: by every call, if it obeys its context.
func TestAStoreThatHangsIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := rig(newFakeStore())
		store.fault = func(ctx context.Context, method string, _ int) error {
			if method == "Close" {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		for name, call := range guardedCalls(t.Context(), &guarded{store: store, logger: slog.New(slog.DiscardHandler)}) {
			began := time.Now()
			if _, err := call(); name != "Close" && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: error %v", name, err)
			}
			if took := time.Since(began); took > callTimeout {
				t.Errorf("%s took %s", name, took)
			}
		}
	})
}

// TestLookupLeavesAStoreThatIsDeaf: one that does not even look at its context
// keeps no request.
func TestLookupLeavesAStoreThatIsDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, deaf := rig(newFakeStore()), make(chan struct{})
		s := New(store, Options{}, nil)
		inMemory, _, err := s.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", hour, nil)
		if err != nil {
			t.Fatal(err)
		}
		store.fault = func(_ context.Context, method string, _ int) error {
			if method == "Get" {
				<-deaf
			}
			return nil
		}
		var waiting sync.WaitGroup
		unknown := NewToken()
		for range 3 {
			waiting.Go(func() {
				began := time.Now()
				if _, result, err := s.Lookup(t.Context(), unknown, hour, true); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v, error %v, want that the time is over", result, err)
				}
				if took := time.Since(began); took > loadTimeout {
					t.Errorf("it took %s", took)
				}
			})
		}
		synctest.Wait()
		if _, result, err := s.Lookup(t.Context(), inMemory, hour, true); result != Live || err != nil {
			t.Errorf("a session in memory meanwhile: %v, error %v", result, err)
		}
		waiting.Wait()
		close(deaf)
		store.heal()
		if _, result, err := s.Lookup(t.Context(), unknown, hour, true); result != Unknown || err != nil {
			t.Errorf("once it answers: %v, error %v", result, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestARecordThatIsNone: a store that breaks its contract lets nobody in.
func TestARecordThatIsNone(t *testing.T) {
	s := New(lyingStore{newFakeStore()}, Options{}, nil)
	defer s.Close()
	if h, result, err := s.Lookup(t.Context(), NewToken(), hour, true); err == nil || result == Live || h.Session != nil {
		t.Errorf("%v, error %v", result, err)
	}
}

// lyingStore says that there is a session, and has none.
type lyingStore struct{ *fakeStore }

func (lyingStore) Get(context.Context, Key) (*Session, time.Time, bool, error) {
	return nil, time.Now(), true, nil
}

// TestClosingAStoreThatPanics: the process ends as it was to.
func TestClosingAStoreThatPanics(t *testing.T) {
	for _, method := range []string{"Touch", "Mark", "Close"} {
		store := rig(newFakeStore())
		s := New(store, Options{}, nil)
		if _, _, err := s.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", hour, nil); err != nil {
			t.Fatal(err)
		}
		s.memory.all(func(e *entry) { e.seen.Add(1) })
		store.fault = func(_ context.Context, called string, _ int) error {
			if called == method {
				panic("no")
			}
			return nil
		}
		if err := s.Close(); !errors.Is(err, ErrPanicked) {
			t.Errorf("%s: %v", method, err)
		}
		if store.calls["Close"] != 1 {
			t.Errorf("%s: the store was closed %d times", method, store.calls["Close"])
		}
	}
}
