package attack

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// sessionHold has the upstream hold its answers to /held until release.
func sessionHold(t *testing.T, s *site) (held <-chan struct{}, release func()) {
	t.Helper()
	came, open := make(chan struct{}, 64), make(chan struct{})
	release = sync.OnceFunc(func() { close(open) })
	t.Cleanup(release)
	s.echo.Answer(func(r rawecho.Request) string {
		if strings.HasPrefix(r.Target(), "/held") {
			came <- struct{}{}
			<-open
		}
		return ""
	})
	return came, release
}

// A request that is under way while its session ends, and comes to an end after
// it, stores nothing that brings the session back: not its last-seen time, not
// the renewed cookie, and not what an orderly end writes down.
func TestP85RequestInFlightRevivesNothing(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{sessions: "idle_timeout 1m"}) // a renewal step of 1 s
	s.run(t, text)
	held, release := sessionHold(t, s)
	c := s.signIn(t, juan)
	time.Sleep(1100 * time.Millisecond) // the next request renews
	inFlight := make(chan reply, 3)
	for _, fields := range [][]string{nil, {"Accept", "text/event-stream"}, {"X-CSRFToken", c.csrf}} {
		method := "GET"
		if len(fields) > 0 && fields[0] == "X-CSRFToken" {
			method = "POST"
		}
		go func() {
			r, _ := s.send(method, "/held", "", append(fields, "Cookie", c.cookie())...)
			inFlight <- r
		}()
		<-held
	}
	c.signOut(t)
	release()
	for range cap(inFlight) {
		if r := <-inFlight; r.cookies["sessionid"] != nil && r.cookies["sessionid"].Value != "" {
			t.Errorf("a request in flight got the cookie again: %d", r.status)
		}
	}
	sessionIsOver(t, c)
	if n := s.sessionCounts(t).Sessions; n != 0 {
		t.Errorf("the store has %d sessions", n)
	}
	if err := s.child.Stop(); err != nil {
		t.Errorf("ending Caddy: %v", err)
	}
	s.restart(t, text)
	sessionIsOver(t, c)
	if n := s.sessionCounts(t).Sessions; n != 0 {
		t.Errorf("after a restart the store has %d sessions", n)
	}
}

// Touches that race with the end of a session lose: whatever was sent after its
// acknowledgement is refused, and so is everything after a crash.
func TestR06TouchesNeverBringASessionBack(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{sessions: "idle_timeout 1m"})
	s.run(t, text)
	var over []session
	for round := range 6 {
		c := s.signIn(t, juan)
		if round%3 == 0 {
			time.Sleep(1100 * time.Millisecond) // the touches are stored
		}
		var ended atomic.Bool
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			wg.Go(func() {
				for {
					late := ended.Load()
					r, err := s.send("GET", "/", "", "Cookie", c.cookie())
					if late && (err != nil || r.status != http.StatusUnauthorized) {
						t.Errorf("a request after the sign-out got %d, %v", r.status, err)
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		if round%2 == 0 {
			c.signOut(t)
		} else {
			s.endSessions(t, juan)
		}
		ended.Store(true)
		time.Sleep(50 * time.Millisecond)
		close(stop)
		wg.Wait()
		over = append(over, c)
	}
	if n := s.sessionCounts(t).Sessions; n != 0 {
		t.Errorf("the store has %d sessions", n)
	}
	s.child.Kill()
	s.restart(t, text)
	for _, c := range over {
		wantRefused(t, c.get(t, "/"))
	}
}

// Steps that belong together are one: two sign-ins with the same old cookie end
// it, a sign-out beside them leaves nothing of it, and a form that is held back
// over a sign-out does not pass.
func TestS39ChecksAndUsesAreOneStep(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for range 4 {
		old := s.signIn(t, juan)
		var group sync.WaitGroup
		var mu sync.Mutex
		var made []string
		for range 3 {
			group.Go(func() {
				r, err := s.send("POST", "/api/login-ldap/", `{"username":"`+juan+`","password":"`+ldaptest.DemoPassword+`"}`, "Content-Type", "application/json", "Cookie", old.cookie())
				if err != nil || r.status != http.StatusOK {
					t.Errorf("signing in: %d, %v", r.status, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				made = append(made, r.cookies["sessionid"].Value)
			})
		}
		group.Go(func() {
			if r, err := s.send("GET", "/api/logout/", "", "Cookie", old.cookie()); err != nil || r.status != http.StatusOK {
				t.Errorf("signing out: %d, %v", r.status, err)
			}
		})
		group.Wait()
		wantRefused(t, old.get(t, "/"))
		for _, token := range made {
			if r := s.do(t, "GET", "/", "", "Cookie", "sessionid="+token); r.status != http.StatusOK {
				t.Errorf("a new session got %d", r.status)
			}
		}
		if ids := s.sessionIDs(t, juan); len(ids) != len(made) {
			t.Errorf("there are %d sessions of %d sign-ins", len(ids), len(made))
		}
		s.admin(t, "DELETE", "/ldap_auth/sessions?user="+juan, "")
	}
	c := s.signIn(t, juan)
	s.echo.Forget()
	conn := s.dial(t, "http/1.1")
	form := "csrfmiddlewaretoken=" + c.csrf + "&amount=7"
	head := fmt.Sprintf("POST /pay HTTP/1.1\nHost: HOST\nCookie: %s\nContent-Type: application/x-www-form-urlencoded\nContent-Length: %d\nConnection: close\n\n", c.cookie(), len(form))
	if _, err := conn.Write([]byte(s.wire(head) + form[:10])); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	c.signOut(t)
	if _, err := conn.Write([]byte(form[10:])); err != nil {
		t.Logf("sending the rest: %v", err)
	}
	text := make([]byte, 4096)
	n, _ := conn.Read(text)
	if answer := string(text[:n]); n > 0 && !strings.HasPrefix(answer, "HTTP/1.1 401") {
		t.Errorf("a form that was held back got %q", answer)
	}
	s.wantNothingUpstream(t)
}

// Hundreds of requests that find their session expired at once neither crash
// the server nor let anything through.
func TestP13ExpiredSessionsAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, setup{sessions: "idle_timeout 1s"})
	var cookies []string
	for range 10 {
		cookies = append(cookies, s.signIn(t, juan).cookie())
	}
	time.Sleep(time.Second)
	s.echo.Forget()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for _, cookie := range cookies {
				if r, err := s.send("GET", "/", "", "Cookie", cookie); err != nil || r.status != http.StatusUnauthorized {
					t.Errorf("%d, %v", r.status, err)
				}
			}
		})
	}
	wg.Wait()
	s.wantNothingUpstream(t)
	if ended := s.auditedEnds(t, "expired"); ended > len(cookies) {
		t.Errorf("%d ends of %d sessions were audited", ended, len(cookies))
	}
	s.signIn(t, juan) // it lives
}
