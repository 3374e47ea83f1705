package attack

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// Strangers slow an account down here, and never lock it in the directory: what
// reaches that stays below its own threshold, whatever they do at once, and the
// directory's answers to it count nothing more.
func TestR09StrangersNeverReachTheDirectorysLockout(t *testing.T) {
	t.Parallel()
	dir := directoryWithService(ldaptest.Demo())
	dir.LockoutThreshold = 5
	c := throttleBehindProxy
	c.directory, c.block = dir, directoryServiceLines
	s := start(t, c)
	asked := directoryWatch(s.directory)
	tries := throttleGuesses(slices.Repeat([]string{juan}, 60)...)
	throttleWantTried(t, s.signInAll(t, tries), 3)
	throttleWantTried(t, s.signInAll(t, []signInTry{{juan, ldaptest.DemoPassword, "203.0.113.7"}, {"AC12345@empresa.local", ldaptest.DemoPassword, "203.0.113.8"}}), 0)
	if n := len(asked.people()); n != 3 || n > dir.LockoutThreshold-2 {
		t.Errorf("the directory got %d wrong passwords, want 3, below its threshold %d", n, dir.LockoutThreshold)
	}
	throttled := 0
	for _, line := range s.audit(t) {
		if line.Reason == "throttled" && line.Result == "refused" {
			throttled++
			if line.User != "" {
				t.Errorf("a line of an attempt that was not tried names %q, which may be a password", line.User)
			}
		}
	}
	if throttled != 59 {
		t.Errorf("the audit log has %d throttled attempts, want 59", throttled)
	}
	// Whoever hangs up while the directory thinks does not wait to be counted.
	s.directory.Delay(50 * time.Millisecond)
	for i := range 8 {
		bound := len(asked.people())
		conn := s.dial(t)
		body := signInJSON(maria, fmt.Sprint(signInWrongPassword, i))
		_, _ = fmt.Fprintf(conn, "POST /api/login-ldap/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-Forwarded-For: 192.0.2.%d\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
		for range 20 {
			if time.Sleep(10 * time.Millisecond); len(asked.people()) > bound {
				break
			}
		}
		_ = conn.Close()
	}
	s.directory.Delay(0)
	s.signInAll(t, throttleGuesses(slices.Repeat([]string{maria}, 10)...))
	if n := len(asked.people()) - 3; n > 3 {
		t.Errorf("the directory got %d wrong passwords from clients that hang up, want 3 at most", n)
	}
	if strings.Contains(s.read("caddy.json"), "throttle account is not below") {
		t.Error("it warns of a threshold that is high enough")
	}

	// Where the configuration is not below the threshold, it says so.
	t.Run("a threshold that is too low", func(t *testing.T) {
		t.Parallel()
		c := c
		c.auth += "\nthrottle account 5 15m"
		s := start(t, c)
		s.signIn(t, juan)
		s.eventually(t, "a warning", func() bool {
			return strings.Contains(s.read("caddy.json"), "throttle account is not below the directory's own lockout threshold")
		})
	})
}

// throttleDeviceOf is the cookie of a browser that has signed in.
func throttleDeviceOf(t testing.TB, r reply) string {
	t.Helper()
	cookie := r.cookies["ldap_device"]
	if r.status != 200 || cookie == nil {
		t.Fatalf("signing in: %d %s with the cookies %v", r.status, r.body, r.header["Set-Cookie"])
	}
	return "ldap_device=" + cookie.Value
}

// Guessing is bounded for one account and for one source, and locks nobody out:
// the browser that the owner uses goes on to work.
func TestS23GuessingIsBoundedAndLocksNobodyOut(t *testing.T) {
	t.Parallel()
	c := throttleBehindProxy
	c.auth += "\nthrottle account 3 15m\nthrottle source 20 15m"
	s := start(t, c)
	device := throttleDeviceOf(t, s.trySignIn(t, juan, ldaptest.DemoPassword))
	asked := directoryWatch(s.directory)

	// One password for everybody, from all of one network that one machine has.
	var spray []signInTry
	for i := range 60 {
		spray = append(spray, signInTry{fmt.Sprintf("persona%d", i), "Verano2026!", fmt.Sprintf("2001:db8:1:2:%x::%x", i*257, i+1)})
	}
	throttleWantTried(t, s.signInAll(t, spray), 20)
	if n := len(asked.people()); n != 20 {
		t.Errorf("the directory got %d guesses from one source, want 20", n)
	}
	// An address has one budget in both of its spellings, and a success in
	// between, which a guesser with an account can always have, gives no other.
	spray = nil
	for i := range 40 {
		spray = append(spray, signInTry{fmt.Sprintf("otra%d", i), "Verano2026!", []string{"192.0.2.50", "::ffff:192.0.2.50"}[i%2]})
	}
	throttleWantTried(t, s.signInAll(t, spray[:15]), 15)
	s.sessionOf(t, s.trySignIn(t, maria, ldaptest.DemoPassword, "X-Forwarded-For", "192.0.2.50"))
	throttleWantTried(t, s.signInAll(t, spray[15:]), 5)
	// The neighbouring network is another source.
	throttleWantTried(t, s.signInAll(t, []signInTry{{"persona99", "Verano2026!", "2001:db8:1:3::1"}}), 1)

	throttleWantTried(t, s.signInAll(t, throttleGuesses(slices.Repeat([]string{juan}, 10)...)), 3)
	throttleWantTried(t, s.signInAll(t, []signInTry{{juan, ldaptest.DemoPassword, "192.0.2.200"}}), 0)
	r := s.trySignIn(t, juan, ldaptest.DemoPassword, "Cookie", device, "X-Forwarded-For", "192.0.2.201")
	s.sessionOf(t, r)
}

// A wrong password counts for the account, whatever cookies or connections it
// comes with, or without.
func TestP08FreshCookiesGiveNoFreshGuesses(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: "throttle source 1000 15m"})
	maria := s.trySignIn(t, maria, ldaptest.DemoPassword)
	device := throttleDeviceOf(t, maria)
	asked := directoryWatch(s.directory)
	tried := 0
	for i := range 200 {
		var fields []string
		switch i % 5 {
		case 1: // a page, and the cookie that comes with it
			fields = []string{"Cookie", "csrftoken=" + s.do(t, "GET", "/accounts/login/", "").cookies["csrftoken"].Value}
		case 2:
			fields = []string{"Cookie", device} // of somebody else
		case 3:
			fields = []string{"Cookie", fmt.Sprintf("ldap_device=%043d; sessionid=%043d", i, i)}
		case 4:
			fields = []string{"Cookie", s.sessionOf(t, maria).cookie()}
		}
		switch r := s.trySignIn(t, juan, fmt.Sprint("intento-", i), fields...); r.status {
		case 401:
			tried++
		case 429:
		default:
			t.Fatalf("try %d: %d %s", i, r.status, r.body)
		}
	}
	if n := len(asked.people()); tried != 3 || n != 3 {
		t.Errorf("%d guesses were tried and %d reached the directory, want 3", tried, n)
	}
}

// Made-up names, many more of them than any list of attempts holds, lock nobody
// out who has nothing to do with them.
func TestP48MadeUpNamesLockNobodyOut(t *testing.T) {
	t.Parallel()
	s := start(t, throttleBehindProxy)
	device := throttleDeviceOf(t, s.trySignIn(t, juan, ldaptest.DemoPassword))
	var names []string
	for i := range 600 {
		names = append(names, fmt.Sprintf("nadie%d", i))
	}
	for i, r := range s.signInAll(t, throttleGuesses(names...)) {
		if r.status != 401 && r.status != 503 { // of a machine that is too slow for all of them
			t.Errorf("guess %d: %d %s", i, r.status, r.body)
		}
	}
	s.sessionOf(t, s.trySignIn(t, juan, ldaptest.DemoPassword, "Cookie", device))
	// Nor whoever signs in for the first time.
	s.sessionOf(t, s.trySignIn(t, maria, ldaptest.DemoPassword, "X-Forwarded-For", "192.0.2.77"))
}

// What was counted for an account is neither pushed out by others nor lost with
// a reload, an orderly restart or a crash.
func TestP75CountsOutliveFloodsReloadsAndRestarts(t *testing.T) {
	t.Parallel()
	c := throttleBehindProxy
	s, text := prepare(t, c)
	s.run(t, text)
	throttleWantTried(t, s.signInAll(t, throttleGuesses(juan, maria, maria)), 3)
	var names []string
	for i := range 150 {
		names = append(names, fmt.Sprintf("nadie%d", i))
	}
	s.signInAll(t, throttleGuesses(names...))
	if err := s.tell(t, text, "reload"); err != nil {
		t.Fatal(err)
	}
	throttleWantTried(t, s.signInAll(t, throttleGuesses(juan)), 1)
	s.child.Stop()
	s.run(t, text)
	throttleWantTried(t, s.signInAll(t, throttleGuesses(juan, juan, juan)), 1)
	time.Sleep(2 * time.Second) // a crash may forget what was counted in its last second
	s.child.Kill()
	s.run(t, text)
	asked := directoryWatch(s.directory)
	throttleWantTried(t, s.signInAll(t, throttleGuesses(juan, "AC12345", "ac12345@empresa.local")), 0)
	throttleWantTried(t, s.signInAll(t, throttleGuesses(maria, maria)), 1)
	if n := len(asked.people()); n != 1 {
		t.Errorf("the directory got %d guesses, want the one for %s", n, maria)
	}
}
