package caddyauth

import (
	"errors"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// TestAdminListsOnAFullDisk: no listing has ever needed a cursor, and now the
// store cannot keep the secret of cursors.
func TestAdminListsOnAFullDisk(t *testing.T) {
	storage, faults := faultyStorage(t)
	s, a := startAdmin(t, setup{storage: storage})
	for range 5 {
		s.signIn("ac12345")
	}
	s.signIn("mgarcia")
	if n := faults.cursors.Load(); n != 0 {
		t.Errorf("the secret was asked for %d times before any cursor", n)
	}
	faults.noSpace.Store(true)
	whole := idsOf(a.sessions("").Sessions)
	if paged, pages := a.all(url.Values{}, 1); !slices.Equal(idsOf(paged), whole) || pages != len(whole) {
		t.Errorf("%d pages with %v, want %v", pages, idsOf(paged), whole)
	}
	var users adminUserPage
	a.get("/ldap_auth/users?limit=1", &users)
	if len(users.Users) != 1 || users.Next == "" {
		t.Errorf("users: %+v", users)
	}
	begun := a.sessions("?limit=1")

	// What was begun goes on, in a new configuration and with space again.
	if err := s.load(a.text + "\n"); err != nil {
		t.Fatal(err)
	}
	faults.noSpace.Store(false)
	if rest := a.sessions("?cursor=" + begun.Next); !slices.Equal(idsOf(rest.Sessions), whole[1:]) {
		t.Errorf("after a reload: %v, want %v", idsOf(rest.Sessions), whole[1:])
	}
	if n := faults.cursors.Load(); n != 1 {
		t.Errorf("the secret was asked for %d times", n)
	}
}

// TestAdminAsksForTheCursorsSecretOnce: each time is a write.
func TestAdminAsksForTheCursorsSecretOnce(t *testing.T) {
	storage, faults := faultyStorage(t)
	s, a := startAdmin(t, setup{storage: storage})
	s.signIn("ac12345")
	s.signIn("ac12345")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 25 {
				got, err := a.once("GET", "/ldap_auth/sessions?limit=1")
				if err != nil || got.StatusCode != 200 {
					t.Errorf("got %+v, %v", got, err)
				}
			}
		})
	}
	all.Wait()
	if n := faults.cursors.Load(); n != 1 {
		t.Errorf("100 listings asked for the secret %d times", n)
	}
}

func TestAdminCursors(t *testing.T) {
	storage, faults := faultyStorage(t)
	s, a := startAdmin(t, setup{storage: storage})
	s.signIn("ac12345")
	s.signIn("ac12345")

	// Of a store that fails otherwise nothing is kept.
	faults.down.Store(true)
	app, sessions := a.live()
	if _, err := app.store.cursors.cipher(t.Context(), sessions); !errors.Is(err, errStoreDown) {
		t.Errorf("a store that fails: %v", err)
	}
	faults.down.Store(false)

	// Another process, with the same store, opens what this one has sealed.
	call := adminCall{app: app, sessions: sessions}
	text, err := call.cursor(t.Context(), "sessions", listPlace{Sessions: "place"})
	if err != nil {
		t.Fatal(err)
	}
	call.query.cursor = text
	later := call
	later.app = &App{store: new(storeHandle)}
	if at, err := later.place(t.Context(), "sessions"); err != nil || at.Sessions != "place" {
		t.Errorf("after a restart: %+v, %v", at, err)
	}

	// One without a stored secret does not, and says so.
	faults.noSpace.Store(true)
	later.app = &App{store: new(storeHandle)}
	if at, err := later.place(t.Context(), "sessions"); err == nil {
		t.Errorf("with another secret: %+v", at)
	}
	faults.noSpace.Store(false)
	changed := "x" + text[1:]
	if changed == text {
		changed = "y" + text[1:]
	}
	a.refused(a.do("GET", "/ldap_auth/sessions?cursor="+changed), 400, "begin again")
	a.refused(a.do("GET", "/ldap_auth/users?cursor="+text), 400, "begin again")
}

func TestWhomAnEndMeans(t *testing.T) {
	_, a := startAdmin(t, setup{})
	people := map[string]sessionstore.User{
		"victim":          {Directory: "empresa.local", ID: "id-1", Username: "victim", Email: "victim@example.com"},
		"mail is a name":  {Directory: "empresa.local", ID: "id-2", Username: "mallory", Email: "Victim"},
		"mail is an id":   {Directory: "empresa.local", ID: "id-3", Username: "trudy", Email: "id-1"},
		"name is a mail":  {Directory: "empresa.local", ID: "id-4", Username: "shared@example.com"},
		"of that mail":    {Directory: "empresa.local", ID: "id-5", Username: "oscar", Email: "shared@example.com"},
		"name is an id":   {Directory: "empresa.local", ID: "id-6", Username: "id-5"},
		"one of two":      {Directory: "empresa.local", ID: "id-7", Username: "twin", Email: "both@example.com"},
		"another of two":  {Directory: "otra.test", ID: "id-8", Username: "TWIN", Email: "Both@example.com"},
		"one ID":          {Directory: "empresa.local", ID: "id-9", Username: "carol"},
		"the same ID":     {Directory: "otra.test", ID: "id-9", Username: "carlos"},
		"mail of no name": {Directory: "empresa.local", ID: "id-10", Username: "dave", Email: "id-9"},
	}
	for _, user := range people {
		a.signInAs(user)
	}
	for i := range 2 * maxNamed { // more than an error names, of a weaker kind
		a.signInAs(sessionstore.User{Directory: "empresa.local", ID: "crowd-" + string(rune('a'+i)), Username: "crowd-" + string(rune('a'+i)), Email: "oscar"})
	}
	ctx := t.Context()
	for _, test := range []struct {
		user, directory string
		who             string   // of people
		several         []string // IDs
	}{
		{user: "victim", who: "victim"},
		{user: "VICTIM@empresa.local", who: "victim"},
		{user: "id-1", who: "victim"},
		{user: "Victim@Example.com", who: "victim"},
		{user: "mallory", who: "mail is a name"},
		{user: "id-2", who: "mail is a name"},
		{user: "shared@example.com", who: "name is a mail"},
		{user: "id-5", who: "of that mail"},
		{user: "oscar", who: "of that mail"},
		{user: "id-6", who: "name is an id"},
		{user: "twin", several: []string{"id-7", "id-8"}},
		{user: "twin", directory: "OTRA.test", who: "another of two"},
		{user: "twin@empresa.local", who: "one of two"},
		{user: "both@example.com", several: []string{"id-7", "id-8"}},
		{user: "both@example.com", directory: "empresa.local", who: "one of two"},
		{user: "id-9", several: []string{"id-9"}},
		{user: "id-9", directory: "otra.test", who: "the same ID"},
		{user: "ID-1", who: "mail is an id"}, // IDs are exact; as an email it is one
		{user: "nobody"},
	} {
		t.Run(test.user+" "+test.directory, func(t *testing.T) {
			a.t = t
			app, sessions := a.live()
			call := adminCall{app: app, sessions: sessions, query: adminQuery{user: test.user, directory: test.directory}}
			got, err := call.oneUser(ctx)
			if want, ok := people[test.who]; ok {
				if err != nil || got.Directory != want.Directory || got.ID != want.ID {
					t.Errorf("got %+v, %v, want %q", got, err, test.who)
				}
				return
			}
			if err == nil {
				t.Fatalf("got %+v", got)
			}
			answer := a.do("DELETE", "/ldap_auth/sessions?"+url.Values{"user": {test.user}, "directory": {test.directory}}.Encode())
			if len(test.several) == 0 {
				a.refused(answer, 404, noSuchUser)
				return
			}
			a.refused(answer, 409, test.several...)
		})
	}
	a.t = t
	// A list shows them all: it ends nothing.
	if page := a.sessions("?user=victim"); len(page.Sessions) != 2 {
		t.Errorf("listed: %+v", page)
	}
	if got := a.do("DELETE", "/ldap_auth/sessions?user=victim"); got.StatusCode != 200 {
		t.Errorf("got %d %s", got.StatusCode, got.body)
	}
	if page := a.sessions("?user=victim"); len(page.Sessions) != 1 || page.Sessions[0].User != "mallory" {
		t.Errorf("left: %+v", page)
	}
}
