package integration

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

func expectUnavailable(t testing.TB, r reply) {
	t.Helper()
	expect(t, r, http.StatusServiceUnavailable, bodyUnavailable)
	if n, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || n < 1 {
		t.Errorf("Retry-After is %q", r.header.Get("Retry-After"))
	}
	if r.cookies["sessionid"] != nil {
		t.Errorf("a 503 sets %v", r.header["Set-Cookie"])
	}
}

// backWithin is how long a directory that works again may be taken for down, and
// some time for the machine.
const backWithin = 75 * time.Second

// waitForSignIn signs in as soon as the directory is found to be back.
func (c *client) waitForSignIn(t testing.TB, account realserver.Account) session {
	t.Helper()
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		r, err := c.trySignIn(account.Username, account.Password)
		if err == nil && r.status == http.StatusServiceUnavailable && time.Since(start) < backWithin {
			continue
		}
		if err != nil {
			t.Fatalf("signing in as %q: %v", account.Username, err)
		}
		return c.sessionOf(t, r)
	}
}

// A directory that accepts and never answers costs those who sign in ten
// seconds at most, and those who have signed in nothing.
func TestHTTPStalledDirectorySlowsNobodyWhoHasASession(t *testing.T) {
	dc := servers.Samba(t)
	proxy := netfault.NewProxy(t, "127.0.0.1:636")
	c := newCaddy(t)
	c.run(t, c.caddyfile(directoryBlock(dc.Domain, "ldaps://"+proxy.Addr(), dc.CA.File), "require_session nivel-10", newEcho(t), ""))
	site := newClient(t, c)
	s := site.signInAs(t, dc.Juan)
	s.echo(t, "/")

	proxy.Stall()
	const waiting = 30
	var signIns sync.WaitGroup
	for range waiting {
		signIns.Go(func() {
			r, err := site.trySignIn("juan", dc.Juan.Password)
			if err != nil {
				t.Errorf("a sign-in: %v", err)
				return
			}
			expectUnavailable(t, r)
			// A second for the machine, not for the code.
			if r.took > 11*time.Second {
				t.Errorf("a sign-in ended after %v", r.took)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		signIns.Wait()
		close(done)
	}()
	var slowest time.Duration
	requests := 0
	for waits := true; waits; {
		select {
		case <-done:
			waits = false
		case <-time.After(20 * time.Millisecond):
			r := s.get(t, "/")
			if requests++; r.status != http.StatusOK {
				t.Fatalf("request %d: %d %s", requests, r.status, r.body)
			}
			slowest = max(slowest, r.took)
		}
	}
	t.Logf("%d requests beside %d waiting sign-ins, the slowest took %v", requests, waiting, slowest)
	if requests < 20 || slowest > 3*time.Second {
		t.Errorf("%d requests, the slowest took %v", requests, slowest)
	}
	lines := c.audit(t)
	if last := lines[len(lines)-1]; last.Event != "sign_in" || last.Result != "unavailable" || last.Reason != "directory_unavailable" {
		t.Errorf("the audit log ends with %+v", last)
	}

	proxy.Resume()
	site.waitForSignIn(t, dc.Juan).signOut(t)
	s.signOut(t)
}

func TestHTTPDirectoryThatNeverSpokeEndsSignInWithinTenSeconds(t *testing.T) {
	stalled := netfault.NewStalled(t)
	c := newCaddy(t)
	directory := "\t\tdirectory corp.test {\n\t\t\tservers ldap://" + stalled.Addr() + "\n\t\t}"
	c.run(t, c.caddyfile(directory, "require_session {\n\t\tpublic /version\n\t}", newEcho(t), versioned(1)))
	site := newClient(t, c)
	if r := site.do(t, "GET", "/version", ""); r.body != "1" {
		t.Errorf("the public page answered %d %s", r.status, r.body)
	}
	r, err := site.trySignIn("juan", "una-clave-cualquiera")
	if err != nil {
		t.Fatal(err)
	}
	expectUnavailable(t, r)
	if r.took > 11*time.Second {
		t.Errorf("it took %v", r.took)
	}
	if stalled.Connections() == 0 {
		t.Error("the directory was not asked")
	}
}

// Row 40.
func TestHTTPStartsWhileTheDirectoryIsDown(t *testing.T) {
	dc := servers.Samba(t)
	proxy := netfault.NewProxy(t, "127.0.0.1:636")
	proxy.Refuse()
	c := newCaddy(t)
	// With a service account, which would resolve groups in the background.
	directory := directoryBlock(dc.Domain, "ldaps://"+proxy.Addr(), dc.CA.File,
		"bind "+dc.Service.UPN+" "+dc.Service.Password)
	c.keepSecret(dc.Service.Password, true)
	c.run(t, c.caddyfile(directory, "require_session nivel-10 {\n\t\tpublic /version\n\t}", newEcho(t), versioned(1)))
	site := newClient(t, c)
	if r := site.do(t, "GET", "/version", ""); r.body != "1" {
		t.Errorf("the public page answered %d %s", r.status, r.body)
	}
	for range 5 {
		r, err := site.trySignIn("juan", dc.Juan.Password)
		if err != nil {
			t.Fatal(err)
		}
		expectUnavailable(t, r)
		t.Logf("refused after %v", r.took)
	}
	if r := site.do(t, "GET", "/accounts/login/", "", "Accept", "text/html"); r.status != http.StatusOK {
		t.Errorf("the sign-in page answered %d", r.status)
	}
	proxy.Resume()
	s := site.waitForSignIn(t, dc.Juan)
	s.echo(t, "/")
	s.signOut(t)
}
