package throttle

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// sharedTimeout bounds each call of a Shared. Who cannot be counted by then
	// is not let in; what cannot be settled becomes a failure by itself.
	sharedTimeout = time.Second

	// Nobody tells when another process gives a place back: whoever waits asks
	// again, the first time after firstPoll, in the end each lastPoll.
	firstPoll = 20 * time.Millisecond
	lastPoll  = 100 * time.Millisecond
)

// errShared is a Shared that breaks its contract: nobody is let in by it.
var errShared = errors.New("the shared counters gave an answer that none of their calls has")

// sharedLedger counts in a Shared, for all processes that use it.
//
// Keys that there is no room for there are counted in this process's tables, so
// that a flood of made-up ones neither pushes a live count out nor has itself a
// way in. A key that is counted here stays so until that is over, beside what
// the Shared counts by then: else room that comes back would begin its count anew.
type sharedLedger struct {
	throttle *Throttle
	store    Shared
	room     int         // of made-up keys, as Options.MaxEntries
	outage   atomic.Bool // what was settled last could not be
	unlearnt atomic.Bool // what a name means could not be stored last
}

// budget is c as the Shared sees it.
func (l *sharedLedger) budget(c claim) Budget {
	room := l.room
	switch {
	case c.kind == kindSource:
		room = max(room/4, 1)
	case c.known:
		room *= 2
	}
	return Budget{Key: c.key, Source: c.kind == kindSource, Limit: c.limit.Failures, Window: c.limit.Window, Room: room}
}

func (l *sharedLedger) budgets(claims []claim) []Budget {
	budgets := make([]Budget, len(claims))
	for i, c := range claims {
		budgets[i] = l.budget(c)
	}
	return budgets
}

func (l *sharedLedger) take(ctx context.Context, p *places, own, common []claim) (admitted bool, again [2]<-chan struct{}, err error) {
	if p.id == (key{}) {
		rand.Read(p.id[:]) // never fails: it ends the process instead
	}
	l.settleHere(p, false, nil)
	groups := [][]claim{own, common}
	var verdicts [2]verdict
	for judged := 0; ; {
		r, err := l.reserve(ctx, p, groups[judged:])
		if err != nil {
			// The places may be taken all the same, and would be failures soon.
			l.abandon(p, own, common)
			return false, again, err
		}
		p.there = nil
		for _, s := range r.Standings {
			verdicts[judged] = verdictOf(groups[judged], s)
			judged++
		}
		if !r.Taken {
			break
		}
		overflow := r.Standings[len(r.Standings)-1].Overflow
		claims := groups[judged-1]
		for i, c := range claims {
			if !slices.Contains(overflow, i) {
				p.there = append(p.there, c)
			}
		}
		here := l.takeHere(p, claims, overflow)
		if here.passed {
			p.tries = 0
			return true, again, nil
		}
		verdicts[judged-1] = here // and the next round gives back what is held there
	}
	if err := refusal(verdicts[0], verdicts[1]); err != nil {
		return false, again, err
	}
	again[0] = l.poll(p)
	return false, again, nil
}

// reserve is Reserve, with its answer checked.
func (l *sharedLedger) reserve(ctx context.Context, p *places, groups [][]claim) (Reserved, error) {
	request := Reservation{Attempt: p.id, Held: l.budgets(p.there)}
	for _, group := range groups {
		request.Groups = append(request.Groups, l.budgets(group))
	}
	limited, cancel := context.WithTimeout(ctx, sharedTimeout)
	defer cancel()
	r, err := l.store.Reserve(limited, request)
	if err != nil {
		if ended := ctx.Err(); ended != nil {
			err = ended
		}
		return Reserved{}, fmt.Errorf("reserving a place for a sign-in: %w", err)
	}
	whole := len(r.Standings) == len(groups) || r.Taken && len(r.Standings) > 0 && len(r.Standings) < len(groups)
	for i := range r.Standings {
		whole = whole && (r.Standings[i].Blocked == 0 || r.Standings[i].By >= 0 && i < len(groups) && r.Standings[i].By < len(groups[i]))
	}
	if !whole || r.Taken && (len(r.Standings) == 0 || len(groups[len(r.Standings)-1]) == 0) {
		return Reserved{}, fmt.Errorf("reserving a place for a sign-in: %w", errShared)
	}
	return r, nil
}

func verdictOf(claims []claim, s Standing) verdict {
	v := verdict{blocked: s.Blocked.Milliseconds(), full: s.Full && s.Blocked == 0}
	if s.Blocked > 0 {
		v.blocked = max(v.blocked, 1)
		v.scope = claims[s.By].kind.scope()
	}
	return v
}

// takeHere takes places in the tables for claims that have overflowed, and for
// those of which something is counted here already.
func (l *sharedLedger) takeHere(p *places, claims []claim, overflow []int) verdict {
	t := l.throttle
	defer lockAll(t.shardsOf(p, claims))()
	now := t.millis()
	var here []claim
	for i, c := range claims {
		if slices.Contains(overflow, i) || t.shardOf(c).counts(c, now) {
			here = append(here, c)
		}
	}
	if len(here) == 0 {
		return verdict{passed: true}
	}
	v := t.judge(here, now)
	if v.passed {
		t.hold(p, here)
	}
	return v
}

// counts tells whether there is anything of the key of c.
func (sh *shard) counts(c claim, now int64) bool {
	if sh.entries[c.key] != nil {
		return true
	}
	s := sh.table.overflow(c.known).verdict(c.key, now, c.limit.Failures)
	return s.last+s.current > 0
}

func (l *sharedLedger) settleHere(p *places, failed bool, cleared []claim) {
	memory{l.throttle}.settle(p, failed, cleared)
}

// poll returns a channel that is closed when it is time to ask again. The times
// are spread, so that those who wait do not come all at once.
func (l *sharedLedger) poll(p *places) <-chan struct{} {
	wait := min(firstPoll<<min(p.tries, 8), lastPoll)
	p.tries++
	again := make(chan struct{})
	time.AfterFunc(wait/2+mathrand.N(wait), func() { close(again) })
	return again
}

// abandon gives back what an attempt holds, as far as that is possible.
func (l *sharedLedger) abandon(p *places, own, common []claim) {
	held := l.budgets(slices.Concat(p.there, own, common))
	p.there = nil
	ctx, cancel := context.WithTimeout(context.Background(), sharedTimeout)
	defer cancel()
	// Its error is that of the call before, which is returned.
	_, _ = l.store.Settle(ctx, Settlement{Attempt: p.id, Held: held})
}

func (l *sharedLedger) settle(p *places, failed bool, cleared []claim) {
	l.settleHere(p, failed, cleared)
	if len(p.there) == 0 && len(cleared) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), sharedTimeout)
	defer cancel()
	overflow, err := l.store.Settle(ctx, Settlement{
		Attempt: p.id, Held: l.budgets(p.there), Failed: failed, Cleared: l.budgets(cleared),
	})
	l.note(err)
	for _, i := range overflow {
		if i >= 0 && i < len(p.there) {
			l.failHere(p.there[i])
		}
	}
	p.there = nil
}

// failHere counts a failure in the tables that has no place there.
func (l *sharedLedger) failHere(c claim) {
	t := l.throttle
	sh := t.shardOf(c)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.fail(sh.reserve(c), c, t.millis())
}

// note logs once in an outage that outcomes are not known. They count as
// failures then, right passwords too: that is the safe side.
func (l *sharedLedger) note(err error) {
	switch {
	case err != nil && !l.throttle.closed.Load() && !l.outage.Swap(true):
		l.throttle.logger.Error("the outcome of a sign-in could not be counted: it counts as a wrong password until that works again", "error", err)
	case err == nil && l.outage.Swap(false):
		l.throttle.logger.Info("outcomes of sign-ins are counted again")
	}
}

// recall asks each time: the name may have been learned by another process.
func (l *sharedLedger) recall(ctx context.Context, k key, now int64) (a alias, ok bool, err error) {
	limited, cancel := context.WithTimeout(ctx, sharedTimeout)
	defer cancel()
	c, ok, err := l.store.Counter(limited, k)
	if err != nil {
		if ended := ctx.Err(); ended != nil {
			err = ended
		}
		return alias{}, false, fmt.Errorf("reading what the name means: %w", err)
	}
	if !ok {
		return alias{}, false, nil
	}
	_, found, err := decodeValue(c.Value)
	if err != nil || found == nil {
		return alias{}, false, nil // the name's own budget goes on without it
	}
	found.learned = min(found.learned, now)
	return *found, now < found.expires(), nil
}

func (l *sharedLedger) learn(k, account key, was alias, now int64) {
	if age := now - was.learned; was.account == account && age >= 0 && age < aliasRenewed.Milliseconds() {
		return
	}
	a := alias{account: account, learned: now}
	ctx, cancel := context.WithTimeout(context.Background(), sharedTimeout)
	defer cancel()
	err := l.store.Save(ctx, []Counter{{Key: k, Value: appendAlias(nil, a), Expires: time.UnixMilli(a.expires())}})
	if failed := err != nil && !l.throttle.closed.Load(); !l.unlearnt.Swap(failed) && failed && !l.outage.Load() {
		l.throttle.logger.Error("what a name means could not be stored: its failures count apart from its account's until the next sign-in", "error", err)
	}
}

var _ ledger = (*sharedLedger)(nil)
