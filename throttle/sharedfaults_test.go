package throttle

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var errDown = errors.New("the server is down")

func TestSharedThatFails(t *testing.T) {
	t.Run("admits nobody, tells why, and leaves no place behind", func(t *testing.T) {
		shared := newFakeShared()
		a, _ := nodes(t, shared, Options{})
		for name, late := range map[string]bool{"not done": false, "done, and not told": true} {
			shared.set(func() { shared.down, shared.late = errDown, late })
			if attempt, err := a.Begin(t.Context(), from("juan"), usual); attempt != nil || !errors.Is(err, errDown) {
				t.Errorf("%s: error %v", name, err)
			}
			shared.wants(t, 0, 0)
			shared.set(func() { shared.down = nil })
			attempt := begin(t, a, from("juan"), usual)
			shared.set(func() { shared.down = errDown })
			for range 2 {
				if err := attempt.Identify(t.Context(), "id-juan"); !errors.Is(err, errDown) {
					t.Errorf("%s, Identify: error %v", name, err)
				}
			}
			attempt.Fail() // it has ended
			shared.set(func() { shared.down = nil })
			shared.mu.Lock()
			clear(shared.budgets)
			shared.mu.Unlock()
		}
	})
	t.Run("that hangs is left, and a caller who leaves is told so", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			th := start(t, silent{newFakeShared()}, Options{})
			began := time.Now()
			if _, err := th.Begin(t.Context(), from("juan"), usual); !errors.Is(err, errDown) {
				t.Errorf("error %v", err)
			}
			if took := time.Since(began); took > 2*sharedTimeout {
				t.Errorf("it took %v", took)
			}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			if _, err := th.Begin(ctx, from("juan"), usual); !errors.Is(err, context.Canceled) || errors.Is(err, errDown) {
				t.Errorf("error %v", err)
			}
		})
	})
	t.Run("loses outcomes, with one line for all of them", func(t *testing.T) {
		shared, logged := newFakeShared(), &log{}
		th := start(t, shared, Options{Logger: logged.logger()})
		var attempts []*Attempt
		for range 3 {
			attempts = append(attempts, begin(t, th, from("juan"), usual))
		}
		shared.set(func() { shared.down = errDown })
		attempts[0].Fail()
		if cookie := attempts[1].Succeed("id-juan", Own); cookie == "" {
			t.Error("a success got no device cookie")
		}
		attempts[2].Release()
		if n := logged.count("level=ERROR"); n != 1 {
			t.Errorf("%d errors were logged, want 1", n)
		}
		shared.set(func() { shared.down = nil })
		shared.wants(t, 0, 6) // which become failures
		passes(t, th, from("maria"), usual)
		passes(t, th, from("maria"), usual)
		if n := logged.count("level=INFO"); n != 1 {
			t.Errorf("%d lines that it works again, want 1", n)
		}
	})
	t.Run("with answers that make no sense admits nobody", func(t *testing.T) {
		shared := newFakeShared()
		a, _ := nodes(t, shared, Options{})
		cookie := signedIn(t, a, "juan", "id-juan", "")
		for name, answer := range map[string]Reserved{
			"nothing":                  {},
			"taken in no group":        {Taken: true},
			"too few":                  {Standings: make([]Standing, 1)},
			"too many":                 {Taken: true, Standings: make([]Standing, 3)},
			"blocked by no budget":     {Standings: []Standing{{Blocked: time.Minute, By: 9}, {}}},
			"blocked by less than one": {Standings: []Standing{{Blocked: time.Minute, By: -1}, {}}},
		} {
			shared.set(func() { shared.answer = &answer })
			if _, err := a.Begin(t.Context(), with(from("juan"), cookie), usual); !errors.Is(err, errShared) {
				t.Errorf("%s: error %v", name, err)
			}
		}
		shared.set(func() { shared.answer = &Reserved{Taken: true, Standings: make([]Standing, 1)} })
		if _, err := a.Begin(t.Context(), from("juan"), usual); !errors.Is(err, errShared) {
			t.Errorf("taken in a group without budgets: error %v", err)
		}
	})
	t.Run("is not told of what comes after Close", func(t *testing.T) {
		shared, logged := newFakeShared(), &log{}
		th := start(t, shared, Options{Logger: logged.logger()})
		attempt := begin(t, th, from("juan"), usual)
		if err := th.Close(); err != nil {
			t.Error(err)
		}
		shared.set(func() { shared.down = errDown })
		attempt.Fail()
		if n := logged.count("level="); n != 0 {
			t.Errorf("%d lines were logged", n)
		}
	})
}

// silent never answers.
type silent struct{ *fakeShared }

func (silent) Counter(ctx context.Context, _ [16]byte) (Counter, bool, error) {
	return Counter{}, false, nil
}

func (silent) Reserve(ctx context.Context, _ Reservation) (Reserved, error) {
	<-ctx.Done()
	return Reserved{}, errDown
}

func (silent) Settle(ctx context.Context, _ Settlement) ([]int, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
