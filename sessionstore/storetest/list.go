package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// everybody is the query for the sessions of all users.
var everybody = sessionstore.ListQuery{Limit: 1000}

// of is the query for the sessions of one user.
func of(directory, id string) sessionstore.ListQuery {
	return sessionstore.ListQuery{Directory: directory, UserID: id, Limit: 1000}
}

// asListed is what a listing shows of a session.
func asListed(key sessionstore.Key, s *sessionstore.Session, seen time.Time) sessionstore.Listed {
	return sessionstore.Listed{
		Key: key, ID: s.ID, Directory: s.User.Directory, UserID: s.User.ID,
		Created: s.Created, LastSeen: seen, Limits: s.Limits,
	}
}

// list returns all pages of a query, and checks their sizes.
func (b *bench) list(query sessionstore.ListQuery) []sessionstore.Listed {
	b.t.Helper()
	all, err := listAll(b.t, b, query)
	if err != nil {
		b.t.Fatalf("List: %v", err)
	}
	return all
}

func listAll(t *testing.T, store sessionstore.Store, query sessionstore.ListQuery) (all []sessionstore.Listed, err error) {
	t.Helper()
	for {
		page, next, err := store.List(t.Context(), query)
		if err != nil {
			return nil, err
		}
		if len(page) > query.Limit {
			t.Fatalf("a page of %d sessions, at most %d were wanted", len(page), query.Limit)
		}
		all = append(all, page...)
		if next == "" {
			return all, nil
		}
		if next == query.After {
			t.Fatalf("the page after %q begins there again", next)
		}
		query.After = next
	}
}

// wantListed checks that a query finds exactly those sessions, of one user in
// this order.
func (b *bench) wantListed(query sessionstore.ListQuery, want ...sessionstore.Listed) {
	b.t.Helper()
	got := b.list(query)
	if query.UserID == "" {
		// The order of users is the store's own.
		checkTogether(b.t, got)
		want = slices.Clone(want)
		for _, list := range [][]sessionstore.Listed{got, want} {
			slices.SortFunc(list, func(a, b sessionstore.Listed) int { return slices.Compare(a.Key[:], b.Key[:]) })
		}
	}
	if len(got) != len(want) {
		b.t.Errorf("%d sessions are listed, want %d", len(got), len(want))
		return
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			b.t.Errorf("session %d is listed as\n%+v\nwant\n%+v", i, got[i], want[i])
		}
	}
}

// checkTogether checks that the sessions of a user stand together, in the order
// of their sign-ins.
func checkTogether(t *testing.T, all []sessionstore.Listed) {
	t.Helper()
	done := map[[2]string]bool{}
	for i, l := range all {
		user := [2]string{l.Directory, l.UserID}
		switch {
		case i > 0 && user == [2]string{all[i-1].Directory, all[i-1].UserID}:
			if l.Created.Before(all[i-1].Created) {
				t.Errorf("a sign-in at %s is listed after one at %s", l.Created, all[i-1].Created)
			}
		case done[user]:
			t.Errorf("the sessions of %q do not stand together", user)
		}
		done[user] = true
	}
}

func listed(t *testing.T, b *bench) {
	b.wantListed(everybody)
	b.wantListed(of("empresa.local", "ana"))

	now := time.Now().Round(0).UTC()
	var ana []sessionstore.Listed
	for _, age := range []time.Duration{3 * time.Hour, 2 * time.Hour, time.Hour, time.Nanosecond, 0} {
		s := NewSession("ana")
		s.Created = now.Add(-age)
		s.Limits = sessionstore.Limits{Idle: 5*time.Hour + 7, Absolute: age}
		ana = append(ana, asListed(sessionstore.Key{}, s, s.Created))
	}
	for _, i := range []int{3, 0, 4, 2, 1} { // not stored in the order of their sign-ins
		l := &ana[i]
		s := NewSession("ana")
		s.ID, s.Created, s.Limits = l.ID, l.Created, l.Limits
		l.Key = b.create(s, nil)
	}
	bea := NewSession("bea")
	beaListed := asListed(b.create(bea, nil), bea, bea.Created)
	all := append(slices.Clone(ana), beaListed)

	b.wantListed(of("empresa.local", "ana"), ana...)
	b.wantListed(of("empresa.local", "bea"), beaListed)
	b.wantListed(of("empresa.local", "carla"))
	b.wantListed(of("otra.local", "ana"))
	b.wantListed(everybody, all...)

	ana[1].LastSeen = now.Add(time.Minute)
	b.touch(ana[1].Key, ana[1].LastSeen)
	b.wantListed(of("empresa.local", "ana"), ana...)
	b.reopen()
	b.wantListed(of("empresa.local", "ana"), ana...)

	// What ends is not listed any more.
	b.delete(ana[0].Key, true)
	next := NewSession("ana")
	next.Created = now.Add(time.Nanosecond)
	last := asListed(b.create(next, &ana[2].Key), next, next.Created)
	for range 2 {
		b.wantListed(of("empresa.local", "ana"), ana[1], ana[3], ana[4], last)
		b.wantListed(everybody, ana[1], ana[3], ana[4], last, beaListed)
		b.reopen()
	}
}

// A listing follows what an update changes.
func listedUpdated(t *testing.T, b *bench) {
	s := NewSession("ana")
	key := b.create(s, nil)
	seen := s.Created.Add(time.Minute)
	b.touch(key, seen)
	for _, next := range []func(*sessionstore.Session){
		func(s *sessionstore.Session) { s.User.Groups = nil },
		func(s *sessionstore.Session) { s.Limits.Absolute += time.Hour },
		func(s *sessionstore.Session) { s.User.ID = "bea" },
		func(s *sessionstore.Session) { s.User.Directory = "otra.local" },
		func(s *sessionstore.Session) { s.Limits.Idle, s.Limits.Absolute = 1, 0 },
	} {
		was := s.User
		changed := *s
		next(&changed)
		s = &changed
		b.update(key, s, true)
		if was.ID != s.User.ID || was.Directory != s.User.Directory {
			b.wantListed(of(was.Directory, was.ID))
		}
		b.wantListed(of(s.User.Directory, s.User.ID), asListed(key, s, seen))
		b.wantListed(everybody, asListed(key, s, seen))
	}
	b.reopen()
	b.wantListed(everybody, asListed(key, s, seen))
	b.delete(key, true)
	b.wantListed(everybody)
}

// namesakes are users whose names run together if somebody lets them.
var namesakes = [][2]string{
	{"a", "bc"}, {"ab", "c"}, {"a", "b"}, {"abc", "c"}, {"a", "bcc"},
	{"a.x", "b"}, {"a.", "xb"}, {"a", "b\x00"}, {"a", "b\x00\x00"}, {"a", "\xff"}, {"a", "\xff\xff"},
	{"\x01", "a"}, {"\x01a", "\x01a"}, {"a", "\x01b"}, {"a", "b*"}, {"A", "b"},
	{"a", strings.Repeat("b", 127)}, {"a", strings.Repeat("b", 128)}, {"a", strings.Repeat("b", 129)},
	{strings.Repeat("a", 128), "b"}, {strings.Repeat("a", 8192), strings.Repeat("b", 8192)},
}

func listedApart(t *testing.T, b *bench) {
	all := map[[2]string][]sessionstore.Listed{}
	for _, user := range namesakes {
		for range 3 {
			s := NewSession(user[1])
			s.User.Directory = user[0]
			all[user] = append(all[user], asListed(b.create(s, nil), s, s.Created))
		}
	}
	for user, sessions := range all {
		b.wantListed(of(user[0], user[1]), sessions...)
		query := of(user[0], user[1])
		query.Limit = 2
		b.wantListed(query, sessions...)
	}
	// And so they end.
	rest := slices.Clone(namesakes)
	for i, user := range namesakes {
		b.wantDeleted(user, nil, all[user]...)
		delete(all, user)
		if i%4 != 0 {
			continue
		}
		for _, other := range rest[i+1:] {
			b.wantListed(of(other[0], other[1]), all[other]...)
		}
	}
	b.wantListed(everybody)
}

func found(t *testing.T, b *bench) {
	var sessions []*sessionstore.Session
	var keys []sessionstore.Key
	for i := range 20 {
		s := NewSession(fmt.Sprint(i % 3))
		sessions = append(sessions, s)
		keys = append(keys, b.create(s, nil))
	}
	first := sessions[0].ID
	long := NewSession("x" + first) // ends in the ID of another
	long.ID = "long-" + first
	longKey := b.create(long, nil)
	for range 2 {
		for i, s := range sessions {
			b.wantFound(s.ID, keys[i], true)
		}
		b.wantFound(long.ID, longKey, true)
		for _, id := range []string{"", "x", first[1:], first[:len(first)-1], first + "x", "-" + first, strings.ToUpper(first), "\x00"} {
			b.wantFound(id, sessionstore.Key{}, false)
		}
		b.reopen()
	}
	b.delete(keys[0], true)
	b.wantFound(first, sessionstore.Key{}, false)
	b.wantFound(long.ID, longKey, true)
	next := NewSession("1")
	nextKey := b.create(next, &keys[1])
	b.wantFound(sessions[1].ID, sessionstore.Key{}, false)
	b.wantFound(next.ID, nextKey, true)
}

func (b *bench) wantFound(id string, key sessionstore.Key, want bool) {
	b.t.Helper()
	if got, ok, err := b.Find(b.t.Context(), id); err != nil || ok != want || got != key {
		b.t.Errorf("Find of %q: ok %v, the key is right: %v, error %v; want %v", id, ok, got == key, err, want)
	}
}

func counted(t *testing.T, b *bench) {
	b.wantCounts(0, 0)
	s := NewSession("1")
	key := b.create(s, nil)
	b.wantCounts(1, 1)
	other := b.create(NewSession("1"), nil)
	b.wantCounts(2, 1)
	b.create(NewSession("2"), &other)
	b.wantCounts(2, 2)
	b.touch(key, s.Created.Add(time.Minute))
	b.update(key, changed(s, "a"), true)
	b.save(NewCounter("no session"))
	b.wantCounts(2, 2)
	b.reopen()
	b.wantCounts(2, 2)
	b.delete(key, true)
	b.delete(key, false)
	b.wantCounts(1, 2) // who has signed in stays known

	past := NewSession("3") // counts until it is deleted
	past.Created = past.Created.Add(-12*time.Hour - time.Minute)
	key = b.create(past, nil)
	b.wantCounts(2, 3)
	if err := b.Drop(t.Context(), []sessionstore.Key{key}); err != nil {
		t.Fatal(err)
	}
	b.wantCounts(1, 3)
}

func (b *bench) wantCounts(sessions, users int) {
	b.t.Helper()
	want := sessionstore.Counts{Sessions: sessions, Users: users}
	if got, err := b.Count(b.t.Context()); err != nil || got != want {
		b.t.Errorf("Count: %+v, error %v, want %+v", got, err, want)
	}
}
