package caddyauth

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

const otherPassword = "another-secret"

// otherDomain is a second directory, with somebody of a name and a group that
// the first one has too.
func otherDomain() ldaptest.Directory {
	logged.keepSecret("password", otherPassword)
	return ldaptest.Directory{
		Domain: "otra.test",
		Groups: []ldaptest.Group{{Name: "Ventas"}, {Name: "Empleados"}},
		Users: []ldaptest.User{
			{SAMAccountName: "ac12345", GivenName: "Ana", Surname: "Castro", Password: otherPassword, MemberOf: []string{"Ventas"}},
			{SAMAccountName: "jefa", GivenName: "Julia", Surname: "Efa", Password: otherPassword, MemberOf: []string{"Empleados"}},
		},
	}
}

// two is a server in front of two directories.
type two struct {
	*server
	other *ldaptest.Server
}

// startTwo starts them, each with what is said of it in its block.
func startTwo(t *testing.T, c setup, first, second string) *two {
	t.Helper()
	demo := withService(ldaptest.Demo())
	c.directory = &demo
	s := &two{server: newServer(t, c)}
	var err error
	if s.other, err = ldaptest.Start("127.0.0.1:0", withService(otherDomain())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.other.Close() })
	s.blocks(first, second)
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *two) blocks(first, second string) {
	s.setup.blocks = "directory empresa.local ad {\nservers " + s.directory.URL() + "\n" + first + "\n}\n" +
		"directory otra.test ad {\nservers " + s.other.URL() + "\n" + second + "\n}"
}

const bindOther = "bind svc@otra.test " + servicePassword

// countBinds counts the binds of people from now on.
func countBinds(directory *ldaptest.Server) *atomic.Int64 {
	binds := new(atomic.Int64)
	directory.Observe(func(r ldaptest.Request) ldaptest.Fault {
		if r.Bind && r.Name != "" && !strings.HasPrefix(r.Name, "svc@") {
			binds.Add(1)
		}
		return ldaptest.Fault{}
	})
	return binds
}

func TestDirectoryIsChosenByTheName(t *testing.T) {
	for _, row := range []struct {
		name, first, second string
		signIns             map[string]string // typed name to label
		unknown             []string
	}{
		{
			"without service accounts", "", "",
			map[string]string{
				"ac12345": "empresa.local", "ac12345@empresa.local": "empresa.local", `EMPRESA\ac12345`: "empresa.local", " AC12345@Empresa.Local": "empresa.local",
				"ac12345@otra.test": "otra.test", `OTRA\ac12345`: "otra.test", "jefa@otra.test": "otra.test",
			},
			[]string{"jefa", `ELSEWHERE\jefa`, "mgarcia@otra.test", "jefa@empresa.local"},
		},
		{
			"with service accounts", bindService, bindOther + "\ndomains ventas.test",
			map[string]string{
				"ac12345": "empresa.local", "mgarcia": "empresa.local", "jefa": "otra.test", "JEFA": "otra.test", "ac12345@otra.test": "otra.test",
				"jefa@ventas.test": "otra.test",
			},
			[]string{"nobody", `ELSEWHERE\jefa`},
		},
		{
			"with a service account of the second", "", bindOther,
			map[string]string{"ac12345": "otra.test", "jefa": "otra.test", "mgarcia": "empresa.local", "ac12345@empresa.local": "empresa.local"},
			[]string{"jefa@empresa.local"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := startTwo(t, setup{auth: unthrottled}, row.first, row.second)
			passwords := map[string]string{"empresa.local": ldaptest.DemoPassword, "otra.test": otherPassword}
			for typed, label := range row.signIns {
				mark := logged.mark()
				got := s.attempt(typed, passwords[label])
				if got.StatusCode != 200 {
					t.Errorf("%s: %d %s", typed, got.StatusCode, got.body)
					continue
				}
				line := wantAudit(t, mark, auditLine{"event": "sign_in", "result": "ok", "directory": label})
				if user, _ := line["user"].(string); !strings.HasSuffix(user, "@"+label) || strings.Count(user, "@") != 1 {
					t.Errorf("%s: the audit names %q", typed, user)
				}
			}
			// The password of the one is sent to the other by nobody.
			seen, want := map[string]*atomic.Int64{"empresa.local": countBinds(s.directory), "otra.test": countBinds(s.other)}, make(map[string]int64) // service accounts' are not counted
			var group sync.WaitGroup
			for typed, label := range row.signIns {
				want[label]++
				group.Go(func() { s.fails(1, typed) })
			}
			group.Wait()
			for label, binds := range seen {
				if got := binds.Load(); got != want[label] {
					t.Errorf("%s saw %d binds, want %d", label, got, want[label])
				}
			}
			for _, typed := range row.unknown {
				for _, password := range passwords {
					group.Go(func() {
						if got, err := s.try("POST", "/api/login-ldap/", jsonBody(credentialsJSON(typed, password))); err != nil || got.StatusCode != 401 || got.body != bodyInvalidCredentials {
							t.Errorf("%s: %v, %+v", typed, err, got)
						}
					})
				}
			}
			group.Wait()
		})
	}
}

// TestIdentityOfSeveralDirectories: two people of one name never look like one.
func TestIdentityOfSeveralDirectories(t *testing.T) {
	s := startTwo(t, setup{site: `require_session {
		require /ventas/* Ventas
		require /empleados/* Empleados
		require /solo/* Ingenieria
	}
	@ventas session_group Ventas
	header @ventas X-Ventas yes
	reverse_proxy UPSTREAM`}, bindService, bindOther)
	clients := map[string]signedIn{"ac12345@empresa.local": s.signIn("ac12345")}
	for _, user := range []string{"ac12345@otra.test", "jefa@otra.test"} {
		got := s.attempt(user, otherPassword)
		wantStatus(t, got, 200)
		clients[user] = signedIn{token: got.cookie("sessionid"), csrf: got.cookie("csrftoken")}
	}
	for user, row := range map[string]struct {
		groups string
		passes map[string]bool
	}{
		"ac12345@empresa.local": {"Ingenieria,Empleados", map[string]bool{"/empleados/x": true, "/solo/x": true}},
		"ac12345@otra.test":     {"Ventas", map[string]bool{"/ventas/x": true}},
		"jefa@otra.test":        {"Empleados", map[string]bool{"/empleados/x": true}},
	} {
		t.Run(user, func(t *testing.T) {
			c := clients[user]
			for _, path := range []string{"/ventas/x", "/empleados/x", "/solo/x"} {
				status := 403
				if row.passes[path] {
					status = 200
				}
				wantStatus(t, s.do("GET", path, c.cookies), status)
			}
			got := s.do("GET", "/x", c.cookies)
			want(t, got, 200, "upstream")
			seen := s.upstream.last(t).header
			if seen.Get("Remote-User") != user {
				t.Errorf("Remote-User is %q", seen.Get("Remote-User"))
			}
			groups := strings.Split(seen.Get("Remote-Groups"), ",")
			if len(groups) != len(strings.Split(row.groups, ",")) {
				t.Errorf("Remote-Groups is %q, want %q", seen.Get("Remote-Groups"), row.groups)
			}
			for _, group := range groups {
				if !strings.Contains(","+row.groups+",", ","+group+",") {
					t.Errorf("Remote-Groups is %q, want %q", seen.Get("Remote-Groups"), row.groups)
				}
			}
			if matched := got.Header.Get("X-Ventas") == "yes"; matched != strings.Contains(row.groups, "Ventas") {
				t.Errorf("the matcher says %v", matched)
			}
			if info := s.do("GET", "/api/session/", c.cookies); !strings.Contains(info.body, `"username":"`+user+`"`) {
				t.Errorf("the session route says %s", info.body)
			}
			mark := logged.mark()
			s.do("GET", "/api/logout/", c.cookies)
			wantAudit(t, mark, auditLine{"event": "sign_out", "user": user})
		})
	}
	t.Run("a refused sign-in", func(t *testing.T) {
		mark := logged.mark()
		s.fails(1, "JEFA")
		wantAudit(t, mark, auditLine{"event": "sign_in", "result": "refused", "user": "jefa@otra.test", "directory": "otra.test"})
	})
	t.Run("the directories of a gate", func(t *testing.T) {
		c := s.signIn("mgarcia")
		s.setup.site = "require_session {\ndirectories otra.test\n}\nreverse_proxy UPSTREAM"
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		want(t, s.do("GET", "/x", c.cookies), 403, bodyGroup)
		got := s.attempt("jefa", otherPassword)
		wantStatus(t, got, 200)
		want(t, s.do("GET", "/x", signedIn{token: got.cookie("sessionid")}.cookies), 200, "upstream")
		s.setup.site = "require_session {\ndirectories otra.test empresa.local\n}\nreverse_proxy UPSTREAM"
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	})
}

// TestADirectoryThatIsDown: whose name it may be is not tried on another one.
func TestADirectoryThatIsDown(t *testing.T) {
	s := startTwo(t, setup{}, bindService, bindOther)
	s.signIn("mgarcia")
	wantStatus(t, s.attempt("jefa", otherPassword), 200)
	if err := s.directory.Close(); err != nil {
		t.Fatal(err)
	}
	binds := s.other.Binds()
	for _, user := range []string{"mgarcia", "jefa", "ac12345", "mgarcia@empresa.local"} {
		want503(t, s.attempt(user, otherPassword), signInDirectoryDown)
	}
	if n := s.other.Binds() - binds; n != 0 {
		t.Errorf("the other directory saw %d binds", n)
	}
	wantStatus(t, s.attempt("jefa@otra.test", otherPassword), 200)
}

// TestADirectoryThatStallsTakesItsOwnPlaces: not those of the others, also
// where a look-up had to tell whose the name is.
func TestADirectoryThatStallsTakesItsOwnPlaces(t *testing.T) {
	for _, row := range []struct {
		typed, first, second string
		connections          int // a service account has one of its own
	}{
		{"jefa@otra.test", "", "", 1}, {"jefa", bindService, bindOther, 2},
	} {
		t.Run(row.typed, func(t *testing.T) {
			small := fmt.Sprintf("\nqueue 1\nconnections %d\ntimeout 2s", row.connections)
			s := startTwo(t, setup{auth: unthrottled}, row.first+small, row.second+small)
			wantStatus(t, s.attempt(row.typed, otherPassword), 200)
			s.other.Stall(ldaptest.StallBind)
			binds := countBinds(s.other)
			var group sync.WaitGroup
			for range 1 + row.connections {
				group.Go(func() {
					if got, err := s.try("POST", "/api/login-ldap/", jsonBody(credentialsJSON(row.typed, otherPassword))); err != nil || got.StatusCode != 503 {
						t.Errorf("%v, %+v", err, got)
					}
				})
			}
			mark := logged.mark()
			eventually(t, "a bind", func() bool { return binds.Load() > 0 })
			time.Sleep(200 * time.Millisecond) // the other one waits for its connection
			eventually(t, "the second directory is full", func() bool {
				s.attempt("ac12345@otra.test", otherPassword)
				return slices.ContainsFunc(auditSince(t, mark), func(line auditLine) bool { return line["reason"] == "busy" && line["directory"] == "otra.test" })
			})
			s.signIn("ac12345@empresa.local")
			s.signIn("mgarcia")
			group.Wait()
		})
	}
}

// TestOneAccountInSeveralDirectoriesIsCountedOnce: with or without its
// directory's name, and apart from its namesake.
func TestOneAccountInSeveralDirectoriesIsCountedOnce(t *testing.T) {
	for _, row := range []struct{ name, first, second string }{
		{"without service accounts", "", ""},
		{"with service accounts", bindService, bindOther},
		{"with a service account of the second", "", bindOther},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := startTwo(t, setup{}, row.first, row.second)
			var group sync.WaitGroup
			group.Go(func() { s.fails(3, "mgarcia") })
			group.Go(func() { s.fails(3, "ac12345@empresa.local") })
			if row.second != "" {
				group.Go(func() { s.fails(2, "jefa") })
			}
			group.Wait()
			s.throttled("mgarcia@empresa.local", ldaptest.DemoPassword)
			s.throttled(`EMPRESA\MGarcia`, ldaptest.DemoPassword)

			s.throttled(`EMPRESA\ac12345`, ldaptest.DemoPassword)
			if row.second == "" || row.first != "" { // else the bare name is the other one's
				s.throttled("ac12345", ldaptest.DemoPassword)
			}
			wantStatus(t, s.attempt("ac12345@otra.test", otherPassword), 200)
			s.throttled("ac12345@empresa.local", ldaptest.DemoPassword)
			if row.second != "" {
				s.fails(1, "jefa@otra.test")
				binds := countBinds(s.other)
				for _, name := range []string{"jefa", "jefa@otra.test", `OTRA\jefa`} {
					want(t, s.attempt(name, otherPassword), 429, bodyThrottled)
				}
				if n := binds.Load(); n != 0 {
					t.Errorf("the directory saw %d binds", n)
				}
			}
		})
	}
	t.Run("a device that is known", func(t *testing.T) {
		for _, row := range []struct{ first, second string }{{bindService, bindOther}, {"", ""}} {
			s := startTwo(t, setup{}, row.first, row.second)
			owner := s.signIn("mgarcia")
			if c := s.signIn("mgarcia@empresa.local", known(owner.device)); c.device != "" {
				t.Errorf("the device cookie was set again: %q", c.device)
			}
			s.fails(3, "mgarcia@empresa.local")
			s.throttled("mgarcia", ldaptest.DemoPassword)
			if c := s.signIn("mgarcia", known(owner.device)); c.device != "" {
				t.Errorf("the device cookie was set again: %q", c.device)
			}
			s.signIn("mgarcia@empresa.local", known(owner.device))
			s.fails(3, "mgarcia")
			s.signIn(`EMPRESA\mgarcia`, known(owner.device))
			if err := caddy.Stop(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestReloadWithoutADirectory: its sessions prove nothing any more, and all
// others go on.
func TestReloadWithoutADirectory(t *testing.T) {
	s := startTwo(t, setup{}, bindService, bindOther)
	first := s.signIn("ac12345")
	got := s.attempt("jefa", otherPassword)
	wantStatus(t, got, 200)
	second := signedIn{token: got.cookie("sessionid"), csrf: got.cookie("csrftoken")}
	both := s.setup.blocks
	s.setup.blocks = "directory empresa.local ad {\nservers " + s.directory.URL() + "\n" + bindService + "\n}"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", first.cookies), 200, "upstream")
	if user := s.upstream.last(t).header.Get("Remote-User"); user != "ac12345@empresa.local" {
		t.Errorf("Remote-User is %q", user)
	}
	want(t, s.do("GET", "/x", second.cookies), 401, bodyAuthenticationRequired)
	want(t, s.attempt("jefa@otra.test", otherPassword), 401, bodyInvalidCredentials)
	s.setup.blocks = both
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", first.cookies), 200, "upstream")
	want(t, s.do("GET", "/x", second.cookies), 200, "upstream")
}

// TestOneSignInHasOneBudget: looking for the directory is part of it.
func TestOneSignInHasOneBudget(t *testing.T) {
	s := startTwo(t, setup{}, bindService+"\ntimeout 2s", bindOther+"\ntimeout 2s")
	wantStatus(t, s.attempt("jefa", otherPassword), 200)
	s.directory.Delay(1200 * time.Millisecond)
	s.other.Stall(ldaptest.StallSearch)
	began := time.Now()
	want503(t, s.attempt("jefa", otherPassword), signInDirectoryDown)
	if took := time.Since(began); took > 2900*time.Millisecond {
		t.Errorf("the answer took %s", took)
	}
}

// TestGraceIsOfOneDirectory: where one is down, nobody of the others is kept out.
func TestGraceIsOfOneDirectory(t *testing.T) {
	s := startTwo(t, setup{}, bindService+"\nrecheck 1s\nrecheck_grace 1s", bindOther+"\nrecheck 1s\nrecheck_grace 1s")
	first := s.signIn("mgarcia")
	got := s.attempt("jefa", otherPassword)
	wantStatus(t, got, 200)
	second := signedIn{token: got.cookie("sessionid"), csrf: got.cookie("csrftoken")}
	if err := s.other.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the grace", func() bool { return s.do("GET", "/x", second.cookies).StatusCode == 503 })
	want(t, s.do("GET", "/x", first.cookies), 200, "upstream")
}
