package caddyauth

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
	"github.com/caddyauth/caddy-ldap/throttle"
)

// rechecked is the demo's domain, with accounts to change.
func rechecked() *ldaptest.Directory {
	dir := withService(ldaptest.Demo())
	for _, name := range []string{"deshabilita", "caduca", "cambia", "borrada"} {
		dir.Users = append(dir.Users, ldaptest.User{
			SAMAccountName: name, Surname: name, Password: ldaptest.DemoPassword, MemberOf: []string{"Empleados"},
			ExtraAttributes: map[string][]string{"pwdLastSet": {"133000000000000000"}},
		})
	}
	return &dir
}

// account is a user of a directory, to be changed.
func account(t *testing.T, dir *ldaptest.Directory, name string) *ldaptest.User {
	t.Helper()
	i := slices.IndexFunc(dir.Users, func(u ldaptest.User) bool { return u.SAMAccountName == name })
	if i < 0 {
		t.Fatalf("the directory has no %s", name)
	}
	return &dir.Users[i]
}

// startRechecked is a server whose directory re-checks accounts.
func startRechecked(t *testing.T, c setup, options string) *server {
	t.Helper()
	c.directory = rechecked()
	s := newServer(t, c)
	s.setup.servers = "servers " + s.directory.URL() + "\n" + bindService + "\n" + options
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	return s
}

// replace serves the directory as edit leaves it.
func (s *server) replace(edit func(dir *ldaptest.Directory)) {
	s.t.Helper()
	dir := rechecked()
	edit(dir)
	if err := s.directory.Replace(*dir); err != nil {
		s.t.Fatal(err)
	}
}

// countRechecks counts the questions about accounts by their IDs.
func (s *server) countRechecks() *atomic.Int64 {
	asked := new(atomic.Int64)
	s.directory.Observe(func(r ldaptest.Request) ldaptest.Fault {
		if strings.Contains(r.Filter, "objectGUID") {
			asked.Add(1)
		}
		return ldaptest.Fault{}
	})
	return asked
}

func TestRecheckEndsSessions(t *testing.T) {
	s := startRechecked(t, setup{site: "require_session Empleados\nreverse_proxy UPSTREAM"}, "recheck 1s")
	stays := s.signIn("ac12345")
	reasons := map[string]string{
		"deshabilita": "account_disabled", "caduca": "account_expired", "cambia": "password_changed", "borrada": "user_unknown",
	}
	clients := make(map[string]signedIn)
	for name := range reasons {
		clients[name] = s.signIn(name)
		want(t, s.do("GET", "/x", clients[name].cookies), 200, "upstream")
	}
	mark := logged.mark()
	s.replace(func(dir *ldaptest.Directory) {
		account(t, dir, "deshabilita").State = ldaptest.Disabled
		account(t, dir, "caduca").ExtraAttributes["accountExpires"] = []string{"133000000000000001"}
		account(t, dir, "cambia").ExtraAttributes["pwdLastSet"] = []string{"133000000000000001"}
		dir.Users = dir.Users[:len(dir.Users)-1]
	})
	for name, reason := range reasons {
		eventually(t, name+" is out", func() bool { return s.do("GET", "/x", clients[name].cookies).StatusCode != 200 })
		got := s.do("GET", "/x", clients[name].cookies)
		want(t, got, 401, bodyAuthenticationRequired)
		if set := got.setCookies("sessionid"); len(set) != 1 || set[0] != goneCookie {
			t.Errorf("%s: it set %q", name, set)
		}
		wantAudit(t, mark, auditLine{"event": "session_end", "result": "ok", "reason": reason, "user": name, "directory": "empresa.local", "client_ip": "127.0.0.1"})
	}
	want(t, s.do("GET", "/x", stays.cookies), 200, "upstream")
	for _, line := range auditSince(t, mark) {
		if line["user"] == "ac12345" {
			t.Errorf("an audit line of somebody whose account did not change: %s", line)
		}
	}
	// Who changed the password signs in anew, and stays.
	again := s.signIn("cambia")
	asked := s.countRechecks()
	eventually(t, "two more re-checks", func() bool { return s.do("GET", "/x", again.cookies).StatusCode == 200 && asked.Load() >= 2 })
	want(t, s.do("GET", "/x", again.cookies), 200, "upstream")
}

func TestRecheckChangesGroups(t *testing.T) {
	s := startRechecked(t, setup{site: "require_session {\nrequire /empleados/* Empleados\nrequire /admin/* \"IT Admins\"\n}\nreverse_proxy UPSTREAM"}, "recheck 1s")
	c := s.signIn("caduca")
	want(t, s.do("GET", "/empleados/x", c.cookies), 200, "upstream")
	want(t, s.do("GET", "/admin/x", c.cookies), 403, bodyGroup)
	mark := logged.mark()
	s.replace(func(dir *ldaptest.Directory) { account(t, dir, "caduca").MemberOf = []string{"IT Admins"} })
	eventually(t, "the new groups", func() bool { return s.do("GET", "/admin/x", c.cookies).StatusCode == 200 })
	want(t, s.do("GET", "/empleados/x", c.cookies), 403, bodyGroup)
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	if groups := s.upstream.last(t).header.Get("Remote-Groups"); groups != "IT Admins" {
		t.Errorf("Remote-Groups is %q", groups)
	}
	line := wantAudit(t, mark, auditLine{"event": "session_change", "result": "ok", "reason": "groups_changed", "user": "caduca", "directory": "empresa.local"})
	if id, _ := line["session"].(string); len(id) != 16 {
		t.Errorf("the audit names the session %q", id)
	}
	asked := s.countRechecks()
	eventually(t, "two more re-checks", func() bool { s.do("GET", "/x", c.cookies); return asked.Load() >= 2 })
	changes := 0
	for _, line := range auditSince(t, mark) {
		if line["event"] == "session_change" {
			changes++
		}
		if line["event"] == "session_end" {
			t.Errorf("a session ended: %s", line)
		}
	}
	if changes != 1 {
		t.Errorf("%d changes were audited, want 1", changes)
	}
	// They are in the record too, for the next start.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/admin/x", c.cookies), 200, "upstream")
	want(t, s.do("GET", "/empleados/x", c.cookies), 403, bodyGroup)
}

// TestRecheckOfSessionsInUse: nobody is asked about those that are not.
func TestRecheckOfSessionsInUse(t *testing.T) {
	storage, faults := faultyStorage(t)
	s := startRechecked(t, setup{storage: storage}, "recheck 1s")
	busy, idle := s.signIn("caduca"), s.signIn("cambia")
	asked := s.countRechecks()
	eventually(t, "re-checks of the one", func() bool {
		want(t, s.do("GET", "/x", busy.cookies), 200, "upstream")
		return asked.Load() >= 3
	})
	if n := faults.updates.Load(); n != 0 {
		t.Errorf("%d records were written, and nothing has changed", n)
	}
	s.replace(func(dir *ldaptest.Directory) {
		account(t, dir, "caduca").State, account(t, dir, "cambia").State = ldaptest.Disabled, ldaptest.Disabled
	})
	mark := logged.mark()
	eventually(t, "the one is out", func() bool { return s.do("GET", "/x", busy.cookies).StatusCode == 401 })
	for _, line := range auditSince(t, mark) {
		if line["user"] == "cambia" {
			t.Errorf("a session that was not in use was looked at: %s", line)
		}
	}
	eventually(t, "the other is out once it is used", func() bool { return s.do("GET", "/x", idle.cookies).StatusCode == 401 })
	wantAudit(t, mark, auditLine{"event": "session_end", "reason": "account_disabled", "user": "cambia"})
}

// TestRecheckWhileTheDirectoryIsDown: sessions go on for recheck_grace, then
// nothing is known of them.
func TestRecheckWhileTheDirectoryIsDown(t *testing.T) {
	const overdue = `{"error":"Directory unavailable","code":"directory_unavailable"}`
	s := startRechecked(t, setup{site: `require_session {
		public /public/*
	}
	@staff session_group Empleados
	respond @staff "staff"
	reverse_proxy UPSTREAM`}, "recheck 1s\nrecheck_grace 3s")
	c, leaves := s.signIn("ac12345"), s.signIn("mgarcia")
	asked := s.countRechecks()
	eventually(t, "a re-check", func() bool { return s.do("GET", "/x", c.cookies).StatusCode == 200 && asked.Load() > 0 })
	mark := logged.mark()
	if err := s.directory.Close(); err != nil {
		t.Fatal(err)
	}
	wantLogSoon(t, mark, "accounts cannot be re-checked", `"level":"error"`, `"directory":"empresa.local"`, `"recheck_grace"`)
	want(t, s.do("GET", "/x", c.cookies), 200, "staff") // within the grace

	var got reply
	eventually(t, "the end of the grace", func() bool { got = s.do("GET", "/x", leaves.cookies); return got.StatusCode != 200 })
	want503(t, got, overdue)
	want503(t, s.do("GET", "/x", c.cookies), overdue)
	want503(t, s.do("POST", "/x", c.shown), overdue)
	want503(t, s.do("GET", "/api/session/", c.cookies), overdue)
	want503(t, s.do("GET", "/accounts/sessions/", c.cookies), overdue)
	want503(t, s.do("POST", "/accounts/sessions/", c.shown, jsonBody(`{"end":"others"}`)), overdue)
	page := s.do("GET", "/x", c.cookies, navigation)
	if page.StatusCode != 503 || page.Header.Get("Retry-After") != retryAfter || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
		t.Errorf("a navigation: %d %v", page.StatusCode, page.Header)
	}
	matched := s.do("GET", "/public/x", c.cookies)
	if matched.StatusCode != 503 || matched.Header.Get("Retry-After") != retryAfter || len(matched.setCookies("sessionid")) != 0 {
		t.Errorf("the matcher, on a public path: %d %v", matched.StatusCode, matched.Header)
	}
	want(t, s.do("GET", "/public/x"), 200, "upstream")
	want(t, s.do("GET", "/x"), 401, bodyAuthenticationRequired)
	want(t, s.do("POST", "/api/logout/", leaves.shown), 200, bodySignedOut)
	want(t, s.do("GET", "/x", leaves.cookies), 401, bodyAuthenticationRequired)

	// A reload forgives nothing.
	s.setup.sessions = "idle_timeout 30m"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want503(t, s.do("GET", "/x", c.cookies), overdue)

	again, err := ldaptest.Start(s.directory.Addr(), *s.setup.directory)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	eventually(t, "it comes back by itself", func() bool { return s.do("GET", "/x", c.cookies).StatusCode == 200 })
	wantLog(t, mark, "accounts can be re-checked again", "empresa.local")
	errors := 0
	for _, line := range logged.since(mark) {
		if strings.Contains(line, "accounts cannot be re-checked") {
			errors++
		}
	}
	if errors != 1 {
		t.Errorf("the outage was logged %d times, want once", errors)
	}
}

// wantLogSoon is wantLog for what may take as long as a machine is slow.
func wantLogSoon(t *testing.T, mark int, texts ...string) {
	t.Helper()
	eventually(t, strings.Join(texts, " "), func() bool {
		return slices.ContainsFunc(logged.since(mark), func(line string) bool {
			return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) })
		})
	})
}

func TestOverdue(t *testing.T) {
	now := time.Now()
	for _, row := range []struct {
		name              string
		failing, signedIn time.Duration // ago; 0: not
		want              bool
	}{
		{"the directory answers", 0, 10 * time.Hour, false},
		{"it has just stopped", time.Minute, 10 * time.Hour, false},
		{"it stopped long ago", 61 * time.Minute, 10 * time.Hour, true},
		{"the sign-in was after it", 10 * time.Hour, 59 * time.Minute, false},
		{"the sign-in was after it, long ago", 10 * time.Hour, 61 * time.Minute, true},
	} {
		c := new(recheck)
		if row.failing != 0 {
			c.failing.Store(now.Add(-row.failing).UnixNano())
		}
		if got := c.overdue(row.signedIn, time.Hour); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
	if q := (&request{directory: unasked(t, "a.test")}); q.overdue() {
		t.Error("a session is overdue that nobody re-checks")
	}
}

// TestRecheckIsNeverDueAtOnce: neither for a slow directory, nor for one whose
// configurations come and go.
func TestRecheckIsNeverDueAtOnce(t *testing.T) {
	configured := unasked(t, "a.test")
	configured.recheckInterval = 10 * time.Minute
	app := &App{directories: []*configuredDirectory{configured}}
	for _, row := range []struct {
		name     string
		apps     []*App
		last     time.Duration // ago; 0: never
		failing  bool
		again    bool
		min, max time.Duration
	}{
		{"in the usual case", []*App{app}, time.Minute, false, false, 8 * time.Minute, 9 * time.Minute},
		{"after a round that took longer than the interval", []*App{app}, time.Hour, false, false, 2 * time.Minute, 150 * time.Second},
		{"before any round was complete", []*App{app}, 0, false, false, 29 * time.Second, recheckRetry},
		{"after one that failed", []*App{app}, time.Hour, true, false, 29 * time.Second, recheckRetry},
		{"after one that the store did not take", []*App{app}, time.Minute, false, true, 29 * time.Second, recheckRetry},
		{"without a configuration", nil, time.Hour, false, false, 29 * time.Second, recheckRetry},
	} {
		c := &recheck{directory: configured.directoryHandle, apps: row.apps}
		if row.failing {
			c.failing.Store(1)
		}
		var last time.Time
		if row.last != 0 {
			last = time.Now().Add(-row.last)
		}
		if wait := time.Until(c.due(last, row.again)); wait < row.min || wait > row.max {
			t.Errorf("%s: due in %s, want %s to %s", row.name, wait, row.min, row.max)
		}
	}
}

// TestRecheckOverReloads: one loop, with the options of today.
func TestRecheckOverReloads(t *testing.T) {
	s := startRechecked(t, setup{}, "recheck 24h")
	c := s.signIn("caduca")
	loops := func() int {
		n := 0
		rechecks.Range(func(_, value any) bool {
			n++
			if value.(*recheck).current() == nil {
				t.Error("a re-check without a configuration")
			}
			return true
		})
		return n
	}
	block := s.setup.servers
	with := func(recheck string) string {
		s.setup.servers = strings.Replace(block, "recheck 24h", recheck, 1)
		return s.caddyfile()
	}
	for range 5 {
		if err := s.load(with("recheck 24h")); err != nil {
			t.Fatal(err)
		}
	}
	if n := loops(); n != 1 {
		t.Errorf("%d re-checks, want 1", n)
	}
	if err := s.load(with("recheck 1s")); err != nil {
		t.Fatal(err)
	}
	asked := s.countRechecks()
	eventually(t, "a round", func() bool { return s.do("GET", "/x", c.cookies).StatusCode == 200 && asked.Load() > 0 })
	// What fails after its start must leave the options of before.
	for range 4 {
		with("recheck 24h")
		if err := s.loadJSON(s.edited(func(config map[string]any) {
			at(t, config, "apps", "http", "servers", "srv0")["listen"] = []any{s.directory.Addr()} // taken
		})); err == nil {
			t.Fatal("it loads")
		}
	}
	if n := loops(); n != 1 {
		t.Errorf("%d re-checks, want 1", n)
	}
	mark := logged.mark()
	s.replace(func(dir *ldaptest.Directory) { account(t, dir, "caduca").State = ldaptest.Disabled })
	eventually(t, "the session ends", func() bool { return s.do("GET", "/x", c.cookies).StatusCode == 401 })
	wantAudit(t, mark, auditLine{"event": "session_end", "reason": "account_disabled", "user": "caduca"})
	if err := s.load(with("recheck 1s\nqueue 70")); err != nil { // another directory
		t.Fatal(err)
	}
	eventually(t, "the old one's re-check is gone", func() bool { return loops() == 1 })
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := loops(); n != 0 {
		t.Errorf("%d re-checks after the end", n)
	}
}

// TestRecheckEndsWithTheServer: at once, also in the middle of a question.
func TestRecheckEndsWithTheServer(t *testing.T) {
	s := startRechecked(t, setup{}, "recheck 1s")
	s.signIn("ac12345")
	before := goleak.IgnoreCurrent()
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	s.directory.Stall(ldaptest.StallSearch)
	var stalled atomic.Bool
	s.directory.Observe(func(ldaptest.Request) ldaptest.Fault { stalled.Store(true); return ldaptest.Fault{} })
	eventually(t, "a question", stalled.Load)
	began := time.Now()
	s.client.CloseIdleConnections()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %s", took)
	}
	rechecks.Range(func(any, any) bool { t.Error("a re-check is left"); return true })
	s.directory.HangUp()
	s.upstream.server.CloseClientConnections()
	goleak.VerifyNone(t, append(caddysGoroutines(), before)...)
}

// TestRecheckNeedsAServiceAccount: without one, the start says what that means.
func TestRecheckNeedsAServiceAccount(t *testing.T) {
	const text = "without a service account nobody looks at an account after its sign-in"
	mark := logged.mark()
	s := start(t, setup{directory: rechecked()})
	wantLog(t, mark, text, `"level":"warn"`, `"directory":"empresa.local"`)
	mark = logged.mark()
	s.setup.servers = "servers " + s.directory.URL() + "\n" + bindService
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	for _, line := range logged.since(mark) {
		if strings.Contains(line, text) {
			t.Errorf("a warning with a service account: %s", line)
		}
	}
}

// TestAdviceOnTheThrottle: a limit that does not keep the directory from locking
// an account is no protection.
func TestAdviceOnTheThrottle(t *testing.T) {
	const text = "throttle account is not below the directory's own lockout threshold"
	finer := []ldaptest.Policy{{Name: "admins", Threshold: 2}, {Name: "others", Threshold: 5}}
	for _, row := range []struct {
		name                string
		failures, threshold int
		policies            []ldaptest.Policy
		want                int // threshold of the warning, 0 for none
	}{
		{"no lock-out", 3, 0, nil, 0},
		{"a higher threshold", 3, 4, nil, 0},
		{"the same threshold", 3, 3, nil, 3},
		{"a higher limit", 11, 10, nil, 10},
		{"a finer policy", 3, 10, finer, 2},
		{"finer policies without a domain's", 3, 0, finer, 2},
		{"below all of them", 1, 10, finer, 0},
		{"no throttle", 0, 3, nil, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := rechecked()
			dir.LockoutThreshold, dir.Policies = row.threshold, row.policies
			server, err := ldaptest.Start("127.0.0.1:0", *dir)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = server.Close() }()
			handle, key, err := (&Directory{
				Label: "empresa.local", Servers: []string{server.URL()}, BindUser: "svc@empresa.local", BindPassword: servicePassword,
			}).acquire()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = directories.Delete(key) }()
			core, written := observer.New(zap.DebugLevel)
			app := &App{
				throttled: row.failures > 0, logger: zap.New(core),
				throttleLimits: throttle.Limits{Account: throttle.Limit{Failures: row.failures, Window: 24 * time.Hour}},
			}
			if !app.adviseThrottle(t.Context(), handle) {
				t.Fatal("the directory was not asked")
			}
			lines := written.All()
			if len(lines) != min(row.want, 1) {
				t.Fatalf("it logged %v", lines)
			}
			if row.want > 0 {
				fields := lines[0].ContextMap()
				if lines[0].Level != zap.WarnLevel || !strings.Contains(lines[0].Message, text) || fields["directory"] != "empresa.local" ||
					fields["lockout_threshold"] != int64(row.want) || fields["throttle_account"] != int64(row.failures) ||
					fields["throttle_window"] != 24*time.Hour || fields["lockout_window"] == nil || fields["policy"] == "" {
					t.Errorf("it logged %s %v", lines[0].Message, fields)
				}
			}
		})
	}
	t.Run("at the start of a server, once", func(t *testing.T) {
		dir := rechecked()
		dir.LockoutThreshold = 3
		s := newServer(t, setup{directory: dir})
		s.setup.servers = "servers " + s.directory.URL() + "\n" + bindService + "\nrecheck 1s"
		mark := logged.mark()
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		wantLogSoon(t, mark, text, `"level":"warn"`)
		c, asked := s.signIn("ac12345"), s.countRechecks()
		eventually(t, "two more rounds", func() bool { s.do("GET", "/x", c.cookies); return asked.Load() >= 2 })
		warnings := 0
		for _, line := range logged.since(mark) {
			if strings.Contains(line, text) {
				warnings++
			}
		}
		if warnings != 1 {
			t.Errorf("%d warnings, want 1", warnings)
		}
	})
}

// TestAdviceIsAskedForAgain: a directory that could not be asked tells nothing.
func TestAdviceIsAskedForAgain(t *testing.T) {
	app := &App{throttled: true, logger: zap.NewNop(), throttleLimits: throttle.Limits{Account: throttle.Limit{Failures: 3, Window: time.Minute}}}
	if app.adviseThrottle(t.Context(), unasked(t, "a.test").directoryHandle) {
		t.Error("the lock-out threshold of a directory is known that cannot be asked")
	}
	app.throttled = false
	if !app.adviseThrottle(t.Context(), unasked(t, "a.test").directoryHandle) {
		t.Error("the threshold is asked for where there is no throttle")
	}
}

// TestRecheckOfManySessions: of one account all of them, and of more accounts
// than fit into one question each.
func TestRecheckOfManySessions(t *testing.T) {
	dir := rechecked()
	for i := range 60 {
		dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "many" + strconv.Itoa(i), Password: ldaptest.DemoPassword})
	}
	s := newServer(t, setup{directory: dir, auth: unthrottled})
	s.setup.servers = "servers " + s.directory.URL() + "\n" + bindService + "\nrecheck 1s"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	clients := []signedIn{s.signIn("caduca"), s.signIn("caduca")}
	for i := range 60 {
		clients = append(clients, s.signIn("many"+strconv.Itoa(i)))
	}
	for i := range dir.Users {
		if name := dir.Users[i].SAMAccountName; name == "caduca" || strings.HasPrefix(name, "many") {
			dir.Users[i].State = ldaptest.Disabled
		}
	}
	if err := s.directory.Replace(*dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all sessions end", func() bool {
		clients = slices.DeleteFunc(clients, func(c signedIn) bool { return s.do("GET", "/x", c.cookies).StatusCode == http.StatusUnauthorized })
		return len(clients) == 0
	})
}
