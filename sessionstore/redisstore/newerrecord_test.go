package redisstore

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// nextFormat is higher than that of any record of today.
const nextFormat = "\x04"

// update is a Redis while its nodes are updated one after the other.
type update struct {
	t      *testing.T
	server *realserver.Redis
	c      rueidis.Client
	keys   keys
}

func newUpdate(t *testing.T) *update {
	t.Helper()
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	return &update{t, server, raw(t, Options{Addresses: []string{server.Addr}}), newKeys(defaultPrefix)}
}

// oldNode is a node that knows the formats of today.
func (u *update) oldNode(log *buffer) *sessionstore.Sessions {
	u.t.Helper()
	logger := slog.New(slog.NewTextHandler(log, nil))
	store, err := Open(Options{Addresses: []string{u.server.Addr}}, logger)
	if err != nil {
		u.t.Fatal(err)
	}
	sessions := sessionstore.New(store, sessionstore.Options{Ended: func(*sessionstore.Session, sessionstore.Result) {
		u.t.Error("the end of a session is told of")
	}}, logger)
	u.t.Cleanup(func() {
		if err := sessions.Close(); err != nil {
			u.t.Error(err)
		}
	})
	return sessions
}

func (u *update) get(name string) string {
	u.t.Helper()
	value, err := u.c.Do(u.t.Context(), u.c.B().Get().Key(name).Build()).ToString()
	if err != nil {
		u.t.Fatal(err)
	}
	return value
}

func (u *update) set(name, value string) {
	u.t.Helper()
	if err := u.c.Do(u.t.Context(), u.c.B().Set().Key(name).Value(value).Keepttl().Build()).Error(); err != nil {
		u.t.Fatal(err)
	}
}

// write has an updated node write the record of a session, in the format of
// tomorrow. It returns what stands there then, and what has stood there.
func (u *update) write(key sessionstore.Key) (now, before string) {
	u.t.Helper()
	before = u.get(u.keys.session(key))
	record := headSize + int(before[2])<<8 + int(before[3])
	now = before[:record] + nextFormat + "what only a newer version can read"
	u.set(u.keys.session(key), now)
	return now, before
}

// wantNewer looks a session up until the node has been told of its new record, and
// then wants that nothing is known of it.
func (u *update) wantNewer(n *sessionstore.Sessions, token sessionstore.Token) {
	u.t.Helper()
	for deadline := time.Now().Add(grace); ; time.Sleep(time.Millisecond) {
		_, result, err := n.Lookup(u.t.Context(), token, clockLimits, true)
		switch {
		case errors.Is(err, sessionstore.ErrNewerRecord) && result == sessionstore.Unknown:
			return
		case err == nil && result != sessionstore.Live:
			u.t.Fatalf("it is %v, want ErrNewerRecord", result)
		case errors.Is(err, sessionstore.ErrInvalidRecord) || time.Now().After(deadline):
			u.t.Fatalf("%v, %v, want ErrNewerRecord", result, err)
		}
	}
}

func (u *update) wantLive(n *sessionstore.Sessions, token sessionstore.Token) {
	u.t.Helper()
	eventually(u.t, "it lives", func() bool {
		_, result, err := n.Lookup(u.t.Context(), token, clockLimits, true)
		return err == nil && result == sessionstore.Live
	})
}

// The node that is not updated yet does the harm: it took what it could not read
// for damage, and signed people out on all nodes.
func TestANodeThatIsNotUpdatedYetLeavesNewerSessionsAlone(t *testing.T) {
	u, log := newUpdate(t), &buffer{}
	here, there := u.oldNode(log), u.oldNode(log)
	ctx, user := t.Context(), storetest.NewSession("ana").User
	signIn := func() (token sessionstore.Token, h sessionstore.Handle) {
		t.Helper()
		clockRetry(t, func() (err error) {
			token, h, err = here.SignIn(ctx, user, "192.0.2.1", clockLimits, nil)
			return err
		})
		return token, h
	}
	token, h := signIn()
	key := token.Key()
	u.wantLive(there, token)
	now, before := u.write(key)
	for range 3 {
		u.wantNewer(here, token)
		u.wantNewer(there, token)
	}
	if _, ok, err := here.Regroup(ctx, h, nil, ""); ok || !errors.Is(err, sessionstore.ErrNewerRecord) || errors.Is(err, sessionstore.ErrUnavailable) {
		t.Errorf("Regroup: %v, %v, want ErrNewerRecord", ok, err)
	}
	if page, _, err := here.List(ctx, sessionstore.ListQuery{Limit: 10}, sessionstore.Limits{}); len(page) != 0 || err != nil {
		t.Errorf("%d are listed, error %v, want none", len(page), err)
	}
	if counts, err := here.Count(ctx); counts.Sessions != 1 || err != nil {
		t.Errorf("Count: %+v, %v", counts, err)
	}
	if got := u.get(u.keys.session(key)); got != now {
		t.Errorf("%q stands there, want %q", got, now)
	}
	if text := log.String(); strings.Contains(text, "record") {
		t.Errorf("what concerns each request is told by who answers it, and the log has it too: %s", text)
	}

	// What an updated node has left is as good as it was.
	u.set(u.keys.session(key), before)
	u.wantLive(here, token)
	u.wantLive(there, token)

	for name, end := range map[string]func(token sessionstore.Token, h sessionstore.Handle) error{
		"End": func(token sessionstore.Token, _ sessionstore.Handle) error {
			_, err := here.End(ctx, token)
			return err
		},
		"EndID":  func(_ sessionstore.Token, h sessionstore.Handle) error { _, err := here.EndID(ctx, h.ID); return err },
		"Revoke": func(_ sessionstore.Token, h sessionstore.Handle) error { _, err := here.Revoke(ctx, h); return err },
		"EndUser": func(sessionstore.Token, sessionstore.Handle) error {
			_, err := here.EndUser(ctx, user.Directory, user.ID, sessionstore.Handle{})
			return err
		},
		"a sign-in that replaces it": func(token sessionstore.Token, _ sessionstore.Handle) error {
			_, _, err := here.SignIn(ctx, user, "192.0.2.1", clockLimits, &token)
			return err
		},
	} {
		token, h := signIn()
		u.write(token.Key())
		u.wantNewer(here, token)
		clockRetry(t, func() error { return end(token, h) })
		if n, err := u.c.Do(ctx, u.c.B().Exists().Key(u.keys.session(token.Key())).Build()).AsInt64(); n != 0 || err != nil {
			t.Errorf("%s: %d records are left, error %v", name, n, err)
		}
		clockRetry(t, func() error {
			_, result, err := there.Lookup(ctx, token, clockLimits, true)
			if err == nil && result != sessionstore.Unknown {
				t.Errorf("%s: it is %v on the other node, want unknown", name, result)
			}
			return err
		})
	}
}

// What else a newer version has written is neither replaced nor taken for nothing.
func TestNewerUsersAndSecretsAreLeftAlone(t *testing.T) {
	u, log := newUpdate(t), &buffer{}
	s := openLogging(t, Options{Addresses: []string{u.server.Addr}}, log)
	ctx, session, key := t.Context(), storetest.NewSession("ana"), storetest.NewKey()
	newer := nextFormat + "what only a newer version can read"
	u.set(u.keys.user("empresa.local", "ana"), newer)
	u.set(u.keys.secret("throttle"), newer)
	if err := u.c.Do(ctx, u.c.B().Zadd().Key(u.keys.people).ScoreMember().ScoreMember(0, person("empresa.local", "ana")).Build()).Error(); err != nil {
		t.Fatal(err)
	}

	if err := s.Create(ctx, key, session, nil); !errors.Is(err, sessionstore.ErrNewerRecord) {
		t.Errorf("Create: %v, want ErrNewerRecord", err)
	}
	if _, _, ok, err := s.Get(ctx, key); ok || err != nil {
		t.Errorf("Get: %v, %v, want no session", ok, err)
	}
	if _, ok, err := s.User(ctx, "empresa.local", "ana"); ok || !errors.Is(err, sessionstore.ErrNewerRecord) {
		t.Errorf("User: %v, %v, want ErrNewerRecord", ok, err)
	}
	if err := s.Create(ctx, storetest.NewKey(), storetest.NewSession("bea"), nil); err != nil {
		t.Errorf("the sign-in of somebody else: %v", err)
	}
	if page, _, err := s.Users(ctx, "", 10); len(page) != 1 || page[0].ID != "bea" || err != nil {
		t.Errorf("Users: %v, %v, want the other one", page, err)
	}
	if got, err := s.Secret(ctx, "throttle", []byte("fresh")); got != nil || !errors.Is(err, sessionstore.ErrNewerRecord) {
		t.Errorf("Secret: %q, %v, want ErrNewerRecord", got, err)
	}
	for _, name := range []string{u.keys.user("empresa.local", "ana"), u.keys.secret("throttle")} {
		if got := u.get(name); got != newer {
			t.Errorf("%q stands there, want %q", got, newer)
		}
	}
	if text := log.String(); strings.Contains(text, "cannot be read") || strings.Count(text, "of a newer version") != 1 {
		t.Errorf("the log: %s", text)
	}
}

func TestNewerCountersAreLeftAlone(t *testing.T) {
	u := newUpdate(t)
	s := open(t, Options{Addresses: []string{u.server.Addr}})
	ctx := t.Context()
	d := &budgetData{c: plain(t, Options{Addresses: []string{u.server.Addr}}), keys: u.keys}
	old, other := storetest.NewCounter("old"), storetest.NewCounter("other")
	if err := s.SaveCounters(ctx, []sessionstore.Counter{old}); err != nil {
		t.Fatal(err)
	}
	const newer = "\x02what only a newer version can read"
	d.do(t, "HSET", u.keys.counters, string(old.Key[:]), newer)
	gone := old
	gone.Value = nil
	for name, counters := range map[string][]sessionstore.Counter{"stored": {old, other}, "deleted": {gone}} {
		if err := s.SaveCounters(ctx, counters); !errors.Is(err, sessionstore.ErrNewerRecord) {
			t.Errorf("%s: %v, want ErrNewerRecord", name, err)
		}
	}
	if _, ok, err := s.Counter(ctx, old.Key); ok || !errors.Is(err, sessionstore.ErrNewerRecord) {
		t.Errorf("Counter: %v, %v, want ErrNewerRecord", ok, err)
	}
	if _, ok, err := s.Counter(ctx, other.Key); !ok || err != nil {
		t.Errorf("Counter of another key: %v, %v", ok, err)
	}
	if err := s.Counters(ctx, func(sessionstore.Counter) error { return nil }); !errors.Is(err, sessionstore.ErrNewerRecord) {
		t.Errorf("Counters: %v, want ErrNewerRecord", err)
	}
	if got, err := d.do(t, "HGET", u.keys.counters, string(old.Key[:])).ToString(); got != newer || err != nil {
		t.Errorf("%q stands there, %v, want %q", got, err, newer)
	}
}

// A count that cannot be read must not count as nothing: that would be free guesses.
func TestNewerBudgetsKeepOut(t *testing.T) {
	u := newUpdate(t)
	s := open(t, Options{Addresses: []string{u.server.Addr}})
	ctx := t.Context()
	d := &budgetData{c: plain(t, Options{Addresses: []string{u.server.Addr}}), keys: u.keys}
	juan, source, other := testBudget("juan"), testBudget("source"), testBudget("other")
	source.Source = true
	const newer = "\x02what only a newer version can read"
	for name, b := range map[string]sessionstore.Budget{"an account": juan, "a source": source} {
		d.damage(t, b, newer)
		attempt := [16]byte{1}
		for what, try := range map[string]func() error{
			"a place": func() error {
				_, err := s.Reserve(ctx, sessionstore.Reservation{Attempt: attempt, Groups: [][]sessionstore.Budget{{other, b}}})
				return err
			},
			"a place given back": func() error {
				_, err := s.Reserve(ctx, sessionstore.Reservation{Attempt: attempt, Held: []sessionstore.Budget{b}, Groups: [][]sessionstore.Budget{{other}}})
				return err
			},
			"a failure": func() error {
				_, err := s.Settle(ctx, sessionstore.Settlement{Attempt: attempt, Held: []sessionstore.Budget{other, b}, Failed: true})
				return err
			},
			"a success": func() error {
				_, err := s.Settle(ctx, sessionstore.Settlement{Attempt: attempt, Cleared: []sessionstore.Budget{b}})
				return err
			},
		} {
			if err := try(); !errors.Is(err, sessionstore.ErrNewerRecord) || errors.Is(err, sessionstore.ErrUnavailable) {
				t.Errorf("%s, %s: %v, want ErrNewerRecord", name, what, err)
			}
		}
		hash := u.keys.accounts
		if b.Source {
			hash = u.keys.sources
		}
		if got, err := d.do(t, "HGET", hash, string(b.Key[:])).ToString(); got != newer || err != nil {
			t.Errorf("%s: %q stands there, %v, want %q", name, got, err, newer)
		}
	}
	if n := d.count(t, u.keys.accounts, u.keys.accountEnds); n != 1 {
		t.Errorf("%d accounts are counted, want the newer one: a call is done whole or not at all", n)
	}

	// One whose expiry is further ahead than today's can be keeps out nobody else.
	d.do(t, "ZADD", u.keys.accountEnds, "9e15", string(juan.Key[:]))
	reserved, err := s.Reserve(ctx, sessionstore.Reservation{Attempt: [16]byte{2}, Groups: [][]sessionstore.Budget{{other}}})
	if err != nil || !reserved.Taken {
		t.Errorf("another account: %+v, %v", reserved, err)
	}
	if got, err := d.do(t, "HGET", u.keys.accounts, string(juan.Key[:])).ToString(); got != newer || err != nil {
		t.Errorf("%q stands there, %v, want %q", got, err, newer)
	}
}
