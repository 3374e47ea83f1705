package attack

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// throttleSpellings are what Active Directory, which ignores case, accents and width,
// takes for one account, in forms of names that it binds.
func throttleSpellings(name string) []string {
	wide := strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r + 0xfee0
		}
		return r
	}, name)
	return []string{
		name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], " " + name + " ", "\u00a0" + name,
		name + "@empresa.local", strings.ToUpper(name) + "@EMPRESA.LOCAL", name + " @empresa.local", name + "@empresa", name + "@EMPRESA",
		`EMPRESA\` + name, `empresa\` + strings.ToUpper(name), `empresa.local\` + name,
		wide, name[:1] + "\u0301" + name[1:], name[:1] + "\u200b" + name[1:], strings.Replace(name, "a", "á", 1),
	}
}

// However a name is spelled, by however many strangers at once, an account has
// one budget, before and without the directory's help.
func TestP41SpellingsOfANameShareOneBudget(t *testing.T) {
	t.Parallel()
	s := start(t, throttleBehindProxy)
	s.signIn(t, maria)
	asked := directoryWatch(s.directory)
	throttleWantTried(t, s.signInAll(t, throttleGuesses(throttleSpellings(juan)...)), 3)
	if n := len(asked.people()); n > 3 {
		t.Errorf("the directory got %d wrong passwords for one account, want 3 at most", n)
	}
	throttleWantTried(t, s.signInAll(t, []signInTry{{`EMPRESA\ac12345`, ldaptest.DemoPassword, "203.0.113.9"}}), 0)
	wantCode(t, s.signInAll(t, []signInTry{{maria, signInWrongPassword, "203.0.113.9"}})[0], 401, "invalid_credentials")
}

// throttleAliased is an account with three names that have nothing in common: only the
// directory knows that they are one.
func throttleAliased() (dir *ldaptest.Directory, names []string) {
	dir = directoryWithService(ldaptest.Demo())
	dir.UPNSuffixes = []string{"otra.example"}
	dir.Users[0].UPN = "juanito@otra.example"
	dir.Users[0].Mail = "j.perez@correo.example"
	return dir, []string{juan, "juanito@otra.example", "j.perez@correo.example", "J.PEREZ@correo.example", `EMPRESA\AC12345`}
}

const throttleByAnyName = "\nuser_filter (|(sAMAccountName={user})(userPrincipalName={upn})(mail={user})(mail={upn}))"

// The budget is the account's, by the ID that the directory gives it, and not
// that of what was typed.
func TestR08BudgetBelongsToTheAccountNotToWhatWasTyped(t *testing.T) {
	t.Parallel()
	dir, names := throttleAliased()
	c := throttleBehindProxy
	c.directory, c.block = dir, directoryServiceLines+throttleByAnyName
	s := start(t, c)
	asked := directoryWatch(s.directory)
	throttleWantTried(t, s.signInAll(t, throttleGuesses(slices.Concat(names, names)...)), 3)
	if n := len(asked.people()); n != 3 {
		t.Errorf("the directory got %d wrong passwords for one account, want 3", n)
	}
	// Names of nobody have budgets too, and look the same.
	throttleWantTried(t, s.signInAll(t, throttleGuesses("nadie", "NADIE", "nadie@empresa.local", `empresa\nadie`, "nadie")), 3)
}

// An alias that the attacker chooses, in a directory of another kind than
// Active Directory, gives no budget of its own.
func TestP73AliasesGiveNoFurtherGuesses(t *testing.T) {
	t.Parallel()
	dir := directoryWithService(ldaptest.Demo())
	dir.Plain = true
	dir.Users[0].Mail = "j.perez@correo.example"
	c := throttleBehindProxy
	c.directory, c.block = dir, directoryServiceLinesOf(dir)+"\nuser_filter (|(uid={user})(mail={user})(cn={user}))"
	s := start(t, c)
	asked := directoryWatch(s.directory)
	names := []string{juan, "j.perez@correo.example", "Juan Pérez", "AC12345", "J.Perez@CORREO.example", " ac12345", "juan  pérez"}
	throttleWantTried(t, s.signInAll(t, throttleGuesses(names...)), 3)
	if n := len(asked.people()); n != 3 {
		t.Errorf("the directory got %d wrong passwords for one account, want 3", n)
	}
}

// Whatever way in is used, it is counted in one place.
func TestS27EveryWayInIsCountedTogether(t *testing.T) {
	t.Parallel()
	c := setup{site: `
	@other host other.test
	handle @other {
		require_session
		reverse_proxy UPSTREAM
	}
	handle {
		ldap_login
		require_session
		reverse_proxy UPSTREAM
	}`}
	s, text := prepare(t, c)
	s.run(t, strings.Replace(text, "http://:"+s.port+" {", "http://:"+s.port+", http://other.test:"+s.port+" {", 1))
	asked := directoryWatch(s.directory)
	const multipart = "--b\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nac12345\r\n--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nx\r\n--b--\r\n"
	form := "username=ac12345&password=x"
	for i, r := range []reply{
		s.do(t, "POST", "/api/login-ldap/", signInJSON(juan, "x"), "Content-Type", "application/json"),
		s.do(t, "POST", "/accounts/login/", form, "Content-Type", "application/x-www-form-urlencoded"),
		s.do(t, "POST", "/accounts/login", signInJSON(juan, "x"), "Content-Type", "application/json", "Host", "other.test:"+s.port),
		s.do(t, "POST", "/accounts/login/", multipart, "Content-Type", "multipart/form-data; boundary=b"),
		s.do(t, "POST", "/accounts/login/", form, "Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html", "Sec-Fetch-Mode", "navigate"),
		s.do(t, "POST", "/api/login-ldap", signInJSON(juan, "x"), "Content-Type", "application/json; charset=utf-8", "Host", "other.test:"+s.port),
	} {
		want := 401
		if i >= 3 {
			want = 429
		}
		if r.status != want {
			t.Errorf("way %d: got %d %q, want %d", i+1, r.status, r.body, want)
		}
	}
	if n := len(asked.people()); n != 3 {
		t.Errorf("the directory got %d wrong passwords, want 3", n)
	}
}
