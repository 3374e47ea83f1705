package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// adDirectory is the directory block for the domain: no service account.
func adDirectory(dc *realserver.Samba) string {
	return directoryBlock(dc.Domain, dc.URL, dc.CA.File)
}

func directoryBlock(label, url, caFile string, options ...string) string {
	return fmt.Sprintf("\t\tdirectory %s {\n\t\t\tservers %s\n\t\t\tca_file %s\n\t\t\t%s\n\t\t}",
		label, url, caFile, strings.Join(options, "\n\t\t\t"))
}

// startAD runs Caddy with the domain behind gate. options are further lines of
// the ldap_auth block.
func startAD(t testing.TB, gate string, options ...string) *client {
	t.Helper()
	return startSite(t, adDirectory(servers.Samba(t)), gate, options...)
}

// startSite runs Caddy with an application behind gate.
func startSite(t testing.TB, directory, gate string, options ...string) *client {
	t.Helper()
	c := newCaddy(t)
	c.options = options
	c.run(t, c.caddyfile(directory, gate, newEcho(t), ""))
	return newClient(t, c)
}

// adServiceDirectory is the directory block with the service account.
func adServiceDirectory(dc *realserver.Samba, url string, options ...string) string {
	return directoryBlock(dc.Domain, url, dc.CA.File,
		append([]string{fmt.Sprintf("bind %s %s", dc.Service.UPN, dc.Service.Password)}, options...)...)
}

// Row 1, from the sign-in to the application and out again; row 18: nivel-10 is
// the tenth level.
func TestHTTPSignInUseAndSignOutOnAD(t *testing.T) {
	dc := servers.Samba(t)
	site := startAD(t, `require_session nivel-10 {
		require /ingenieria/* Ingeniería
		require /sid/* `+dc.SID(t, dc.Staff)+`
		require /dn/* "`+dc.Levels[8]+`"
		require /fuera/* externos
		forward_groups "R&D Compras" boletin nivel-02
	}`)
	expect(t, site.do(t, "GET", "/privado", ""), http.StatusUnauthorized, bodyUnauthenticated)

	juan := site.signInAs(t, dc.Juan)
	got := juan.echo(t, "/privado",
		"Remote-User", "pb_victim", "Remote_User", "pb_victim", "remote-groups", "Domain Admins")
	wantHeaders := map[string]string{
		"Remote-User": "juan", "Remote-Name": dc.Juan.Name, "Remote-Email": dc.Juan.Email,
		"X-Test-Dn": dc.Juan.DN,
	}
	for name, value := range wantHeaders {
		if values := got.Header[name]; len(values) != 1 || values[0] != value {
			t.Errorf("the application got %s %q, want %q", name, values, value)
		}
	}
	if _, ok := got.Header["Remote_user"]; ok {
		t.Error("another spelling of Remote-User reached the application")
	}
	groups := strings.Split(got.Header.Get("Remote-Groups"), ",")
	slices.Sort(groups)
	// Those that the configuration names, as the domain spells them, however
	// they were named; not the distribution group, which gives no rights.
	wantGroups := []string{"Ingeniería", "nivel-02", "nivel-09", "nivel-10", "staff"}
	if !slices.Equal(groups, wantGroups) {
		t.Errorf("the application got the groups %q, want %q", groups, wantGroups)
	}
	if cookies := got.Header.Get("Cookie"); strings.Contains(cookies, "sessionid") || strings.Contains(cookies, juan.token) {
		t.Errorf("the application got the session cookie: %q", cookies)
	}
	for _, path := range []string{"/ingenieria/", "/sid/x", "/dn/x"} {
		if r := juan.get(t, path); r.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	expect(t, juan.get(t, "/fuera/x"), http.StatusForbidden, bodyGroupRequired)

	if r := juan.do(t, "POST", "/privado", "x", "Cookie", juan.cookies()); r.status != http.StatusForbidden {
		t.Errorf("POST without the token: %d %s, want 403", r.status, r.body)
	}
	posted := decodeEcho(t, juan.do(t, "POST", "/privado", "x", "Cookie", juan.cookies(), "X-CSRFToken", juan.csrf))
	if posted.Body != "x" || posted.Header.Get("Remote-User") != "juan" {
		t.Errorf("the application got %+v", posted)
	}
	who := struct{ Username, DisplayName string }{}
	if r := juan.get(t, "/api/session/"); r.status != http.StatusOK || json.Unmarshal([]byte(r.body), &who) != nil || who.Username != "juan" {
		t.Errorf("/api/session/ answered %d %s", r.status, r.body)
	}

	again := site.signInAs(t, dc.Juan)
	if again.token == juan.token || again.csrf == juan.csrf {
		t.Error("two sign-ins have the same tokens")
	}
	juan.signOut(t)
	juan.expectRefused(t, "/privado")
	juan.expectRefused(t, "/ingenieria/")
	again.echo(t, "/privado")
	again.signOut(t)
	again.expectRefused(t, "/privado")
	juan.expectRefused(t, "/privado")
}

// Row 22: groups are the gate's business.
func TestHTTPOtherGroupIsForbiddenAfterSignInOnAD(t *testing.T) {
	dc := servers.Samba(t)
	site := startAD(t, "require_session nivel-10 no-such-group")
	for _, account := range []realserver.Account{dc.Maria, dc.Munoz, dc.NoUPN} {
		s := site.signInAs(t, account)
		expect(t, s.get(t, "/"), http.StatusForbidden, bodyGroupRequired)
		lines := site.caddy.audit(t)
		if last := lines[len(lines)-1]; last.Event != "forbidden" || last.Reason != "group_required" || last.User != account.Username {
			t.Errorf("the audit log says %+v", last)
		}
		// Refused, and signed in all the same.
		if r := s.get(t, "/api/session/"); r.status != http.StatusOK {
			t.Errorf("%s: /api/session/ answered %d", account.Username, r.status)
		}
	}
	site.signInAs(t, dc.Juan).echo(t, "/")
}

// Row 3.
func TestHTTPNameVariantsAreOneIdentityOnAD(t *testing.T) {
	dc := servers.Samba(t)
	site := startAD(t, "require_session staff")
	uid := site.signInAs(t, dc.Juan).echo(t, "/").Header.Get("X-Test-Uid")
	if uid == "" {
		t.Fatal("the application got no ID")
	}
	for _, typed := range []string{
		"JUAN", " juan ", "juan@corp.test", "Juan@CORP.TEST", `CORP\juan`, `corp\JUAN`, "juan @corp.test",
	} {
		t.Run(typed, func(t *testing.T) {
			got := site.signIn(t, typed, dc.Juan.Password).echo(t, "/").Header
			if got.Get("Remote-User") != "juan" || got.Get("X-Test-Uid") != uid {
				t.Errorf("it is %q with the ID %q, want %q with %q", got.Get("Remote-User"), got.Get("X-Test-Uid"), "juan", uid)
			}
			lines := site.caddy.audit(t)
			if last := lines[len(lines)-1]; last.Result != "ok" || last.User != "juan" {
				t.Errorf("the audit log says %+v", last)
			}
		})
	}
}

// Eve's userPrincipalName is the victim's user name at another suffix: her own
// password binds under a name that finds the victim. (Row 13.)
func TestHTTPAccountTakeoverByCrossedNamesOnAD(t *testing.T) {
	dc := servers.Samba(t)
	configs := []struct{ what, directory string }{
		{"as documented", adDirectory(dc)},
		{"bare names completed with the attacker's suffix", directoryBlock("other.example", dc.URL, dc.CA.File)},
		{"with a service account", adServiceDirectory(dc, dc.URL)},
		{"with a service account and a filter by user name", adServiceDirectory(dc, dc.URL, "user_filter (sAMAccountName={user})")},
	}
	for _, config := range configs {
		t.Run(config.what, func(t *testing.T) {
			site := startSite(t, config.directory, "require_session", noThrottle)
			victim := site.signIn(t, "pb_victim@corp.test", dc.Victim.Password).echo(t, "/").Header
			if victim.Get("Remote-User") != "pb_victim" {
				t.Fatalf("the victim is %q", victim.Get("Remote-User"))
			}
			signedIn := false
			for _, typed := range []string{
				"pb_victim", "pb_victim@other.example", "PB_VICTIM@Other.Example", " pb_victim ",
				"pb_victim@corp.test", `CORP\pb_victim`, "pb_eve", "pb_eve@corp.test",
			} {
				r, err := site.trySignIn(typed, dc.Eve.Password)
				if err != nil {
					t.Fatal(err)
				}
				if r.status == http.StatusUnauthorized {
					continue
				}
				signedIn = true
				got := site.sessionOf(t, r).echo(t, "/").Header
				if got.Get("Remote-User") != "pb_eve" || got.Get("X-Test-Uid") == victim.Get("X-Test-Uid") {
					t.Errorf("%q with Eve's password is %q (%s)", typed, got.Get("Remote-User"), got.Get("X-Test-Uid"))
				}
			}
			if !signedIn {
				t.Error("Eve cannot sign in as herself either: the test proves nothing")
			}
		})
	}
}
