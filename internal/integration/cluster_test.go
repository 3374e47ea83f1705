package integration

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// cluster is what several Caddys share: a Redis, a directory and an application.
type cluster struct {
	redis     *realserver.Redis
	directory *ldaptest.Server
	upstream  string
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	// Always, because what is written once a second is lost when it is killed.
	return newClusterOn(t, realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"appendfsync always"}}))
}

func newClusterOn(t testing.TB, redis *realserver.Redis) *cluster {
	t.Helper()
	directory, err := ldaptest.Start("127.0.0.1:0", ldaptest.Demo())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = directory.Close() })
	return &cluster{redis, directory, newEcho(t)}
}

// node is one Caddy of a cluster.
type node struct {
	*client
	text string
}

// node prepares a Caddy that keeps its sessions at an address, the cluster's
// Redis or a proxy to it. options are further lines of the storage.
func (cl *cluster) node(t testing.TB, address string, options ...string) *node {
	t.Helper()
	c := newCaddy(t)
	block := "\t\tdirectory empresa.local ad {\n\t\t\tservers " + cl.directory.URL() + "\n\t\t}"
	text := c.caddyfile(block, "require_session", cl.upstream, "")
	text = strings.Replace(text, "storage badger "+c.path("sessions"), "storage redis "+address+" {\n"+strings.Join(options, "\n")+"\n}", 1)
	return &node{newClient(t, c), text}
}

func (n *node) start(t testing.TB) *node {
	t.Helper()
	n.caddy.run(t, n.text)
	return n
}

// startTwo runs two Caddys on the cluster's Redis.
func (cl *cluster) startTwo(t testing.TB) (a, b *node) {
	t.Helper()
	return cl.node(t, cl.redis.Addr).start(t), cl.node(t, cl.redis.Addr).start(t)
}

// at is the same session as another node is shown it.
func (s session) at(n *node) session {
	n.caddy.keepSecret(s.token, true)
	n.caddy.keepSecret(s.csrf, false)
	return session{n.client, s.token, s.csrf}
}

// elsewhere is how long an end may be unknown to another node.
const elsewhere = time.Second

// untilRefused uses a session that was ended at since, until it is refused, and
// returns how long after that the last request began that was served.
func (s session) untilRefused(t testing.TB, since time.Time) (served time.Duration) {
	t.Helper()
	for {
		began := time.Since(since)
		switch r := s.get(t, "/"); r.status {
		case http.StatusOK:
			served = began
		case http.StatusServiceUnavailable:
			expectNoStore(t, r)
		default:
			expect(t, r, http.StatusUnauthorized, bodyUnauthenticated)
			return served
		}
		if time.Since(since) > 20*time.Second {
			t.Fatal("an ended session is served on and on, or nothing is known of it")
		}
		time.Sleep(time.Millisecond)
	}
}

const (
	bodyNoStore       = `{"error":"Session store unavailable","code":"store_unavailable"}`
	bodySignInNoStore = `{"status":"error","message":"Almacén de sesiones no disponible","code":"store_unavailable"}`
)

// expectNoStore checks an answer of which nobody can know what it should be: the
// client keeps its cookies and comes back.
func expectNoStore(t testing.TB, r reply) {
	t.Helper()
	if r.status != http.StatusServiceUnavailable || r.body != bodyNoStore && r.body != bodySignInNoStore {
		t.Errorf("got %d %s, want a 503 for the store", r.status, r.body)
	}
	if n, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || n < 1 {
		t.Errorf("Retry-After is %q", r.header.Get("Retry-After"))
	}
	if len(r.cookies) != 0 {
		t.Errorf("a 503 sets %v", r.header["Set-Cookie"])
	}
}

// What follows comes again after a 503, which is always allowed: a machine that
// is busy enough looks like a Redis that does not answer.

// served uses the session until it is served.
func (s session) served(t testing.TB) {
	t.Helper()
	s.known(t, "/", http.StatusOK)
}

// refused uses a session that has ended, which is never served.
func (s session) refused(t testing.TB) {
	t.Helper()
	r := s.known(t, "/", http.StatusUnauthorized)
	expect(t, r, http.StatusUnauthorized, bodyUnauthenticated)
	if cookie := r.cookies["sessionid"]; cookie == nil || cookie.MaxAge >= 0 {
		t.Errorf("the dead cookie is not deleted: %v", r.header["Set-Cookie"])
	}
}

// end signs out.
func (s session) end(t testing.TB) {
	t.Helper()
	expect(t, s.known(t, "/api/logout/", http.StatusOK), http.StatusOK, bodySignedOut)
}

// known requests path until the answer is another one than that nothing is known.
func (s session) known(t testing.TB, path string, status int) (r reply) {
	t.Helper()
	waitFor(t, "an answer to GET "+path, func() bool {
		if r = s.get(t, path); r.status == http.StatusServiceUnavailable {
			expectNoStore(t, r)
			return false
		}
		return true
	})
	if r.status != status {
		t.Fatalf("GET %s: %d %s, want %d", path, r.status, r.body, status)
	}
	return r
}

// demo signs in somebody of the directory.
func (n *node) demo(t testing.TB) session {
	t.Helper()
	var r reply
	waitFor(t, "a sign-in", func() (done bool) {
		var err error
		if r, err = n.trySignIn("ac12345", ldaptest.DemoPassword); err != nil {
			t.Fatal(err)
		}
		if r.status == http.StatusServiceUnavailable {
			expectNoStore(t, r)
		}
		return r.status != http.StatusServiceUnavailable
	})
	return n.sessionOf(t, r)
}

func TestClusterSessionIsOneOnAllNodes(t *testing.T) {
	a, b := newCluster(t).startTwo(t)
	s := a.demo(t)
	for _, n := range []*node{b, a, b} {
		if got := s.at(n).echo(t, "/").Header; got.Get("Remote-User") != "ac12345" || got.Get("Remote-Name") != "Juan Pérez" {
			t.Errorf("the application got %v", got)
		}
		if r := n.do(t, "POST", "/", "a=b", "Cookie", s.cookies(), "X-CSRFToken", s.csrf); r.status != http.StatusOK {
			t.Errorf("POST with the token: %d %s", r.status, r.body)
		}
		if r := n.do(t, "POST", "/", "a=b", "Cookie", s.cookies()); r.status != http.StatusForbidden {
			t.Errorf("POST without the token: %d %s", r.status, r.body)
		}
	}

	t.Run("an end on one is an end on the other", func(t *testing.T) {
		var latest time.Duration
		for i := range 10 {
			here, there := a, b
			if i%2 == 1 {
				here, there = b, a
			}
			s := here.demo(t)
			s.served(t)
			s.at(there).served(t)
			s.at(there).end(t)
			since := time.Now()
			s.at(there).refused(t)
			latest = max(latest, s.untilRefused(t, since))
			s.refused(t)
		}
		t.Logf("the latest request that was served began %v after the sign-out", latest)
		if latest > elsewhere+slack {
			t.Errorf("a request was served %v after the sign-out elsewhere", latest)
		}
	})
	t.Run("a sign-in replaces the session of the other node", func(t *testing.T) {
		old := a.demo(t)
		body := fmt.Sprintf(`{"username":"ac12345","password":%q}`, ldaptest.DemoPassword)
		r := b.do(t, "POST", "/api/login-ldap/", body, "Content-Type", "application/json", "Cookie", old.cookies())
		since, next := time.Now(), b.sessionOf(t, r)
		next.at(a).served(t)
		if served := old.untilRefused(t, since); served > elsewhere+slack {
			t.Errorf("the old session was served %v later", served)
		}
		next.at(a).end(t)
	})
	t.Run("the operator's list is one", func(t *testing.T) {
		for _, n := range []*node{a, b} {
			if r := n.caddy.sessionsCommand(t, "list", "--address", n.caddy.adminAddress()); r.exitCode != 0 || !strings.HasSuffix(r.output, "\n1 session\n") {
				t.Errorf("%+v", r)
			}
		}
	})
	s.at(b).served(t)
}

// TestClusterEndFromOutside: `caddy ldap-sessions end` at one node ends what is
// open at the other.
func TestClusterEndFromOutside(t *testing.T) {
	cl := newCluster(t)
	cl.upstream = newStream(t)
	a, b := cl.startTwo(t)
	s := a.demo(t).at(b)
	lines := a.caddy.audit(t)
	id := lines[len(lines)-1].Session
	other := a.demo(t).at(b)
	ended, others := s.openStream(t), other.openStream(t)

	if r := a.caddy.sessionsCommand(t, "end", id, "--address", a.caddy.adminAddress()); r.exitCode != 0 {
		t.Fatalf("%+v", r)
	}
	since := time.Now()
	select {
	case at := <-ended:
		t.Logf("the stream ended %v after the command", at.Sub(since))
	case <-time.After(2*time.Second + slack):
		t.Error("the event stream goes on")
	}
	if served := s.untilRefused(t, since); served > elsewhere+slack {
		t.Errorf("a request was served %v after the command", served)
	}
	select {
	case <-others:
		t.Error("the stream of another session ended")
	case <-time.After(300 * time.Millisecond):
	}

	if r := b.caddy.sessionsCommand(t, "end", "--user", "ac12345", "--address", b.caddy.adminAddress()); r.exitCode != 0 || !strings.HasSuffix(r.output, "\n1 session ended\n") {
		t.Errorf("%+v", r)
	}
	select {
	case <-others:
	case <-time.After(2*time.Second + slack):
		t.Error("the other event stream goes on")
	}
}

func TestClusterPrefixesShareNothing(t *testing.T) {
	cl := newCluster(t)
	a, b := cl.node(t, cl.redis.Addr).start(t), cl.node(t, cl.redis.Addr, "prefix otro").start(t)
	s := a.demo(t)
	s.at(b).refused(t)
	other := b.demo(t)
	other.at(a).refused(t)
	expect(t, other.at(a).get(t, "/api/logout/"), http.StatusOK, bodySignedOut)
	other.served(t)
	s.served(t)
}

// TestClusterWrongPasswordsAreCountedTogether: a cluster is not so many times
// more guesses.
func TestClusterWrongPasswordsAreCountedTogether(t *testing.T) {
	a, b := newCluster(t).startTwo(t)
	for i, n := range []*node{a, b, a} {
		if got := n.guess(t, "mgarcia"); got != http.StatusUnauthorized {
			t.Errorf("guess %d: %d", i+1, got)
		}
	}
	for _, n := range []*node{b, a} {
		if got := n.guess(t, "mgarcia"); got != http.StatusTooManyRequests {
			t.Errorf("one more guess: %d", got)
		}
	}
	// The right one is not tried either, and others sign in.
	r, err := b.trySignIn("mgarcia", ldaptest.DemoPassword)
	if err != nil {
		t.Fatal(err)
	}
	expectThrottled(t, r)
	b.demo(t).at(a).served(t)
}
