package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

func dropped(t *testing.T, b *bench) {
	var keys []sessionstore.Key
	for i := range 30 {
		keys = append(keys, b.create(NewSession(fmt.Sprint(i%2)), nil))
	}
	for range 700 { // among many that are not there
		keys = append(keys, NewKey())
	}
	keys = append(keys, keys[0])
	stays := NewSession("0")
	key := b.create(stays, nil)
	b.touch(keys[1], stays.Created)
	if err := b.Drop(t.Context(), keys); err != nil {
		t.Fatalf("Drop: %v", err)
	}
	if err := b.Drop(t.Context(), nil); err != nil {
		t.Errorf("Drop of nothing: %v", err)
	}
	for range 2 {
		for _, gone := range keys[:30] {
			b.wantMissing(gone)
		}
		b.want(key, stays, stays.Created)
		b.wantListed(everybody, asListed(key, stays, stays.Created))
		b.wantCounts(1, 2)
		b.touch(keys[0], stays.Created)
		b.update(keys[1], stays, false)
		b.delete(keys[2], false)
		b.reopen()
	}
}

// wantDeleted deletes a user's sessions and checks which those were.
func (b *bench) wantDeleted(user [2]string, keep *sessionstore.Key, want ...sessionstore.Listed) {
	b.t.Helper()
	deleted, err := b.DeleteUser(b.t.Context(), user[0], user[1], keep)
	if err != nil {
		b.t.Fatalf("DeleteUser: %v", err)
	}
	if len(deleted) != len(want) {
		b.t.Errorf("DeleteUser of %q: %d sessions, want %d", user, len(deleted), len(want))
		return
	}
	byKey := func(a, b sessionstore.Listed) int { return slices.Compare(a.Key[:], b.Key[:]) }
	deleted, want = slices.SortedFunc(slices.Values(deleted), byKey), slices.SortedFunc(slices.Values(want), byKey)
	for i := range want {
		if !reflect.DeepEqual(deleted[i], want[i]) {
			b.t.Errorf("DeleteUser of %q:\n got %+v\nwant %+v", user, deleted[i], want[i])
		}
		b.wantMissing(want[i].Key)
	}
}

func userDeleted(t *testing.T, b *bench) {
	user := [2]string{"empresa.local", "ana"}
	b.wantDeleted(user, nil)
	b.wantDeleted([2]string{"", ""}, nil)
	bea := NewSession("bea")
	beaKey := b.create(bea, nil)
	beaListed := asListed(beaKey, bea, bea.Created)

	signIn := func(n int) (all []sessionstore.Listed) {
		for range n {
			s := NewSession("ana")
			all = append(all, asListed(b.create(s, nil), s, s.Created))
		}
		return all
	}
	all := signIn(5)
	all[2].LastSeen = all[2].Created.Add(time.Minute)
	b.touch(all[2].Key, all[2].LastSeen)
	b.wantDeleted([2]string{"otra.local", "ana"}, nil)
	b.wantDeleted(user, nil, all...)
	b.wantDeleted(user, nil)

	all = signIn(4)
	b.wantDeleted(user, &all[1].Key, all[0], all[2], all[3])
	b.wantDeleted(user, &all[1].Key)
	kept := all[1]
	for range 2 {
		b.wantListed(everybody, kept, beaListed)
		b.want(beaKey, bea, bea.Created)
		b.reopen()
	}
	for i := range all {
		if i != 1 {
			b.touch(all[i].Key, all[i].Created.Add(time.Minute))
			b.wantMissing(all[i].Key)
		}
	}

	// To keep what is not the user's is to keep nothing.
	more := signIn(2)
	b.wantDeleted(user, &beaKey, kept, more[0], more[1])
	unknown := NewKey()
	more = signIn(2)
	b.wantDeleted(user, &unknown, more...)
	b.wantListed(everybody, beaListed)
	if r, ok, err := b.User(t.Context(), user[0], user[1]); !ok || err != nil || r.SignIns != 13 {
		t.Errorf("user record: %+v, %v, %v, want 13 sign-ins", r, ok, err)
	}
}

// More sessions than one step deletes.
func userOfManySessionsDeleted(t *testing.T, b *bench) {
	const n = 450
	var mu sync.Mutex
	var wg sync.WaitGroup
	var all []sessionstore.Listed
	for range 15 {
		wg.Go(func() {
			for range n / 15 {
				s, key := NewSession("ana"), NewKey()
				if err := b.Create(t.Context(), key, s, nil); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				all = append(all, asListed(key, s, s.Created))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	keep := all[n/2]
	b.wantDeleted([2]string{"empresa.local", "ana"}, &keep.Key, slices.Delete(slices.Clone(all), n/2, n/2+1)...)
	b.reopen()
	b.wantListed(everybody, keep)
}

// Every sign-in that was acknowledged before the call is gone after it, however
// many come meanwhile; and what a call says it has deleted, it has.
func userDeletedUnderLoad(t *testing.T, b *bench) {
	var mu sync.Mutex
	created := map[sessionstore.Key]bool{}
	snapshot := func() []sessionstore.Key {
		mu.Lock()
		defer mu.Unlock()
		var keys []sessionstore.Key
		for key := range created {
			keys = append(keys, key)
		}
		return keys
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			var last *sessionstore.Key
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				key := NewKey()
				if i%3 != 2 || w%2 == 0 {
					last = nil
				}
				if err := b.Create(t.Context(), key, NewSession("ana"), last); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				created[key] = true
				mu.Unlock()
				last = &key
				time.Sleep(200 * time.Microsecond) // a store in memory would make millions
			}
		})
	}
	deleted := map[sessionstore.Key]bool{}
	for range 12 {
		for len(snapshot()) < len(deleted)+20 && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
		before := snapshot()
		gone, err := b.DeleteUser(t.Context(), "empresa.local", "ana", nil)
		if err != nil {
			t.Error(err)
			break
		}
		for _, l := range gone {
			if deleted[l.Key] {
				t.Error("a session was deleted twice")
			}
			deleted[l.Key] = true
			if _, _, ok, err := b.Get(t.Context(), l.Key); ok || err != nil {
				t.Errorf("a deleted session: ok %v, error %v", ok, err)
			}
		}
		for _, key := range before {
			if _, _, ok, err := b.Get(t.Context(), key); ok || err != nil {
				t.Errorf("a session of a sign-in before the call: ok %v, error %v", ok, err)
			}
		}
		all, err := listAll(t, b, of("empresa.local", "ana"))
		if err != nil {
			t.Error(err)
		}
		for _, l := range all {
			if slices.Contains(before, l.Key) || deleted[l.Key] {
				t.Error("a deleted session is listed")
			}
		}
	}
	close(done)
	wg.Wait()
	b.reopen()
	for _, l := range b.list(everybody) {
		if deleted[l.Key] {
			t.Error("a deleted session is listed after reopening")
		}
	}
}
