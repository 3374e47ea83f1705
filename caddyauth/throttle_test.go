package caddyauth

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// unthrottled is for tests of something else that fail to sign in many times.
const unthrottled = "throttle account 1000 15m\nthrottle source 1000 15m"

const (
	wrongPassword = "not-it-at-all"
	bodyThrottled = `{"status":"error","message":"Demasiados intentos","code":"too_many_attempts"}`
)

// from is a client's address, as a trusted proxy tells it.
func from(address string) change {
	return func(r *http.Request) {
		r.Header["X-Forwarded-For"] = []string{address}
		r.Header["X-Forwarded-Proto"] = []string{"https"}
	}
}

// strictProxies makes the test a trusted proxy.
const strictProxies = "servers {\ntrusted_proxies static 127.0.0.1/32\ntrusted_proxies_strict\n}"

// attempt signs in through the API, with whatever password.
func (s *server) attempt(user, password string, changes ...change) reply {
	s.t.Helper()
	return s.do("POST", "/api/login-ldap/", append([]change{jsonBody(credentialsJSON(user, password))}, changes...)...)
}

// fails has a number of wrong passwords refused, at once.
func (s *server) fails(n int, user string, changes ...change) {
	s.t.Helper()
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			got, err := s.try("POST", "/api/login-ldap/", append([]change{jsonBody(credentialsJSON(user, wrongPassword))}, changes...)...)
			if err != nil || got.StatusCode != 401 || got.body != bodyInvalidCredentials {
				s.t.Errorf("%s with a wrong password: %v, %+v", user, err, got)
			}
		})
	}
	group.Wait()
}

// throttled wants a sign-in to be refused before the directory is asked.
func (s *server) throttled(user, password string, changes ...change) reply {
	s.t.Helper()
	before := s.directory.Binds()
	got := s.attempt(user, password, changes...)
	if got.StatusCode != 429 || got.body != bodyThrottled {
		s.t.Fatalf("%s: got %d %s\nwant 429 %s", user, got.StatusCode, got.body, bodyThrottled)
	}
	if after, err := strconv.Atoi(got.Header.Get("Retry-After")); err != nil || after < 1 || after > 900 {
		s.t.Errorf("%s: Retry-After %q", user, got.Header["Retry-After"])
	}
	if len(got.Header["Set-Cookie"]) != 0 {
		s.t.Errorf("%s: it set %q", user, got.Header["Set-Cookie"])
	}
	if n := s.directory.Binds() - before; n != 0 {
		s.t.Errorf("%s: the directory saw %d binds", user, n)
	}
	return got
}

// TestFourthWrongPasswordMeetsTheThrottle: with bytes and headers that do not
// tell whether the account exists, and no word to the directory.
func TestFourthWrongPasswordMeetsTheThrottle(t *testing.T) {
	s := start(t, setup{})
	for _, user := range []string{"ac12345", "nobody"} {
		s.fails(3, user)
	}
	mark, asked := logged.mark(), s.directory.Binds()+s.directory.Searches()+s.directory.Connections()
	exists, unknown := s.throttled("ac12345", wrongPassword), s.throttled("nobody", wrongPassword)
	right := s.throttled("ac12345", ldaptest.DemoPassword)
	ownAnswer(t, exists)
	for _, got := range []reply{exists, unknown, right} {
		got.Header.Del("Date")
		got.Header.Del("Retry-After")
		if !reflect.DeepEqual(got.Header, exists.Header) {
			t.Errorf("the headers differ:\n%v\n%v", got.Header, exists.Header)
		}
	}
	if now := s.directory.Binds() + s.directory.Searches() + s.directory.Connections(); now != asked {
		t.Errorf("the directory was asked %d times", now-asked)
	}
	line := wantAudit(t, mark, auditLine{"event": "sign_in", "result": "refused", "reason": "throttled", "directory": "empresa.local"})
	if line["user"] != nil {
		t.Errorf("the audit line names what was typed: %s", line)
	}
	page := s.do("POST", "/accounts/login/", navigation, header("Accept-Language", "en"), form("username=ac12345&password="+ldaptest.DemoPassword+"&next=/docs"))
	if page.StatusCode != 429 || page.Header.Get("Retry-After") == "" || !strings.Contains(page.body, "try again in 15 minutes") ||
		!strings.Contains(page.body, `value="/docs"`) || strings.Contains(page.body, ldaptest.DemoPassword) {
		t.Errorf("the page: %d %v %s", page.StatusCode, page.Header, page.body)
	}
	s.signIn("mgarcia") // nobody else is affected
}

func TestEverySpellingOfANameIsOneAccount(t *testing.T) {
	s := start(t, setup{auth: "throttle account 1 15m\nthrottle source 1000 15m"})
	s.fails(1, "Ac12345")
	for _, name := range []string{
		"ac12345", "AC12345", " ac12345 ", "ac12345@empresa.local", "AC12345@EMPRESA.LOCAL", "ac12345 @ empresa.local", "ac12345@empresa",
		`EMPRESA\ac12345`, `empresa\AC12345`, `empresa.local\ac12345`, "áç12345", "a\u0301c12345", "ａｃ１２３４５", "ac\u200b12345", "a c 1 2 3 4 5", "ac1234⑤",
	} {
		s.throttled(name, wrongPassword)
		s.throttled(name, ldaptest.DemoPassword)
	}
	for _, name := range []string{"ac12346", "ac12345@elsewhere.test", `OTHER\ac12345`, "ac12345x"} {
		want(t, s.attempt(name, wrongPassword), 401, bodyInvalidCredentials)
	}
	s.fails(1, "ÅSE Müller")
	s.throttled("asemuller", wrongPassword)
}

// TestAnotherNameOfTheSameAccountMeetsTheThrottle: where a service account can
// look people up, an account is one whatever it is called.
func TestAnotherNameOfTheSameAccountMeetsTheThrottle(t *testing.T) {
	dir := withService(ldaptest.Demo())
	dir.Users[0].Mail = "juan@correo.test"
	s := newServer(t, setup{directory: &dir})
	s.setup.servers = "servers " + s.directory.URL() + "\n" + bindService + "\nuser_filter (|(sAMAccountName={user})(mail={user}))"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	s.fails(3, "ac12345")
	s.throttled("juan@correo.test", wrongPassword)
	s.throttled("juan@correo.test", ldaptest.DemoPassword)
	s.fails(2, "mgarcia@empresa.local") // and from the other side
	s.fails(1, "mgarcia")
	s.throttled("mgarcia", ldaptest.DemoPassword)
}

const (
	servicePassword = "Service-Account-1"
	bindService     = "bind svc@empresa.local " + servicePassword
)

// withService adds a service account.
func withService(dir ldaptest.Directory) ldaptest.Directory {
	logged.keepSecret("bind password", servicePassword)
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "svc", UPN: "svc@" + dir.Domain, Surname: "Service", Password: servicePassword})
	return dir
}

func TestSourceLimit(t *testing.T) {
	s := start(t, setup{global: strictProxies, auth: "throttle source 5 15m"})
	spray := func(client func(i int) change) {
		t.Helper()
		var group sync.WaitGroup
		for i := range 5 {
			group.Go(func() { s.fails(1, fmt.Sprintf("name%d", i), client(i)) })
		}
		group.Wait()
	}
	mark := logged.mark()
	spray(func(int) change { return from("192.0.2.7") })
	for name, row := range map[string]struct {
		client  change
		blocked bool
	}{
		"the same":                                {from("192.0.2.7"), true},
		"in its IPv6 spelling":                    {from("::ffff:192.0.2.7"), true},
		"after one that it made up":               {from("198.51.100.1, 192.0.2.7"), true},
		"after the proxy's own, which it made up": {from("127.0.0.1, 192.0.2.7"), true},
		"another one":                             {from("192.0.2.8"), false},
		"an IPv6 one":                             {from("2001:db8::7"), false},
		"the proxy itself":                        {header("X-Forwarded-Proto", "https"), false},
	} {
		t.Run(name, func(t *testing.T) {
			if row.blocked {
				s.throttled("mgarcia", ldaptest.DemoPassword, row.client)
				s.throttled("name9", wrongPassword, row.client)
				return
			}
			s.signIn("mgarcia", row.client)
		})
	}
	t.Run("an IPv6 network", func(t *testing.T) {
		spray(func(i int) change { return from(fmt.Sprintf("2001:db8:1:2:%d::1", i)) })
		s.throttled("mgarcia", ldaptest.DemoPassword, from("2001:db8:1:2:ffff::9"))
		s.throttled("mgarcia", ldaptest.DemoPassword, from("2001:db8:1:2::"))
		s.signIn("mgarcia", from("2001:db8:1:3::1"))
	})
	for _, line := range logged.since(mark) {
		if strings.Contains(line, "throttle source") {
			t.Errorf("a warning behind strict proxies: %s", line)
		}
	}
}

// TestForwardedForOfAStranger: whoever is no trusted proxy cannot choose whom
// its failures count for.
func TestForwardedForOfAStranger(t *testing.T) {
	s := start(t, setup{auth: "throttle source 3 15m\ninsecure_http"})
	for i := range 3 {
		s.fails(1, fmt.Sprintf("name%d", i), header("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i)))
	}
	s.throttled("mgarcia", ldaptest.DemoPassword, header("X-Forwarded-For", "198.51.100.9"))
	s.throttled("mgarcia", ldaptest.DemoPassword)
}

// TestThrottleBehindLooseProxiesWarns: there clients do choose.
func TestThrottleBehindLooseProxiesWarns(t *testing.T) {
	mark := logged.mark()
	s := start(t, setup{global: "servers {\ntrusted_proxies static 127.0.0.1/32\n}"})
	s.fails(2, "nobody", from("192.0.2.7"))
	wantLog(t, mark, "throttle source", "trusted_proxies_strict", `"level":"warn"`)
	warnings := 0
	for _, line := range logged.since(mark) {
		if strings.Contains(line, "throttle source") {
			warnings++
		}
	}
	if warnings != 1 {
		t.Errorf("%d warnings, want 1", warnings)
	}
}

func TestSuccessClearsTheAccountAndNotTheSource(t *testing.T) {
	s := start(t, setup{auth: "throttle account 3 15m\nthrottle source 6 15m"})
	for range 3 {
		s.fails(2, "ac12345")
		if s.t.Failed() {
			return
		}
		if got := s.attempt("ac12345", ldaptest.DemoPassword); got.StatusCode == 429 {
			break // the sixth failure of the source
		} else if got.StatusCode != 200 {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
	}
	s.throttled("ac12345", ldaptest.DemoPassword)
	s.throttled("mgarcia", ldaptest.DemoPassword)
	mark := logged.mark()
	s.throttled("nobody", wrongPassword)
	wantAudit(t, mark, auditLine{"reason": "throttled"})
}

// TestWhatIsNoGuessDoesNotCount: neither what only the right password is told,
// nor what no directory has judged.
func TestWhatIsNoGuessDoesNotCount(t *testing.T) {
	s := newServer(t, setup{directory: everyState(), auth: "throttle account 1 15m\nthrottle source 1 15m"})
	s.setup.servers = "servers " + s.directory.URL() + "\ntimeout 1s"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	refused := func(user, password string, status int) {
		group.Go(func() {
			if got, err := s.try("POST", "/api/login-ldap/", jsonBody(credentialsJSON(user, password))); err != nil || got.StatusCode != status {
				t.Errorf("%q with %q: %v, %+v", user, password, err, got)
			}
		})
	}
	for range 2 {
		for _, user := range []string{"expirada", "debecambiar", "deshabilitada", "caducada", "horas", "estacion"} {
			refused(user, ldaptest.DemoPassword, 403)
		}
		for _, user := range []string{"", "\x00", "a\nb", strings.Repeat("x", 300)} {
			refused(user, wrongPassword, 401)
		}
		refused("ac12345", "", 401)
		refused("ac12345", "\x00", 401)
		group.Wait()
	}

	s.directory.Stall(ldaptest.StallBind) // a password was sent, and never judged
	want503(t, s.attempt("ac12345", wrongPassword), signInDirectoryDown)
	s.directory.Stall(ldaptest.StallConnect)
	want503(t, s.attempt("ac12345", wrongPassword), signInDirectoryDown)
	s.directory.Stall(ldaptest.StallNever)
	s.comesBack("ac12345")
	if err := s.directory.Close(); err != nil {
		t.Fatal(err)
	}
	want503(t, s.attempt("ac12345", wrongPassword), signInDirectoryDown)
	want503(t, s.attempt("mgarcia", wrongPassword), signInDirectoryDown)
	again, err := ldaptest.Start(s.directory.Addr(), *s.setup.directory)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	s.comesBack("ac12345")
	s.comesBack("mgarcia")
}

// comesBack signs in as soon as a directory that was down is asked again.
func (s *server) comesBack(user string) {
	s.t.Helper()
	var got reply
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got = s.attempt(user, ldaptest.DemoPassword); got.StatusCode != 503 {
			break
		}
	}
	if got.StatusCode != 200 {
		s.t.Fatalf("signing %s in: %d %s", user, got.StatusCode, got.body)
	}
}

// TestHangingUpCounts: else a guesser hangs up before each answer, and is
// counted by the directory alone.
func TestHangingUpCounts(t *testing.T) {
	s := start(t, setup{auth: "throttle account 1 15m"})
	hangUp := func(user string, stage ldaptest.Stage) {
		t.Helper()
		s.directory.Stall(stage)
		defer s.directory.Stall(ldaptest.StallNever)
		mark := logged.mark()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := s.try("POST", "/api/login-ldap/", jsonBody(credentialsJSON(user, wrongPassword)), func(r *http.Request) { *r = *r.WithContext(ctx) }); err == nil {
			t.Fatal("the stalled directory answered")
		}
		wantAudit(t, mark, auditLine{"event": "sign_in", "result": "unavailable", "reason": "cancelled"})
	}
	hangUp("ac12345", ldaptest.StallConnect) // nothing was sent
	s.comesBack("ac12345")
	hangUp("ac12345", ldaptest.StallBind)
	s.throttled("ac12345", ldaptest.DemoPassword)
	s.comesBack("mgarcia")
}

// TestHundredWrongPasswordsAtOnce: the directory sees three of them.
func TestHundredWrongPasswordsAtOnce(t *testing.T) {
	s := newServer(t, setup{auth: "throttle source 1000 15m"})
	s.setup.servers = "servers " + s.directory.URL() + "\nqueue 200"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	s.directory.Delay(50 * time.Millisecond)
	statuses := s.atOnce(100, "ac12345", wrongPassword)
	if statuses[401] != 3 || statuses[401]+statuses[429]+statuses[503] != 100 || statuses[429] < 50 {
		t.Errorf("the answers are %v, want 3 times 401 and else 429, or 503 for whom waited too long", statuses)
	}
	if n := s.directory.Binds(); n != 3 {
		t.Errorf("the directory saw %d binds, want 3", n)
	}
}

// TestHundredRightPasswordsAtOnce: waiting for each other is no failure.
func TestHundredRightPasswordsAtOnce(t *testing.T) {
	s := newServer(t, setup{})
	s.setup.servers = "servers " + s.directory.URL() + "\nqueue 200"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	statuses := s.atOnce(100, "ac12345", ldaptest.DemoPassword)
	if statuses[200]+statuses[503] != 100 || statuses[200] < 3 {
		t.Errorf("the answers are %v, want 200, or 503 for whom waited too long", statuses)
	}
	s.signIn("ac12345")
}

// atOnce signs in many times and counts the statuses.
func (s *server) atOnce(n int, user, password string) map[int]int {
	s.t.Helper()
	var mu sync.Mutex
	var group sync.WaitGroup
	statuses := make(map[int]int)
	for range n {
		group.Go(func() {
			got, err := s.try("POST", "/api/login-ldap/", jsonBody(credentialsJSON(user, password)))
			if err != nil {
				s.t.Error(err)
				return
			}
			if got.StatusCode == 503 && got.Header.Get("Retry-After") == "" {
				s.t.Error("a 503 without Retry-After")
			}
			mu.Lock()
			statuses[got.StatusCode]++
			mu.Unlock()
		})
	}
	group.Wait()
	return statuses
}

// TestFailuresOutliveTheConfiguration: reloads, failed ones too, and restarts.
func TestFailuresOutliveTheConfiguration(t *testing.T) {
	s := start(t, setup{})
	s.fails(3, "ac12345")
	s.fails(2, "mgarcia")
	reload := func(t *testing.T) {
		t.Helper()
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("a reload", func(t *testing.T) {
		reload(t)
		s.throttled("ac12345", ldaptest.DemoPassword)
	})
	t.Run("a reload with another directory block and other sessions", func(t *testing.T) {
		s.setup.servers, s.setup.sessions = "servers "+s.directory.URL()+"\nqueue 65", "idle_timeout 30m"
		reload(t)
		s.throttled("ac12345", ldaptest.DemoPassword)
	})
	t.Run("a reload that fails", func(t *testing.T) {
		for _, edit := range []func(map[string]any){
			func(config map[string]any) { at(t, config, "apps", "ldap_auth")["csrf"] = "x" },
			func(config map[string]any) {
				at(t, config, "apps", "http", "servers", "srv0", "routes", 0, "handle", 0)["groups"] = []any{""}
			},
			func(config map[string]any) {
				at(t, config, "apps", "ldap_auth")["throttle"] = map[string]any{"account": map[string]any{"failures": -1}}
			},
		} {
			if err := s.loadJSON(s.edited(edit)); err == nil {
				t.Error("it loads")
			}
			s.throttled("ac12345", ldaptest.DemoPassword)
		}
	})
	t.Run("a restart", func(t *testing.T) {
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
		reload(t)
		s.throttled("ac12345", ldaptest.DemoPassword)
		s.fails(1, "mgarcia") // its third
		s.throttled("mgarcia", ldaptest.DemoPassword)
	})
	t.Run("other limits count at once, for what has been counted", func(t *testing.T) {
		s.setup.auth = "throttle account 4 15m"
		reload(t)
		s.fails(1, "ac12345")
		s.throttled("ac12345", ldaptest.DemoPassword)
		s.setup.auth = "throttle account 5 15m"
		reload(t)
		s.signIn("ac12345")
	})
}

func TestSitesShareFailures(t *testing.T) {
	s := newServer(t, setup{})
	s.setup.site = fmt.Sprintf("require_session\nrespond one\n}\nhttp://two.test:%d {\nbind 127.0.0.1\nldap_login {\napi /in\n}\nrequire_session\nrespond two", s.port)
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	s.fails(2, "ac12345")
	second := func(password string) reply {
		return s.do("POST", "/in", jsonBody(credentialsJSON("ac12345", password)), header("Host", "two.test"))
	}
	want(t, second(wrongPassword), 401, bodyInvalidCredentials)
	want(t, second(ldaptest.DemoPassword), 429, bodyThrottled)
	s.throttled("ac12345", ldaptest.DemoPassword)
}

// TestThrottleInsecureOff: it is off, and every start says so.
func TestThrottleInsecureOff(t *testing.T) {
	mark := logged.mark()
	s := start(t, setup{auth: "throttle insecure_off"})
	wantLog(t, mark, "throttle insecure_off is set", `"level":"warn"`)
	s.fails(25, "ac12345")
	if c := s.signIn("ac12345"); c.device != "" {
		t.Errorf("it set the device cookie %q", c.device)
	}
	mark = logged.mark()
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	wantLog(t, mark, "throttle insecure_off is set")
	s.setup.auth, mark = "", logged.mark()
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	s.fails(3, "ac12345")
	s.throttled("ac12345", ldaptest.DemoPassword)
	for _, line := range logged.since(mark) {
		if strings.Contains(line, "insecure_off") {
			t.Errorf("a warning without the option: %s", line)
		}
	}
}

// TestThrottleWindow: what is old enough does not count any more.
func TestThrottleWindow(t *testing.T) {
	s := start(t, setup{auth: "throttle account 1 2s"})
	s.fails(1, "ac12345")
	var got reply
	blocked := false
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got = s.attempt("ac12345", ldaptest.DemoPassword); got.StatusCode != 429 {
			break
		}
		blocked = true
		if after := got.Header.Get("Retry-After"); after != "1" && after != "2" {
			t.Errorf("Retry-After %q", after)
		}
	}
	if got.StatusCode != 200 || !blocked {
		t.Errorf("blocked %v, then %d %s", blocked, got.StatusCode, got.body)
	}
}
