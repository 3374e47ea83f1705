package caddyauth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// TestManyReloadsUnderTraffic: no request fails, no session is lost, and of the
// configurations that are gone nothing is left.
func TestManyReloadsUnderTraffic(t *testing.T) {
	const reloads = 200
	storage, faults := faultyStorage(t)
	s := newServer(t, setup{
		storage: storage,
		site:    "route {\ntest_held\nrequire_session\nrespond served\n}",
	})
	text := s.caddyfile()
	if err := s.load(text); err != nil { // whatever Caddy starts once
		t.Fatal(err)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	config, err := adapt(text)
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Replace(config, []byte(`"sessions":{`), []byte(`"sessions":{"same_site":"x",`), 1)
	before := goleak.IgnoreCurrent()
	if err := s.load(text); err != nil {
		t.Fatal(err)
	}

	// visit sends a request. When Caddy changes servers, some connections are
	// closed before anybody has read from them, with this plugin or without it:
	// a request that no handler has seen is sent again, as clients do. One that
	// was seen and is not answered is lost.
	var names, again atomic.Int64
	visit := func(client *http.Client, method, path, cookie, body string) (status int, text string, h http.Header, err error) {
		for range 20 {
			r, err := http.NewRequest(method, s.base+path, strings.NewReader(body))
			if err != nil {
				return 0, "", nil, err
			}
			name := fmt.Sprint(names.Add(1))
			r.Header.Set("X-Name", name)
			if body != "" {
				r.Header.Set("Content-Type", "application/json")
			}
			if cookie != "" {
				r.Header.Set("Cookie", cookie)
			}
			answer, err := client.Do(r)
			if err == nil {
				defer answer.Body.Close()
				reached.Delete(name)
				text, err := io.ReadAll(answer.Body)
				return answer.StatusCode, string(text), answer.Header, err
			}
			time.Sleep(50 * time.Millisecond) // a handler may have it right now
			if _, seen := reached.LoadAndDelete(name); seen {
				return 0, "", nil, err
			}
			again.Add(1)
		}
		return 0, "", nil, errors.New("no handler ever saw it")
	}
	newClient := func() *http.Client {
		transport := new(http.Transport)
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: 30 * time.Second}
	}
	signIn := func(client *http.Client, user string) (cookie string, err error) {
		status, body, h, err := visit(client, "POST", "/api/login-ldap/", "", credentialsJSON(user, ldaptest.DemoPassword))
		if err != nil || status != 200 {
			return "", fmt.Errorf("signing in: %d %s %w", status, body, err)
		}
		return "sessionid=" + reply{Response: &http.Response{Header: h}}.cookie("sessionid"), nil
	}
	expect := func(client *http.Client, path, cookie string, want int) error {
		status, body, _, err := visit(client, "GET", path, cookie, "")
		if err != nil || status != want {
			return fmt.Errorf("GET %s: %d %s %w, want %d", path, status, body, err, want)
		}
		return nil
	}

	var stop atomic.Bool
	var served, visits atomic.Int64
	var workers sync.WaitGroup
	work := func(step func() error) {
		workers.Go(func() {
			for !stop.Load() {
				if err := step(); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Millisecond) // the reloads need the processors too
			}
		})
	}
	var kept []string
	for i := range 6 {
		client := newClient()
		client.Transport.(*http.Transport).DisableKeepAlives = i%2 == 0
		cookie, err := signIn(client, "ac12345")
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, cookie)
		work(func() error {
			served.Add(1)
			return expect(client, "/x", cookie, 200)
		})
	}
	visitor := newClient()
	work(func() error {
		visits.Add(1)
		cookie, err := signIn(visitor, "mgarcia")
		return errors.Join(err, expect(visitor, "/x", cookie, 200), expect(visitor, "/api/logout/", cookie, 200), expect(visitor, "/x", cookie, 401))
	})

	var apps []weak.Pointer[App]
	began, mark := time.Now(), logged.mark()
	for i := range reloads {
		// On a fast machine the reloads would be over before the traffic begins.
		for seen, until := served.Load(), time.Now().Add(time.Second); served.Load() == seen && time.Now().Before(until); {
			time.Sleep(time.Millisecond)
		}
		edited := strings.Replace(text, "sessions {", fmt.Sprintf("trusted_origins https://n%d.test\nsessions {", i), 1)
		if err := s.load(edited); err != nil {
			t.Fatalf("reload %d: %v", i, err)
		}
		app, err := activeApp()
		if err != nil {
			t.Fatal(err)
		}
		apps = append(apps, weak.Make(app))
		if i%10 == 0 {
			if err := s.loadJSON(broken); err == nil {
				t.Fatal("a broken configuration loads")
			}
		}
	}
	took := time.Since(began)
	stop.Store(true)
	workers.Wait()
	t.Logf("%d reloads in %v, beside %d requests with a session and %d visits; %d requests reached no handler and were repeated",
		reloads, took.Round(time.Millisecond), served.Load(), visits.Load(), again.Load())
	if served.Load() < reloads || visits.Load() == 0 {
		t.Error("too little happened for the test to mean anything")
	}
	noPanics(t, mark)
	client := newClient()
	for _, cookie := range kept {
		if err := expect(client, "/x", cookie, 200); err != nil {
			t.Error(err)
		}
	}
	if faults.opened.Load() != 2 || faults.closed.Load() != 1 {
		t.Errorf("the store was opened %d times and closed %d times", faults.opened.Load(), faults.closed.Load())
	}
	client.CloseIdleConnections()
	visitor.CloseIdleConnections()

	// The last one serves; of the others a connection may hold one for a moment.
	alive := func() (n int) {
		runtime.GC()
		for _, app := range apps {
			if app.Value() != nil {
				n++
			}
		}
		return n
	}
	for deadline := time.Now().Add(20 * time.Second); alive() > 3 && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	if n := alive(); n > 3 {
		t.Errorf("%d configurations are still in memory", n)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(openHandles(t)); n != 0 {
		t.Errorf("%d stores are left", n)
	}
	goleak.VerifyNone(t, append(caddysGoroutines(), before)...)
}
