package storetest

import (
	"encoding/base64"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// allUsers returns all pages of user records.
func (b *bench) allUsers(limit int) (all []sessionstore.UserRecord) {
	b.t.Helper()
	for after := ""; ; {
		page, next, err := b.Users(b.t.Context(), after, limit)
		if err != nil {
			b.t.Fatalf("Users: %v", err)
		}
		if len(page) > limit {
			b.t.Fatalf("a page of %d users, at most %d were wanted", len(page), limit)
		}
		all = append(all, page...)
		if next == "" {
			return all
		}
		if next == after {
			b.t.Fatalf("the page after %q begins there again", next)
		}
		after = next
	}
}

func usersListed(t *testing.T, b *bench) {
	if all := b.allUsers(10); len(all) != 0 {
		t.Fatalf("%d users in an empty store", len(all))
	}
	want := map[[2]string]sessionstore.UserRecord{}
	for i, user := range namesakes {
		for range 1 + i%2 {
			s := NewSession(user[1])
			s.User.Directory = user[0]
			b.create(s, nil)
			want[user] = want[user].SignedIn(s)
		}
	}
	first := b.allUsers(1000)
	for _, limit := range []int{1, 2, 3, len(namesakes), 1 << 30} {
		if all := b.allUsers(limit); !reflect.DeepEqual(all, first) {
			t.Errorf("pages of %d: other users, or in another order", limit)
		}
	}
	for _, r := range first {
		user := [2]string{r.Directory, r.ID}
		if !reflect.DeepEqual(r, want[user]) {
			t.Errorf("user %q of %q: %+v\nwant %+v", r.ID, r.Directory, r, want[user])
		}
		delete(want, user)
	}
	if len(want) > 0 {
		t.Errorf("%d users are not listed", len(want))
	}

	// The end of their sessions is not that of the users.
	b.wantDeleted([2]string{"a", "b"}, nil, b.list(of("a", "b"))...)
	b.reopen()
	if all := b.allUsers(2); !reflect.DeepEqual(all, first) {
		t.Error("other users after reopening")
	}

	// Who comes while the pages are read changes nothing for the others.
	page, next, err := b.Users(t.Context(), "", 5)
	if err != nil {
		t.Fatal(err)
	}
	b.create(NewSession("somebody"), nil)
	for next != "" {
		var more []sessionstore.UserRecord
		if more, next, err = b.Users(t.Context(), next, 5); err != nil {
			t.Fatal(err)
		}
		page = append(page, more...)
	}
	page = slices.DeleteFunc(page, func(r sessionstore.UserRecord) bool { return r.ID == "somebody" })
	if !reflect.DeepEqual(page, first) {
		t.Error("a sign-in between two pages changed who is on them")
	}
}

func usersListedBadly(t *testing.T, b *bench) {
	b.create(NewSession("1"), nil)
	b.create(NewSession("2"), nil)
	for _, limit := range []int{0, -1} {
		if page, next, err := b.Users(t.Context(), "", limit); err == nil || len(page) > 0 || next != "" {
			t.Errorf("Users with limit %d: %d users, then %q, error %v; want an error", limit, len(page), next, err)
		}
	}
	_, next, err := b.Users(t.Context(), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []string{
		"x", "?", "AA", "AAAA", "\x00", next + "A", next[1:], next[:4], strings.Repeat("A", 100_000),
		base64.RawURLEncoding.EncodeToString([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01b")),
	} {
		page, _, err := b.Users(t.Context(), after, 10)
		for _, r := range page {
			if r.Directory != "empresa.local" || err != nil {
				t.Errorf("Users after %q: %+v, error %v", after, r, err)
			}
		}
	}
}
