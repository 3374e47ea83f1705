package ldap

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// logs collects what is logged, for tests that count or search it.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) count(s string) int { return strings.Count(l.String(), s) }

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func serve(t testing.TB, dir ldaptest.Directory, options ...ldaptest.Option) *ldaptest.Server {
	t.Helper()
	s, err := ldaptest.Start("127.0.0.1:0", dir, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// open makes a directory with limits short enough for tests.
func open(t testing.TB, config Config) (*Directory, *logs) {
	t.Helper()
	l := &logs{}
	if config.Label == "" {
		config.Label = "empresa.local"
	}
	config.Logger = l.logger()
	d, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	d.limits.total, d.limits.dial, d.limits.operation = 2*time.Second, 400*time.Millisecond, 500*time.Millisecond
	d.limits.resolve, d.limits.wait = 300*time.Millisecond, 100*time.Millisecond
	t.Cleanup(func() { d.Close() })
	return d, l
}

func adConfig(servers ...*ldaptest.Server) Config {
	c := Config{Kind: KindAD}
	for _, s := range servers {
		c.Servers = append(c.Servers, s.URL())
	}
	return c
}

func mustSignIn(t testing.TB, d *Directory, name, password string) *Identity {
	t.Helper()
	id, err := d.SignIn(context.Background(), name, password)
	if err != nil {
		t.Fatalf("SignIn(%q): %v", name, err)
	}
	return id
}

func mustRefuse(t testing.TB, d *Directory, name, password string, reason Reason) *RefusedError {
	t.Helper()
	id, err := d.SignIn(context.Background(), name, password)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Reason != reason || id != nil {
		t.Fatalf("SignIn(%q) = %+v, %v, want refused: %s", name, id, err, reason)
	}
	return refused
}

func mustBeUnavailable(t testing.TB, d *Directory, name, password string, reason Reason) *UnavailableError {
	t.Helper()
	id, err := d.SignIn(context.Background(), name, password)
	var u *UnavailableError
	if !errors.As(err, &u) || u.Reason != reason || id != nil {
		t.Fatalf("SignIn(%q) = %+v, %v, want unavailable: %s", name, id, err, reason)
	}
	return u
}

func groupNamed(id *Identity, name string) bool {
	return slices.ContainsFunc(id.Groups, func(g Group) bool { return g.Name == name && g.DN != "" })
}

func inGroup(id *Identity, groupID string) bool {
	return slices.ContainsFunc(id.Groups, func(g Group) bool { return g.ID == groupID })
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s: not within 5 s", what)
}

// quiet fails the test if the directory was bound to or searched.
func quiet(t testing.TB, s *ldaptest.Server) {
	t.Helper()
	if s.Binds() != 0 || s.Searches() != 0 || s.Connections() != 0 {
		t.Errorf("the directory got %d binds, %d searches, %d connections, want none", s.Binds(), s.Searches(), s.Connections())
	}
}

// dialed returns a connection to the directory's first server, in use until the
// test ends.
func dialed(t testing.TB, d *Directory) *connection {
	t.Helper()
	ctx, cancel := d.bounded(context.Background())
	t.Cleanup(cancel)
	c, err := d.dial(ctx, d.pool.hosts[0].server)
	if err != nil {
		t.Fatal(err)
	}
	c.lend(ctx)
	t.Cleanup(func() { c.takeBack(); c.close() })
	return c
}

// wire is what came in at a server.
type wire struct {
	mu       sync.Mutex
	requests []ldaptest.Request
}

// tap keeps what comes in from now on. fault, if any, decides what goes wrong.
func tap(s *ldaptest.Server, fault func(ldaptest.Request) ldaptest.Fault) *wire {
	w := &wire{}
	s.Observe(func(r ldaptest.Request) ldaptest.Fault {
		w.mu.Lock()
		w.requests = append(w.requests, r)
		w.mu.Unlock()
		if fault == nil {
			return ldaptest.Fault{}
		}
		return fault(r)
	})
	return w
}

func (w *wire) binds() (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.requests {
		if r.Bind {
			names = append(names, r.Name)
		}
	}
	return names
}

// bindsBut counts the binds of others than this account.
func (w *wire) bindsBut(account string) int {
	return len(slices.DeleteFunc(w.binds(), func(name string) bool { return name == account }))
}

func (w *wire) byConnection() map[int][]ldaptest.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	those := map[int][]ldaptest.Request{}
	for _, r := range w.requests {
		those[r.Connection] = append(those[r.Connection], r)
	}
	return those
}

// isDown tells whether the directory's i-th server is out of use.
func isDown(d *Directory, i int) bool {
	d.pool.mu.Lock()
	defer d.pool.mu.Unlock()
	return d.pool.hosts[i].isDown()
}
