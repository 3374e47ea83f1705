package caddyauth

import (
	"regexp"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

var shownReference = regexp.MustCompile(`<code>([2-9A-HJ-NP-Z]{8})</code>`)

// referenceOf is the reference on a page.
func referenceOf(t *testing.T, got reply) string {
	t.Helper()
	found := shownReference.FindStringSubmatch(got.body)
	if got.StatusCode != 503 || found == nil {
		t.Fatalf("%d, and no reference in %s", got.StatusCode, got.body)
	}
	return found[1]
}

// TestReferenceIsInTheLog: what a person reads out over the telephone leads to
// the line that says what happened.
func TestReferenceIsInTheLog(t *testing.T) {
	storage, faults := faultyStorage(t)
	s := start(t, setup{storage: storage})
	good := form("username=ac12345&password=" + ldaptest.DemoPassword)

	t.Run("store", func(t *testing.T) {
		faults.down.Store(true)
		defer faults.down.Store(false)
		mark := logged.mark()
		got := s.do("GET", "/x", navigation, header("Cookie", "sessionid="+strings.Repeat("A", 43)))
		wantLog(t, mark, "session store failed", `"ref":"`+referenceOf(t, got)+`"`)
	})
	t.Run("directory", func(t *testing.T) {
		s.directory.Close()
		mark := logged.mark()
		first := referenceOf(t, s.do("POST", "/accounts/login/", navigation, good))
		wantLog(t, mark, "the directory could not decide on a sign-in", `"ref":"`+first+`"`)
		if second := referenceOf(t, s.do("POST", "/accounts/login/", navigation, good)); second == first {
			t.Error("two failures have the same reference")
		}
	})
}

// TestForbiddenPageNamesTheGroups: people can ask for what they need. Programs
// get the fixed bytes.
func TestForbiddenPageNamesTheGroups(t *testing.T) {
	s := start(t, setup{site: "route {\nrequire_session * Employees {\nrequire /ops/* Ops \"CN = Night Shift, OU=Secret Projects,DC=empresa,DC=local\"\nrequire /ops/root/* Root\n}\nreverse_proxy UPSTREAM\n}"})
	c := s.signIn("ac12345")
	page := func(path string) string {
		got := s.do("GET", path, navigation, c.cookies, header("Accept-Language", "en"))
		if got.StatusCode != 403 {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
		return strings.NewReplacer("<bdi>", "", "</bdi>", "", "<strong>", "", "</strong>", "").Replace(got.body)
	}
	text := page("/ops/root/x")
	for _, line := range []string{"You need to be in one of these groups: Ops, Night Shift.", "You need to be in the group Root.", "You need to be in the group Employees."} {
		if !strings.Contains(text, line) {
			t.Errorf("no %q in %s", line, text)
		}
	}
	if strings.Contains(text, "Secret") {
		t.Errorf("it tells where a group lies: %s", text)
	}
	if text := page("/x"); strings.Contains(text, "Ops") || !strings.Contains(text, "the group Employees.") {
		t.Errorf("groups of other paths: %s", text)
	}
	if got := s.do("GET", "/ops/x", c.cookies); got.StatusCode != 403 || strings.Contains(got.body, "Ops") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}
