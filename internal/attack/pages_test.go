package attack

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// pageMarks are texts that would run, or end an attribute, if they stood in a
// page as they are.
func pageMarks() []string {
	return []string{`"><script>xq7z()</script>`, `'><svg/onload=xq7z()>`, `</title></style><img src=xq7z onerror=xq7z()>`, `{{.xq7z}}{{template "body" .}}`, `javascript:xq7z()`, `--><xq7z>`, "\u2028xq7z<xq7z>", `" autofocus onfocus=xq7z() "`}
}

// pageHolds tells whether a text that a client made up stands in a page as
// something else than text.
func pageHolds(body, mark string) bool {
	for _, part := range []string{"<script", "<svg", "<img", "<xq7z", "onfocus=xq7z() \"", "href=\"javascript", "href='javascript"} {
		if strings.Contains(body, part) {
			return true
		}
	}
	return strings.ContainsAny(mark, `<>"'`) && strings.Contains(body, mark)
}

// ownScript is the one script of a page.
var ownScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)

// withoutOwnScript is the page without the script that is the only one its policy
// allows, if there is such a page.
func withoutOwnScript(t testing.TB, r reply) string {
	t.Helper()
	found := ownScript.FindStringSubmatch(r.body)
	if found == nil {
		return r.body
	}
	sum := sha256.Sum256([]byte(found[1]))
	allowed := "; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; "
	if policy := r.header.Get("Content-Security-Policy"); !strings.Contains(policy, allowed) {
		t.Errorf("the policy %q does not allow the script of the page, and no other", policy)
	}
	return strings.Replace(r.body, found[0], "", 1)
}

// Nothing that a request holds comes back in a page as markup: neither path nor
// query, form field, header or cookie.
func TestP01PagesHoldNoMarkupOfTheRequest(t *testing.T) {
	t.Parallel()
	s := start(t, setup{
		site: `
	require_session {
		require /admin/* "IT Admins"
		fresh 1s
	}
	reverse_proxy UPSTREAM`,
	})
	juan := s.signIn(t, juan)
	for _, mark := range pageMarks() {
		query, path := url.QueryEscape(mark), url.PathEscape(mark)
		form := "username=" + query + "&password=" + query + "&next=" + url.QueryEscape("/"+mark) + "&csrfmiddlewaretoken=" + query
		for name, r := range map[string]reply{
			"path of the page":       s.do(t, "GET", "/accounts/login/"+path, "", "Accept", "text/html"),
			"next":                   s.do(t, "GET", "/accounts/login/?next="+query, "", "Accept", "text/html"),
			"next as a path":         s.do(t, "GET", "/accounts/login/?next=%2F"+query, "", "Accept", "text/html"),
			"another parameter":      s.do(t, "GET", "/accounts/login/?error="+query+"&username="+query+"&"+query, "", "Accept", "text/html"),
			"form fields":            s.do(t, "POST", "/accounts/login/", form, "Accept", "text/html", "Content-Type", "application/x-www-form-urlencoded"),
			"headers":                s.do(t, "GET", "/accounts/login/", "", "Accept", "text/html, "+strings.ReplaceAll(mark, "\u2028", ""), "User-Agent", strings.ReplaceAll(mark, "\u2028", ""), "X-Forwarded-Host", mark),
			"path that is refused":   s.do(t, "GET", "/admin/"+path+"?x="+query, "", "Accept", "text/html", "Cookie", juan.cookie()),
			"path that is unclear":   s.do(t, "GET", "/x//"+path, "", "Accept", "text/html", "Cookie", juan.cookie()),
			"a signed-in page":       s.do(t, "GET", "/accounts/login/?next=%2F"+query, "", "Accept", "text/html", "Cookie", juan.cookie()),
			"the list of sessions":   s.do(t, "GET", "/accounts/sessions/?"+query, "", "Accept", "text/html", "Cookie", juan.cookie()),
			"a refused sign-out":     s.do(t, "POST", "/api/logout/?"+query, "", "Accept", "text/html", "Origin", "https://"+path, "Cookie", juan.cookie()),
			"JSON of a wrong name":   s.do(t, "POST", "/api/login-ldap/", `{"username":"xq7z<xq7z>","password":"b"}`, "Content-Type", "application/json"),
			"Location of a stranger": s.do(t, "GET", "/x/"+path, "", "Accept", "text/html"),
		} {
			if pageHolds(withoutOwnScript(t, r), mark) {
				t.Errorf("%s %q: it is in the page:\n%s", name, mark, r.body)
			}
			for header, values := range r.header {
				if all := strings.Join(values, "\n"); strings.Contains(all, mark) || strings.Contains(all, "javascript:") {
					t.Errorf("%s %q: it is in the header %s: %q", name, mark, header, values)
				}
			}
		}
	}
}

// What a cookie holds is never printed, whatever its name: language, token or
// target.
func TestP43CookiesAreNeverPrinted(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	juan := s.signIn(t, juan)
	for _, mark := range []string{`"><xq7z>`, `xq7z<xq7z>`, `xq7zplain`, `https://xq7z.test/`, `es"xq7z`} {
		for _, name := range []string{"lang", "language", "django_language", "locale", "csrftoken", "sessionid", "next", "redirect", "theme", "username", "messages"} {
			cookie := name + "=" + mark
			for _, held := range []string{cookie, cookie + "; " + juan.cookie(), "sessionid=" + juan.token + "; " + cookie} {
				for _, path := range []string{"/accounts/login/", "/accounts/login/?next=/x", "/accounts/sessions/", "/x"} {
					r := s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\nAccept: text/html\nCookie: "+held+"\n\n")
					var header strings.Builder
					_ = r.header.Write(&header)
					if r.body != "upstream /x" && strings.Contains(r.body+header.String(), "xq7z") {
						t.Errorf("%s with %q: it is in the answer\n%s\n%s", path, held, header.String(), r.body)
					}
				}
			}
		}
	}
}

// Every answer of ours, of whatever kind, says how a browser has to take it.
func TestS17OwnAnswersCarryTheirSecurityHeaders(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: `
	require_session {
		require /admin/* "IT Admins"
	}
	header >Content-Security-Policy "default-src *"
	header >Cache-Control "public, max-age=3600"
	reverse_proxy UPSTREAM`})
	juan := s.signIn(t, juan)
	const html, jsonType = "text/html; charset=utf-8", "application/json"
	page := []string{"Accept", "text/html"}
	own := func(fields ...string) []string { return append(fields, "Cookie", juan.cookie()) }
	for name, test := range map[string]struct {
		r           reply
		status      int
		contentType string
	}{
		"the sign-in page":           {s.do(t, "GET", "/accounts/login/", "", page...), 200, html},
		"the sign-in page for HEAD":  {s.do(t, "HEAD", "/accounts/login/", "", page...), 200, html},
		"the signed-in page":         {s.do(t, "GET", "/accounts/login/", "", own(page...)...), 200, html},
		"the list of sessions":       {s.do(t, "GET", "/accounts/sessions/", "", own(page...)...), 200, html},
		"the list as JSON":           {s.do(t, "GET", "/accounts/sessions/", "", own()...), 200, jsonType},
		"a wrong password":           {s.do(t, "POST", "/accounts/login/", "username=a&password=b", append(page, "Content-Type", "application/x-www-form-urlencoded")...), 401, html},
		"a wrong password as JSON":   {s.trySignIn(t, "a", "b"), 401, jsonType},
		"a page that is forbidden":   {s.do(t, "GET", "/admin/x", "", own(page...)...), 403, html},
		"forbidden as JSON":          {s.do(t, "GET", "/admin/x", "", own()...), 403, jsonType},
		"an ambiguous path":          {s.do(t, "GET", "/x//y", "", own(page...)...), 403, html},
		"no CSRF token":              {s.do(t, "POST", "/x", "a=b", own(page...)...), 403, html},
		"a password over plain HTTP": {s.do(t, "GET", "/accounts/login/", "", append(page, "X-Forwarded-For", "192.0.2.1")...), 403, html},
		"a wrong method":             {s.do(t, "PUT", "/accounts/login/", "", page...), 405, html},
		"a wrong method as JSON":     {s.do(t, "PUT", "/api/login-ldap/", ""), 405, jsonType},
		"no session":                 {s.do(t, "GET", "/x", ""), 401, jsonType},
		"a post without a session":   {s.do(t, "POST", "/x", "", page...), 401, html},
		"who is signed in":           {s.do(t, "GET", "/api/session/", "", own()...), 200, jsonType},
		"nobody is signed in":        {s.do(t, "GET", "/api/session/", ""), 401, jsonType},
		"no JSON":                    {s.do(t, "POST", "/api/login-ldap/", "{", "Content-Type", "application/json"), 400, jsonType},
		"another type":               {s.do(t, "POST", "/api/login-ldap/", "{}", "Content-Type", "text/plain"), 415, jsonType},
		"OPTIONS":                    {s.do(t, "OPTIONS", "/api/login-ldap/", ""), 200, jsonType},
		"the signed-out page":        {s.do(t, "GET", "/api/logout/", "", page...), 200, html},
		"signed out as JSON":         {s.do(t, "GET", "/api/logout/", ""), 200, jsonType},
	} {
		h := test.r.header
		if test.r.status != test.status || h.Get("Content-Type") != test.contentType || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d with %v", name, test.r.status, h)
		}
		if test.contentType != html {
			continue
		}
		policies := h.Values("Content-Security-Policy")
		if len(policies) != 1 {
			t.Errorf("%s: the policies %q", name, policies)
			continue
		}
		directives := map[string]string{}
		for directive := range strings.SplitSeq(policies[0], ";") {
			key, value, _ := strings.Cut(strings.TrimSpace(directive), " ")
			directives[key] = value
		}
		for key, value := range map[string]string{"default-src": "'none'", "frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'self'"} {
			if directives[key] != value {
				t.Errorf("%s: %s %q, want %s", name, key, directives[key], value)
			}
		}
		for key, value := range directives {
			if strings.Contains(value, "unsafe") || strings.Contains(value, "*") || strings.HasPrefix(key, "script-src-") {
				t.Errorf("%s: the policy allows %s %s", name, key, value)
			}
		}
		if h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "same-origin" || h.Get("Cross-Origin-Opener-Policy") != "same-origin" {
			t.Errorf("%s: framing and referrers: %v", name, h)
		}
		if strings.Contains(withoutOwnScript(t, test.r), "<script") || strings.Contains(test.r.body, "http-equiv") {
			t.Errorf("%s has scripts:\n%s", name, test.r.body)
		}
	}
	r := s.do(t, "GET", "/x", "", page...)
	if r.status != 303 || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the way to the sign-in page: %d %v", r.status, r.header)
	}
}

// A target that only ends like a trusted one is not followed, and forwarding
// headers that are empty or missing say nothing.
func TestP51SuffixesAndEmptyForwardingHeaders(t *testing.T) {
	t.Parallel()
	s := start(t, setup{server: trustedPeer, auth: "insecure_http\ntrusted_origins https://app.corp.test https://*.wild.test"})
	signIn := func(next string, fields ...string) reply {
		form := "username=ac12345&password=secreto&next=" + url.QueryEscape(next)
		return s.do(t, "POST", "/accounts/login/", form, append(fields, "Accept", "text/html", "Content-Type", "application/x-www-form-urlencoded")...)
	}
	for next, want := range map[string]string{
		"https://app.corp.test/x": "https://app.corp.test/x", "/x": "/x",
		"https://evilapp.corp.test/": "/", "https://app.corp.test.evil.test/": "/", "https://x.app.corp.test/": "/", "https://corp.test/": "/", "https://app.corp.test:444/": "/",
		"https://app.corp.test@evil.test/": "/", "http://app.corp.test/": "/", "https://a.wild.test/": "/", "https://wild.test/": "/", "https://evilwild.test/": "/", "//app.corp.test/": "/",
	} {
		if r := signIn(next); r.status != 303 || r.header.Get("Location") != want {
			t.Errorf("next=%s: %d to %q, want %q", next, r.status, r.header.Get("Location"), want)
		}
	}
	for _, origin := range []string{"http://", "https://", "://", "", "null", "http:///", "http://,"} {
		for _, host := range []string{"", " ", ",", ", "} {
			r := signIn("/x", "Origin", origin, "X-Forwarded-Host", host, "X-Forwarded-Proto", host, "X-Forwarded-For", host)
			if r.status != 403 || len(r.cookies) > 0 {
				t.Errorf("Origin %q with the forwarded host %q: %d %v", origin, host, r.status, r.header)
			}
		}
	}
	for _, proto := range []string{"", " ", ",", "https,", "https, ", "x", "evil_protocol"} {
		r := s.do(t, "GET", "/accounts/login/", "", "X-Forwarded-Proto", proto)
		if cookie := r.cookies["csrftoken"]; cookie == nil || cookie.Secure {
			t.Errorf("X-Forwarded-Proto %q: the cookie %v", proto, cookie)
		}
	}
	s.echo.Forget()
	wantRefused(t, s.do(t, "GET", "/x", "", "X-Forwarded-Host", "", "X-Forwarded-Uri", "", "X-Forwarded-Method", ""))
	s.wantNothingUpstream(t)
}
