// Package storetest is the conformance suite that every session store passes.
package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// Run checks the store that open opens. open gets the place where the store
// keeps its records, and is called again with the same one to see whether they
// are still there; it does not exist at first. Run closes what it opened.
func Run(t *testing.T, open func(t *testing.T, dir string) sessionstore.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"a created session is returned as it was", created},
		{"a missing session is not an error", missing},
		{"a session of the largest allowed size is kept", largest},
		{"a session that must not be stored is refused", refused},
		{"a sign-in replaces the old session in one step", replaced},
		{"an update replaces the session and nothing else", updated},
		{"an update never brings a session back", updateAfterDelete},
		{"an update that must not be stored is refused", updateRefused},
		{"an update that crosses a delete loses", updateAgainstDelete},
		{"updates and touches of one session do not undo each other", updateAgainstTouch},
		{"a touch moves the last-seen time forward only", touched},
		{"a touch never brings a session back", touchAfterDelete},
		{"a batch of touches is stored whole", touchedBatch},
		{"a delete is idempotent", deleted},
		{"sessions are dropped", dropped},
		{"the sessions of a user are deleted, but one", userDeleted},
		{"many sessions of a user are deleted", userOfManySessionsDeleted},
		{"a user's sign-ins before a deletion are gone after it", userDeletedUnderLoad},
		{"sessions are listed by user, in the order of their sign-ins", listed},
		{"a listing follows an update", listedUpdated},
		{"users whose names run together are listed and deleted apart", listedApart},
		{"a listing comes in pages of any size", listedPages},
		{"a listing goes on while sessions come and go", listedWhileTheyChange},
		{"a listing under load has each session once", listedUnderLoad},
		{"a listing of nonsense shows nothing of others", listedBadly},
		{"a session is found by its public id", found},
		{"sessions and users are counted", counted},
		{"a user record counts the sign-ins", users},
		{"users are listed in pages", usersListed},
		{"a listing of users from nonsense", usersListedBadly},
		{"users of other directories are other users", sameIDs},
		{"everything is there after reopening", reopened},
		{"a session without an absolute limit is kept while it is used", unlimited},
		{"a session is kept to the last moment of its limits", keptToTheEnd},
		{"an updated session is kept while it is used", updatedUnlimited},
		{"a counter is kept until it expires", countersKept},
		{"a counter without a value is deleted", countersDeleted},
		{"counters that cannot be stored are refused together", countersRefused},
		{"many counters are stored and read whole", countersMany},
		{"reading counters can be ended, and lets others work", countersYield},
		{"counters of several callers do not mix", countersAtOnce},
		{"the first secret of a name stays", secretKept},
		{"of several first secrets all callers get one", secretsAtOnce},
		{"a secret that must not be stored is refused", secretRefused},
		{"the latest time only rises", marked},
		{"the latest of many times is kept", markedAtOnce},
		{"a cancelled call says so", cancelled},
		{"a closed store says so", closed},
		{"a call that fails midway returns nothing", failedMidway},
		{"calls that cross Close finish or say closed", closedUnderLoad},
		{"a random history, step by step", steps},
		{"a random concurrent history", history},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := &bench{t: t, dir: filepath.Join(t.TempDir(), "sessions"), open: open}
			b.reopen()
			t.Cleanup(b.close)
			test.run(t, b)
		})
	}
}

// bench is a store under test.
type bench struct {
	sessionstore.Store
	t    *testing.T
	dir  string
	open func(*testing.T, string) sessionstore.Store
}

func (b *bench) close() {
	if b.Store == nil {
		return
	}
	if err := b.Close(); err != nil && !errors.Is(err, sessionstore.ErrClosed) {
		b.t.Errorf("Close: %v", err)
	}
	b.Store = nil
}

func (b *bench) reopen() {
	b.t.Helper()
	b.close()
	b.Store = b.open(b.t, b.dir)
}

// NewSession returns a session of user id, as a sign-in now makes it.
func NewSession(id string) *sessionstore.Session {
	return &sessionstore.Session{
		ID:      strings.ToLower(rand.Text()[:16]),
		CSRF:    (rand.Text() + rand.Text())[:32],
		Created: time.Now().Round(0).UTC(),
		Limits:  sessionstore.Limits{Idle: time.Hour, Absolute: 12 * time.Hour},
		User: sessionstore.User{
			Directory: "empresa.local", ID: id,
			Username: "mgarcia", DN: "CN=María García,OU=Ñandú,DC=empresa,DC=local",
			FirstName: "María", LastName: "García", DisplayName: "María García",
			Email: "mgarcia@empresa.local", UPN: "mgarcia@empresa.local",
			Title: "Jefa \x00\xff", Manager: "CN=Jefe,DC=empresa,DC=local",
			PasswordSet: "134082011230000000",
			Groups: []sessionstore.Group{
				{ID: "S-1-5-21-1004336348-1177238915-682003330-512", Name: "IT Admins", DN: "CN=IT Admins,DC=empresa,DC=local"},
				{ID: "S-1-5-21-1004336348-1177238915-682003330-513"},
				{ID: "S-1-5-32-545"},
			},
		},
		ClientIP: "192.0.2.7",
	}
}

// NewKey returns a random key.
func NewKey() sessionstore.Key { return sessionstore.NewToken().Key() }

func (b *bench) create(session *sessionstore.Session, replaces *sessionstore.Key) sessionstore.Key {
	b.t.Helper()
	key := NewKey()
	if err := b.Create(b.t.Context(), key, session, replaces); err != nil {
		b.t.Fatalf("Create: %v", err)
	}
	return key
}

// want checks that the session under key is session, last seen at seen.
func (b *bench) want(key sessionstore.Key, session *sessionstore.Session, seen time.Time) {
	b.t.Helper()
	got, lastSeen, ok, err := b.Get(b.t.Context(), key)
	if err != nil || !ok {
		b.t.Fatalf("Get: ok %v, error %v, want the session", ok, err)
	}
	if !reflect.DeepEqual(got, session) {
		b.t.Errorf("Get:\n got %+v\nwant %+v", got, session)
	}
	if !lastSeen.Equal(seen) {
		b.t.Errorf("last seen %s, want %s", lastSeen, seen)
	}
}

func (b *bench) wantMissing(key sessionstore.Key) {
	b.t.Helper()
	if s, _, ok, err := b.Get(b.t.Context(), key); ok || s != nil || err != nil {
		b.t.Fatalf("Get: session %v, ok %v, error %v, want none", s, ok, err)
	}
}

func (b *bench) touch(key sessionstore.Key, seen time.Time) {
	b.t.Helper()
	if err := b.Touch(b.t.Context(), []sessionstore.Touch{{Key: key, Seen: seen}}); err != nil {
		b.t.Fatalf("Touch: %v", err)
	}
}

func (b *bench) delete(key sessionstore.Key, want bool) {
	b.t.Helper()
	if ok, err := b.Delete(b.t.Context(), key); err != nil || ok != want {
		b.t.Fatalf("Delete: ok %v, error %v, want %v", ok, err, want)
	}
}

func created(t *testing.T, b *bench) {
	s := NewSession("id-1")
	key := b.create(s, nil)
	b.want(key, s, s.Created)

	bare := NewSession("id-2")
	bare.User = sessionstore.User{Directory: "d", ID: "2"}
	bare.ClientIP = ""
	b.want(b.create(bare, nil), bare, bare.Created)
}

func missing(t *testing.T, b *bench) {
	b.wantMissing(NewKey())
	b.wantMissing(sessionstore.Key{})
	if r, ok, err := b.User(t.Context(), "empresa.local", "nobody"); ok || err != nil || r.ID != "" {
		t.Errorf("User: %+v, %v, %v, want none", r, ok, err)
	}
}

func largest(t *testing.T, b *bench) {
	s := NewSession("large")
	s.User.Groups = nil
	for i := range 2000 {
		s.User.Groups = append(s.User.Groups, sessionstore.Group{
			ID:   fmt.Sprintf("S-1-5-21-1-2-3-%d", i),
			Name: strings.Repeat("n", 100), DN: strings.Repeat("d", 130),
		})
	}
	key := b.create(s, nil)
	b.touch(key, s.Created.Add(time.Minute))
	b.want(key, s, s.Created.Add(time.Minute))

	for range 3 { // one more is refused; the store goes on
		s.User.Groups = append(s.User.Groups, s.User.Groups...)
	}
	if err := b.Create(t.Context(), NewKey(), s, nil); err == nil {
		t.Error("a session larger than MaxRecord was stored")
	}
	next := NewSession("next")
	b.want(b.create(next, nil), next, next.Created)
}

func refused(t *testing.T, b *bench) {
	for name, spoil := range map[string]func(*sessionstore.Session){
		"no id":                func(s *sessionstore.Session) { s.ID = "" },
		"no user":              func(s *sessionstore.Session) { s.User.ID = "" },
		"no directory":         func(s *sessionstore.Session) { s.User.Directory = "" },
		"no CSRF secret":       func(s *sessionstore.Session) { s.CSRF = "" },
		"no idle timeout":      func(s *sessionstore.Session) { s.Limits.Idle = 0 },
		"negative limit":       func(s *sessionstore.Session) { s.Limits.Absolute = -1 },
		"created never":        func(s *sessionstore.Session) { s.Created = time.Time{} },
		"a field out of bound": func(s *sessionstore.Session) { s.User.Title = strings.Repeat("x", 1<<20) },
	} {
		old := b.create(NewSession("old"), nil)
		s := NewSession("refused")
		spoil(s)
		key := NewKey()
		if err := b.Create(t.Context(), key, s, &old); err == nil {
			t.Errorf("%s: it was stored", name)
		}
		b.wantMissing(key)
		if _, _, ok, _ := b.Get(t.Context(), old); !ok {
			t.Errorf("%s: the session that it should have replaced is gone", name)
		}
	}
	if _, ok, _ := b.User(t.Context(), "empresa.local", "refused"); ok {
		t.Error("a sign-in that was refused left a user record")
	}
}

func replaced(t *testing.T, b *bench) {
	s := NewSession("id-1")
	old := b.create(s, nil)
	b.touch(old, s.Created.Add(time.Minute))
	next := NewSession("id-1")
	key := b.create(next, &old)
	b.wantMissing(old)
	b.want(key, next, next.Created)
	b.delete(old, false)

	gone := NewKey() // replacing what is not there is a plain sign-in
	last := NewSession("id-1")
	b.want(b.create(last, &gone), last, last.Created)
	b.want(key, next, next.Created)
}

func touched(t *testing.T, b *bench) {
	s := NewSession("id-1")
	key := b.create(s, nil)
	at := func(d time.Duration) time.Time { return s.Created.Add(d) }
	for _, step := range []struct{ touch, want time.Duration }{
		{-time.Hour, 0},
		{time.Minute, time.Minute},
		{time.Second, time.Minute},
		{time.Minute, time.Minute},
		{time.Minute + 1, time.Minute + 1},
	} {
		b.touch(key, at(step.touch))
		b.want(key, s, at(step.want))
	}
	if err := b.Touch(t.Context(), nil); err != nil {
		t.Errorf("Touch of nothing: %v", err)
	}
}

func touchAfterDelete(t *testing.T, b *bench) {
	s := NewSession("id-1")
	key := b.create(s, nil)
	b.touch(key, s.Created.Add(time.Minute))
	b.delete(key, true)
	b.touch(key, s.Created.Add(2*time.Minute))
	b.wantMissing(key)
	b.touch(NewKey(), time.Now())
	b.reopen()
	b.wantMissing(key)
}

func touchedBatch(t *testing.T, b *bench) {
	var sessions []*sessionstore.Session
	var touches []sessionstore.Touch
	for i := range 30 {
		s := NewSession(fmt.Sprint(i))
		key := b.create(s, nil)
		sessions = append(sessions, s)
		touches = append(touches, sessionstore.Touch{Key: key, Seen: s.Created.Add(time.Duration(i+1) * time.Second)})
	}
	all := touches
	for range 1200 { // among many that are not there
		all = append(all, sessionstore.Touch{Key: NewKey(), Seen: time.Now()})
	}
	// The same key twice: the later time holds, whatever the order.
	all = append(all, sessionstore.Touch{Key: touches[0].Key, Seen: sessions[0].Created})
	if err := b.Touch(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	for i, s := range sessions {
		b.want(touches[i].Key, s, touches[i].Seen)
	}
}

func deleted(t *testing.T, b *bench) {
	s := NewSession("id-1")
	key, other := b.create(s, nil), NewSession("id-2")
	otherKey := b.create(other, nil)
	b.delete(key, true)
	b.wantMissing(key)
	b.delete(key, false)
	b.delete(NewKey(), false)
	b.want(otherKey, other, other.Created)
}

func (b *bench) wantUser(want sessionstore.UserRecord) {
	b.t.Helper()
	got, ok, err := b.User(b.t.Context(), want.Directory, want.ID)
	if err != nil || !ok {
		b.t.Fatalf("User: ok %v, error %v, want the record", ok, err)
	}
	if !reflect.DeepEqual(got, want) {
		b.t.Errorf("User:\n got %+v\nwant %+v", got, want)
	}
}

func users(t *testing.T, b *bench) {
	first := NewSession("id-1")
	key := b.create(first, nil)
	want := sessionstore.UserRecord{
		Directory: "empresa.local", ID: "id-1", Username: "mgarcia",
		FirstName: "María", LastName: "García", DisplayName: "María García",
		Email:       "mgarcia@empresa.local",
		FirstSignIn: first.Created, LastSignIn: first.Created, SignIns: 1,
	}
	b.wantUser(want)

	// Married since: the names are today's, the first sign-in stays.
	second := NewSession("id-1")
	second.Created = first.Created.Add(time.Minute)
	second.User.LastName, second.User.Username = "Gómez", "mgomez"
	b.create(second, &key)
	want.LastSignIn, want.SignIns = second.Created, 2
	want.LastName, want.Username = "Gómez", "mgomez"
	b.wantUser(want)

	b.reopen()
	b.wantUser(want)
}

func sameIDs(t *testing.T, b *bench) {
	for _, who := range [][2]string{{"a.x", "b"}, {"a.", "xb"}, {"a.xb", "c"}, {"a.x", "bc"}, {"b", "a.x"}} {
		s := NewSession(who[1])
		s.User.Directory = who[0]
		b.create(s, nil)
		if r, ok, err := b.User(t.Context(), who[0], who[1]); err != nil || !ok || r.SignIns != 1 {
			t.Errorf("user %q of %q: %+v, %v, %v, want one sign-in", who[1], who[0], r, ok, err)
		}
	}
}

func reopened(t *testing.T, b *bench) {
	kept, ended, old := NewSession("kept"), NewSession("ended"), NewSession("old")
	keptKey, endedKey, oldKey := b.create(kept, nil), b.create(ended, nil), b.create(old, nil)
	next := NewSession("old")
	nextKey := b.create(next, &oldKey)
	b.touch(keptKey, kept.Created.Add(time.Minute))
	b.delete(endedKey, true)
	for range 2 {
		b.reopen()
		b.want(keptKey, kept, kept.Created.Add(time.Minute))
		b.want(nextKey, next, next.Created)
		b.wantMissing(endedKey)
		b.wantMissing(oldKey)
	}
}

func unlimited(t *testing.T, b *bench) {
	s := NewSession("id-1")
	s.Limits = sessionstore.Limits{Idle: 24 * time.Hour}
	key := b.create(s, nil)
	// Its use goes on, beyond any time that was set at its creation.
	var seen time.Time
	for day := range 40 {
		seen = s.Created.Add(time.Duration(day) * 23 * time.Hour)
		b.touch(key, seen)
	}
	b.want(key, s, seen)
	b.reopen()
	b.want(key, s, seen)
}

func keptToTheEnd(t *testing.T, b *bench) {
	now := time.Now().Round(0).UTC()
	absolute := NewSession("absolute")
	absolute.Limits = sessionstore.Limits{Idle: 365 * 24 * time.Hour, Absolute: 100 * 24 * time.Hour}
	absolute.Created = now.Add(-absolute.Limits.Absolute + time.Second)
	b.want(b.create(absolute, nil), absolute, absolute.Created)

	idle := NewSession("idle")
	idle.Limits = sessionstore.Limits{Idle: 100 * 24 * time.Hour}
	idle.Created = now.Add(-idle.Limits.Idle + time.Second)
	b.want(b.create(idle, nil), idle, idle.Created)

	longest := NewSession("longest")
	longest.Limits = sessionstore.Limits{Idle: 1<<63 - 1, Absolute: 1<<63 - 1}
	b.want(b.create(longest, nil), longest, longest.Created)
	longest.Limits.Absolute = 0
	key := b.create(longest, nil)
	b.touch(key, now.Add(time.Hour))
	b.want(key, longest, now.Add(time.Hour))
}

func cancelled(t *testing.T, b *bench) {
	s := NewSession("id-1")
	key := b.create(s, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	fresh := NewKey()
	for name, answer := range calls(b, func() context.Context { return ctx }, key, fresh) {
		if !errors.Is(answer.err, context.Canceled) {
			t.Errorf("%s with a cancelled context: error %v, want context.Canceled", name, answer.err)
		}
		answer.wantNothing(t, name+" with a cancelled context")
	}
	b.want(key, s, s.Created)
	b.wantMissing(fresh)
	b.wantCounters()
	b.wantMark(time.Time{}, time.Time{})
	b.wantListed(everybody, asListed(key, s, s.Created))
	if got, err := b.Secret(t.Context(), "cancelled", []byte("of a later caller")); err != nil || string(got) != "of a later caller" {
		t.Errorf("Secret: %q, %v: that of a cancelled call was stored", got, err)
	}
}

func closed(t *testing.T, b *bench) {
	key := b.create(NewSession("id-1"), nil)
	store := b.Store
	if err := store.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	for name, answer := range calls(store, t.Context, key, NewKey()) {
		if !errors.Is(answer.err, sessionstore.ErrClosed) {
			t.Errorf("%s of a closed store: error %v, want ErrClosed", name, answer.err)
		}
		answer.wantNothing(t, name+" of a closed store")
	}
	if err := store.Close(); err != nil && !errors.Is(err, sessionstore.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}
