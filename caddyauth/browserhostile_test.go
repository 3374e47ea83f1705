package caddyauth

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/browser"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// unharmed checks that nothing of what came from outside ran in the page, and
// that the browser had nothing to keep from running.
func (v *visitor) unharmed(what string, record *browser.Record) {
	v.t.Helper()
	v.has(what, `typeof window.pwned`, "undefined")
	v.has(what, `document.querySelectorAll("script, img, iframe, object, [onerror], [onclick]").length`, "1") // the page's own script
	if problems := record.Problems(); len(problems) > 0 {
		v.t.Errorf("%s: the browser complains: %q", what, problems)
	}
}

// The form's answer leads to another origin: the page's own policy has to let it,
// and to no other.
func TestBrowserIsSentToTrustedOriginsOnly(t *testing.T) {
	answer := func(text string) *httptest.Server {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, text+" "+r.RequestURI)
		}))
		t.Cleanup(server.Close)
		return server
	}
	trusted, foreign := answer("trusted"), answer("foreign")
	s := startForBrowsers(t, setup{auth: "trusted_origins " + trusted.URL})
	for _, on := range []bool{true, false} {
		t.Run("trusted "+scripts(on), func(t *testing.T) {
			v := s.visitor(t)
			v.Scripts(on)
			record := v.Record()
			v.Visit(s.base + "/accounts/login/?next=" + url.QueryEscape(trusted.URL+"/app?a=b") + "#part")
			v.signIn("ac12345", ldaptest.DemoPassword)
			want := trusted.URL + "/app?a=b"
			if on {
				want += "#part"
			}
			if got := v.URL(); got != want || v.Text() != "trusted /app?a=b" {
				t.Errorf("signed in, the tab is at %s, not %s: %s", got, want, v.Text())
			}
			if problems := record.Problems(); len(problems) > 0 {
				t.Errorf("the browser complains: %q", problems)
			}
		})
	}

	v := s.visitor(t)
	record := v.Record()
	host := strings.TrimPrefix(foreign.URL, "http://")
	for name, next := range map[string]string{
		"another origin":      foreign.URL + "/",
		"a script":            "javascript:window.pwned=1",
		"a spelled script":    " JavaScript:window.pwned=1//",
		"data":                "data:text/html,<script>window.pwned=1</script>",
		"no scheme":           "//" + host + "/",
		"backslashes":         `\\` + host + `\`,
		"slash and backslash": `/\` + host + "/",
		"a tab":               "/\t/" + host + "/",
		"the trusted as user": strings.Replace(foreign.URL, "http://", trusted.URL+"@", 1),
		"10 KiB":              "/" + strings.Repeat("a", 10<<10),
		"markup":              `"><script>window.pwned=1</script>`,
	} {
		t.Run(name, func(t *testing.T) {
			v.t = t
			record.Clear()
			v.Visit(s.base + "/accounts/login/?next=" + url.QueryEscape(next))
			// Signed in from the second on: then there is a link to go on as well.
			v.has("on the page", `document.querySelector("#continue")?.getAttribute("href") ?? "/"`, "/")
			v.has("on the page", `document.querySelector("[name=next]")?.value ?? "/"`, "/")
			v.unharmed("on the page", record)
			if status := v.signIn("ac12345", ldaptest.DemoPassword); status != http.StatusOK {
				t.Errorf("signing in: %d", status)
			}
			v.at("signed in", "/", "for ac12345")
			// And where the form itself was changed.
			field, err := json.Marshal(next)
			if err != nil {
				t.Fatal(err)
			}
			v.Visit(s.base + "/accounts/login/?next=%2Fx")
			browser.Eval[string](v.Tab, `document.querySelector("[name=next]").value = `+string(field))
			v.signIn("ac12345", ldaptest.DemoPassword)
			v.at("signed in by a changed form", "/", "for ac12345")
		})
	}
}

func TestBrowserShowsTypedNamesAsText(t *testing.T) {
	s := startForBrowsers(t, setup{auth: unthrottled})
	v := s.visitor(t)
	record := v.Record()
	for _, test := range []struct {
		name, typed, kept string
		status            int64
	}{
		{"a script", `"><script>window.pwned=1</script>`, `"><script>window.pwned=1</script>`, 401},
		{"quotes", `a"b'c onfocus=window.pwned=1 x="`, `a"b'c onfocus=window.pwned=1 x="`, 401},
		{"a placeholder", "{env.HOME}{{.}}${7*7}", "{env.HOME}{{.}}${7*7}", 401},
		{"right to left", "\u202eevil\u202c\u2067x", "\u202eevil\u202c\u2067x", 401},
		{"60 KiB", strings.Repeat("a", 60<<10), "", 401},
		{"64 KiB", strings.Repeat("a", 64<<10), "", 413},
	} {
		t.Run(test.name, func(t *testing.T) {
			v.t = t
			record.Clear()
			v.Visit(s.base + "/accounts/login/")
			typed, err := json.Marshal(test.typed)
			if err != nil {
				t.Fatal(err)
			}
			browser.Eval[string](v.Tab, `username.value = `+string(typed)+`, password.value = "wrong!", ""`)
			if status := v.Click(signInButton); status != test.status {
				t.Errorf("the status is %d", status)
			}
			v.has("refused", `document.querySelector("#username")?.value ?? ""`, test.kept)
			v.unharmed("refused", record)
			if text := v.Text(); strings.Contains(text, "env.HOME") || strings.Contains(text, "evil") || strings.Contains(text, "aaaa") {
				t.Errorf("the page says %q", text)
			}
		})
	}
}

// Names come from a directory where people may change their own.
func TestBrowserShowsTheDirectorysNamesAsText(t *testing.T) {
	const script = "<script>window.pwned=1</script>{env.HOME}\u202eevil\u2066"
	dir := ldaptest.Demo()
	dir.Users[0].ExtraAttributes = map[string][]string{"displayName": {script + strings.Repeat("x", 400)}}
	dir.Users[1].ExtraAttributes = map[string][]string{"displayName": {script + strings.Repeat("x", 64<<10)}}
	const group = "<img src=x onerror=window.pwned=1>{env.HOME}\u202eevil"
	s := startForBrowsers(t, setup{directory: &dir, site: "require_session {\nrequire /admin/* `" + group + "`\n}\nreverse_proxy UPSTREAM"})
	for _, user := range []struct{ name, shown string }{
		{"ac12345", "signed in as <script>window.pwned=1</script>{env.HOME}\ufffdevil\ufffdxxx"},
		{"mgarcia", "signed in as María García (mgarcia)"}, // what is that long is no name
	} {
		v := s.visitor(t)
		v.Visit(s.base + "/")
		v.signIn(user.name, ldaptest.DemoPassword)
		v.at("signed in", "/", "for "+user.name)
		record := v.Record()
		for path, says := range map[string]string{
			"/accounts/login/": "You are already signed in",
			listPath:           "Your sessions",
			"/admin/":          "in the group <img src=x onerror=window.pwned=1>{env.HOME}\ufffdevil.",
		} {
			t.Run(user.name+" at "+path, func(t *testing.T) {
				v.t = t
				record.Clear()
				v.Visit(s.base + path)
				v.at("the page", path, says, user.shown, "("+user.name+")")
				v.unharmed("the page", record)
				if text := v.Text(); len(text) > 2000 || strings.ContainsAny(text, "\u202e\u2066") {
					t.Errorf("the page says %q", text)
				}
			})
		}
	}
}

// The pages show nothing of the request but the address to go on to, where it was
// found to be one of the site's. Without that, no marker is in them.
func TestPagesShowNothingOfTheRequest(t *testing.T) {
	s := start(t, setup{site: "require_session {\nrequire /admin/* \"IT Admins\"\n}\nreverse_proxy UPSTREAM"})
	c := s.signIn("ac12345")
	const marker = "marker-7q<b>\"'"
	odd := []change{
		navigation, header("Referer", s.base+"/"+marker), header("User-Agent", marker), header("Accept-Language", marker),
		header("Cookie", "csrftoken="+marker+"; ldap_language="+marker+"; other="+marker+"; ldap_device="+marker),
	}
	escaped := url.PathEscape(marker)
	next := regexp.MustCompile(`(\?|&amp;)next=[^"&]*|name="next" value="[^"]*"|id="continue" href="[^"]*"`)
	for _, test := range []struct {
		name, method, path string
		status             int
		changes            []change
	}{
		{"sign in", "GET", "/accounts/login/?next=/" + escaped + "&lang=" + escaped + "&x=" + escaped, 200, nil},
		{"sign in, with another's next", "GET", "/accounts/login/?next=//" + escaped, 200, nil},
		{"wrong password", "POST", "/accounts/login/?x=" + escaped, 401, []change{form("username=u&password=wrong!&next=//" + escaped + "&x=" + escaped)}},
		{"signed in", "GET", "/accounts/login/?next=/" + escaped, 200, []change{c.cookies}},
		{"sessions", "GET", listPath + "?x=" + escaped, 200, []change{c.cookies}},
		{"group", "GET", "/admin/" + escaped + "?x=" + escaped, 403, []change{c.cookies}},
		{"ambiguous path", "GET", "/admin/%2e%2e/" + escaped, 403, []change{c.cookies}},
		{"CSRF", "POST", "/" + escaped, 403, []change{c.cookies, form("x=" + escaped)}},
		{"another's origin", "POST", "/" + escaped, 403, []change{c.cookies, header("Origin", "https://marker-7q.example"), form("x=" + escaped)}},
		{"session ended", "POST", "/" + escaped, 401, []change{form("x=" + escaped)}},
		{"method", "PUT", "/accounts/login/?x=" + escaped, 405, nil},
		{"plain HTTP through a proxy", "GET", "/accounts/login/?x=" + escaped, 403, []change{header("X-Forwarded-Host", marker)}},
		{"signed out", "GET", "/api/logout/?x=" + escaped, 200, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.do(test.method, test.path, append(append([]change{}, test.changes...), odd...)...)
			if got.StatusCode != test.status || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") {
				t.Fatalf("%d %v", got.StatusCode, got.Header)
			}
			if before, after, ok := strings.Cut(next.ReplaceAllString(got.body, ""), "marker"); ok {
				t.Errorf("after %.100q the page has it, and then %.100q", before[max(0, len(before)-100):], after)
			}
		})
	}
}
