package caddyauth

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

var errInjected = fmt.Errorf("injected: %w", errStoreDown)

// storeFaultKinds are what goes wrong at one call.
var storeFaultKinds = []string{"error", "error after", "panic", "panic after", "delay"}

// oneIn is which share of the injections there is the time for: all of them take
// two minutes.
func oneIn() int {
	switch {
	case os.Getenv("CADDY_LDAP_ATTACK") == "long":
		return 1
	case os.Getenv("CADDY_LDAP_REQUIRE_SERVERS") == "1":
		return 2
	}
	return 7
}

// TestEachStoreCallFailsInTurn: whatever call to the store fails, and however,
// nothing reaches the upstream without a valid session, a sign-out that was
// acknowledged stays, every request is answered, and afterwards all is well.
func TestEachStoreCallFailsInTurn(t *testing.T) {
	storage, faults := faultyStorage(t)
	s, a := startAdmin(t, setup{storage: storage, auth: unthrottled, site: faultSite})
	rig, paths := faults.rigged(), new(atomic.Int64)
	run := func(t *testing.T, well bool) *faultRun {
		return &faultRun{t: t, s: s, a: a, rig: rig, states: map[string]standing{}, paths: paths, well: well}
	}
	keeper := rig.put(t, storedSession("keeper", time.Minute))
	calls := map[string]int{}
	for _, method := range []string{"", "Touch", "SaveCounters"} {
		rig.set(nil)
		run(t, true).life(method)
		for method, n := range rig.counted() {
			calls[method] = max(calls[method], n)
		}
	}
	for _, method := range []string{"Create", "Get", "Touch", "Delete", "Drop", "DeleteUser", "List", "Find", "Count", "Users", "SaveCounters", "Secret"} {
		if calls[method] == 0 {
			t.Errorf("a life without %s shows nothing of it: %v", method, calls)
		}
	}
	goroutines := ourGoroutines()

	turn := 0
	for _, method := range slices.Sorted(maps.Keys(calls)) {
		most := calls[method]
		if method == "Touch" || method == "SaveCounters" {
			most = min(most, 2) // of loops, which call again and again
		}
		for nth := 1; nth <= most+1; nth++ { // the last: every one of them
			for _, kind := range storeFaultKinds {
				if turn++; turn%oneIn() != 0 && nth <= most {
					continue
				}
				every := nth > most
				name := fmt.Sprintf("%s %d: %s", method, nth, kind)
				if every {
					name = fmt.Sprintf("%s every time: %s", method, kind)
				}
				t.Run(name, func(t *testing.T) {
					f := run(t, false)
					held := make(chan chan struct{}, 64)
					rig.set(func(ctx context.Context, called string, n int, done bool) error {
						if called != method || n != nth && !every || done != strings.HasSuffix(kind, "after") {
							return nil
						}
						switch {
						case strings.HasPrefix(kind, "panic"):
							panic("injected")
						case kind == "delay":
							release := make(chan struct{})
							select {
							case held <- release:
							default:
								return nil
							}
							select {
							case <-release:
								return nil
							case <-ctx.Done():
								return ctx.Err()
							}
						}
						return errInjected
					})
					var living sync.WaitGroup
					lived := make(chan struct{})
					living.Go(func() { defer close(lived); f.life(method) })
					for over := false; !over; {
						select {
						case release := <-held:
							// Others go on meanwhile.
							beside := run(t, true)
							beside.states[keeper.token] = isLive
							beside.use(keeper)
							beside.send("/p/", isNone)
							close(release)
						case <-lived:
							over = true
						}
					}
					living.Wait()
					if every && kind == "panic" {
						if err := s.load(a.text); err != nil {
							t.Errorf("a reload meanwhile: %v", err)
						}
						f.useAll()
					}
					rig.set(nil)
					f.well = true
					eventually(t, "every session in doubt is settled", func() bool { return f.settled() })
					f.useAll()
					run(t, true).life("")
					for _, user := range []string{"ac12345", "mgarcia", "long", "unseen"} {
						if got := a.do("DELETE", "/ldap_auth/sessions?directory=empresa.local&user="+user); got.StatusCode != 200 && got.StatusCode != 404 {
							t.Errorf("afterwards: %d %s", got.StatusCode, got.body)
						}
					}
				})
			}
		}
	}
	if err := s.load(a.text); err != nil {
		t.Errorf("a reload afterwards: %v", err)
	}
	run(t, true).life("")
	eventually(t, "no goroutine was left behind", func() bool { return ourGoroutines() <= goroutines+4 }) // connections to the directory, and both their ends
}

// TestAStoreThatHangsIs503: whatever asks it is answered, and those who need not
// ask it go on.
func TestAStoreThatHangsIs503(t *testing.T) {
	storage, faults := faultyStorage(t)
	s, a := startAdmin(t, setup{storage: storage, auth: unthrottled, site: faultSite})
	rig := faults.rigged()
	keeper := s.signIn("mgarcia")
	stored := rig.put(t, storedSession("stored", time.Minute))
	before := s.upstream.count()
	rig.set(func(ctx context.Context, _ string, _ int, _ bool) error { <-ctx.Done(); return ctx.Err() })
	defer rig.set(nil)

	var asking sync.WaitGroup
	answered := new(atomic.Int64)
	ask := func(name string, send func() (reply, error)) {
		asking.Go(func() {
			got, err := send()
			if err != nil || got.StatusCode != 503 || got.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %v %d %s, want 503", name, err, status(got), got.body)
			}
			answered.Add(1)
		})
	}
	for name, request := range map[string][]change{
		"GET /x":                    {stored.cookies},
		"GET /y":                    {header("Cookie", "sessionid="+strings.Repeat("A", 43))},
		"GET /accounts/login/":      {stored.cookies},
		"GET /api/session/":         {stored.cookies},
		"GET /api/logout/":          {stored.cookies},
		"POST /api/logout/":         {stored.shown},
		"POST /api/login-ldap/":     {jsonBody(credentialsJSON("ac12345", ldaptest.DemoPassword))},
		"GET " + listPath:           {keeper.cookies},
		"POST " + listPath:          {keeper.shown, end("others")},
		"POST " + listPath + "?x=1": {keeper.shown, end("abcdefghijklmnop")},
	} {
		method, path, _ := strings.Cut(name, " ")
		ask(name, func() (reply, error) { return s.try(method, path, request...) })
	}
	for name := range map[string]bool{
		"GET /ldap_auth/sessions": true, "GET /ldap_auth/sessions/abcdefghijklmnop": true, "GET /ldap_auth/users": true, "GET /ldap_auth/counts": true,
		"DELETE /ldap_auth/sessions/abcdefghijklmnop": true,
	} {
		method, path, _ := strings.Cut(name, " ")
		ask(name, func() (reply, error) { return a.once(method, path) })
	}
	waitForCall(t, rig)
	want(t, s.do("GET", "/p", keeper.cookies), 200, "upstream")
	want(t, s.do("GET", "/p"), 401, bodyAuthenticationRequired)
	if n := answered.Load(); n > 0 {
		t.Errorf("%d were answered before the store had a chance", n)
	}
	asking.Wait()
	if n := s.upstream.count() - before; n != 1 {
		t.Errorf("%d requests reached the upstream, want the one of the session in memory", n)
	}
	rig.set(nil)
	want(t, s.do("GET", "/x", keeper.cookies), 200, "upstream")
}

func status(got reply) int {
	if got.Response == nil {
		return 0
	}
	return got.StatusCode
}

// waitForCall waits until the store is being asked.
func waitForCall(t *testing.T, rig *storeRig) {
	t.Helper()
	eventually(t, "the store is asked", func() bool { return len(rig.counted()) > 0 })
}

// TestAStoreThatFailsAtTheStart: the configuration does not start, the process
// lives, and the next one does.
func TestAStoreThatFailsAtTheStart(t *testing.T) {
	for _, method := range []string{"Secret", "Counters"} {
		for _, kind := range []string{"error", "panic"} {
			t.Run(method+" "+kind, func(t *testing.T) {
				storage, faults := faultyStorage(t)
				s := newServer(t, setup{storage: storage})
				faults.rigged().set(func(_ context.Context, called string, _ int, _ bool) error {
					switch {
					case called != method:
						return nil
					case kind == "panic":
						panic("injected")
					}
					return errInjected
				})
				if err := s.load(s.caddyfile()); err == nil || !strings.Contains(err.Error(), "injected") {
					t.Errorf("loading: %v", err)
				}
				faults.rigged().set(nil)
				if err := s.load(s.caddyfile()); err != nil {
					t.Fatal(err)
				}
				want(t, s.do("GET", "/x", s.signIn("ac12345").cookies), 200, "upstream")
			})
		}
	}
}

// TestAStoreThatPanicsAtTheEnd: it is closed, and what is acknowledged stays.
func TestAStoreThatPanicsAtTheEnd(t *testing.T) {
	for _, method := range []string{"Touch", "Mark", "SaveCounters", "Close"} {
		t.Run(method, func(t *testing.T) {
			storage, faults := faultyStorage(t)
			s := start(t, setup{storage: storage})
			stays, leaves := s.signIn("ac12345"), s.signIn("mgarcia")
			want(t, s.do("GET", "/x", stays.cookies), 200, "upstream")
			want(t, s.do("GET", "/api/logout/", leaves.cookies), 200, bodySignedOut)
			panicked := new(atomic.Int64)
			faults.rigged().set(func(_ context.Context, called string, _ int, done bool) error {
				if called == method && done {
					panicked.Add(1)
					panic("injected")
				}
				return nil
			})
			_ = caddy.Stop() // says so, or does not
			if panicked.Load() == 0 {
				t.Errorf("%s was not called", method)
			}
			faults.rigged().set(nil)
			if err := s.load(s.caddyfile()); err != nil {
				t.Fatal(err)
			}
			want(t, s.do("GET", "/x", stays.cookies), 200, "upstream")
			want(t, s.do("GET", "/x", leaves.cookies), 401, bodyAuthenticationRequired)
		})
	}
}
