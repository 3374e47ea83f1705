package integration

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// versioned adds a public page that names the configuration in use.
func versioned(version int) string {
	return fmt.Sprintf("handle /version {\n\t\trespond %d\n\t}", version)
}

const reloadGate = "require_session nivel-10 {\n\t\tpublic /version\n\t}"

func TestHTTPForcedReloadsUnderTraffic(t *testing.T) {
	dc := servers.Samba(t)
	c, upstream := newCaddy(t), newEcho(t)
	text := func(version int) string {
		return c.caddyfile(adDirectory(dc), reloadGate, upstream, versioned(version))
	}
	c.run(t, text(0))
	site := newClient(t, c)
	kept := []session{site.signInAs(t, dc.Juan), site.signInAs(t, dc.Juan), site.signInAs(t, dc.Juan)}
	ended := site.signInAs(t, dc.Juan)
	ended.signOut(t)

	stop := make(chan struct{})
	var workers sync.WaitGroup
	work := func(step func() error) {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				if err := step(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var served, signedIn, refused counter
	for _, s := range kept {
		work(func() error {
			r, err := s.deliver("GET", "/", "", "Cookie", s.cookies())
			if err != nil || r.status != http.StatusOK {
				return fmt.Errorf("a session's request: %d %s %v", r.status, r.body, err)
			}
			served.add()
			return nil
		})
	}
	work(func() error {
		r, err := ended.deliver("GET", "/", "", "Cookie", ended.cookies())
		if err != nil || r.status != http.StatusUnauthorized {
			return fmt.Errorf("a request with an ended session: %d %s %v", r.status, r.body, err)
		}
		refused.add()
		return nil
	})
	// Whole visits, each request on a connection of its own.
	for range 2 {
		visitor := newClient(t, c)
		visitor.http.Transport.(*http.Transport).DisableKeepAlives = true
		work(func() error {
			r, err := visitor.deliver("POST", "/api/login-ldap/", credentials(dc.Juan), "Content-Type", "application/json")
			if err != nil || r.status != http.StatusOK {
				return fmt.Errorf("a sign-in: %d %s %v", r.status, r.body, err)
			}
			cookie := "sessionid=" + r.cookies["sessionid"].Value
			for _, step := range []struct {
				path string
				want int
			}{{"/", 200}, {"/api/logout/", 200}, {"/", 401}} {
				r, err := visitor.deliver("GET", step.path, "", "Cookie", cookie)
				if err != nil || r.status != step.want {
					return fmt.Errorf("GET %s after a sign-in: %d %s %v, want %d", step.path, r.status, r.body, err, step.want)
				}
			}
			signedIn.add()
			return nil
		})
	}

	reloads := 0
	for start := time.Now(); time.Since(start) < 5*time.Second; {
		reloads++
		if err := c.reload(t, text(reloads)); err != nil {
			t.Errorf("reload %d: %v", reloads, err)
			break
		}
	}
	close(stop)
	workers.Wait()
	t.Logf("%d reloads beside %d requests, %d visits and %d refused requests; %d never reached Caddy and were repeated",
		reloads, served.n, signedIn.n, refused.n, c.repeated.Load())
	if reloads < 2 || served.n == 0 || signedIn.n == 0 || refused.n == 0 {
		t.Error("too little happened for the test to mean anything")
	}
	if r := site.do(t, "GET", "/version", ""); r.body != fmt.Sprint(reloads) {
		t.Errorf("version %q is in use, want %d", r.body, reloads)
	}
	for _, s := range kept {
		s.echo(t, "/")
		s.signOut(t)
		s.expectRefused(t, "/")
	}
}

func credentials(account realserver.Account) string {
	return fmt.Sprintf(`{"username":%q,"password":%q}`, account.Username, account.Password)
}

// deliver is send for a Caddy that reloads. When it closes a listening socket,
// the kernel resets the connections that Caddy had not accepted yet: nobody has
// seen those requests, and clients repeat them. A request that is in the access
// log and got no answer is a failure.
func (c *client) deliver(method, path, body string, fields ...string) (reply, error) {
	for {
		name := fmt.Sprintf("%s?n=%x", path, rand.Uint64())
		r, err := c.send(method, name, body, fields...)
		if err == nil {
			return r, nil
		}
		time.Sleep(200 * time.Millisecond)
		var network *net.OpError
		unseen := errors.As(err, &network) || errors.Is(err, io.EOF)
		if !unseen || strings.Contains(c.caddy.read("access.log"), name) {
			return r, err
		}
		c.caddy.repeated.Add(1)
	}
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add() {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
}

// A sign-in that waits for the directory while the configuration it came under
// is replaced ends as if nothing had happened.
func TestHTTPReloadLosesNoSignInThatIsUnderWay(t *testing.T) {
	dc := servers.Samba(t)
	proxy := netfault.NewProxy(t, "127.0.0.1:636")
	c, upstream := newCaddy(t), newEcho(t)
	text := func(version int) string {
		directory := directoryBlock(dc.Domain, "ldaps://"+proxy.Addr(), dc.CA.File)
		return c.caddyfile(directory, reloadGate, upstream, versioned(version))
	}
	c.run(t, text(1))
	site := newClient(t, c)
	asked := proxy.Connections()
	proxy.Stall()
	type result struct {
		reply
		err error
	}
	signedIn := make(chan result, 1)
	go func() {
		r, err := site.trySignIn("juan", dc.Juan.Password)
		signedIn <- result{r, err}
	}()
	waitFor(t, "the sign-in to reach the directory", func() bool { return proxy.Connections() > asked })
	reloaded := make(chan error, 1)
	go func() { reloaded <- c.reload(t, text(2)) }()
	waitFor(t, "the new configuration", func() bool {
		r, err := newClient(t, c).send("GET", "/version", "", "Connection", "close")
		return err == nil && r.body == "2"
	})
	proxy.Resume()
	got := <-signedIn
	if got.err != nil {
		t.Fatalf("the sign-in: %v", got.err)
	}
	s := site.sessionOf(t, got.reply)
	if err := <-reloaded; err != nil {
		t.Errorf("the reload: %v", err)
	}
	s.echo(t, "/")
	s.signOut(t)
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("waiting for %s: it did not come", what)
		}
	}
}

func TestHTTPFailedReloadLeavesTheRunningServerWhole(t *testing.T) {
	dc := servers.Samba(t)
	other := newCaddy(t)
	other.run(t, other.caddyfile(adDirectory(dc), reloadGate, newEcho(t), ""))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	c, upstream := newCaddy(t), newEcho(t)
	good := c.caddyfile(adDirectory(dc), reloadGate, upstream, versioned(1))
	edit := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the Caddyfile has no %q", old)
		}
		return strings.Replace(strings.Replace(good, "respond 1", "respond 2", 1), old, new, 1)
	}
	c.run(t, good)
	site := newClient(t, c)
	before, ended := site.signInAs(t, dc.Juan), site.signInAs(t, dc.Juan)
	ended.signOut(t)

	garbage := c.path("garbage.pem")
	if err := os.WriteFile(garbage, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ what, text, message string }{
		{"ca_file missing", edit(dc.CA.File, c.path("missing.pem")), "missing.pem"},
		{"ca_file without a certificate", edit(dc.CA.File, garbage), "no PEM certificate"},
		{"broken SID as a group", edit("require_session nivel-10", "require_session S-1-5-21-x"), "S-1-5-21-x"},
		{"empty group", edit("require_session nivel-10", `require_session ""`), "group"},
		{"unknown option", edit("require_session nivel-10 {", "require_session nivel-10 {\n\t\tpublik /x"), "publik"},
		{"folder of another Caddy", edit(c.path("sessions"), other.path("sessions")), "in use by another process"},
		{"folder that cannot be", edit(c.path("sessions"), garbage), "is not a folder"},
		{"port that is taken, after our app started", good + "\nhttp://" + taken.Addr().String() + " {\n\tbind 127.0.0.1\n\trequire_session\n}\n", "in use"},
		{"the same with another folder", edit(c.path("sessions"), c.path("other-sessions")) +
			"\nhttp://" + taken.Addr().String() + " {\n\tbind 127.0.0.1\n\trequire_session\n}\n", "in use"},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			err := c.reload(t, test.text)
			if err == nil {
				t.Fatal("the reload succeeded")
			}
			if !strings.Contains(err.Error(), test.message) {
				t.Errorf("the reload says %v, want %q in it", err, test.message)
			}
			if r := site.do(t, "GET", "/version", ""); r.body != "1" {
				t.Errorf("version %q is in use", r.body)
			}
			before.echo(t, "/")
			ended.expectRefused(t, "/")
			after := site.signInAs(t, dc.Juan)
			lines := c.audit(t)
			if last := lines[len(lines)-1]; last.Event != "sign_in" || last.Result != "ok" {
				t.Errorf("the audit log ends with %+v", last)
			}
			after.echo(t, "/")
			after.signOut(t)
			after.expectRefused(t, "/")
			accesses := strings.Count(c.read("access.log"), "\n")
			before.echo(t, "/after-a-failed-reload")
			waitFor(t, "the access log", func() bool { return strings.Count(c.read("access.log"), "\n") > accesses })
		})
	}
	// What a failed configuration had opened is free again.
	next := newCaddy(t)
	next.run(t, strings.Replace(next.caddyfile(adDirectory(dc), reloadGate, upstream, ""), next.path("sessions"), c.path("other-sessions"), 1))
	newClient(t, next).signInAs(t, dc.Juan).echo(t, "/")

	if err := c.reload(t, strings.Replace(good, "respond 1", "respond 3", 1)); err != nil {
		t.Errorf("a good reload after the failed ones: %v", err)
	}
	if r := site.do(t, "GET", "/version", ""); r.body != "3" {
		t.Errorf("version %q is in use, want 3", r.body)
	}
	before.echo(t, "/")
}
