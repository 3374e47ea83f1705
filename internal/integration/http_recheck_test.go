package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// waitForStatus uses the session until its answers have the status, as
// somebody does who works: only sessions in use are looked at.
func (s session) waitForStatus(t testing.TB, path string, status int) reply {
	t.Helper()
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		r := s.get(t, path)
		if r.status == status {
			return r
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("%s still answers %d %s, want %d", path, r.status, r.body, status)
		}
	}
}

// waitForAudit waits for the line that says what became of somebody's session.
func (c *caddy) waitForAudit(t testing.TB, event, reason, user string) {
	t.Helper()
	waitFor(t, fmt.Sprintf("the audit line %s %s %s", event, reason, user), func() bool {
		for _, line := range c.audit(t) {
			if line.Event == event && line.Reason == reason && line.User == user && line.Session != "" {
				return true
			}
		}
		return false
	})
}

// Row 26: what happens to an account happens to its sessions.
func TestHTTPRecheckEndsSessionsOnAD(t *testing.T) {
	dc := servers.Samba(t)
	tests := []struct {
		what   string
		change func(t *testing.T, a realserver.Account)
		reason string
	}{
		{"disabled", func(t *testing.T, a realserver.Account) { dc.Disable(t, a) }, "account_disabled"},
		{"expired", func(t *testing.T, a realserver.Account) { dc.ExpireAccount(t, a, time.Now().Add(-time.Minute)) }, "account_expired"},
		{"password changed", func(t *testing.T, a realserver.Account) { dc.SetPassword(t, a, "Otra-Clave-De-Prueba-1") }, "password_changed"},
		{"password must change", func(t *testing.T, a realserver.Account) { dc.RequirePasswordChange(t, a) }, "password_changed"},
		{"moved out of base_dn", func(t *testing.T, a realserver.Account) { dc.Move(t, a, dc.OtherOU) }, "user_unknown"},
		{"deleted", func(t *testing.T, a realserver.Account) { dc.Delete(t, a) }, "user_unknown"},
		{"deleted and made again", func(t *testing.T, a realserver.Account) {
			dc.Delete(t, a)
			dc.Create(t, a)
		}, "user_unknown"},
	}
	_, people, _ := strings.Cut(dc.Juan.DN, ",")
	site := startSite(t, adServiceDirectory(dc, dc.URL, "recheck 1s", fmt.Sprintf("base_dn %q", people)), "require_session")
	site.caddy.keepSecret(dc.Service.Password, true)
	bystander := site.signInAs(t, dc.Juan)
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			account := dc.NewAccount(t, "vigilada")
			first, second := site.signInAs(t, account), site.signInAs(t, account)
			first.echo(t, "/")
			second.echo(t, "/")
			test.change(t, account)
			expect(t, first.waitForStatus(t, "/", http.StatusUnauthorized), http.StatusUnauthorized, bodyUnauthenticated)
			second.waitForStatus(t, "/", http.StatusUnauthorized)
			site.caddy.waitForAudit(t, "session_end", test.reason, account.Username)
			bystander.echo(t, "/")
		})
	}
	t.Run("signing in again after a new password", func(t *testing.T) {
		account := dc.NewAccount(t, "vigilada")
		s := site.signInAs(t, account)
		account.Password = "Otra-Clave-De-Prueba-2"
		dc.SetPassword(t, account, account.Password)
		s.waitForStatus(t, "/", http.StatusUnauthorized)
		again := site.signInAs(t, account)
		site.expectRounds(t, dc, again)
		again.echo(t, "/")
	})
}

// expectRounds returns when a re-check that began after the call has looked at
// these sessions: one of another account, disabled after they were used, has
// ended.
func (c *client) expectRounds(t *testing.T, dc *realserver.Samba, used ...session) {
	t.Helper()
	account := dc.NewAccount(t, "testigo")
	witness := c.signInAs(t, account)
	for _, s := range used {
		s.get(t, "/")
	}
	dc.Disable(t, account)
	witness.waitForStatus(t, "/", http.StatusUnauthorized)
}

// Row 26: groups; row 25: a new name, another place.
func TestHTTPRecheckChangesSessionsOnAD(t *testing.T) {
	dc := servers.Samba(t)
	account := dc.NewAccount(t, "vigilada")
	leaves, enters := dc.NewGroup(t, "sale", account), dc.NewGroup(t, "entra")
	nested := dc.NewGroup(t, "anidado")
	nestedAccount := realserver.Account{DN: enters}
	dc.AddToGroup(t, nested, nestedAccount)
	gate := fmt.Sprintf("require_session {\n\t\trequire /sale/* %q\n\t\trequire /entra/* %q\n\t\trequire /anidado/* %q\n\t}", leaves, enters, nested)
	site := startSite(t, adServiceDirectory(dc, dc.URL, "recheck 1s"), gate)
	site.caddy.keepSecret(dc.Service.Password, true)

	s := site.signInAs(t, account)
	uid := s.echo(t, "/sale/x").Header.Get("X-Test-Uid")
	expect(t, s.get(t, "/entra/x"), http.StatusForbidden, bodyGroupRequired)
	expect(t, s.get(t, "/anidado/x"), http.StatusForbidden, bodyGroupRequired)

	dc.RemoveFromGroup(t, leaves, account)
	expect(t, s.waitForStatus(t, "/sale/x", http.StatusForbidden), http.StatusForbidden, bodyGroupRequired)
	s.echo(t, "/")
	site.caddy.waitForAudit(t, "session_change", "groups_changed", account.Username)

	dc.AddToGroup(t, enters, account)
	s.waitForStatus(t, "/entra/x", http.StatusOK)
	s.waitForStatus(t, "/anidado/x", http.StatusOK)

	renamed := dc.Rename(t, account, "Otra, Cosa "+account.Username)
	renamed = dc.Move(t, renamed, dc.OtherOU)
	renamed = dc.SetUsername(t, renamed, "r"+account.Username)
	dc.Set(t, renamed.DN, "givenName", "Renata")
	renamed.FirstName = "Renata"
	site.expectRounds(t, dc, s)
	s.echo(t, "/entra/x")
	// The next sign-in is the same person's, under the new name.
	got := site.signInAs(t, renamed).echo(t, "/entra/x").Header
	if got.Get("X-Test-Uid") != uid || got.Get("Remote-User") != renamed.Username {
		t.Errorf("it is %q with the ID %q, want %q with %q", got.Get("Remote-User"), got.Get("X-Test-Uid"), renamed.Username, uid)
	}
	s.signOut(t)
}

// Sessions outlive a directory that is down for recheck_grace, and no longer;
// when it is back, they go on.
func TestHTTPRecheckGraceOnAD(t *testing.T) {
	dc := servers.Samba(t)
	proxy := netfault.NewProxy(t, hostOf(dc.URL))
	site := startSite(t, adServiceDirectory(dc, "ldaps://"+proxy.Addr(), "recheck 1s", "recheck_grace 4s"),
		"require_session {\n\t\tpublic /publico\n\t}")
	site.caddy.keepSecret(dc.Service.Password, true)
	s := site.signInAs(t, dc.Juan)
	site.expectRounds(t, dc, s)

	proxy.Refuse()
	proxy.Cut()
	waitFor(t, "the failure to be noticed", func() bool {
		s.get(t, "/")
		return strings.Contains(site.caddy.read("caddy.log"), "accounts cannot be re-checked")
	})
	s.echo(t, "/")
	r := s.waitForStatus(t, "/", http.StatusServiceUnavailable)
	if !strings.Contains(r.body, `"directory_unavailable"`) || r.header.Get("Retry-After") == "" {
		t.Errorf("after the grace: %d %s, Retry-After %q", r.status, r.body, r.header.Get("Retry-After"))
	}
	if r.cookies["sessionid"] != nil {
		t.Errorf("a 503 sets %v", r.header["Set-Cookie"])
	}
	if r := s.get(t, "/publico"); r.status != http.StatusOK {
		t.Errorf("the public page answered %d %s", r.status, r.body)
	}
	expect(t, site.do(t, "GET", "/", ""), http.StatusUnauthorized, bodyUnauthenticated)

	proxy.Resume()
	for start := time.Now(); s.get(t, "/").status != http.StatusOK; time.Sleep(100 * time.Millisecond) {
		if time.Since(start) > backWithin {
			t.Fatal("the session does not go on")
		}
	}
	waitFor(t, "the line that says so", func() bool {
		return strings.Contains(site.caddy.read("caddy.log"), "accounts can be re-checked again")
	})
	s.signOut(t)
	s.expectRefused(t, "/")
}

// Row 26 elsewhere.
func TestHTTPRecheckOnOpenLDAP(t *testing.T) {
	s := realserver.NewSlapd(t, realserver.SlapdOptions{PasswordPolicy: true})
	kept := s.NewAccount(t, "quedada")
	group := s.NewGroup(t, "vigilado", kept)
	site := startSite(t, directoryBlock("empresa.test", s.URL, s.CA.File,
		fmt.Sprintf("bind %q %s", s.Service.DN, s.Service.Password), "recheck 1s"),
		fmt.Sprintf("require_session {\n\t\trequire /grupo/* %q\n\t}", group))
	site.caddy.keepSecret(s.Service.Password, true)
	tests := []struct {
		what   string
		change func(t *testing.T, a realserver.Account)
		reason string
	}{
		{"deleted", func(t *testing.T, a realserver.Account) { s.Delete(t, a) }, "user_unknown"},
		{"locked by an administrator", func(t *testing.T, a realserver.Account) { s.Lock(t, a) }, "account_disabled"},
		{"password changed", func(t *testing.T, a realserver.Account) {
			time.Sleep(1100 * time.Millisecond) // slapd keeps seconds
			s.SetPassword(t, a.DN, "Otra-Clave-De-Prueba-1")
		}, "password_changed"},
	}
	bystander := site.signInAs(t, kept)
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			account := s.NewAccount(t, "vigilada")
			signedIn := site.signInAs(t, account)
			signedIn.echo(t, "/")
			test.change(t, account)
			expect(t, signedIn.waitForStatus(t, "/", http.StatusUnauthorized), http.StatusUnauthorized, bodyUnauthenticated)
			site.caddy.waitForAudit(t, "session_end", test.reason, account.Username)
			bystander.echo(t, "/")
		})
	}
	t.Run("groups", func(t *testing.T) {
		account := s.NewAccount(t, "vigilada")
		signedIn := site.signInAs(t, account)
		expect(t, signedIn.get(t, "/grupo/x"), http.StatusForbidden, bodyGroupRequired)
		s.AddToGroup(t, group, account)
		signedIn.waitForStatus(t, "/grupo/x", http.StatusOK)
		s.RemoveFromGroup(t, group, account)
		signedIn.waitForStatus(t, "/grupo/x", http.StatusForbidden)
		site.caddy.waitForAudit(t, "session_change", "groups_changed", account.Username)
		renamed := s.SetUsername(t, account, "r"+account.Username)
		uid := signedIn.echo(t, "/").Header.Get("X-Test-Uid")
		if got := site.signInAs(t, renamed).echo(t, "/").Header; got.Get("X-Test-Uid") != uid {
			t.Errorf("renamed, the ID is %q, want %q", got.Get("X-Test-Uid"), uid)
		}
	})
}

func TestHTTPRecheckOn389DS(t *testing.T) {
	s := servers.DS389(t)
	site := startSite(t, directoryBlock("fabrica.test", s.URL, s.CA.File,
		fmt.Sprintf("bind %q %s", s.Service.DN, s.Service.Password), "recheck 1s"), "require_session")
	site.caddy.keepSecret(s.Service.Password, true)
	for _, test := range []struct {
		what   string
		change func(t *testing.T, a realserver.Account)
		reason string
	}{
		{"deleted", func(t *testing.T, a realserver.Account) { s.Delete(t, a) }, "user_unknown"},
		{"inactive", func(t *testing.T, a realserver.Account) { s.Disable(t, a) }, "account_disabled"},
		{"password changed", func(t *testing.T, a realserver.Account) {
			time.Sleep(1100 * time.Millisecond)
			s.SetPassword(t, a, "Otra-Clave-De-Prueba-1")
		}, "password_changed"},
	} {
		t.Run(test.what, func(t *testing.T) {
			account := s.NewAccount(t, "vigilada")
			s.SetPassword(t, account, account.Password) // it keeps no time for the first one
			signedIn := site.signInAs(t, account)
			signedIn.echo(t, "/")
			test.change(t, account)
			signedIn.waitForStatus(t, "/", http.StatusUnauthorized)
			site.caddy.waitForAudit(t, "session_end", test.reason, account.Username)
		})
	}
}
