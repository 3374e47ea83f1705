package integration

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// guess tries a wrong password and returns the status.
func (c *client) guess(t testing.TB, username string) int {
	t.Helper()
	r, err := c.trySignIn(username, "una-clave-que-no-es")
	if err != nil {
		t.Fatal(err)
	}
	switch r.status {
	case http.StatusUnauthorized:
		expect(t, r, http.StatusUnauthorized, bodyRefused)
	case http.StatusTooManyRequests:
		expectThrottled(t, r)
	default:
		t.Fatalf("guessing as %q: %d %s", username, r.status, r.body)
	}
	return r.status
}

func expectThrottled(t testing.TB, r reply) {
	t.Helper()
	expect(t, r, http.StatusTooManyRequests, bodyThrottled)
	if n, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || n < 1 || n > 15*60 {
		t.Errorf("Retry-After is %q", r.header.Get("Retry-After"))
	}
	if len(r.cookies) != 0 {
		t.Errorf("a 429 sets %v", r.header["Set-Cookie"])
	}
}

// expectGuesses guesses once under each name: the first n are tried and refused,
// the others not tried.
func (c *client) expectGuesses(t testing.TB, n int, names ...string) {
	t.Helper()
	for i, name := range names {
		want := http.StatusUnauthorized
		if i >= n {
			want = http.StatusTooManyRequests
		}
		if got := c.guess(t, name); got != want {
			t.Errorf("guess %d, as %q: %d, want %d", i+1, name, got, want)
		}
	}
}

// spellings are names by which the domain knows one account.
func spellings(a realserver.Account) []string {
	return []string{
		a.Username, strings.ToUpper(a.Username), " " + a.Username + " ", a.UPN, strings.ToUpper(a.UPN),
		`CORP\` + a.Username, `corp\` + strings.ToUpper(a.Username), a.Username + "@corp", a.Username + " @corp.test",
	}
}

// A domain that locks accounts after one wrong password more than the throttle
// lets pass is never made to lock one by strangers, however they spell it.
func TestHTTPStrangersCannotLockAccountsOnAD(t *testing.T) {
	dc := servers.Samba(t)
	dc.SetLockoutThreshold(t, 4)
	for _, test := range []struct {
		what, directory string
	}{
		{"without a service account", adDirectory(dc)},
		{"with one", adServiceDirectory(dc, dc.URL)},
	} {
		t.Run(test.what, func(t *testing.T) {
			account := dc.NewAccount(t, "acosada")
			site := startSite(t, test.directory, "require_session", "throttle source 1000 15m")
			names := spellings(account)
			site.expectGuesses(t, 3, append(names, names...)...)
			if n := dc.BadPwdCount(t, account); n > 3 {
				t.Errorf("the domain counts %d wrong passwords, want 3 at most", n)
			}
			site.expectAudit(t, auditLine{Event: "sign_in", Result: "refused", Reason: "throttled"})
			if err := dc.TryBind(account.UPN, account.Password); err != nil {
				t.Errorf("the account cannot sign in elsewhere: %v", err)
			}
			// Not even with the right password, which a guesser may have at last.
			r, err := site.trySignIn(account.Username, account.Password)
			if err != nil {
				t.Fatal(err)
			}
			expectThrottled(t, r)
			// Names that do not exist look the same.
			site.expectGuesses(t, 3, "nadie", "NADIE", "nadie@corp.test", `CORP\nadie`, "nadie")
		})
	}
}

// With a service account names that only the directory can join are one
// account too.
func TestHTTPThrottleKnowsTheAccountOnAD(t *testing.T) {
	dc := servers.Samba(t)
	dc.SetLockoutThreshold(t, 4)
	account := dc.NewAccount(t, "alias")
	mail := account.Username + "@correo.example"
	dc.Set(t, account.DN, "mail", mail)
	upn := account.Username + "@other.example"
	dc.Set(t, account.DN, "userPrincipalName", upn)
	site := startSite(t, adServiceDirectory(dc, dc.URL,
		"user_filter (&(objectClass=user)(|(sAMAccountName={user})(userPrincipalName={upn})(mail={upn})))"),
		"require_session", "throttle source 1000 15m")
	site.caddy.keepSecret(dc.Service.Password, true)
	for _, name := range []string{account.Username, mail, upn} {
		if got := site.signIn(t, name, account.Password).echo(t, "/").Header.Get("Remote-User"); got != account.Username {
			t.Fatalf("%q is %q", name, got)
		}
	}
	site.expectGuesses(t, 3, mail, upn, account.Username, mail, upn, account.Username, `CORP\`+account.Username, strings.ToUpper(mail))
	if n := dc.BadPwdCount(t, account); n > 3 {
		t.Errorf("the domain counts %d wrong passwords, want 3 at most", n)
	}
}

func TestHTTPThrottleKnowsTheAccountOnOpenLDAP(t *testing.T) {
	s := realserver.NewSlapd(t, realserver.SlapdOptions{PasswordPolicy: true})
	account := s.NewAccount(t, "alias")
	directory := directoryBlock("empresa.test", s.URL, s.CA.File,
		fmt.Sprintf("bind %q %s", s.Service.DN, s.Service.Password), "user_filter (|(uid={user})(mail={user}))")
	// The policy locks after three.
	site := startSite(t, directory, "require_session", "throttle account 2 15m")
	site.caddy.keepSecret(s.Service.Password, true)
	before := s.Binds(t, account.DN)
	site.expectGuesses(t, 2, account.Username, account.Email, account.Username, account.Email, strings.ToUpper(account.Email))
	if n := s.Binds(t, account.DN) - before; n != 2 {
		t.Errorf("%d binds, want 2", n)
	}
	if err := s.TryBind(account.DN, account.Password); err != nil {
		t.Errorf("the account cannot sign in elsewhere: %v", err)
	}
}

// A success clears the account; what the directory says to the right password
// only, and a directory that is down, count for nothing.
func TestHTTPThrottleCountsWrongPasswordsOnly(t *testing.T) {
	dc := servers.Samba(t)
	site := startAD(t, "require_session")
	account := dc.NewAccount(t, "despistada")
	for range 3 {
		site.expectGuesses(t, 2, account.Username, account.UPN)
		site.signInAs(t, account)
	}
	for range 5 {
		r, err := site.trySignIn(dc.MustChange.Username, dc.MustChange.Password)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, r, http.StatusForbidden, bodyMustChange)
	}
}

// The owner's own browser gets in while a stranger guesses, and what strangers
// have used up outlives a reload, an orderly end and the next start.
func TestHTTPThrottleAgainstStrangersAcrossRestarts(t *testing.T) {
	dc := servers.Samba(t)
	account, other := dc.NewAccount(t, "duena"), dc.NewAccount(t, "vecina")
	c := newCaddy(t)
	text := c.caddyfile(adDirectory(dc), "require_session", newEcho(t), "")
	c.run(t, text)
	site := newClient(t, c)
	first, err := site.trySignIn(account.Username, account.Password)
	if err != nil {
		t.Fatal(err)
	}
	site.sessionOf(t, first)
	device := first.cookies["ldap_device"]
	if device == nil {
		t.Fatalf("no device cookie: %v", first.header["Set-Cookie"])
	}
	owner := func(password string) reply {
		t.Helper()
		body := fmt.Sprintf(`{"username":%q,"password":%q}`, account.Username, password)
		return site.do(t, "POST", "/api/login-ldap/", body, "Content-Type", jsonType, "Cookie", "ldap_device="+device.Value)
	}
	site.expectGuesses(t, 3, account.Username, account.Username, account.Username, account.Username)
	check := func(t *testing.T) {
		t.Helper()
		r, err := site.trySignIn(account.Username, account.Password)
		if err != nil {
			t.Fatal(err)
		}
		expectThrottled(t, r)
		site.signInAs(t, other).signOut(t)
	}
	check(t)
	if err := c.reload(t, text); err != nil {
		t.Fatal(err)
	}
	check(t)
	if err := c.child.Stop(); err != nil {
		t.Errorf("ending Caddy: %v", err)
	}
	c.run(t, text)
	check(t)
	guess := func(what string, want int) {
		t.Helper()
		if r := owner("una-clave-que-no-es"); r.status != want {
			t.Errorf("%s from the owner's browser: %d %s, want %d", what, r.status, r.body, want)
		}
	}
	guess("a mistake", http.StatusUnauthorized)
	if r := owner(account.Password); r.status != http.StatusOK {
		t.Errorf("the owner's browser: %d %s", r.status, r.body)
	}
	// Whoever has the browser cannot guess for long either: two of its own and,
	// since the success has cleared them, the three of everybody.
	site.expectGuesses(t, 3, account.Username, account.Username, account.Username, account.Username)
	guess("the first guess", http.StatusUnauthorized)
	guess("the second", http.StatusUnauthorized)
	guess("the third", http.StatusTooManyRequests)
	expectThrottled(t, owner(account.Password))
}

func TestHTTPThrottleOfOneSource(t *testing.T) {
	site := startAD(t, "require_session", "throttle source 4 15m")
	site.expectGuesses(t, 4, "nadie1", "nadie2", "nadie3", "nadie4", "nadie5", "nadie6")
}

// The operator is told when the throttle comes too late.
func TestHTTPThrottleAboveTheLockoutIsWarnedOf(t *testing.T) {
	dc := servers.Samba(t)
	const warning = "throttle account is not below the directory's own lockout threshold"
	warned := func(t *testing.T, options ...string) bool {
		t.Helper()
		site := startSite(t, adServiceDirectory(dc, dc.URL, "recheck 1s"), "require_session", options...)
		site.caddy.keepSecret(dc.Service.Password, true)
		s := site.signInAs(t, dc.Juan)
		site.expectRounds(t, dc, s) // it is looked at with the first one
		site.expectRounds(t, dc, s)
		return strings.Contains(site.caddy.read("caddy.log"), warning)
	}
	dc.SetLockoutThreshold(t, 3)
	if !warned(t) {
		t.Error("no warning with three of three")
	}
	// The domain counts for 30 minutes: two in 15 are four.
	dc.SetLockoutThreshold(t, 4)
	if !warned(t, "throttle account 2 15m") {
		t.Error("no warning with twice two of four")
	}
	if warned(t, "throttle account 2 30m") {
		t.Error("a warning with two of four")
	}
}
