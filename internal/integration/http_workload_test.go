//go:build unix

package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// standing is what the server has said of a session.
type standing string

const (
	alive   standing = "alive"   // the sign-in was acknowledged
	leaving standing = "leaving" // a sign-out was sent, and not acknowledged
	ended   standing = "ended"   // it was
)

// promised is a session that a crash must not change.
type promised struct {
	token string

	mu       sync.Mutex
	standing standing
	created  time.Time
	uses     []time.Time // of this run: when requests were sent that were acknowledged
	used     time.Time   // the last of all runs of which a crash must not take more than a step
}

func (p *promised) now() standing {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.standing
}

func (p *promised) set(s standing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.standing = s
}

// claim lets one caller sign the session out.
func (p *promised) claim() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.standing != alive {
		return false
	}
	p.standing = leaving
	return true
}

// wasUsed takes note of an acknowledged request.
func (p *promised) wasUsed(sent time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uses = append(p.uses, sent)
}

// settle ends a run: what was used before a moment was to be stored by its end.
func (p *promised) settle(before time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, sent := range p.uses {
		if sent.Before(before) && sent.After(p.used) {
			p.used = sent
		}
	}
	p.uses = nil
}

// workload is signing in, using and signing out at once, and what came of it.
type workload struct {
	t    *testing.T
	site *client

	mu       sync.Mutex
	sessions []*promised
	veterans int // the first sessions are never signed out

	down      atomic.Bool // the server was killed, or asked to end
	reloading atomic.Bool // some connections are closed unread
	signedOut chan struct{}

	signIns, requests, signOuts, cut atomic.Int64
}

const crashUsers = 20

// crashDirectory is a directory with people enough that none has too many
// sessions.
func crashDirectory(t *testing.T) string {
	t.Helper()
	people := ldaptest.Directory{Domain: "empresa.local"}
	for i := range crashUsers {
		people.Users = append(people.Users, ldaptest.User{SAMAccountName: fmt.Sprintf("user%d", i), Password: ldaptest.DemoPassword, GivenName: "U", Surname: fmt.Sprint(i)})
	}
	directory, err := ldaptest.Start("127.0.0.1:0", people)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = directory.Close() })
	return "\t\tdirectory empresa.local ad {\n\t\t\tservers " + directory.URL() + "\n\t\t}"
}

func newWorkload(t *testing.T, c *caddy) *workload {
	return &workload{t: t, site: newClient(t, c), signedOut: make(chan struct{}, 1)}
}

func (w *workload) signIn() error {
	body := fmt.Sprintf(`{"username":"user%d","password":%q}`, rand.IntN(crashUsers), ldaptest.DemoPassword)
	sent := time.Now()
	r, err := w.site.send("POST", "/api/login-ldap/", body, "Content-Type", "application/json")
	if err != nil {
		return err
	}
	cookie := r.cookies["sessionid"]
	if r.status != http.StatusOK || cookie == nil {
		return wrongAnswer(fmt.Sprintf("signing in: %d %s", r.status, r.body))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions = append(w.sessions, &promised{token: cookie.Value, standing: alive, created: sent, used: sent})
	w.signIns.Add(1)
	return nil
}

// pick returns some session behind the first ones: half of them are of the last,
// and a quarter veterans where these count.
func (w *workload) pick(from int) *promised {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.sessions)
	switch rand.IntN(4) {
	case 0:
		if from == 0 {
			n = w.veterans
		}
	case 1, 2:
		from = max(from, n-20)
	}
	if n <= from {
		return nil
	}
	return w.sessions[from+rand.IntN(n-from)]
}

// use sends a request with any session, also one that is being signed out.
func (w *workload) use(p *promised, path string) (reply, error) {
	before, sent := p.now(), time.Now()
	r, err := w.site.send("GET", path, "", "Cookie", "sessionid="+p.token)
	if err != nil {
		return r, err
	}
	after := p.now()
	switch {
	case r.status == http.StatusOK && before != ended:
		if path == "/" {
			p.wasUsed(sent)
		}
	case r.status == http.StatusUnauthorized && after != alive:
	default:
		return r, wrongAnswer(fmt.Sprintf("GET %s with a session that was %v and is %v: %d %s", path, before, after, r.status, r.body))
	}
	w.requests.Add(1)
	return r, nil
}

func (w *workload) signOut() error {
	p := w.pick(w.veterans)
	if p == nil || !p.claim() {
		time.Sleep(time.Millisecond)
		return nil
	}
	r, err := w.site.send("GET", "/api/logout/", "", "Cookie", "sessionid="+p.token)
	if err != nil {
		return err
	}
	if r.status != http.StatusOK || r.body != bodySignedOut {
		return wrongAnswer(fmt.Sprintf("signing out: %d %s", r.status, r.body))
	}
	p.set(ended)
	w.signOuts.Add(1)
	select {
	case w.signedOut <- struct{}{}:
	default:
	}
	return nil
}

// start begins the work. The function that it returns waits for its end, which
// comes with the server's.
func (w *workload) start() (wait func()) {
	w.down.Store(false)
	var workers sync.WaitGroup
	work := func(step func() error) {
		for range 3 {
			workers.Go(func() {
				for w.goesOn(step()) {
				}
			})
		}
	}
	work(w.signIn)
	work(w.signOut)
	work(func() error {
		p := w.pick(0)
		_, err := w.use(p, "/")
		if _, wrong := errors.AsType[wrongAnswer](err); err != nil && !wrong && p.now() != alive {
			return nil // a sign-out ends the answers that are under way
		}
		return err
	})
	return workers.Wait
}

// goesOn judges the result of a step. Answers that are cut are what the test is
// about, once the server is down; one that is wrong is a failure at any time.
func (w *workload) goesOn(err error) bool {
	_, wrong := errors.AsType[wrongAnswer](err)
	switch {
	case err == nil:
		return !w.down.Load()
	case wrong || !w.down.Load() && !w.reloading.Load():
		w.t.Error(err)
		return false
	}
	w.cut.Add(1)
	time.Sleep(5 * time.Millisecond)
	return !w.down.Load()
}

// wrongAnswer is an answer that came, and should have been another.
type wrongAnswer string

func (e wrongAnswer) Error() string { return string(e) }
