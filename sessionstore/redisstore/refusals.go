package redisstore

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// refusals writes down what a server answers that is well, as far as the keeper
// can see, and yet does not do what it is told, at most once a minute; and that it
// does it again, once for each time that it was told of.
type refusals struct {
	last atomic.Bool // so that calls look at no more as long as all is well

	mu      sync.Mutex
	told    time.Time
	refused map[string]bool // what was to be done; some of it may go on all the while
}

// refusedInScript are the beginnings of what a server says of a right that is missing
// inside a script: Redis 7.0 the first two, later ones and Valkey the last.
var refusedInScript = []string{
	"The user executing the script can't run this command",
	"The user executing the script can't access at least one of the keys",
	"ACL failure in script:",
}

// refusal returns the answer of a server that refuses: rights are missing, its
// memory or disk is full, it has too few replicas, or it hands our keys to another
// node of its cluster.
func refusal(err error) (answer error, ok bool) {
	e, ok := errors.AsType[*rueidis.RedisError](err)
	if !ok {
		return nil, false
	}
	switch code, _, _ := strings.Cut(e.Error(), " "); code {
	case "NOPERM", "OOM", "MISCONF", "NOREPLICAS", "TRYAGAIN":
		return e, true
	}
	for _, text := range refusedInScript {
		if strings.HasPrefix(e.Error(), text) {
			return e, true
		}
	}
	return nil, false
}

func (r *refusals) note(log *slog.Logger, addresses []string, doing string, err error) {
	answer, ok := refusal(err)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.told.IsZero() || now.Sub(r.told) >= reasonEvery {
		r.told, r.refused = now, make(map[string]bool)
		r.last.Store(true)
		log.Error("the Redis server refuses what keeping sessions needs; further refusals are not told of for a minute", "addresses", addresses, "error", answer)
	}
	if r.last.Load() {
		r.refused[doing] = true
	}
}

// over is called when something was done: that it does what it has refused says
// that the server is in order, unlike what it has done all the while.
func (r *refusals) over(log *slog.Logger, addresses []string, doing string) {
	if !r.last.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last.Load() && r.refused[doing] {
		r.last.Store(false)
		r.refused = nil
		log.Info("the Redis server does again what it has refused", "addresses", addresses)
	}
}
