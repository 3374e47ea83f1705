package redisstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// What stands under a session's name and is not its record is invalid, and
// nobody's session; and it can be ended all the same.
func TestRecordsThatCannotBeTrusted(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	options := Options{Addresses: []string{server.Addr}}
	s, c := open(t, options), raw(t, options)
	ctx := t.Context()
	get := func(name string) string {
		v, err := c.Do(ctx, c.B().Get().Key(name).Build()).ToString()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	set := func(name, value string) {
		if err := c.Do(ctx, c.B().Set().Key(name).Value(value).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(own, of string) string{
		"another session's":    func(_, of string) string { return of },
		"another one's record": func(own, of string) string { return own[:headSize] + of[headSize:] },
		"cut short":            func(own, _ string) string { return own[:len(own)-1] },
		"cut in its place":     func(own, _ string) string { return own[:headSize+10] },
		"cut in its length":    func(own, _ string) string { return own[:2] },
		"one byte":             func(string, string) string { return "x" },
		"a huge length":        func(own, _ string) string { return "\xff\xff\xff\xff" + own[headSize:] },
		"no place":             func(own, _ string) string { return "\x00\x00\x00\x00" + own[headSize:] },
		"an unknown format":    func(string, string) string { return "\x00\x00\x00\x01x\xee" + strings.Repeat("y", 80) },
		"text":                 func(string, string) string { return "<html>" },
	} {
		for how, end := range map[string]func(key sessionstore.Key) error{
			"Delete": func(key sessionstore.Key) error {
				ok, err := s.Delete(ctx, key)
				if err == nil && !ok {
					err = errors.New("it says that there was none")
				}
				return err
			},
			"Drop":       func(key sessionstore.Key) error { return s.Drop(ctx, []sessionstore.Key{key}) },
			"DeleteUser": func(sessionstore.Key) error { _, err := s.DeleteUser(ctx, "empresa.local", "ana", nil); return err },
			"a sign-in that replaces it": func(key sessionstore.Key) error {
				next := storetest.NewKey()
				if err := s.Create(ctx, next, storetest.NewSession("carla"), &key); err != nil {
					return err
				}
				return s.Drop(ctx, []sessionstore.Key{next})
			},
		} {
			t.Run(name+", ended by "+how, func(t *testing.T) {
				ana, bea := storetest.NewSession("ana"), storetest.NewSession("bea")
				key, other := storetest.NewKey(), storetest.NewKey()
				if err := errors.Join(s.Create(ctx, key, ana, nil), s.Create(ctx, other, bea, nil)); err != nil {
					t.Fatal(err)
				}
				own := s.keys.session(key)
				set(own, spoil(get(own), get(s.keys.session(other))))
				if got, _, ok, err := s.Get(ctx, key); got != nil || ok || !errors.Is(err, sessionstore.ErrInvalidRecord) {
					t.Errorf("Get: %v, %v, %v, want an invalid record", got, ok, err)
				}
				if ok, err := s.Update(ctx, key, ana); ok || !errors.Is(err, sessionstore.ErrInvalidRecord) {
					t.Errorf("Update: %v, %v, want an invalid record", ok, err)
				}
				if err := end(key); err != nil {
					t.Fatal(err)
				}
				if _, _, ok, err := s.Get(ctx, key); ok || err != nil {
					t.Errorf("Get of an ended one: %v, %v", ok, err)
				}
				page, _, err := s.List(ctx, sessionstore.ListQuery{Limit: 10})
				if err != nil || len(page) != 1 || page[0].Key != other {
					t.Errorf("%d sessions are listed, error %v, want the other one", len(page), err)
				}
				if _, ok, err := s.Find(ctx, ana.ID); ok || err != nil {
					t.Errorf("Find of an ended one: %v, %v", ok, err)
				}
				if got, _, ok, err := s.Get(ctx, other); !ok || err != nil || got.User.ID != "bea" {
					t.Errorf("the other session: %v, %v", ok, err)
				}
				if err := s.Drop(ctx, []sessionstore.Key{other}); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
	// Nothing is left of them but who has signed in, and for a minute what was
	// replaced.
	left, err := c.Do(ctx, c.B().Keys().Pattern("*").Build()).AsStrSlice()
	left = slices.DeleteFunc(left, func(name string) bool { return strings.HasPrefix(name, s.keys.replaced) })
	if err != nil || len(left) != 4 {
		t.Errorf("%q are left, error %v, want the records and the list of three users", left, err)
	}
}

func TestDamagedTimesUsersAndSecrets(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	options := Options{Addresses: []string{server.Addr}}
	s, c := open(t, options), raw(t, options)
	ctx := t.Context()
	session, key := storetest.NewSession("ana"), storetest.NewKey()
	if err := s.Create(ctx, key, session, nil); err != nil {
		t.Fatal(err)
	}
	run := func(command rueidis.Completed) {
		t.Helper()
		if err := c.Do(ctx, command).Error(); err != nil {
			t.Fatal(err)
		}
	}
	run(c.B().Hset().Key(s.keys.seen).FieldValue().FieldValue(string(key[:]), "soon").Build())
	if err := s.Touch(ctx, []sessionstore.Touch{{Key: key, Seen: time.Now()}}); err != nil {
		t.Errorf("Touch: %v", err)
	}
	if _, _, ok, err := s.Get(ctx, key); ok || !errors.Is(err, sessionstore.ErrInvalidRecord) {
		t.Errorf("Get: %v, %v, want an invalid record", ok, err)
	}
	run(c.B().Set().Key(s.keys.user("empresa.local", "ana")).Value("nonsense").Build())
	if _, ok, err := s.User(ctx, "empresa.local", "ana"); ok || !errors.Is(err, sessionstore.ErrInvalidRecord) {
		t.Errorf("User: %v, %v", ok, err)
	}
	if page, _, err := s.Users(ctx, "", 10); len(page) != 0 || err != nil {
		t.Errorf("Users: %v, %v", page, err)
	}
	if err := s.Create(ctx, storetest.NewKey(), session, nil); err != nil {
		t.Errorf("a sign-in of a user with a damaged record: %v", err)
	}
	if r, ok, err := s.User(ctx, "empresa.local", "ana"); !ok || err != nil || r.SignIns != 1 {
		t.Errorf("User: %+v, %v, %v, want it anew", r, ok, err)
	}
	run(c.B().Set().Key(s.keys.secret("device")).Value("nonsense").Build())
	for range 2 {
		if got, err := s.Secret(ctx, "device", []byte("fresh")); string(got) != "fresh" || err != nil {
			t.Errorf("Secret: %q, %v", got, err)
		}
	}
	run(c.B().Set().Key(s.keys.mark).Value("nonsense").Build())
	if at, err := s.Mark(ctx, time.Time{}); !at.IsZero() || err != nil {
		t.Errorf("Mark: %s, %v", at, err)
	}
	now := time.Now().Round(0)
	if at, err := s.Mark(ctx, now); !at.Equal(now) || err != nil {
		t.Errorf("Mark: %s, %v", at, err)
	}
}

// Nobody swept in time, and the server has collected a record: it counts and is
// listed no more.
func TestWhatTheServerCollectsLeavesNothingBehind(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	options := Options{Addresses: []string{server.Addr}}
	s, c := open(t, options), raw(t, options)
	ctx := t.Context()
	past, lives := storetest.NewSession("ana"), storetest.NewSession("ana")
	past.Created = past.Created.Add(-past.Limits.Absolute - 2*expirySlack)
	key, other := storetest.NewKey(), storetest.NewKey()
	if err := errors.Join(s.Create(ctx, key, past, nil), s.Create(ctx, other, lives, nil)); err != nil {
		t.Fatal(err)
	}
	if page, _, err := s.List(ctx, sessionstore.ListQuery{Limit: 10}); err != nil || len(page) != 1 || page[0].Key != other {
		t.Errorf("List: %v, %v", page, err)
	}
	if counts, err := s.Count(ctx); err != nil || counts.Sessions != 1 {
		t.Errorf("Count: %v, %v", counts, err)
	}
	if _, ok, err := s.Find(ctx, past.ID); ok || err != nil {
		t.Errorf("Find: %v, %v", ok, err)
	}
	if n, err := c.Do(ctx, c.B().Hlen().Key(s.keys.seen).Build()).AsInt64(); n != 1 || err != nil {
		t.Errorf("%d last-seen times, %v, want 1", n, err)
	}
	// The one that lives is collected a day after its last moment, by the server.
	at, err := c.Do(ctx, c.B().Pexpiretime().Key(s.keys.session(other)).Build()).AsInt64()
	if want := lives.Created.Add(lives.Limits.Absolute + expirySlack).UnixMilli(); err != nil || at < want || at > want+10 {
		t.Errorf("collected at %d, error %v, want %d", at, err, want)
	}
}

// A damaged session does not say where it stands in the index, and its end looks
// for that in a part of it only. It is listed no more, and the listing that meets
// what is left takes it away.
func TestAPlaceThatAnEndDoesNotFindGoesLater(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	options := Options{Addresses: []string{server.Addr}}
	s, c := open(t, options), raw(t, options)
	ctx := t.Context()
	session, key := storetest.NewSession("ana"), storetest.NewKey()
	session.Limits.Absolute = 0 // nor does the server collect it
	if err := s.Create(ctx, key, session, nil); err != nil {
		t.Fatal(err)
	}
	// Places that come before all others, as many as it looks at and one more.
	for from := 0; from <= lostBatches*listBatch; from += listBatch {
		add := c.B().Zadd().Key(s.keys.index).ScoreMember()
		for i := range listBatch {
			add = add.ScoreMember(0, fmt.Sprintf("\x00%8d", from+i))
		}
		if err := c.Do(ctx, add.Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Do(ctx, c.B().Set().Key(s.keys.session(key)).Value("x").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Delete(ctx, key); !ok || err != nil {
		t.Fatalf("Delete: %v, %v", ok, err)
	}
	if _, ok, err := s.Find(ctx, session.ID); !ok || err != nil {
		t.Errorf("Find: %v, %v, want that the whole index was not read", ok, err)
	}
	if page, _, err := s.List(ctx, sessionstore.ListQuery{Directory: "empresa.local", UserID: "ana", Limit: 10}); len(page) != 0 || err != nil {
		t.Errorf("List: %v, %v", page, err)
	}
	if _, ok, err := s.Find(ctx, session.ID); ok || err != nil {
		t.Errorf("Find after a listing: %v, %v", ok, err)
	}
	if n, err := c.Do(ctx, c.B().Zcard().Key(s.keys.index).Build()).AsInt64(); n != (lostBatches+1)*listBatch || err != nil {
		t.Errorf("%d places are left, error %v, want the others", n, err)
	}
}

// Counters of strangers do not pile up after they have expired.
func TestExpiredCountersAreCollected(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	options := Options{Addresses: []string{server.Addr}}
	s, c := open(t, options), raw(t, options)
	ctx := t.Context()
	var past []sessionstore.Counter
	for i := range 1000 {
		counter := storetest.NewCounter(fmt.Sprint(i))
		counter.Expires = time.Now().Add(-2 * counterSlack)
		past = append(past, counter)
	}
	recent := storetest.NewCounter("recent")
	recent.Expires = time.Now().Add(-time.Minute)
	if err := s.SaveCounters(ctx, append(past, recent, storetest.NewCounter("kept"))); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := s.SaveCounters(ctx, []sessionstore.Counter{storetest.NewCounter("kept")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, count := range []rueidis.Completed{c.B().Hlen().Key(s.keys.counters).Build(), c.B().Zcard().Key(s.keys.expiries).Build()} {
		if n, err := c.Do(ctx, count).AsInt64(); n != 2 || err != nil {
			t.Errorf("%d counters are left, error %v, want 2", n, err)
		}
	}
}

// A server that has forgotten the scripts gets them again.
func TestForgottenScripts(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	options := Options{Addresses: []string{server.Addr}}
	s, c := open(t, options), raw(t, options)
	for range 3 {
		if err := c.Do(t.Context(), c.B().ScriptFlush().Build()).Error(); err != nil {
			t.Fatal(err)
		}
		key := storetest.NewKey()
		if err := s.Create(t.Context(), key, storetest.NewSession("ana"), nil); err != nil {
			t.Fatal(err)
		}
		if ok, err := s.Delete(t.Context(), key); !ok || err != nil {
			t.Errorf("Delete: %v, %v", ok, err)
		}
	}
}
