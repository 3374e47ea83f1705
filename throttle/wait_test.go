package throttle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// bind is how long the tests' directory takes.
const bind = 20 * time.Millisecond

// TestParallelGuessing is the attack that a counter which is raised after the
// answer does not stop: a hundred guesses, all before the first answer.
func TestParallelGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := start(t, nil, Options{})
		var binds, blocked atomic.Int32
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				a, err := th.Begin(t.Context(), from("juan"), usual)
				var refused *BlockedError
				if errors.As(err, &refused) {
					blocked.Add(1)
					return
				} else if err != nil {
					t.Error(err)
					return
				}
				defer a.Release()
				if err := a.Identify(t.Context(), "id-juan"); errors.As(err, &refused) {
					blocked.Add(1)
					return
				} else if err != nil {
					t.Error(err)
					return
				}
				binds.Add(1)
				time.Sleep(bind)
				a.Fail()
			})
		}
		group.Wait()
		if binds.Load() != 3 || blocked.Load() != 97 {
			t.Errorf("%d passwords were sent and %d refused, want 3 and 97", binds.Load(), blocked.Load())
		}
	})
}

func TestParallelGuessingOfManyNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := start(t, nil, Options{})
		var binds atomic.Int32
		var group sync.WaitGroup
		for i := range 100 {
			group.Go(func() {
				a, err := th.Begin(t.Context(), from(fmt.Sprint("user", i)), usual)
				if err != nil {
					blockedAs(t, err, ScopeSource)
					return
				}
				binds.Add(1)
				time.Sleep(bind)
				a.Fail()
			})
		}
		group.Wait()
		if binds.Load() != 20 {
			t.Errorf("%d passwords were sent, want 20", binds.Load())
		}
	})
}

func TestParallelRightPasswords(t *testing.T) {
	for _, failures := range []int{0, 2} {
		t.Run(fmt.Sprint("after failures: ", failures), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				th := start(t, nil, Options{MaxWait: time.Minute})
				fail(t, th, from("juan"), usual, failures)
				var now, most, passed atomic.Int32
				var group sync.WaitGroup
				for range 100 {
					group.Go(func() {
						a, err := th.Begin(t.Context(), from("juan"), usual)
						if err != nil {
							t.Error(err)
							return
						}
						for n := now.Add(1); ; {
							m := most.Load()
							if n <= m || most.CompareAndSwap(m, n) {
								break
							}
						}
						time.Sleep(bind)
						now.Add(-1)
						a.Succeed("id-juan", Own)
						passed.Add(1)
					})
				}
				group.Wait()
				if passed.Load() != 100 || most.Load() > 3 {
					t.Errorf("%d passed, %d at once, want 100 and at most 3", passed.Load(), most.Load())
				}
				for _, table := range []*table{th.accounts, th.sources} {
					if entries, counted := size(table); entries != counted {
						t.Errorf("%d entries without a failure are left", entries-counted)
					}
				}
			})
		})
	}
}

func TestWaiting(t *testing.T) {
	one := usual
	one.Account.Failures = 1

	// waiting starts an attempt that has to wait.
	waiting := func(t *testing.T, th *Throttle, ctx context.Context) <-chan error {
		result := make(chan error, 1)
		go func() {
			a, err := th.Begin(ctx, from("juan"), one)
			if err == nil {
				a.Release()
			}
			result <- err
		}()
		synctest.Wait()
		select {
		case err := <-result:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
		return result
	}
	tests := []struct {
		name string
		run  func(t *testing.T, th *Throttle, first *Attempt)
	}{
		{"ends with a release", func(t *testing.T, th *Throttle, first *Attempt) {
			result := waiting(t, th, t.Context())
			first.Release()
			if err := <-result; err != nil {
				t.Error(err)
			}
		}},
		{"ends with a success", func(t *testing.T, th *Throttle, first *Attempt) {
			result := waiting(t, th, t.Context())
			first.Succeed("id-juan", Own)
			if err := <-result; err != nil {
				t.Error(err)
			}
		}},
		{"ends with a failure, blocked", func(t *testing.T, th *Throttle, first *Attempt) {
			result := waiting(t, th, t.Context())
			first.Fail()
			blockedAs(t, <-result, ScopeAccount)
		}},
		{"ends when time is up", func(t *testing.T, th *Throttle, first *Attempt) {
			began := time.Now()
			if err := <-waiting(t, th, t.Context()); !errors.Is(err, ErrBusy) {
				t.Errorf("error is %v, want ErrBusy", err)
			}
			if waited := time.Since(began); waited != defaultMaxWait {
				t.Errorf("waited %v, want %v", waited, defaultMaxWait)
			}
			first.Release()
		}},
		{"ends with the request, and leaves no trace", func(t *testing.T, th *Throttle, first *Attempt) {
			ctx, cancel := context.WithCancel(t.Context())
			result := waiting(t, th, ctx)
			cancel()
			if err := <-result; !errors.Is(err, context.Canceled) {
				t.Errorf("error is %v, want context.Canceled", err)
			}
			if entries, _ := size(th.accounts); entries != 1 {
				t.Errorf("%d entries, want that of the first attempt", entries)
			}
			first.Release()
			if entries, _ := size(th.accounts); entries != 0 {
				t.Errorf("%d entries are left", entries)
			}
			passes(t, th, from("juan"), one)
		}},
		{"ends with the throttle", func(t *testing.T, th *Throttle, first *Attempt) {
			result := waiting(t, th, t.Context())
			th.Close()
			if err := <-result; !errors.Is(err, ErrClosed) {
				t.Errorf("error is %v, want ErrClosed", err)
			}
		}},
		{"looks once more at the end: a failure may have left its window", func(t *testing.T, th *Throttle, first *Attempt) {
			short := one
			short.Account = Limit{Failures: 2, Window: time.Second}
			fail(t, th, from("juan"), short, 1)
			a, err := th.Begin(t.Context(), from("juan"), short)
			if err != nil {
				t.Fatal(err)
			}
			a.Release()
			first.Release()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				th := start(t, nil, Options{})
				tt.run(t, th, begin(t, th, from("juan"), one))
			})
		})
	}
}

// TestNoCircle has attempts that each hold what another one waits for, in both
// orders: if a waiter held anything, they would all wait until time is up.
func TestNoCircle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := usual
		one.Account.Failures = 1
		th := start(t, nil, Options{MaxWait: time.Hour})
		// Names that are known hold their accounts from the start.
		begin(t, th, from("ana"), one).Succeed("id-1", Own)
		begin(t, th, from("eva"), one).Succeed("id-2", Own)
		began := time.Now()
		var group sync.WaitGroup
		for i := range 40 {
			name, ids := "ana", []string{"id-1", "id-2"}
			if i%2 == 1 {
				name, ids = "eva", []string{"id-2", "id-1"}
			}
			r := from(name)
			r.Source = anywhere(i)
			group.Go(func() {
				a, err := th.Begin(t.Context(), r, one)
				if err != nil {
					t.Error(err)
					return
				}
				defer a.Release()
				time.Sleep(bind) // the search
				for _, id := range ids {
					if err := a.Identify(t.Context(), id); err != nil {
						t.Error(err)
						return
					}
				}
				time.Sleep(bind)
			})
		}
		group.Wait()
		if took := time.Since(began); took > 40*3*bind {
			t.Errorf("40 attempts took %v of %v each", took, 2*bind)
		}
	})
}

// TestRace is for the race detector, and for what must hold in the end.
func TestRace(t *testing.T) {
	backend := newFakeBackend()
	th := start(t, backend, Options{MaxEntries: 32, MaxWait: 50 * time.Millisecond})
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			cookie := ""
			for i := range 300 {
				name := fmt.Sprint("user", (i*7+worker)%40)
				r := from(name)
				r.Source, r.Devices = anywhere(i%50), []string{cookie}
				a, err := th.Begin(context.Background(), r, usual)
				if err != nil {
					continue
				}
				if i%3 == 0 {
					if a.Identify(context.Background(), "id-"+name, "id-other") != nil {
						continue
					}
				}
				switch i % 5 {
				case 0:
					if c := a.Succeed("id-"+name, Own); c != "" {
						cookie = c
					}
				case 1:
					a.Release()
				default:
					a.Fail()
				}
			}
		})
	}
	group.Go(func() {
		for range 20 {
			th.accounts.clampAll(th.millis())
			th.accounts.sweepAll(th.millis())
			th.flushOnce(th.ctx)
		}
	})
	group.Wait()
	for _, table := range []*table{th.accounts, th.sources} {
		for i := range table.shards {
			sh := &table.shards[i]
			for k, e := range sh.entries {
				if e.reserved != 0 || e.key != k || e.place == uncounted || sh.counted[e.place] != e {
					t.Fatalf("entry in disorder: %+v", e)
				}
			}
			if len(sh.counted) > 2*sh.most {
				t.Errorf("%d entries, at most %d", len(sh.counted), 2*sh.most)
			}
		}
	}
}
