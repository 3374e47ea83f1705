package sessionstore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// budgetStore is a store with budgets that do what a test wants.
type budgetStore struct {
	*fakeStore
	do func(context.Context) error
}

func (b *budgetStore) Reserve(ctx context.Context, _ Reservation) (Reserved, error) {
	return Reserved{Taken: true}, b.do(ctx)
}

func (b *budgetStore) Settle(ctx context.Context, _ Settlement) ([]int, error) {
	return []int{0}, b.do(ctx)
}

func (b *budgetStore) Counter(ctx context.Context, key [16]byte) (Counter, bool, error) {
	return Counter{Key: key}, true, b.do(ctx)
}

// budgetCalls is every call, with whether it says that it was done.
func budgetCalls(ctx context.Context, b Budgets) map[string]func() (done bool, err error) {
	return map[string]func() (bool, error){
		"Reserve": func() (bool, error) { r, err := b.Reserve(ctx, Reservation{}); return r.Taken, err },
		"Settle":  func() (bool, error) { overflow, err := b.Settle(ctx, Settlement{}); return overflow != nil, err },
		"Counter": func() (bool, error) { _, ok, err := b.Counter(ctx, [16]byte{}); return ok, err },
	}
}

func TestBudgetsAreTheStores(t *testing.T) {
	alone := New(newFakeStore(), Options{}, nil)
	defer alone.Close()
	if alone.Budgets() != nil {
		t.Error("a store without budgets has some")
	}
	s := New(&budgetStore{newFakeStore(), func(context.Context) error { return nil }}, Options{}, nil)
	for name, call := range budgetCalls(t.Context(), s.Budgets()) {
		if done, err := call(); !done || err != nil {
			t.Errorf("%s: %v, error %v", name, done, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for name, call := range budgetCalls(t.Context(), s.Budgets()) {
		if done, err := call(); done || !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v, error %v", name, done, err)
		}
	}
}

// TestAPanicOfBudgetsIsAnError, and admits nobody.
func TestAPanicOfBudgetsIsAnError(t *testing.T) {
	var log bytes.Buffer
	store := &budgetStore{newFakeStore(), func(context.Context) error { panic("index out of range") }}
	s := New(store, Options{}, slog.New(slog.NewTextHandler(&log, nil)))
	for name, call := range budgetCalls(t.Context(), s.Budgets()) {
		if done, err := call(); done || !errors.Is(err, ErrPanicked) {
			t.Errorf("%s: %v, error %v", name, done, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "stack="); n != 1 {
		t.Errorf("%d stacks were logged, want 1:\n%s", n, log.String())
	}
}

func TestBudgetsThatHangAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(&budgetStore{newFakeStore(), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, Options{}, nil)
		defer s.Close()
		for name, call := range budgetCalls(t.Context(), s.Budgets()) {
			began := time.Now()
			if _, err := call(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: error %v", name, err)
			}
			if took := time.Since(began); took > callTimeout {
				t.Errorf("%s took %s", name, took)
			}
		}
	})
}
