package storetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// ledger is what a store must hold, exactly, while only one caller uses it.
type ledger struct {
	*bench
	r        *rand.Rand
	now      time.Time
	sessions map[sessionstore.Key]*sessionstore.Session
	seen     map[sessionstore.Key]time.Time
	gone     []sessionstore.Key
	users    map[[2]string]sessionstore.UserRecord
	mark     time.Time
}

// steps does one thing after the other and compares everything after each.
func steps(t *testing.T, b *bench) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	l := &ledger{
		bench: b, r: rand.New(rand.NewPCG(seed, 0)), now: time.Now().Round(0).UTC(),
		sessions: map[sessionstore.Key]*sessionstore.Session{},
		seen:     map[sessionstore.Key]time.Time{},
		users:    map[[2]string]sessionstore.UserRecord{},
	}
	for range 400 {
		l.now = l.now.Add(time.Duration(l.r.Int64N(int64(time.Minute))))
		step := l.step()
		l.check()
		if t.Failed() {
			t.Fatalf("after %s", step)
		}
	}
}

// pick returns a session that is there; now and then, or if none is, one that is
// gone or never was.
func (l *ledger) pick() (key sessionstore.Key, ok bool) {
	if len(l.sessions) == 0 || l.r.IntN(10) == 0 {
		if len(l.gone) == 0 || l.r.IntN(2) == 0 {
			return NewKey(), false
		}
		return l.gone[l.r.IntN(len(l.gone))], false
	}
	keys := slices.SortedFunc(maps.Keys(l.sessions), func(a, b sessionstore.Key) int { return slices.Compare(a[:], b[:]) })
	return keys[l.r.IntN(len(keys))], true
}

func (l *ledger) remove(key sessionstore.Key) {
	if l.sessions[key] != nil {
		l.gone = append(l.gone, key)
	}
	delete(l.sessions, key)
	delete(l.seen, key)
}

func (l *ledger) step() string {
	key, ok := l.pick()
	switch what := l.r.IntN(100); {
	case what < 35:
		return l.signIn(nil)
	case what < 42:
		return l.signIn(&key)
	case what < 55:
		at := l.now.Add(-time.Duration(l.r.Int64N(int64(time.Hour))))
		l.touch(key, at)
		if ok && at.After(l.seen[key]) {
			l.seen[key] = at
		}
		return "a touch"
	case what < 63:
		s := NewSession("nobody")
		if ok {
			s = changed(l.sessions[key], fmt.Sprint(l.now))
			l.sessions[key] = s
		}
		l.update(key, s, ok)
		return "an update"
	case what < 71:
		l.delete(key, ok)
		l.remove(key)
		return "a logout"
	case what < 76:
		return l.revoke(key, ok)
	case what < 81:
		return l.expire()
	case what < 86:
		return l.endUser(key, ok)
	case what < 90:
		at := l.now.Add(-time.Duration(l.r.Int64N(int64(time.Minute))))
		if at.After(l.mark) {
			l.mark = at
		}
		l.wantMark(at, l.mark)
		return "a mark"
	case what < 94:
		l.reopen()
		return "a restart"
	default:
		l.checkUsers()
		return "a look at the users"
	}
}

func (l *ledger) signIn(replaces *sessionstore.Key) string {
	user := namesakes[l.r.IntN(8)]
	s := NewSession(user[1])
	s.User.Directory, s.Created = user[0], l.now
	if l.r.IntN(3) == 0 {
		s.Limits.Absolute = 0
	}
	key := l.create(s, replaces)
	if replaces != nil {
		l.remove(*replaces)
	}
	l.sessions[key], l.seen[key] = s, s.Created
	l.users[user] = l.users[user].SignedIn(s)
	return "a sign-in"
}

func (l *ledger) revoke(key sessionstore.Key, ok bool) string {
	if ok {
		l.wantFound(l.sessions[key].ID, key, true)
	}
	l.delete(key, ok)
	l.remove(key)
	return "a revoke"
}

// expire does what a sweep does: whoever was not seen for long is dropped.
func (l *ledger) expire() string {
	var keys []sessionstore.Key
	for _, s := range l.list(everybody) {
		if l.now.Sub(s.LastSeen) >= s.Limits.Idle/2 {
			keys = append(keys, s.Key)
		}
	}
	keys = append(keys, l.gone...)
	if err := l.Drop(l.t.Context(), keys); err != nil {
		l.t.Errorf("Drop: %v", err)
	}
	for _, key := range keys {
		l.remove(key)
	}
	return "a sweep"
}

func (l *ledger) endUser(key sessionstore.Key, ok bool) string {
	user := namesakes[l.r.IntN(8)]
	var keep *sessionstore.Key
	if l.r.IntN(2) == 0 {
		keep = &key
		if ok && l.r.IntN(4) > 0 {
			u := &l.sessions[key].User
			user = [2]string{u.Directory, u.ID}
		}
	}
	var want []sessionstore.Listed
	for k, s := range l.sessions {
		if s.User.Directory == user[0] && s.User.ID == user[1] && (keep == nil || k != *keep) {
			want = append(want, asListed(k, s, l.seen[k]))
		}
	}
	l.wantDeleted(user, keep, want...)
	for i := range want {
		l.remove(want[i].Key)
	}
	return "the end of a user's sessions"
}

// check compares what the store shows with what it must hold.
func (l *ledger) check() {
	l.t.Helper()
	var all []sessionstore.Listed
	for key, s := range l.sessions {
		all = append(all, asListed(key, s, l.seen[key]))
	}
	query := everybody
	query.Limit = 1 + l.r.IntN(20)
	l.wantListed(query, all...)
	l.wantCounts(len(l.sessions), len(l.users))
	l.wantMark(time.Time{}, l.mark)

	user := namesakes[l.r.IntN(8)]
	var own []sessionstore.Listed
	for i := range all {
		if all[i].Directory == user[0] && all[i].UserID == user[1] {
			own = append(own, all[i])
		}
	}
	slices.SortFunc(own, func(a, b sessionstore.Listed) int { return a.Created.Compare(b.Created) })
	query = of(user[0], user[1])
	query.Limit = 1 + l.r.IntN(4)
	l.wantListed(query, own...)

	for range 3 {
		if key, ok := l.pick(); ok {
			l.want(key, l.sessions[key], l.seen[key])
		} else {
			l.wantMissing(key)
		}
	}
}

func (l *ledger) checkUsers() {
	l.t.Helper()
	all := l.allUsers(1 + l.r.IntN(5))
	if len(all) != len(l.users) {
		l.t.Errorf("%d users, want %d", len(all), len(l.users))
	}
	for _, r := range all {
		if r != l.users[[2]string{r.Directory, r.ID}] {
			l.t.Errorf("user %+v, want %+v", r, l.users[[2]string{r.Directory, r.ID}])
		}
	}
}
