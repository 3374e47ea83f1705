package caddyauth

import (
	"strings"
	"testing"
)

// TestPickedLanguage: a language from the list of a page holds for all pages, and
// only the routes that have the list look at queries.
func TestPickedLanguage(t *testing.T) {
	s := start(t, setup{})
	speaks := func(got reply, language string) {
		t.Helper()
		if !strings.Contains(got.body, `<html lang="`+language+`">`) || got.Header.Get("Content-Language") != language {
			t.Errorf("in %q, want %q: %d %.200s", got.Header.Get("Content-Language"), language, got.StatusCode, got.body)
		}
	}
	got := s.do("GET", "/accounts/login/?lang=de&next=%2Fx", navigation, header("Accept-Language", "fr"))
	speaks(got, "de")
	if cookies := got.setCookies(languageCookie); len(cookies) != 1 || cookies[0] != languageCookie+"=de; Max-Age=15552000; Path=/; HttpOnly; SameSite=Lax" {
		t.Errorf("cookies %q", cookies)
	}
	for _, link := range []string{`href="/accounts/login/?lang=en&amp;next=%2Fx"`, `name="next" value="/x"`} {
		if !strings.Contains(got.body, link) {
			t.Errorf("no %s in %s", link, got.body)
		}
	}
	picked := header("Cookie", languageCookie+"=de")
	got = s.do("GET", "/accounts/login/", navigation, picked, header("Accept-Language", "fr"))
	speaks(got, "de")
	if cookies := got.setCookies(languageCookie); len(cookies) != 0 {
		t.Errorf("set again: %q", cookies)
	}
	speaks(s.do("GET", "/accounts/login/?lang=pt", navigation, picked), "pt")
	speaks(s.do("POST", "/accounts/login/", navigation, picked, form("username=ac12345&password=wrong")), "de")
	speaks(s.do("GET", "/api/logout/", navigation, picked), "de")

	c := s.signIn("ac12345")
	speaks(s.do("GET", listPath+"?lang=en", navigation, c.cookies, picked), "en")
	speaks(s.do("GET", "/accounts/login/?lang=en", navigation, c.cookies), "en")

	for name, got := range map[string]reply{
		"a language that is not spoken":    s.do("GET", "/accounts/login/?lang=it", navigation, header("Accept-Language", "fr")),
		"two":                              s.do("GET", "/accounts/login/?lang=it&lang=de", navigation, header("Accept-Language", "fr")),
		"a cookie that is none":            s.do("GET", "/accounts/login/", navigation, header("Accept-Language", "fr"), header("Cookie", languageCookie+"=it")),
		"a script":                         s.do("GET", "/accounts/login/?lang=%22%3E%3Cscript%3E", navigation, header("Accept-Language", "fr")),
		"the path to sign out":             s.do("GET", "/api/logout/?lang=de", navigation, header("Accept-Language", "fr")),
		"an application's path":            s.do("POST", "/x?lang=de", navigation, header("Accept-Language", "fr")),
		"a query that is none":             s.do("GET", "/accounts/login/?lang=%zz", navigation, header("Accept-Language", "fr")),
		"several lines of Accept-Language": s.do("GET", "/accounts/login/", navigation, header("Accept-Language", "ja", "fr;q=0.5")),
	} {
		if len(got.setCookies(languageCookie)) != 0 {
			t.Errorf("%s: sets a cookie", name)
		}
		speaks(got, "fr")
	}
	if got := s.do("POST", "/accounts/login/?lang=de", navigation, form("username=ac12345&password=wrong")); len(got.setCookies(languageCookie)) != 0 {
		t.Error("a form's answer sets the cookie")
	}
	want(t, s.do("GET", "/x?lang=de", c.cookies, picked), 200, "upstream")
}

func TestLanguageCookieIsLax(t *testing.T) {
	for _, sameSite := range []string{"strict", "none"} {
		s := start(t, setup{sessions: "same_site " + sameSite, auth: "insecure_http"})
		if cookies := s.do("GET", "/accounts/login/?lang=de", navigation).setCookies(languageCookie); len(cookies) != 1 || !strings.HasSuffix(cookies[0], "; SameSite=Lax") {
			t.Errorf("same_site %s: %q", sameSite, cookies)
		}
	}
}

// An address that may not use the site is not looked at further.
func TestRefusedAddressPicksNoLanguage(t *testing.T) {
	s := start(t, setup{auth: "trusted_ips 192.0.2.1"})
	got := s.do("GET", "/accounts/login/?lang=de", navigation)
	if got.StatusCode != 403 || len(got.Header["Set-Cookie"]) != 0 || !strings.Contains(got.body, `<html lang="de">`) {
		t.Errorf("%d %v %s", got.StatusCode, got.Header, got.body)
	}
}
