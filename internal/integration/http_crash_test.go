//go:build unix

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/badgerstore"
)

const (
	crashIdle = 2 * time.Minute
	crashStep = 2 * time.Second // a 60th of it

	// settled is when times are on disk for certain, which are written four
	// times a second. The rest is for a machine that is busy with other things.
	settled = 2 * time.Second
)

// check compares the server with what it had promised. telling is for how many
// sessions it would have shown if times of use were never stored.
func (w *workload) check() (telling int) {
	w.t.Helper()
	var next, told atomic.Int64
	var workers sync.WaitGroup
	for range 6 {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(w.sessions); i = int(next.Add(1)) - 1 {
				tells, err := w.checkOne(w.sessions[i])
				if err != nil {
					w.t.Error(err)
				}
				if tells {
					told.Add(1)
				}
			}
		})
	}
	workers.Wait()
	return int(told.Load())
}

func (w *workload) checkOne(p *promised) (telling bool, err error) {
	switch p.now() {
	case ended:
		_, err := w.use(p, "/")
		return false, err
	case leaving:
		first, err := w.use(p, "/")
		if err != nil {
			return false, err
		}
		if first.status == http.StatusOK {
			p.set(alive)
		} else {
			p.set(ended)
		}
		_, err = w.use(p, "/")
		return false, err
	}
	r, err := w.use(p, "/api/session/")
	if err != nil {
		return false, err
	}
	var info struct {
		SecondsLeft int `json:"seconds_left"`
	}
	if err := json.Unmarshal([]byte(r.body), &info); err != nil {
		return false, fmt.Errorf("reading %q: %w", r.body, err)
	}
	const slack = 2 * time.Second // one for the answer's whole seconds
	unused, left := time.Since(p.used), time.Duration(info.SecondsLeft)*time.Second
	if lost := crashIdle - unused - left; lost > crashStep+slack {
		return false, fmt.Errorf("a session that was used %v ago lives for %v more: its idle timer lost %v", unused, left, lost)
	}
	return p.used.Sub(p.created) > crashStep+slack+time.Second, nil
}

// TestHTTPKilledAgainAndAgain: whatever was acknowledged before a crash holds
// after it.
func TestHTTPKilledAgainAndAgain(t *testing.T) {
	c, upstream := newCaddy(t), newEcho(t)
	c.options = []string{noThrottle, fmt.Sprintf("sessions {\n\t\t\tidle_timeout %s\n\t\t\tper_user 1000\n\t\t\tstorage badger %s\n\t\t}", crashIdle, c.path("sessions"))}
	directory := crashDirectory(t)
	text := func(version int) string {
		whole := c.caddyfile(directory, "require_session", upstream, versioned(version))
		return strings.Replace(whole, "sessions {\n\t\t\tstorage badger "+c.path("sessions")+"\n\t\t}", "", 1)
	}
	w := newWorkload(t, c)

	var server *exec.Cmd
	begin := func() *exec.Cmd {
		return c.command(t, "run", "--config", c.write(t, text(0)), "--adapter", "caddyfile")
	}
	some := func(least, most time.Duration) { time.Sleep(least + rand.N(most-least)) }
	var killed time.Time
	kill := func() {
		w.down.Store(true)
		killed = time.Now()
		c.child.Kill()
	}
	afterSignOut := func() {
		some(100*time.Millisecond, 300*time.Millisecond)
		select {
		case <-w.signedOut: // of a while ago
		default:
		}
		select {
		case <-w.signedOut:
		case <-time.After(20 * time.Second):
			t.Error("nobody was signed out")
		}
		kill()
	}
	crashes := []struct {
		what string
		do   func()
	}{
		{"at some moment", func() {
			some(settled+200*time.Millisecond, settled+time.Second)
			kill()
		}},
		{"right after the answer to a sign-out", afterSignOut},
		{"frozen in a reload", func() {
			w.reloading.Store(true)
			var reloads sync.WaitGroup
			reloads.Go(func() {
				for version := 1; !w.down.Load(); version++ {
					if err := c.post(text(version)); err != nil && !w.down.Load() {
						t.Error(err)
					}
				}
			})
			some(100*time.Millisecond, 700*time.Millisecond)
			w.down.Store(true)
			if err := syscall.Kill(-server.Process.Pid, syscall.SIGSTOP); err != nil {
				t.Error(err)
			}
			time.Sleep(20 * time.Millisecond)
			kill()
			reloads.Wait()
			w.reloading.Store(false)
		}},
		{"right after the answer to a sign-out", afterSignOut},
		{"and again while it starts", func() {
			some(200*time.Millisecond, 700*time.Millisecond)
			kill()
			child := realserver.StartChild(t, c.path("caddy.log"), begin())
			some(50*time.Millisecond, 500*time.Millisecond)
			child.Kill()
		}},
		{"right after the answer to a sign-out", afterSignOut},
	}
	const rounds = 12
	telling := 0
	for round := range rounds {
		server = begin()
		c.launch(t, server)
		telling += w.check()
		for len(w.sessions) < 5 {
			if err := w.signIn(); err != nil {
				t.Fatal(err)
			}
		}
		w.veterans = 5
		wait := w.start()
		crashes[round%len(crashes)].do()
		wait()
		for _, p := range w.sessions {
			p.settle(killed.Add(-settled))
		}
		if t.Failed() {
			t.Fatalf("round %d, killed %s", round+1, crashes[round%len(crashes)].what)
		}
	}
	for range 2 {
		c.launch(t, begin())
		telling += w.check()
		if err := c.child.Stop(); err != nil {
			t.Errorf("ending Caddy: %v", err)
		}
	}
	t.Logf("%d crashes, %d sign-ins, %d sign-outs, %d requests, %d answers cut, %d idle timers that tell",
		rounds+rounds/len(crashes), w.signIns.Load(), w.signOuts.Load(), w.requests.Load(), w.cut.Load(), telling)
	if w.signIns.Load() < rounds || w.signOuts.Load() < rounds || telling == 0 {
		t.Error("too little happened for the test to mean anything")
	}
}

// post has the running Caddy load text, forced, without a second process.
func (c *caddy) post(text string) error {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.path("admin.sock"))
	}}
	r, err := http.NewRequest("POST", "http://127.0.0.1/load", strings.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "text/caddyfile")
	r.Header.Set("Cache-Control", "must-revalidate")
	answer, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if message, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("loading: %d %s %w", answer.StatusCode, message, err)
	}
	return nil
}

// TestHTTPEndUnderTrafficSavesEverything: when it is asked to end, the server
// stores when sessions were used, of which nothing was stored before.
func TestHTTPEndUnderTrafficSavesEverything(t *testing.T) {
	c := newCaddy(t)
	c.options = []string{noThrottle}
	text := c.caddyfile(crashDirectory(t), "require_session", newEcho(t), "") // times are stored once a minute
	c.run(t, text)
	w := newWorkload(t, c)
	for range 20 {
		if err := w.signIn(); err != nil {
			t.Fatal(err)
		}
	}
	w.veterans = 20
	time.Sleep(1100 * time.Millisecond)
	wait := w.start()
	time.Sleep(700 * time.Millisecond)
	w.down.Store(true)
	if err := c.child.Stop(); err != nil {
		t.Errorf("ending Caddy: %v", err)
	}
	wait()
	for _, p := range w.sessions {
		p.settle(time.Now())
	}

	store, err := badgerstore.Open(c.path("sessions"), badgerstore.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	unsaved := 0
	for _, p := range w.sessions {
		token, _ := sessionstore.ParseToken(p.token)
		_, seen, ok, err := store.Get(t.Context(), token.Key())
		switch standing := p.now(); {
		case err != nil:
			t.Error(err)
		case standing == alive && !ok:
			t.Error("an acknowledged sign-in is gone")
		case standing == ended && ok:
			t.Error("an acknowledged sign-out was undone")
		case standing == alive && seen.Before(p.used):
			t.Errorf("a session was used at %v; the store says %v", p.used, seen)
		case standing == alive && p.used.Sub(p.created) > time.Second:
			unsaved++
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	c.run(t, text)
	w.check()
	t.Logf("%d sessions, %d sign-outs, %d requests; %d had been used since they were stored", len(w.sessions), w.signOuts.Load(), w.requests.Load(), unsaved)
	if unsaved == 0 || w.signOuts.Load() == 0 {
		t.Error("too little happened for the test to mean anything")
	}
}
