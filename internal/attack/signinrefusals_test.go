package attack

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// signInFailure is a reason for which somebody cannot sign in.
type signInFailure struct{ what, username, password string }

// The demonstration's people, in all states, with a password that is wrong.
var signInWrongs = []signInFailure{
	{"wrong password", juan, signInWrongPassword},
	{"unknown name", "nadie", signInWrongPassword},
	{"unknown name with somebody's password", "nadie2", ldaptest.DemoPassword},
	{"locked account", "bloqueada", signInWrongPassword},
	{"locked account, right password", "bloqueada", ldaptest.DemoPassword},
	{"disabled account", "deshabilitada", signInWrongPassword},
	{"expired password", "expirada", signInWrongPassword},
	{"name in another domain", "juan@otra.example", signInWrongPassword},
	{"name that is none", "a@b@empresa.local", signInWrongPassword},
	{"name with a control character", "ac\x1b12345", signInWrongPassword},
	{"no name", "", signInWrongPassword},
	{"no password", maria, ""},
	{"over-long name", strings.Repeat("n", 300), signInWrongPassword},
	{"over-long password", maria, strings.Repeat("p", 2000)},
}

// What only the right password gets to know, unless login_hints is off.
var signInStates = []signInFailure{
	{"expired password, right one", "expirada", ldaptest.DemoPassword},
	{"disabled account, right password", "deshabilitada", ldaptest.DemoPassword},
}

// signInOnWire is what a client sees of an answer: its status, its header, its
// body. What is random or its own, the time, tokens and its own name, is blotted
// out.
func signInOnWire(r reply, username string) string {
	var lines []string
	for name, values := range r.header {
		if name != "Date" && name != "Content-Length" { // a page has the name in it
			lines = append(lines, fmt.Sprintf("%s: %q", name, values))
		}
	}
	slices.Sort(lines)
	body := regexp.MustCompile(`(name="username"[^>]*) value="[^"]*"`).ReplaceAllString(r.body, "$1 value=")
	text := fmt.Sprint(r.status, lines, body)
	return regexp.MustCompile(`[A-Za-z0-9_-]{32,}`).ReplaceAllString(text, "…")
}

// signInWantAlike fails unless all reasons get one answer, and none before the
// floor. Far from being a measurement, that shows whether there is a floor.
func signInWantAlike(t *testing.T, s *site, failures []signInFailure, fields ...string) {
	t.Helper()
	first := ""
	for _, f := range failures {
		body, path := signInJSON(f.username, f.password), "/api/login-ldap/"
		sent := append([]string{"Content-Type", "application/json"}, fields...)
		if len(fields) > 0 {
			body = url.Values{"username": {f.username}, "password": {f.password}, "next": {"/docs"}}.Encode()
			path, sent[1] = "/accounts/login/", "application/x-www-form-urlencoded"
		}
		began := time.Now()
		r := s.do(t, "POST", path, body, sent...)
		took := time.Since(began)
		if r.status != 401 || len(fields) == 0 && r.body != signInRefused {
			t.Errorf("%s: got %d %q", f.what, r.status, r.body)
		}
		if took < 250*time.Millisecond {
			t.Errorf("%s: the answer left after %v, before the floor", f.what, took)
		}
		got := signInOnWire(r, f.username)
		if first == "" {
			first = got
		} else if got != first {
			t.Errorf("%s is told from %s by\n%s\ninstead of\n%s", f.what, failures[0].what, got, first)
		}
	}
}

// signInPage is what a browser sends with the form.
var signInPage = []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin"}

// Every reason for which somebody cannot sign in looks the same; what the
// directory said of it is in the audit log.
func TestR10RefusalsLookAlikeAndTheReasonIsAudited(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: "throttle insecure_off"})
	signInWantAlike(t, s, signInWrongs)
	reasons := map[string]bool{}
	for _, line := range s.audit(t) {
		if line.Event == "sign_in" && line.Result == "refused" {
			reasons[line.Reason] = true
		}
	}
	for _, reason := range []string{"bad_credentials", "account_locked", "name_invalid"} {
		if !reasons[reason] {
			t.Errorf("the audit log has the reasons %v, without %s", reasons, reason)
		}
	}
}

// The page that a browser gets is the same for every reason too.
func TestS24ThePageTellsNoNamesThatExist(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: "throttle insecure_off"})
	signInWantAlike(t, s, signInWrongs[:8], signInPage...) // the form gives what is no name at all back empty
	// A name that is blocked looks the same, whether there is somebody or not.
	throttled := start(t, setup{auth: "throttle account 1 15m"})
	var seen []string
	for _, name := range []string{"deshabilitada", "nadie", maria} {
		throttled.trySignIn(t, name, signInWrongPassword)
		r := throttled.trySignIn(t, name, ldaptest.DemoPassword)
		if r.status != 429 || r.body != signInThrottled {
			t.Errorf("%s: got %d %q", name, r.status, r.body)
		}
		r.header.Del("Retry-After") // counts the seconds
		seen = append(seen, signInOnWire(r, name))
	}
	if seen[0] != seen[1] || seen[1] != seen[2] {
		t.Errorf("blocked names are told apart:\n%s", strings.Join(seen, "\n"))
	}
}

// With a service account, where the directory says that there is nobody, and
// with login_hints off, where not even the right password gets to know more.
func TestP62UnknownAndKnownNamesGetTheSameBytes(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string]string{
		"without a service account": "servers DIRECTORY",
		"with a service account":    directoryServiceLines,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, setup{directory: directoryWithService(ldaptest.Demo()), block: lines + "\nlogin_hints off", auth: "throttle insecure_off"})
			signInWantAlike(t, s, slices.Concat(signInWrongs[:6], signInStates))
		})
	}
	t.Run("openldap", func(t *testing.T) {
		t.Parallel()
		dir := directoryWithService(ldaptest.Demo())
		dir.Plain = true
		s := start(t, setup{directory: dir, block: directoryServiceLinesOf(dir), auth: "throttle insecure_off"})
		signInWantAlike(t, s, signInWrongs[:4])
	})
}

// What a directory says to a wrong password is not for the client, and the
// passwords are for nobody.
func TestP69DirectoryErrorsAndPasswordsStayInside(t *testing.T) {
	t.Parallel()
	dir := ldaptest.Demo()
	s := start(t, setup{directory: directoryWithService(dir), block: directoryServiceLines, auth: "throttle insecure_off"})
	const wrong = "clave-equivocada-81"
	refused := s.trySignIn(t, juan, wrong)
	s.directory.Observe(func(r ldaptest.Request) ldaptest.Fault {
		if r.Bind && !directoryIsService(r.Name) {
			return ldaptest.Fault{Code: 52, Diagnostic: "00002024: DSID-0C0602B1, host dc7.interno.example, password " + wrong}
		}
		return ldaptest.Fault{}
	})
	unavailable := s.trySignIn(t, juan, wrong)
	wantCode(t, unavailable, 503, "directory_unavailable")
	page := s.do(t, "POST", "/accounts/login/", "username=ac12345&password="+wrong, append([]string{"Content-Type", "application/x-www-form-urlencoded"}, signInPage...)...)
	if page.status != 503 {
		t.Errorf("the page is %d", page.status)
	}
	for _, r := range []reply{refused, unavailable, page} {
		for _, inside := range []string{"52e", "DSID", "LdapErr", "dc7", "interno", s.directory.Addr(), wrong, "svc", "DC=empresa"} {
			if strings.Contains(r.body, inside) || strings.Contains(fmt.Sprint(r.header), inside) {
				t.Errorf("%d %q shows %q", r.status, r.body, inside)
			}
		}
	}
	for _, secret := range []string{wrong, directoryServicePassword} {
		if files := s.hasWritten(t, secret); len(files) > 0 {
			t.Errorf("the password %q is in %v", secret, files)
		}
	}
}
