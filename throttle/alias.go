package throttle

import (
	"sync"
	"time"
)

const (
	// aliasKept is how long a name stays known after its last success.
	aliasKept = 180 * 24 * time.Hour

	// aliasRenewed is after how long a success is noted again: not each of
	// them is worth a write.
	aliasRenewed = 24 * time.Hour

	aliasShards = 16
)

// alias is the account that a name has meant at its last success. It only ever
// adds a budget to those of the name, so that a wrong one lets nobody in.
type alias struct {
	account key
	learned int64
}

func (a alias) expires() int64 { return a.learned + aliasKept.Milliseconds() }

// aliases are bounded, and only somebody with a password can add one.
type aliases struct {
	shards []aliasShard
}

type aliasShard struct {
	most int

	mu      sync.Mutex
	entries map[key]alias
	dirty   map[key]struct{}
}

func newAliases(maxEntries int) *aliases {
	a := &aliases{shards: make([]aliasShard, aliasShards)}
	for i := range a.shards {
		a.shards[i] = aliasShard{
			most:    max(maxEntries/aliasShards, 1),
			entries: make(map[key]alias),
			dirty:   make(map[key]struct{}),
		}
	}
	return a
}

func (a *aliases) shard(k key) *aliasShard { return &a.shards[int(k[0])%len(a.shards)] }

// get returns the account that the name of k means.
func (a *aliases) get(k key, now int64) (account key, ok bool) {
	sh := a.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	found, ok := sh.entries[k]
	if !ok || now >= found.expires() {
		return key{}, false
	}
	return found.account, true
}

// learn notes a success.
func (a *aliases) learn(k, account key, now int64) {
	sh := a.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	old, ok := sh.entries[k]
	age := now - old.learned
	if ok && old.account == account && age >= 0 && age < aliasRenewed.Milliseconds() {
		return
	}
	if !ok && len(sh.entries) >= sh.most {
		sh.evict()
	}
	sh.entries[k] = alias{account: account, learned: now}
	sh.markDirty(k)
}

// restore takes over what was saved, unless there is no room for it.
func (a *aliases) restore(k key, saved alias, now int64) {
	sh := a.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	saved.learned = min(saved.learned, now)
	if len(sh.entries) < sh.most && now < saved.expires() {
		sh.entries[k] = saved
	}
}

// evict drops the oldest of a few. The name's own budget goes on without it.
func (sh *aliasShard) evict() {
	const sample = 8
	var oldest key
	n := 0
	for k, a := range sh.entries { // the order is random
		if n == 0 || a.learned < sh.entries[oldest].learned {
			oldest = k
		}
		if n++; n == sample {
			break
		}
	}
	delete(sh.entries, oldest)
	sh.markDirty(oldest)
}

// markDirty notes that k is to be saved, as for counters.
func (sh *aliasShard) markDirty(k key) {
	if _, ok := sh.dirty[k]; ok || len(sh.dirty) < 4*sh.most {
		sh.dirty[k] = struct{}{}
	}
}
