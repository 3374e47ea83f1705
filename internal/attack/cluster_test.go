package attack

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// clusterNames is what the names of all keys in Redis begin with.
const clusterNames = "{ldap_auth}:"

// cluster is what several sites share: a Redis, a directory and an upstream, which
// answers with the name that it was told.
type cluster struct {
	redis     *realserver.Redis
	setup     setup
	echo      *rawecho.Server
	directory *ldaptest.Server
	attacker  rueidis.Client // may do anything to the Redis
	storage   string         // lines of the storage
}

func newCluster(t *testing.T, c setup) *cluster {
	t.Helper()
	redis := realserver.NewRedis(t, realserver.RedisOptions{})
	return clusterOn(t, redis, c, rueidis.ClientOption{})
}

// clusterOn is newCluster with a Redis that somebody else has started, and wants
// to be told who the attacker is.
func clusterOn(t *testing.T, redis *realserver.Redis, c setup, as rueidis.ClientOption) *cluster {
	t.Helper()
	dir := ldaptest.Demo()
	if c.directory != nil {
		dir = *c.directory
	}
	directory, err := ldaptest.Start("127.0.0.1:0", dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = directory.Close() })
	as.InitAddress, as.DisableCache, as.ForceSingleClient = []string{redis.Addr}, true, true
	attacker, err := rueidis.NewClient(as)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(attacker.Close)
	cl := &cluster{redis: redis, setup: c, echo: rawecho.Start(t), directory: directory, attacker: attacker}
	sessionEchoUser(&site{echo: cl.echo})
	return cl
}

// clusterNode is one Caddy of a cluster.
type clusterNode struct {
	*site
	text string
}

// prepare makes a Caddy that keeps its sessions at an address: that of the Redis,
// or of a proxy to it.
func (cl *cluster) prepare(t *testing.T, address string) *clusterNode {
	t.Helper()
	folder, err := os.MkdirTemp("", "caddy-ldap-") // as in prepare, for the admin socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	s := &site{dir: folder, port: freePort(t), echo: cl.echo, directory: cl.directory}
	text := s.caddyfile(cl.setup)
	storage := "storage redis " + address + " {\n" + cl.storage + "\n}"
	return &clusterNode{s, strings.Replace(text, "storage badger "+s.dir+"/sessions", storage, 1)}
}

// node is prepare and a start.
func (cl *cluster) node(t *testing.T, address string) *clusterNode {
	t.Helper()
	n := cl.prepare(t, address)
	n.run(t, n.text)
	return n
}

// two are the nodes of most tests.
func (cl *cluster) two(t *testing.T) []*clusterNode {
	t.Helper()
	return []*clusterNode{cl.node(t, cl.redis.Addr), cl.node(t, cl.redis.Addr)}
}

// do has the attacker send a command.
func (cl *cluster) do(t testing.TB, command ...string) rueidis.RedisMessage {
	t.Helper()
	m, err := cl.attacker.Do(t.Context(), cl.attacker.B().Arbitrary(command...).Build()).ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%s: %v", command[0], err)
	}
	return m
}

// names are those of all keys that there are.
func (cl *cluster) names(t testing.TB) []string {
	t.Helper()
	m := cl.do(t, "KEYS", "*")
	names, err := m.AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// value is a key that is a string.
func (cl *cluster) value(t testing.TB, name string) string {
	t.Helper()
	m := cl.do(t, "GET", name)
	value, err := m.ToString()
	if err != nil {
		t.Fatalf("reading %q: %v", name, err)
	}
	return value
}

// clusterKey is the name of the record of a session.
func clusterKey(t testing.TB, c session) string {
	t.Helper()
	return clusterNames + "s:" + string(storeHash(tokenBytes(t, c.token)))
}

// at is the same session as another node is shown it.
func (c session) at(n *clusterNode) session { return session{n.site, c.token, c.csrf} }

// clusterUnknown tells whether an answer is that nobody can know, which is always
// allowed: a machine that is busy enough looks like a Redis that does not answer.
func clusterUnknown(r reply) bool {
	return r.status == http.StatusServiceUnavailable && r.code() == "store_unavailable" && len(r.cookies) == 0 && r.header.Get("Retry-After") != ""
}

// clusterKnown asks until the answer is another one than that nobody can know.
func clusterKnown(t testing.TB, what string, ask func() (reply, error)) reply {
	t.Helper()
	for deadline := time.Now().Add(45 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r, err := ask()
		if err == nil && !clusterUnknown(r) {
			return r
		}
		if err != nil && !clusterCut(err) || time.Now().After(deadline) {
			t.Fatalf("%s: %d %s, %v", what, r.status, r.body, err)
		}
	}
}

// in signs somebody in.
func (n *clusterNode) in(t testing.TB, username, password string) session {
	t.Helper()
	r := clusterKnown(t, "a sign-in", func() (reply, error) {
		return n.send("POST", "/api/login-ldap/", signInJSON(username, password), "Content-Type", "application/json")
	})
	return n.sessionOf(t, r)
}

// known is get until the answer is known.
func (c session) known(t testing.TB, path string) reply {
	t.Helper()
	return clusterKnown(t, "GET "+path, func() (reply, error) { return c.send("GET", path, "", "Cookie", c.cookie()) })
}

// wantUser fails unless the session is served, as that user's.
func (c session) wantUser(t testing.TB, username string) {
	t.Helper()
	if err := clusterTrue(c.known(t, "/"), username); err != nil {
		t.Error(err)
	}
}

// clusterTrue is an error unless an answer that is known is the upstream's, which
// was told of that user and no other.
func clusterTrue(r reply, username string) error {
	if r.status != http.StatusOK || !strings.HasPrefix(r.body, username+" ") {
		return fmt.Errorf("got %d %q, want that %s is served", r.status, r.body, username)
	}
	return nil
}

// wantOver fails unless the session is refused. Until the other node has heard of
// its end it may be served, to its own user.
func (c session) wantOver(t testing.TB, username string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		r := c.known(t, "/")
		if r.status != http.StatusOK {
			wantRefused(t, r)
			if cookie := r.cookies["sessionid"]; cookie == nil || cookie.MaxAge >= 0 {
				t.Errorf("the dead cookie is not deleted: %v", r.header["Set-Cookie"])
			}
			return
		}
		if err := clusterTrue(r, username); err != nil {
			t.Error(err)
			return
		}
		if time.Now().After(deadline) {
			t.Error("it is served on and on")
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// out signs out until that is acknowledged.
func (c session) out(t testing.TB) {
	t.Helper()
	r := clusterKnown(t, "a sign-out", func() (reply, error) {
		return c.send("POST", "/api/logout/", "", "Cookie", c.cookie(), "X-CSRFToken", c.csrf)
	})
	if r.status != http.StatusOK || r.body != signedOut {
		t.Errorf("signing out: %d %s", r.status, r.body)
	}
}

// clusterUntil runs work side by side until the function that it returns is
// called, which waits for its end.
func clusterUntil(workers int, work func(worker int, stopped func() bool)) (stop func()) {
	over := make(chan struct{})
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() {
			work(i, func() bool {
				select {
				case <-over:
					return true
				default:
					return false
				}
			})
		})
	}
	return sync.OnceFunc(func() {
		close(over)
		all.Wait()
	})
}

// wantNoPanic fails if code of ours has panicked, which the program survives.
func (n *clusterNode) wantNoPanic(t testing.TB) {
	t.Helper()
	if strings.Contains(n.read("caddy.json"), "panicked") {
		t.Error("the log tells of a panic")
	}
}

// clusterCut tells whether an answer was cut, as one to a session is that ends
// meanwhile.
func clusterCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
