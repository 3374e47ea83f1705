package caddyauth

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

func TestAdminListsShowsAndEndsSessions(t *testing.T) {
	s, a := startAdmin(t, setup{})
	if got := a.do("GET", "/ldap_auth/sessions"); got.body != `{"sessions":[]}`+"\n" {
		t.Errorf("without sessions: %s", got.body)
	}
	if got := a.do("GET", "/ldap_auth/users"); got.body != `{"users":[]}`+"\n" {
		t.Errorf("without users: %s", got.body)
	}
	before := time.Now()
	juan, maria, again := s.signIn("ac12345"), s.signIn("mgarcia"), s.signIn("ac12345")
	id := s.idOf(juan)

	var shown adminSession
	got := a.get("/ldap_auth/sessions/"+id, &shown)
	var members map[string]any
	if err := json.Unmarshal([]byte(got.body), &members); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"id", "user", "directory", "user_id", "name", "client_ip", "created", "last_seen", "seconds_left", "absolute_seconds_left"} {
		if members[key] == nil {
			t.Errorf("%s is missing in %s", key, got.body)
		}
		delete(members, key)
	}
	if len(members) > 0 {
		t.Errorf("there is more than was agreed: %v", members)
	}
	if shown.ID != id || shown.User != "ac12345" || shown.Directory != "empresa.local" || shown.UserID == "" || shown.Name != "Juan Pérez" || shown.ClientIP != "127.0.0.1" {
		t.Errorf("shown: %s", got.body)
	}
	if at := shown.Created; at.Location() != time.UTC || at.Before(before.Truncate(time.Second)) || at.After(time.Now()) || shown.LastSeen.Before(at) || at.Nanosecond() != 0 {
		t.Errorf("created %v, last seen %v", shown.Created, shown.LastSeen)
	}
	if shown.SecondsLeft < 3500 || shown.SecondsLeft > 3600 || *shown.AbsoluteSecondsLeft < 12*3600-100 || *shown.AbsoluteSecondsLeft > 12*3600 {
		t.Errorf("left: %s", got.body)
	}

	whole := a.sessions("")
	if len(whole.Sessions) != 3 || whole.Next != "" {
		t.Fatalf("listed: %+v", whole)
	}
	for _, size := range []int{1, 2, 3, 1000} {
		if paged, pages := a.all(url.Values{}, size); !slices.Equal(idsOf(paged), idsOf(whole.Sessions)) || pages != (3+size-1)/size {
			t.Errorf("in pages of %d: %d pages, %v, want %v", size, pages, idsOf(paged), idsOf(whole.Sessions))
		}
		if paged, pages := a.all(url.Values{"user": {"ac12345"}}, size); !slices.Equal(idsOf(paged), []string{id, s.idOf(again)}) || pages != (2+size-1)/size {
			t.Errorf("of one user, in pages of %d: %d pages, %v", size, pages, idsOf(paged))
		}
		if paged, _ := a.all(url.Values{"directory": {"EMPRESA.local"}}, size); !slices.Equal(idsOf(paged), idsOf(whole.Sessions)) {
			t.Errorf("of one directory, in pages of %d: %v, want %v", size, idsOf(paged), idsOf(whole.Sessions))
		}
	}

	mark := logged.mark()
	want(t, a.do("DELETE", "/ldap_auth/sessions/"+id), 200, `{"ended":1}`+"\n")
	want(t, s.do("GET", "/x", juan.cookies), 401, bodyAuthenticationRequired)
	want(t, s.do("GET", "/x", again.cookies), 200, "upstream")
	want(t, s.do("GET", "/x", maria.cookies), 200, "upstream")
	wantAudit(t, mark, auditLine{
		"event": "session_end", "result": "ok", "reason": "ended_by_operator", "user": "ac12345",
		"directory": "empresa.local", "session": id, "client_ip": "127.0.0.1",
	})
	for _, method := range []string{"GET", "DELETE"} {
		a.refused(a.do(method, "/ldap_auth/sessions/"+id), 404, noSuchSession)
	}
	if left := a.sessions("?user=ac12345"); len(left.Sessions) != 1 {
		t.Errorf("one was ended: %+v", left)
	}
	if lines := endsByOperator(t, mark); len(lines) != 1 {
		t.Errorf("audit: %v", lines)
	}
}

// endsByOperator are the sessions of the audit lines since a mark.
func endsByOperator(t *testing.T, mark int) []string {
	t.Helper()
	var ids []string
	for _, line := range auditSince(t, mark) {
		if line["event"] == "session_end" && line["reason"] == "ended_by_operator" {
			ids = append(ids, line["session"].(string))
		}
	}
	slices.Sort(ids)
	return ids
}

func TestAdminWithoutAnAbsoluteLimit(t *testing.T) {
	s, a := startAdmin(t, setup{sessions: "absolute_timeout off"})
	s.signIn("ac12345")
	if got := a.do("GET", "/ldap_auth/sessions"); !strings.Contains(got.body, `"absolute_seconds_left":null`) {
		t.Errorf("listed: %s", got.body)
	}
}

// TestAdminListsByTodaysLimits: a session that the limits of now have ended is
// none, although the store still has it.
func TestAdminListsByTodaysLimits(t *testing.T) {
	s, a := startAdmin(t, setup{})
	id := s.idOf(s.signIn("ac12345"))
	time.Sleep(1100 * time.Millisecond)
	if err := s.load(strings.Replace(a.text, "storage badger", "absolute_timeout 1s\nstorage badger", 1)); err != nil {
		t.Fatal(err)
	}
	if page := a.sessions(""); len(page.Sessions) != 0 || page.Next != "" {
		t.Errorf("listed: %+v", page)
	}
	a.refused(a.do("GET", "/ldap_auth/sessions/"+id), 404, noSuchSession)
}

func TestAdminEndsAllOfAUser(t *testing.T) {
	directory := ldaptest.Demo()
	for i := range directory.Users {
		if directory.Users[i].SAMAccountName == "ac12345" {
			directory.Users[i].Mail = "Juan.Perez@example.com"
		}
	}
	s, a := startAdmin(t, setup{directory: &directory})
	maria := s.signIn("mgarcia")
	s.signIn("ac12345")
	userID := a.sessions("?user=ac12345").Sessions[0].UserID
	for _, name := range []string{"ac12345", "AC12345", "ac12345@empresa.local", "juan.perez@EXAMPLE.com", userID} {
		t.Run(name, func(t *testing.T) {
			a.t = t
			ended := a.sessions("?user=ac12345").Sessions
			clients := []signedIn{s.signIn("ac12345"), s.signIn("ac12345")}
			query, mark := "?"+url.Values{"user": {name}}.Encode(), logged.mark()
			if listed := a.sessions(query).Sessions; len(listed) != len(ended)+2 {
				t.Errorf("listed: %+v", listed)
			}
			ids := []string{s.idOf(clients[0]), s.idOf(clients[1])}
			for _, session := range ended {
				ids = append(ids, session.ID)
			}
			slices.Sort(ids)

			got := a.do("DELETE", "/ldap_auth/sessions"+query)
			var answer adminEnded
			if err := json.Unmarshal([]byte(got.body), &answer); err != nil || got.StatusCode != 200 || answer.Ended != len(ids) {
				t.Fatalf("got %d %s, want %d to end", got.StatusCode, got.body, len(ids))
			}
			var named []string
			for _, session := range answer.Sessions {
				named = append(named, session.ID)
				if session.User != "ac12345" || session.UserID != userID || session.ClientIP != "127.0.0.1" || session.Created.IsZero() {
					t.Errorf("ended: %+v", session)
				}
			}
			slices.Sort(named)
			if !slices.Equal(named, ids) {
				t.Errorf("the answer names %v, want %v", named, ids)
			}
			for _, c := range clients {
				want(t, s.do("GET", "/x", c.cookies), 401, bodyAuthenticationRequired)
			}
			wantAudit(t, mark, auditLine{"event": "session_end", "reason": "ended_by_operator", "session": ids[0], "user": "ac12345"})
			if lines := endsByOperator(t, mark); !slices.Equal(lines, ids) {
				t.Errorf("audit: %v, want %v", lines, ids)
			}
			want(t, a.do("DELETE", "/ldap_auth/sessions"+query), 200, `{"ended":0,"sessions":[]}`+"\n")
		})
	}
	a.t = t
	want(t, s.do("GET", "/x", maria.cookies), 200, "upstream")
	a.refused(a.do("DELETE", "/ldap_auth/sessions?user=nobody"), 404, noSuchUser)
	a.refused(a.do("DELETE", "/ldap_auth/sessions?user=ac12345&directory=other"), 404, noSuchUser)
	a.refused(a.do("DELETE", "/ldap_auth/sessions?user="+strings.ToUpper(userID)), 404, noSuchUser)
	if page := a.sessions("?user=nobody"); len(page.Sessions) != 0 {
		t.Errorf("of nobody: %+v", page)
	}
}

// TestAdminEndsNobodyByAccident: two people of one name.
func TestAdminEndsNobodyByAccident(t *testing.T) {
	s := startTwo(t, setup{}, bindService, bindOther)
	a := s.withAdmin(t)
	signIn := func(name, password string) signedIn {
		got := s.do("POST", "/api/login-ldap/", jsonBody(credentialsJSON(name, password)))
		if got.StatusCode != 200 {
			t.Fatalf("signing %s in: %d %s", name, got.StatusCode, got.body)
		}
		return signedIn{token: got.cookie("sessionid"), csrf: got.cookie("csrftoken")}
	}
	juan, ana := signIn("ac12345@empresa.local", ldaptest.DemoPassword), signIn("ac12345@otra.test", otherPassword)
	juan2 := signIn("ac12345@empresa.local", ldaptest.DemoPassword)

	both := a.sessions("?user=ac12345").Sessions
	if len(both) == 3 && both[0].Directory == "otra.test" { // which one is first is the store's choice
		both = append(both[1:], both[0])
	}
	if len(both) != 3 || both[0].User != "ac12345@empresa.local" || both[1].User != both[0].User || both[2].User != "ac12345@otra.test" {
		t.Fatalf("listed: %+v", both)
	}
	listed := idsOf(a.sessions("?user=ac12345").Sessions)
	for size := 1; size <= 3; size++ {
		if paged, _ := a.all(url.Values{"user": {"ac12345"}}, size); !slices.Equal(idsOf(paged), listed) {
			t.Errorf("in pages of %d: %v, want %v", size, idsOf(paged), listed)
		}
	}
	if one, _ := a.all(url.Values{"directory": {"otra.test"}}, 1); !slices.Equal(idsOf(one), idsOf(both[2:])) {
		t.Errorf("of one directory: %v", idsOf(one))
	}

	a.refused(a.do("DELETE", "/ldap_auth/sessions?user=ac12345"), 409, "empresa.local", "otra.test", both[0].UserID, both[2].UserID)
	for _, c := range []signedIn{juan, juan2, ana} {
		want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	}
	if got := a.do("DELETE", "/ldap_auth/sessions?user=ac12345&directory=otra.test"); got.StatusCode != 200 || !strings.HasPrefix(got.body, `{"ended":1,`) {
		t.Errorf("got %d %s", got.StatusCode, got.body)
	}
	want(t, s.do("GET", "/x", ana.cookies), 401, bodyAuthenticationRequired)
	want(t, s.do("GET", "/x", juan.cookies), 200, "upstream")
	if got := a.do("DELETE", "/ldap_auth/sessions?user=ac12345%40EMPRESA.LOCAL"); got.StatusCode != 200 || !strings.HasPrefix(got.body, `{"ended":2,`) {
		t.Errorf("got %d %s", got.StatusCode, got.body)
	}
}

func TestAdminListsUsersAndCounts(t *testing.T) {
	s, a := startAdmin(t, setup{})
	s.signIn("ac12345")
	s.signIn("ac12345")
	s.signIn("mgarcia")
	var page adminUserPage
	a.get("/ldap_auth/users?user=ac12345", &page)
	if len(page.Users) != 1 || page.Next != "" {
		t.Fatalf("listed: %+v", page)
	}
	u := page.Users[0]
	if u.Directory != "empresa.local" || u.ID == "" || u.Username != "ac12345" || u.Name != "Juan Pérez" || u.FirstName != "Juan" || u.LastName != "Pérez" || u.SignIns != 2 {
		t.Errorf("listed: %+v", u)
	}
	if u.FirstSignIn.IsZero() || u.LastSignIn.Before(u.FirstSignIn) || u.FirstSignIn.Location() != time.UTC || u.FirstSignIn.Nanosecond() != 0 {
		t.Errorf("times: %+v", u)
	}
	var first, second adminUserPage
	a.get("/ldap_auth/users?limit=1", &first)
	a.get("/ldap_auth/users?limit=1&cursor="+first.Next, &second)
	names := []string{first.Users[0].Username, second.Users[0].Username}
	slices.Sort(names)
	if !slices.Equal(names, []string{"ac12345", "mgarcia"}) || len(first.Users) != 1 || second.Next != "" {
		t.Errorf("pages: %+v, %+v", first, second)
	}
	if got := a.do("GET", "/ldap_auth/users?directory=other"); got.body != `{"users":[]}`+"\n" {
		t.Errorf("of another directory: %s", got.body)
	}
	want(t, a.do("GET", "/ldap_auth/counts"), 200, `{"sessions":3,"in_memory":3,"users":2}`+"\n")
}

// TestAdminGoesThroughManyUsers: more than fit on one page, of which some match.
func TestAdminGoesThroughManyUsers(t *testing.T) {
	_, a := startAdmin(t, setup{})
	app, sessions := a.live()
	var shared []string
	for i := range 2*userPage + 40 {
		user := sessionstore.User{Directory: "empresa.local", ID: fmt.Sprintf("id-%04d", i), Username: fmt.Sprintf("u%04d", i)}
		if i%40 == 39 {
			user.Email = "Shared@example.com"
		}
		if i == 300 { // whose name is another one's ID
			user.Username = "id-0007"
		}
		if _, id := a.signInAs(user); user.Email != "" {
			shared = append(shared, id)
		}
	}
	for _, size := range []int{1, 5, len(shared), 1000} {
		got, pages := a.all(url.Values{"user": {"shared@example.com"}}, size)
		if !slices.Equal(idsOf(got), shared) || pages != (len(shared)+size-1)/size {
			t.Errorf("in pages of %d: %d pages with %v, want %v", size, pages, idsOf(got), shared)
		}
	}
	seen := map[string]bool{}
	for cursor, n := "", 0; ; n++ {
		var page adminUserPage
		a.get("/ldap_auth/users?limit=100&cursor="+cursor, &page)
		for _, u := range page.Users {
			if seen[u.ID] {
				t.Errorf("%s is listed twice", u.ID)
			}
			seen[u.ID] = true
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(seen) != 2*userPage+40 {
		t.Errorf("%d users are listed of %d", len(seen), 2*userPage+40)
	}
	a.refused(a.do("DELETE", "/ldap_auth/sessions?user=shared@example.com"), 409, `"id-0039"`, "and more")
	if got := a.do("DELETE", "/ldap_auth/sessions?user=id-0007"); got.StatusCode != 200 || !strings.Contains(got.body, `"user_id":"id-0007"`) || !strings.HasPrefix(got.body, `{"ended":1,`) {
		t.Errorf("by the ID that is another one's name: %d %s", got.StatusCode, got.body)
	}
	if got := a.do("DELETE", "/ldap_auth/sessions?user=u0008"); got.StatusCode != 200 {
		t.Errorf("got %d %s", got.StatusCode, got.body)
	}
	want(t, a.do("GET", "/ldap_auth/counts"), 200, fmt.Sprintf(`{"sessions":%d,"in_memory":%d,"users":%d}`+"\n", 2*userPage+38, 2*userPage+38, 2*userPage+40))

	// A cursor whose user is not there any more must not end a listing quietly.
	call := adminCall{app: app, sessions: sessions, query: adminQuery{user: "u0001", limit: 1}}
	stale, err := call.cursor(t.Context(), "sessions", listPlace{Directory: "empresa.local", ID: "gone"})
	if err != nil {
		t.Fatal(err)
	}
	a.refused(a.do("GET", "/ldap_auth/sessions?user=u0001&cursor="+stale), 400, "begin again")
}
