package storetest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// changed is s as a re-check leaves it: with other groups.
func changed(s *sessionstore.Session, groups ...string) *sessionstore.Session {
	next := *s
	next.User.PasswordSet = fmt.Sprint(len(groups))
	next.User.Groups = nil
	for _, g := range groups {
		next.User.Groups = append(next.User.Groups, sessionstore.Group{ID: g})
	}
	return &next
}

func (b *bench) update(key sessionstore.Key, s *sessionstore.Session, want bool) {
	b.t.Helper()
	if ok, err := b.Update(b.t.Context(), key, s); err != nil || ok != want {
		b.t.Fatalf("Update: ok %v, error %v, want %v", ok, err, want)
	}
}

func updated(t *testing.T, b *bench) {
	s, other := NewSession("id-1"), NewSession("id-2")
	key, otherKey := b.create(s, nil), b.create(other, nil)
	record, _, err := b.User(t.Context(), "empresa.local", "id-1")
	if err != nil {
		t.Fatal(err)
	}

	// Before it was ever touched, and after.
	next := changed(s, "a", "b")
	b.update(key, next, true)
	b.want(key, next, s.Created)
	seen := s.Created.Add(time.Minute)
	b.touch(key, seen)
	b.want(key, next, seen)
	next = changed(s)
	b.update(key, next, true)
	b.want(key, next, seen)
	b.update(key, next, true) // the same again
	b.touch(key, seen.Add(-time.Second))
	b.want(key, next, seen)

	b.want(otherKey, other, other.Created)
	b.wantUser(record)
	b.reopen()
	b.want(key, next, seen)
	b.delete(key, true)
	b.wantMissing(key)
}

func updateAfterDelete(t *testing.T, b *bench) {
	s := NewSession("id-1")
	key := b.create(s, nil)
	b.touch(key, s.Created.Add(time.Minute))
	b.delete(key, true)
	old := b.create(s, nil)
	b.create(NewSession("id-1"), &old)
	unknown := NewKey()
	for range 2 {
		for name, key := range map[string]sessionstore.Key{"deleted": key, "replaced": old, "unknown": unknown} {
			if ok, err := b.Update(t.Context(), key, changed(s, "a")); ok || err != nil {
				t.Errorf("Update of a session that is %s: ok %v, error %v, want false", name, ok, err)
			}
			b.wantMissing(key)
		}
		b.reopen()
	}
}

func updateRefused(t *testing.T, b *bench) {
	s := NewSession("id-1")
	key := b.create(s, nil)
	for name, spoil := range map[string]func(*sessionstore.Session){
		"no user":              func(s *sessionstore.Session) { s.User.ID = "" },
		"no CSRF secret":       func(s *sessionstore.Session) { s.CSRF = "" },
		"a field out of bound": func(s *sessionstore.Session) { s.User.PasswordSet = strings.Repeat("x", 1<<20) },
		"too many groups":      func(s *sessionstore.Session) { s.User.Groups = make([]sessionstore.Group, 1<<20) },
	} {
		bad := *s
		spoil(&bad)
		if ok, err := b.Update(t.Context(), key, &bad); ok || err == nil {
			t.Errorf("%s: it was stored", name)
		}
		b.want(key, s, s.Created)
	}
}

// After each acknowledged delete the session stays away, whatever updates were
// under way; none of them reports success after it.
func updateAgainstDelete(t *testing.T, b *bench) {
	var wg sync.WaitGroup
	for i := range 40 {
		s := NewSession(fmt.Sprint(i))
		key := b.create(s, nil)
		start, deleted := make(chan struct{}), make(chan struct{})
		for w := range 4 {
			wg.Go(func() {
				<-start
				for n := 0; ; n++ {
					over := false
					select {
					case <-deleted:
						over = true
					default:
					}
					ok, err := b.Update(t.Context(), key, changed(s, fmt.Sprint(w), fmt.Sprint(n)))
					if err != nil || ok && over {
						t.Errorf("Update: ok %v, error %v; deleted before it began: %v", ok, err, over)
					}
					if over || err != nil {
						return
					}
				}
			})
		}
		wg.Go(func() {
			<-start
			if ok, err := b.Delete(t.Context(), key); !ok || err != nil {
				t.Errorf("Delete: ok %v, error %v", ok, err)
			}
			close(deleted)
			if _, _, ok, err := b.Get(t.Context(), key); ok || err != nil {
				t.Errorf("Get after the deletion: ok %v, error %v", ok, err)
			}
		})
		close(start)
		wg.Wait()
		b.wantMissing(key)
	}
}

func updateAgainstTouch(t *testing.T, b *bench) {
	s := NewSession("id-1")
	s.Limits = sessionstore.Limits{Idle: time.Hour} // touches rewrite its record
	key := b.create(s, nil)
	const n = 50
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			if ok, err := b.Update(t.Context(), key, changed(s, fmt.Sprint(i))); !ok || err != nil {
				t.Errorf("Update: ok %v, error %v", ok, err)
			}
		}
	})
	wg.Go(func() {
		for i := range n {
			seen := s.Created.Add(time.Duration(i) * time.Hour)
			if err := b.Touch(t.Context(), []sessionstore.Touch{{Key: key, Seen: seen}}); err != nil {
				t.Errorf("Touch: %v", err)
			}
		}
	})
	wg.Wait()
	b.want(key, changed(s, fmt.Sprint(n-1)), s.Created.Add((n-1)*time.Hour))
}

func updatedUnlimited(t *testing.T, b *bench) {
	s := NewSession("id-1")
	s.Limits = sessionstore.Limits{Idle: 24 * time.Hour}
	key := b.create(s, nil)
	var seen time.Time
	next := s
	for day := range 40 {
		seen = s.Created.Add(time.Duration(day) * 23 * time.Hour)
		b.touch(key, seen)
		next = changed(s, fmt.Sprint(day))
		b.update(key, next, true)
	}
	b.want(key, next, seen)
	b.reopen()
	b.want(key, next, seen)
}
