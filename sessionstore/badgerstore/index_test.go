package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// wantListed checks whose sessions are listed, by their keys.
func wantListed(t *testing.T, s *Store, want ...sessionstore.Key) {
	t.Helper()
	page, next, err := s.List(t.Context(), sessionstore.ListQuery{Limit: 100})
	if err != nil || next != "" || len(page) != len(want) {
		t.Errorf("%d sessions are listed, then %q, error %v; want %d", len(page), next, err, len(want))
		return
	}
	for _, key := range want {
		found := false
		for i := range page {
			found = found || page[i].Key == key
		}
		if !found {
			t.Error("a session is not listed")
		}
	}
}

// signedIn stores a session of user id.
func signedIn(t *testing.T, s *Store, id string) (sessionstore.Key, *sessionstore.Session) {
	t.Helper()
	key, session := storetest.NewKey(), storetest.NewSession(id)
	if err := s.Create(t.Context(), key, session, nil); err != nil {
		t.Fatal(err)
	}
	return key, session
}

func TestDamagedPlacesArePassedOver(t *testing.T) {
	s, log := logged(t)
	key, _ := signedIn(t, s, "1")
	_, damaged := signedIn(t, s, "1")
	place := indexEntry(key, 0, damaged)
	for _, b := range [][]byte{
		{}, place.Value[:31], place.Value[:32], place.Value[:len(place.Value)-1], append(bytes.Clone(place.Value), 0),
		append(bytes.Clone(place.Value[:32]), bytes.Repeat([]byte{0xff}, 20)...),
		append(appendLimit(bytes.Clone(place.Value[:32]), time.Hour), 0xfe, 0xff, 0xff, 0xff, 0xff, 0x0f), // longer than any
		append(bytes.Clone(place.Value[:32]), 0, 0),                                                       // no idle limit
	} {
		put(t, s, place.Key, b)
		log.Reset()
		wantListed(t, s, key)
		if n := strings.Count(log.String(), "passed over"); n != 1 || strings.Contains(log.String(), damaged.ID) {
			t.Errorf("%x: log: %s", b, log)
		}
		if _, ok, err := s.Find(t.Context(), damaged.ID); ok || err != nil {
			t.Errorf("%x: Find: %v, %v, want none", b, ok, err)
		}
	}
	for _, k := range [][]byte{
		{prefixIndex}, {prefixIndex, 0}, {prefixIndex, 200}, indexPrefix("d", "u"),
		append(indexPrefix("d", "u"), make([]byte, 8)...),
		append(indexPrefix("d", "u"), "\xff2345678id"...),
		append(indexPrefix("", "u"), "12345678id"...),
		append(indexPrefix("d", ""), "12345678id"...),
		append([]byte{prefixIndex}, bytes.Repeat([]byte{0xff}, 30)...),
		append(appendField(appendField([]byte{prefixIndex}, "d"), uuid), "12345678id"...), // not in its short form
		append(appendField(appendField([]byte{prefixIndex}, "d"), "\x00short"), "12345678id"...),
	} {
		put(t, s, k, place.Value)
		if l, ok := decodeIndexKey(k); ok {
			t.Errorf("key %x was read as %+v", k, l)
		}
	}
	log.Reset()
	wantListed(t, s, key)
	if n := strings.Count(log.String(), "passed over"); n != 1 || !strings.Contains(log.String(), "number=12") {
		t.Errorf("log: %s", log)
	}
	put(t, s, place.Key, place.Value)
	if _, ok := decodeIndexKey(place.Key); !ok {
		t.Error("a place as it is written cannot be read")
	}
}

// Whoever has an ID that looks like the short form of another one, or begins like
// it, is somebody else.
func TestUsersWhoseIDsLookAlike(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	short := sessionstore.ShortID(uuid)
	ids := []string{uuid, strings.ToUpper(uuid), uuid[:35], uuid + "0", short, short[1:], "\x01" + short, short + "0", "\x00", "\x01", "x"}
	keys := map[string]sessionstore.Key{}
	for _, id := range ids {
		keys[id], _ = signedIn(t, s, id)
	}
	for i, id := range ids {
		query := sessionstore.ListQuery{Directory: "empresa.local", UserID: id, Limit: len(ids)}
		page, _, err := s.List(t.Context(), query)
		if err != nil || len(page) != 1 || page[0].Key != keys[id] || page[0].UserID != id {
			t.Errorf("sessions of %q: %+v, error %v", id, page, err)
		}
		if r, ok, err := s.User(t.Context(), "empresa.local", id); !ok || err != nil || r.ID != id || r.SignIns != 1 {
			t.Errorf("user %q: %+v, %v, %v", id, r, ok, err)
		}
		if users, _, err := s.Users(t.Context(), "", 2*len(ids)); len(users) != len(ids) || err != nil {
			t.Errorf("%d users are listed, error %v", len(users), err)
		}
		if deleted, err := s.DeleteUser(t.Context(), "empresa.local", id, nil); len(deleted) != 1 || err != nil {
			t.Errorf("DeleteUser of %q: %+v, error %v", id, deleted, err)
		}
		if counts, err := s.Count(t.Context()); counts.Sessions != len(ids)-1-i || err != nil {
			t.Errorf("Count: %+v, error %v", counts, err)
		}
	}
}

const uuid = "0c4ee0d2-6d19-4f36-9f3c-9a2f7b9d2c11"

func TestPlacesThatNoPageBeginsAt(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	var places []string // of the users' first sessions
	for _, id := range []string{"1", "2"} {
		_, session := signedIn(t, s, id)
		signedIn(t, s, id)
		places = append(places, cursor(indexKey(session)))
	}
	_, user, err := s.Users(t.Context(), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	one := sessionstore.ListQuery{Directory: "empresa.local", UserID: "1", Limit: 1}
	all := sessionstore.ListQuery{Limit: 1}
	for _, test := range []struct {
		name  string
		query sessionstore.ListQuery
		after string
		ok    bool
	}{
		{"of the user", one, places[0], true},
		{"of the user, for all", all, places[0], true},
		{"of another user", one, places[1], false},
		{"of another user, for all", all, places[1], true},
		{"cut short", all, cursor(indexPrefix("empresa.local", "1")), false},
		{"of the list of users", all, user, false},
		{"with padding", all, places[0] + "==", false},
		{"not base64", all, "?", false},
	} {
		query := test.query
		query.After = test.after
		page, _, err := s.List(t.Context(), query)
		if (err == nil) != test.ok || len(page) > 0 != test.ok {
			t.Errorf("%s: %d sessions, error %v", test.name, len(page), err)
		}
	}
	if page, _, err := s.Users(t.Context(), cursor([]byte{prefixUser, 200}), 1); err == nil {
		t.Errorf("Users: %d, want an error", len(page))
	}
}

func TestADamagedLastSeenTimeCountsAsTheCreation(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	key, session := signedIn(t, s, "1")
	later := session.Created.Add(time.Minute)
	for _, b := range [][]byte{
		{}, []byte("nonsense"), encodeSeen(later, storetest.NewKey()), encodeSeen(session.Created.Add(-time.Hour), key),
	} {
		put(t, s, seenKey(key), b)
		page, _, err := s.List(t.Context(), sessionstore.ListQuery{Limit: 1})
		if err != nil || len(page) != 1 || !page[0].LastSeen.Equal(session.Created) {
			t.Errorf("%x: %+v, error %v, want the creation", b, page, err)
		}
	}
	put(t, s, seenKey(key), encodeSeen(later, key))
	if page, _, err := s.List(t.Context(), sessionstore.ListQuery{Limit: 1}); err != nil || !page[0].LastSeen.Equal(later) {
		t.Errorf("%+v, error %v, want %s", page, err, later)
	}
}

func TestScansInParts(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	const n = 2*scanPart + 300
	keys := make(chan sessionstore.Key, n)
	var wg sync.WaitGroup
	for worker := range 100 {
		wg.Go(func() {
			for i := worker; i < n; i += 100 {
				session := storetest.NewSession(fmt.Sprint(i)) // a user each
				session.User.Groups = nil
				key := storetest.NewKey()
				if err := s.Create(t.Context(), key, session, nil); err != nil {
					t.Error(err)
					return
				}
				keys <- key
			}
		})
	}
	wg.Wait()
	close(keys)
	counts, err := s.Count(t.Context())
	if err != nil || counts.Sessions != n || counts.Users != n {
		t.Errorf("Count: %+v, error %v, want %d", counts, err, n)
	}
	all, next, err := s.List(t.Context(), sessionstore.ListQuery{Limit: 2 * n})
	if err != nil || next != "" || len(all) != n {
		t.Fatalf("List: %d sessions, then %q, error %v, want %d", len(all), next, err, n)
	}
	for _, i := range []int{0, scanPart - 1, scanPart, scanPart + 1, n - 1} {
		if key, ok, err := s.Find(t.Context(), all[i].ID); key != all[i].Key || !ok || err != nil {
			t.Errorf("Find of number %d: %v, %v", i, ok, err)
		}
		page, next, err := s.List(t.Context(), sessionstore.ListQuery{Limit: i + 1})
		if err != nil || len(page) != i+1 || page[i] != all[i] || (next == "") != (i == n-1) {
			t.Errorf("List of %d: %d, then %q, error %v", i+1, len(page), next, err)
		}
	}
	if users, next, err := s.Users(t.Context(), "", n-1); len(users) != n-1 || next == "" || err != nil {
		t.Errorf("Users: %d, then %q, error %v", len(users), next, err)
	}

	// Whoever does not wait any more is not worked for.
	for name, scan := range map[string]func(context.Context) error{
		"List": func(ctx context.Context) error {
			_, _, err := s.List(ctx, sessionstore.ListQuery{Limit: n})
			return err
		},
		"Find":  func(ctx context.Context) error { _, _, err := s.Find(ctx, "nobody"); return err },
		"Count": func(ctx context.Context) error { _, err := s.Count(ctx); return err },
		"Users": func(ctx context.Context) error { _, _, err := s.Users(ctx, "", n); return err },
	} {
		if err := scan(&patience{Context: t.Context(), looks: 2}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v, want context.Canceled", name, err)
		}
	}
}

// patience is a context that ends when it was looked at so many times.
type patience struct {
	context.Context
	looks int
}

func (p *patience) Err() error {
	if p.looks--; p.looks < 0 {
		return context.Canceled
	}
	return nil
}
