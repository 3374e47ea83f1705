package attack

import (
	"net/http"
	"slices"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// sessionEdit serves the directory with a change to one account.
func sessionEdit(t *testing.T, s *site, username string, change func(u *ldaptest.User)) {
	t.Helper()
	dir := directoryWithService(ldaptest.Demo())
	i := slices.IndexFunc(dir.Users, func(u ldaptest.User) bool { return u.SAMAccountName == username })
	change(&dir.Users[i])
	if err := s.directory.Replace(*dir); err != nil {
		t.Fatal(err)
	}
}

// sessionEnds waits for the end of a session that a re-check brings.
func sessionEnds(t *testing.T, c session, reason string) {
	t.Helper()
	// A request that is under way just then may get no answer at all.
	c.eventually(t, "the end of the session", func() bool {
		r, err := c.send("GET", "/", "", "Cookie", c.cookie())
		return err == nil && r.status != http.StatusOK
	})
	sessionIsOver(t, c)
	if c.auditedEnds(t, reason) == 0 {
		t.Errorf("no end with the reason %s was audited", reason)
	}
}

// Whose account is disabled, locked up for good or gone is out within the
// interval; who is created anew under the same name is somebody else.
func TestS06EndsWithTheAccount(t *testing.T) {
	t.Parallel()
	dir := directoryWithService(ldaptest.Demo())
	for _, test := range []struct {
		name, reason string
		change       func(u *ldaptest.User)
	}{
		{"disabled", "account_disabled", func(u *ldaptest.User) { u.State = ldaptest.Disabled }},
		{"past its end", "account_expired", func(u *ldaptest.User) {
			u.ExtraAttributes = map[string][]string{"accountExpires": {"133000000000000001"}}
		}},
		{"deleted and made anew under its name", "user_unknown", func(u *ldaptest.User) {
			u.ExtraAttributes = map[string][]string{"objectGUID": {"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, setup{directory: dir, block: directoryServiceLines + "\nrecheck 1s"})
			out, stays := s.signIn(t, juan), s.signIn(t, maria)
			wantServed(t, out.get(t, "/"))
			sessionEdit(t, s, juan, test.change)
			sessionEnds(t, out, test.reason)
			wantServed(t, stays.get(t, "/"))
		})
	}
	t.Run("a directory that is down", func(t *testing.T) {
		t.Parallel()
		s := start(t, setup{directory: dir, block: directoryServiceLines + "\nrecheck 1s\nrecheck_grace 2s"})
		c := s.signIn(t, juan)
		wantServed(t, c.get(t, "/"))
		if err := s.directory.Close(); err != nil {
			t.Fatal(err)
		}
		s.eventually(t, "the end of the grace", func() bool {
			r, err := c.send("GET", "/", "", "Cookie", c.cookie())
			return err == nil && r.status != http.StatusOK
		})
		s.echo.Forget()
		r := c.get(t, "/", sessionNavigation()...)
		if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || r.cookies["sessionid"] != nil && r.cookies["sessionid"].Value == "" {
			t.Errorf("%d with %v", r.status, r.header)
		}
		wantCode(t, c.get(t, "/"), http.StatusServiceUnavailable, "directory_unavailable")
		s.wantNothingUpstream(t)
	})
}

// A password that was changed ends the sessions from before, not those from
// after.
func TestS07EndsWithAChangedPassword(t *testing.T) {
	t.Parallel()
	dir := directoryWithService(ldaptest.Demo())
	dir.Users[0].ExtraAttributes = map[string][]string{"pwdLastSet": {"133000000000000000"}}
	s := start(t, setup{directory: dir, block: directoryServiceLines + "\nrecheck 1s"})
	out, stays := s.signIn(t, juan), s.signIn(t, maria)
	wantServed(t, out.get(t, "/"))
	sessionEdit(t, s, juan, func(u *ldaptest.User) {
		u.ExtraAttributes = map[string][]string{"pwdLastSet": {"133000000000000001"}}
	})
	sessionEnds(t, out, "password_changed")
	wantServed(t, stays.get(t, "/"))
	again := s.signIn(t, juan)
	// Long enough for two re-checks, however slow the machine: they show in the
	// searches.
	searches := s.directory.Searches()
	s.eventually(t, "two more re-checks", func() bool {
		wantServed(t, again.get(t, "/"))
		return s.directory.Searches() >= searches+2
	})
	wantServed(t, again.get(t, "/"))
}
