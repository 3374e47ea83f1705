package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
)

// Row 35, at the site: whoever signs in first waits, the next ones do not.
func TestHTTPStalledFirstServerCostsOneSignInOnce(t *testing.T) {
	dc := servers.Samba(t)
	proxy := netfault.NewProxy(t, hostOf(dc.URL))
	proxy.Stall()
	site := startSite(t, directoryBlock(dc.Domain, "ldaps://"+proxy.Addr()+" "+dc.URL, dc.CA.File), "require_session nivel-10")
	timed := func() time.Duration {
		start := time.Now()
		site.signInAs(t, dc.Juan).echo(t, "/")
		return time.Since(start)
	}
	if took := timed(); took > 3500*time.Millisecond+slack {
		t.Errorf("the first sign-in took %v", took)
	}
	for range 5 {
		if took := timed(); took > time.Second {
			t.Errorf("a sign-in while the first server is known to be down took %v", took)
		}
	}
	proxy.Resume()
	proxy.Cut()
	asked := proxy.Connections()
	for start := time.Now(); proxy.Connections() < asked+2; time.Sleep(100 * time.Millisecond) {
		timed()
		if time.Since(start) > backWithin {
			t.Fatal("the first server is not used again")
		}
	}
	if n := strings.Count(site.caddy.read("caddy.log"), "directory server is down"); n != 1 {
		t.Errorf("the log says %d times that the server is down, want once", n)
	}
}

// Row 40: once a directory is known to be down nobody waits for it, and it is
// found back without a reload.
func TestHTTPDirectoryThatIsDownIsAnsweredAtOnce(t *testing.T) {
	dc := servers.Samba(t)
	proxy := netfault.NewProxy(t, hostOf(dc.URL))
	proxy.Refuse()
	site := startSite(t, directoryBlock(dc.Domain, "ldaps://"+proxy.Addr(), dc.CA.File),
		"require_session {\n\t\tpublic /version\n\t}")
	start := time.Now()
	const tries = 50
	for range tries {
		r, err := site.trySignIn("juan", dc.Juan.Password)
		if err != nil {
			t.Fatal(err)
		}
		expectUnavailable(t, r)
	}
	// Each takes less than 5 ms; what matters is that none waits for a server.
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("%d sign-ins took %v", tries, took)
	}
	site.expectAudit(t, auditLine{Event: "sign_in", Result: "unavailable", Reason: "directory_unavailable"})
	if r := site.do(t, "GET", "/version", ""); r.status != http.StatusOK {
		t.Errorf("the public page answered %d", r.status)
	}
	proxy.Resume()
	site.waitForSignIn(t, dc.Juan).echo(t, "/")
}

// Row 40: 200 people at once, on a server that takes two seconds for each.
func TestHTTPManySignInsOnASlowServer(t *testing.T) {
	dc := servers.Samba(t)
	proxy := netfault.NewProxy(t, hostOf(dc.URL))
	proxy.Delay(500 * time.Millisecond)
	site := startSite(t, directoryBlock(dc.Domain, "ldaps://"+proxy.Addr(), dc.CA.File), "require_session", noThrottle)
	const people, connections, queue = 200, 8, 64
	var mu sync.Mutex
	var signedIn, busy, atOnce int
	var all sync.WaitGroup
	for range people {
		all.Go(func() {
			r, err := site.trySignIn("juan", dc.Juan.Password)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				t.Errorf("signing in: %v", err)
			case r.status == http.StatusOK:
				signedIn++
			default:
				expectUnavailable(t, r)
				if busy++; r.took < 1500*time.Millisecond {
					atOnce++
				}
			}
		})
	}
	most := watchOpen(proxy, all.Wait)
	t.Logf("%d signed in, %d were told to come again, %d of them at once, over %d connections at most", signedIn, busy, atOnce, most)
	if most > connections {
		t.Errorf("%d connections at once, want %d at most", most, connections)
	}
	// As many as find no place in the queue, as far as they came in time.
	if want := people - connections - queue; signedIn == 0 || busy < want || atOnce < want/2 {
		t.Errorf("%d signed in and %d were told to come again, %d of them at once, want some and %d", signedIn, busy, atOnce, want)
	}
	lines := 0
	for _, line := range site.caddy.audit(t) {
		if line.Event == "sign_in" && line.Result == "unavailable" && line.Reason == "busy" {
			lines++
		}
	}
	if lines != busy {
		t.Errorf("%d audit lines say that it was busy, want %d", lines, busy)
	}
	proxy.Delay(0)
	site.signInAs(t, dc.Juan).echo(t, "/")
}

// Row 33: a service account whose password is wrong is tried once a minute, not
// once a visitor, and a reload with the right one helps at once.
func TestHTTPServiceAccountRejectedOnOpenLDAP(t *testing.T) {
	s := servers.Slapd(t)
	const wrong = "Clave-Equivocada-9"
	c := newCaddy(t)
	c.keepSecret(wrong, true)
	c.keepSecret(s.Service.Password, true)
	upstream := newEcho(t)
	text := func(password string) string {
		return c.caddyfile(directoryBlock("empresa.test", s.URL, s.CA.File,
			fmt.Sprintf("bind %q %s", s.Service.DN, password), fmt.Sprintf("group_base %q", "ou=grupos,"+s.BaseDN), "recheck 1s"), "require_session ingenieria", upstream, "")
	}
	before := s.Binds(t, s.Service.DN)
	started := time.Now()
	c.run(t, text(wrong))
	site := newClient(t, c)
	people := s.Binds(t, s.Lucia.DN)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			r, err := site.trySignIn("lucia", s.Lucia.Password)
			if err != nil {
				t.Errorf("signing in: %v", err)
				return
			}
			expectUnavailable(t, r)
		})
	}
	all.Wait()
	site.expectAudit(t, auditLine{Event: "sign_in", Result: "unavailable", Reason: "service_account_rejected"})
	time.Sleep(3 * time.Second) // the re-check asks too
	if n := s.Binds(t, s.Service.DN) - before; n != 1 && time.Since(started) < time.Minute {
		t.Errorf("%d binds of the service account, want 1", n)
	}
	if n := s.Binds(t, s.Lucia.DN) - people; n != 0 {
		t.Errorf("%d binds as lucia without having found her, want none", n)
	}
	if log := c.read("caddy.log"); !strings.Contains(log, s.Service.DN) {
		t.Error("the log does not name the service account")
	}
	if err := c.reload(t, text(s.Service.Password)); err != nil {
		t.Fatalf("the reload with the right password: %v", err)
	}
	site.signInAs(t, s.Lucia).echo(t, "/")
}
