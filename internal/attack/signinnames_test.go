package attack

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// Names that mean something in a filter or a DN, where they are not escaped.
var signInInjections = []string{
	"*", "ac1*", "*)(objectClass=*", "a)(|(cn=*", "*)(uid=*))(|(uid=*", "ac12345)(&)", "ac12345))(|(x=*", "(ac12345)", "!(ac12345", "&", "|",
	`ac12345\2a`, `\2a`, `\`, `\00`, "ac12345)\\00", "cn=Juan Pérez,dc=empresa,dc=local", "ac12345,dc=empresa", "uid=ac12345", "ac12345+cn=x", `"ac12345"`,
	"ac12345;x", "<ac12345>", "#616331", "ac12345:dn:=x", ":1.2.840.113556.1.4.1941:=ac12345", "{user}", "{upn}", "${x}", "{env.HOME}", "%2a", "ac12345\u2028)",
}

// signInShapes are the filters that a directory was asked with, without values.
// Re-checks ask for many accounts at a time.
func signInShapes(asked *directorySeen) map[string]bool {
	value, more := regexp.MustCompile(`=[^()]*\)`), regexp.MustCompile(`(\(entryUUID=\))+`)
	shapes := map[string]bool{}
	for _, r := range asked.all() {
		if !r.Bind {
			shapes[more.ReplaceAllString(value.ReplaceAllString(r.Filter, "=)"), "(entryUUID=)")] = true
		}
	}
	return shapes
}

// A typed name is a value in every filter, and never anything else.
func TestP11TypedNamesStayValuesInFilters(t *testing.T) {
	t.Parallel()
	directoryOfEachKind(t, func(t *testing.T, dir *ldaptest.Directory) {
		s := start(t, setup{directory: dir, block: directoryServiceLinesOf(dir), auth: "throttle insecure_off"})
		asked := directoryWatch(s.directory)
		// Nobody is signed in: re-checks have filters of their own.
		s.trySignIn(t, juan, signInWrongPassword)
		s.trySignIn(t, "nadie", ldaptest.DemoPassword)
		known := signInShapes(asked)
		var tries []signInTry
		for _, injection := range signInInjections {
			tries = append(tries, signInTry{username: injection, password: ldaptest.DemoPassword})
		}
		for i, r := range s.signInAll(t, tries) {
			if r.status != 401 || r.body != signInRefused {
				t.Errorf("%q: got %d %q", signInInjections[i], r.status, r.body)
			}
		}
		for shape := range signInShapes(asked) {
			if !known[shape] {
				t.Errorf("a name changed the filter to %s", shape)
			}
		}
		s.signIn(t, juan)
	})
}

// What the directory itself calls somebody stays a value as well: in the DN of a
// bind, and in the filter that looks for groups, which escape differently.
func TestP72DirectoryNamesStayValuesInDNsAndFilters(t *testing.T) {
	t.Parallel()
	dir := directoryWithService(ldaptest.Demo())
	dir.Plain = true
	dir.Groups = append(dir.Groups, ldaptest.Group{Name: "Jefes (todos) *"})
	dir.Users[0].MemberOf = []string{"Ingenieria", "Jefes (todos) *"}
	names := []string{"ana)(objectClass=*", "a*", `a\2a`, "a,ou=people", "a+cn=admin", `a"b`, "a<b>;c", "#a", "a=b", `a\`}
	for _, name := range names {
		dir.Users = append(dir.Users, ldaptest.User{
			SAMAccountName: name, DisplayName: name, Surname: name, Mail: fmt.Sprintf("m%x@empresa.local", name),
			Password: ldaptest.DemoPassword, MemberOf: []string{"Ingenieria", "Jefes (todos) *"},
		})
	}
	s := start(t, setup{directory: dir, block: directoryServiceLinesOf(dir) + "\nrecheck 1s\ngroup_base ou=groups,dc=empresa,dc=local\nuser_filter (|(uid={user})(mail={user}))", site: `
	require_session "Jefes (todos) *" Ingenieria
	reverse_proxy UPSTREAM`})
	asked := directoryWatch(s.directory)
	wantServed(t, s.signIn(t, juan).get(t, "/"))
	s.eventually(t, "the re-check of one account", func() bool { return len(signInRechecked(asked)) == 1 })
	known := signInShapes(asked)
	for _, name := range names {
		client := s.sessionOf(t, s.trySignIn(t, fmt.Sprintf("m%x@empresa.local", name), ldaptest.DemoPassword))
		wantServed(t, client.get(t, "/"))
		if got := s.echo.Last(t).CGI()["REMOTE_USER"]; len(got) != 1 || got[0] != name {
			t.Errorf("the upstream got Remote-User %q, want %q alone", got, name)
		}
	}
	s.eventually(t, "the re-checks of all accounts", func() bool { return len(signInRechecked(asked)) == 1+len(names) })
	for shape := range signInShapes(asked) {
		if !known[shape] {
			t.Errorf("a name changed the filter to %s", shape)
		}
	}
}

// signInRechecked are the filters of re-checks that hold the names of an account.
func signInRechecked(asked *directorySeen) map[string]bool {
	filters := map[string]bool{}
	for _, r := range asked.all() {
		if strings.HasPrefix(r.Filter, "(|(|(uid=*)(mail=*))") {
			filters[r.Filter] = true
		}
	}
	return filters
}

// The identity is what the directory proved, whatever the name looked like: two
// signs @ belong to nobody, and no part of a name is a domain by itself.
func TestP36NamesWithTwoDomainsAreNobody(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: "throttle insecure_off"})
	signInQuiet(t, s, func() {
		for _, name := range []string{
			"ac12345@evil@empresa.local", "ac12345@empresa.local@evil.example", "ac12345@empresa.local@empresa.local", "@empresa.local",
			"ac12345@", `EMPRESA\ac12345@empresa.local`, `EVIL\EMPRESA\ac12345`, `\ac12345`, `EMPRESA\`, "ac12345@@empresa.local", "empresa.local/ac12345",
		} {
			if r := s.trySignIn(t, name, ldaptest.DemoPassword); r.status != 401 || r.body != signInRefused {
				t.Errorf("%q: got %d %q", name, r.status, r.body)
			}
		}
	})
	for _, name := range []string{"ac12345@evil.example", `EVIL\ac12345`, "ac12345@empresa.local.evil.example"} {
		if r := s.trySignIn(t, name, ldaptest.DemoPassword); r.status != 401 || r.body != signInRefused {
			t.Errorf("%q: got %d %q", name, r.status, r.body)
		}
	}
}

// Who somebody is comes from the directory, to the letter: no second identity is
// made of spaces or case.
func TestP74TheIdentityHasTheDirectorysSpelling(t *testing.T) {
	t.Parallel()
	dir := ldaptest.Demo()
	dir.Users[0].SAMAccountName, dir.Users[0].UPN = "Ac12345", "Ac12345@empresa.local"
	s := start(t, setup{directory: &dir, site: `
	require_session
	reverse_proxy UPSTREAM {
		header_up X-Uid {http.auth.user.uid}
	}`})
	ids := map[string]bool{}
	for _, typed := range []string{"ac12345", " ac12345 ", "AC12345", "\u00a0ac12345\u2003", "ac12345@EMPRESA.LOCAL", `empresa\AC12345`, " Ac12345 @ empresa.local "} {
		client := s.sessionOf(t, s.trySignIn(t, typed, ldaptest.DemoPassword))
		wantServed(t, client.get(t, "/"))
		got := s.echo.Last(t).CGI()
		if user := got["REMOTE_USER"]; len(user) != 1 || user[0] != "Ac12345" {
			t.Errorf("%q: the upstream got Remote-User %q, want the directory's spelling", typed, user)
		}
		ids[strings.Join(got["X_UID"], "|")] = true
	}
	if len(ids) != 1 || ids[""] {
		t.Errorf("one account is %v", ids)
	}
}

// Two pairs of name and password that read the same side by side are two: no
// answer of one is ever given to the other.
func TestP61AnswersAreNotSharedBetweenCredentials(t *testing.T) {
	t.Parallel()
	dir := ldaptest.Demo()
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "a", Password: "bc"}, ldaptest.User{SAMAccountName: "abc", Password: "x"})
	s := start(t, setup{directory: &dir, auth: "throttle insecure_off"})
	s.sessionOf(t, s.trySignIn(t, "a", "bc"))
	tries := slices.Repeat([]signInTry{
		{username: "a", password: "bc"}, {username: "ab", password: "c"}, {username: "abc", password: "bc"}, {username: "a", password: "b"}, {username: "a", password: "bc "},
	}, 12)
	for i, r := range s.signInAll(t, tries) {
		if right := tries[i].username == "a" && tries[i].password == "bc"; right != (r.status == 200) {
			t.Errorf("%q with %q: got %d %q", tries[i].username, tries[i].password, r.status, r.body)
		}
	}
}

// A password goes to the directory as it was typed: long, with spaces around it
// and of any script. The form lets password managers work.
func TestS25PasswordsAreSentAsTyped(t *testing.T) {
	t.Parallel()
	password := " " + strings.Repeat("clave ñandú 長い 🔑", 10) + "  "
	dir := ldaptest.Demo()
	dir.Users[0].Password = password
	dir.Users[1].Password = "e\u0301" // and not its composed form
	s := start(t, setup{directory: &dir})
	s.sessionOf(t, s.trySignIn(t, juan, password))
	form := "username=ac12345&password=" + strings.ReplaceAll(strings.ReplaceAll(password, " ", "+"), "&", "%26")
	r := s.do(t, "POST", "/accounts/login/", form, "Content-Type", "application/x-www-form-urlencoded")
	s.sessionOf(t, r)
	s.sessionOf(t, s.trySignIn(t, maria, "e\u0301"))
	for name, wrong := range map[string]string{juan: strings.TrimSpace(password), maria: "\u00e9"} {
		wantCode(t, s.trySignIn(t, name, wrong), 401, "invalid_credentials")
	}
	page := withoutOwnScript(t, s.do(t, "GET", "/accounts/login/", ""))
	for _, want := range []string{`autocomplete="username"`, `type="password" autocomplete="current-password"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	for _, bad := range []string{"onpaste", "<script", `autocomplete="off"`} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	if most := regexp.MustCompile(`type="password"[^>]*maxlength="(\d+)"`).FindStringSubmatch(page); most == nil || len(most[1]) < 3 {
		t.Errorf("the password's field takes %v", most)
	}
}
