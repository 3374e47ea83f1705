package throttle

import "context"

// memory is the ledger of a process that counts alone: its tables.
type memory struct{ throttle *Throttle }

// hold is a claim with its place.
type hold struct {
	claim
	entry *entry
}

func (t *Throttle) shardOf(c claim) *shard { return t.tableOf(c.kind).shard(c.key) }

// judge is called with all locks of claims. No claims are no way in.
func (t *Throttle) judge(claims []claim, now int64) verdict {
	v := verdict{passed: len(claims) > 0}
	for _, c := range claims {
		s := t.shardOf(c).standing(c, now)
		if s.blocked > v.blocked {
			v.blocked, v.scope = s.blocked, c.kind.scope()
		}
		if s.full != nil && v.entry == nil {
			v.entry = s.full
		}
		v.passed = v.passed && s == standing{}
	}
	if v.blocked > 0 {
		v.entry = nil // waiting does not help
	}
	v.full = v.entry != nil
	return v
}

// shardsOf are those of all claims, and of what p holds here.
func (t *Throttle) shardsOf(p *places, groups ...[]claim) []*shard {
	shards := make([]*shard, 0, 8)
	for _, group := range groups {
		for _, c := range group {
			shards = append(shards, t.shardOf(c))
		}
	}
	for _, h := range p.here {
		shards = append(shards, t.shardOf(h.claim))
	}
	return shards
}

func (m memory) take(_ context.Context, p *places, own, common []claim) (admitted bool, again [2]<-chan struct{}, err error) {
	t := m.throttle
	defer lockAll(t.shardsOf(p, own, common))()
	t.giveBack(p)

	now := t.millis()
	device := t.judge(own, now)
	if device.passed {
		t.hold(p, own)
		return true, again, nil
	}
	all := t.judge(common, now)
	if all.passed {
		t.hold(p, common)
		return true, again, nil
	}
	if err := refusal(device, all); err != nil {
		return false, again, err
	}
	for i, v := range []verdict{device, all} {
		if v.full {
			again[i] = v.entry.wait()
		}
	}
	return false, again, nil
}

// hold reserves claims, under their locks.
func (t *Throttle) hold(p *places, claims []claim) {
	for _, c := range claims {
		p.here = append(p.here, hold{claim: c, entry: t.shardOf(c).reserve(c)})
	}
}

// giveBack releases what p holds here, under the locks.
func (t *Throttle) giveBack(p *places) {
	for _, h := range p.here {
		t.shardOf(h.claim).release(h.entry)
	}
	p.here = p.here[:0]
}

func (m memory) settle(p *places, failed bool, cleared []claim) {
	t := m.throttle
	now := t.millis()
	for _, h := range p.here {
		sh := t.shardOf(h.claim)
		sh.mu.Lock()
		if failed {
			sh.fail(h.entry, h.claim, now)
		} else {
			sh.release(h.entry)
		}
		sh.mu.Unlock()
	}
	p.here = nil
	for _, c := range cleared {
		sh := t.shardOf(c)
		sh.mu.Lock()
		sh.clear(c.key, c.kind, now)
		sh.mu.Unlock()
	}
}

func (m memory) recall(_ context.Context, k key, now int64) (a alias, ok bool, err error) {
	account, ok := m.throttle.aliases.get(k, now)
	return alias{account: account}, ok, nil
}

func (m memory) learn(k, account key, _ alias, now int64) { m.throttle.aliases.learn(k, account, now) }

var _ ledger = memory{}
