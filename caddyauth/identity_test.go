package caddyauth

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// forgeries are identity headers as an attacker spells them; Caddy itself
// drops names with _ and dots.
var forgeries = []string{"Remote-User", "remote-user", "Remote_User", "Remote.User", "Remote--User", "-Remote-User", "Remote-User-", "Remote~User", "REMOTE!USER", "Remote-Name", "Remote-Email", "Remote-Groups", "Remote*Groups", "Remote|Groups"}

func forge(r *http.Request) {
	for _, name := range forgeries {
		r.Header[name] = []string{"admin", "root"}
	}
}

// identityOf folds what the upstream saw to the four headers.
func identityOf(h http.Header) map[string][]string {
	got := map[string][]string{}
	for name, values := range h {
		if folded := foldHeader(name); strings.HasPrefix(folded, "remote-") {
			got[folded] = append(got[folded], values...)
		}
	}
	return got
}

func wantIdentity(t *testing.T, got seenRequest, want map[string]string) {
	t.Helper()
	identity := identityOf(got.header)
	for name, value := range want {
		if values := identity[name]; len(values) != 1 || values[0] != value {
			t.Errorf("the upstream saw %s: %q, want %q", name, values, value)
		}
		delete(identity, name)
	}
	if len(identity) != 0 {
		t.Errorf("the upstream saw %v too", identity)
	}
}

func TestIdentityHeadersOnTheWire(t *testing.T) {
	s := start(t, setup{site: `require_session {
		public /public/*
		require /eng/* Ingenieria
		require /admin/* "IT Admins"
		forward_groups Empleados
	}
	reverse_proxy UPSTREAM
	handle_errors {
		reverse_proxy UPSTREAM
	}`})
	c := s.signIn("ac12345")
	juan := map[string]string{"remote-user": "ac12345", "remote-name": "Juan Pérez", "remote-email": "ac12345@empresa.local", "remote-groups": "Ingenieria,Empleados"}

	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	wantIdentity(t, s.upstream.last(t), juan)
	want(t, s.do("GET", "/x", c.cookies, forge), 200, "upstream")
	wantIdentity(t, s.upstream.last(t), juan)
	want(t, s.do("GET", "/public/x", forge), 200, "upstream")
	wantIdentity(t, s.upstream.last(t), nil)
	want(t, s.do("GET", "/public/x", c.cookies, forge), 200, "upstream")
	wantIdentity(t, s.upstream.last(t), nil)

	t.Run("nobody reaches error routes by being refused", func(t *testing.T) {
		before := s.upstream.count()
		want(t, s.do("GET", "/x", forge), 401, bodyAuthenticationRequired)
		want(t, s.do("GET", "/admin/x", c.cookies, forge), 403, bodyGroup)
		if s.upstream.count() != before {
			t.Error("a refused request reached the upstream by way of handle_errors")
		}
	})
	t.Run("Connection tokens", func(t *testing.T) {
		got := s.rawRequest("GET /x HTTP/1.1\nHost: HOST\nCookie: sessionid=" + c.token + "\nConnection: close, Remote-User, remote_groups, Cookie\n\n")
		want(t, got, 200, "upstream")
		wantIdentity(t, s.upstream.last(t), juan)
	})
	t.Run("trailers, declared and not", func(t *testing.T) {
		for _, declared := range []string{"Trailer: Remote-User, X-Ok\n", "Trailer: Remote~User, X-Ok\n", "Trailer: X-Ok\n", ""} {
			got := s.rawRequest("POST /x HTTP/1.1\nHost: HOST\nCookie: sessionid=" + c.token + "\nX-CSRFToken: " + c.csrf + "\nConnection: close\nTE: trailers\nTransfer-Encoding: chunked\n" + declared +
				"\n4\nbody\n0\nRemote-User: admin\nRemote-Groups: admins\nRemote~User: admin\nX-Ok: 1\n\n")
			want(t, got, 200, "upstream")
			seen := s.upstream.last(t)
			if seen.body != "body" || len(identityOf(seen.trailer)) != 0 {
				t.Errorf("%q: body %q, trailers %v", declared, seen.body, seen.trailer)
			}
			wantIdentity(t, seen, juan)
		}
		got := s.rawRequest("POST /public/x HTTP/1.1\nHost: HOST\nConnection: close\nTransfer-Encoding: chunked\nTrailer: Remote-User\n\n0\nRemote-User: admin\n\n")
		want(t, got, 200, "upstream")
		if seen := s.upstream.last(t); len(identityOf(seen.trailer)) != 0 {
			t.Errorf("trailers on a public path: %v", seen.trailer)
		}
	})
}

// TestForgedHeadersWhenTheSiteFails: error routes keep the request's headers.
func TestForgedHeadersWhenTheSiteFails(t *testing.T) {
	s := start(t, setup{site: `require_session {
		public /public/*
	}
	handle /public/error {
		error "broken" 502
	}
	handle {
		error "broken" 500
	}
	handle_errors {
		reverse_proxy UPSTREAM
	}`})
	s.do("GET", "/public/error", forge)
	wantIdentity(t, s.upstream.last(t), nil)
	c := s.signIn("mgarcia")
	s.do("GET", "/x", forge, c.cookies)
	wantIdentity(t, s.upstream.last(t), map[string]string{"remote-user": "mgarcia", "remote-name": "María García", "remote-email": "mgarcia@empresa.local"})
}

func TestIdentityHeaderOptions(t *testing.T) {
	s := start(t, setup{site: "require_session {\nidentity_headers X-User X-Name X-Mail X-Groups\npublic /public/*\n}\nreverse_proxy UPSTREAM"})
	c := s.signIn("ac12345")
	want(t, s.do("GET", "/x", c.cookies, forge, header("x_user", "admin"), header("X--User", "admin"), header("X-Groups", "admins")), 200, "upstream")
	seen := s.upstream.last(t)
	wantIdentity(t, seen, nil)
	if seen.header.Get("X-User") != "ac12345" || seen.header.Get("X-Name") != "Juan Pérez" || seen.header["X-Groups"] != nil || seen.header["X--User"] != nil {
		t.Errorf("the upstream saw %v", seen.header)
	}
	want(t, s.do("GET", "/public/x", header("X-User", "admin")), 200, "upstream")
	if seen := s.upstream.last(t); seen.header["X-User"] != nil {
		t.Errorf("the upstream saw %v", seen.header)
	}
	s.setup.site = "require_session {\nidentity_headers off\n}\nreverse_proxy UPSTREAM"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", c.cookies, forge), 200, "upstream")
	wantIdentity(t, s.upstream.last(t), nil)
}

// TestHostileDirectoryValues: what a directory says is text, never a
// placeholder, a header line or a second group.
func TestHostileDirectoryValues(t *testing.T) {
	dir := ldaptest.Demo()
	dir.Groups = append(dir.Groups, ldaptest.Group{Name: "Ventas 100%"})
	dir.Users[0].DisplayName = "{env.HOME} {http.request.header.Cookie} 100%"
	dir.Users[0].Mail = "a@b.test"
	dir.Users[0].MemberOf = append(dir.Users[0].MemberOf, "Ventas 100%")
	s := start(t, setup{directory: &dir, site: "require_session {\nforward_groups \"Ventas 100%\" Empleados\n}\nreverse_proxy UPSTREAM"})
	c := s.signIn("ac12345")
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	wantIdentity(t, s.upstream.last(t), map[string]string{
		"remote-user": "ac12345", "remote-name": "{env.HOME} {http.request.header.Cookie} 100%", "remote-email": "a@b.test", "remote-groups": "Ventas 100%25,Empleados",
	})
}

func TestCookiesAtTheUpstream(t *testing.T) {
	s := start(t, setup{site: "require_session {\npublic /public/*\n}\nreverse_proxy UPSTREAM"})
	c := s.signIn("ac12345")
	for _, path := range []string{"/x", "/public/x"} {
		want(t, s.do("GET", path, header("Cookie", `a="b c"; sessionid=`+c.token+"; csrftoken="+c.csrf+"; d==e")), 200, "upstream")
		if got, want := s.upstream.last(t).header["Cookie"], `a="b c"; csrftoken=`+c.csrf+"; d==e"; len(got) != 1 || got[0] != want {
			t.Errorf("%s: the upstream saw the cookies %q, want %q", path, got, want)
		}
		want(t, s.do("GET", path, header("Cookie", "sessionid="+c.token)), 200, "upstream")
		if got := s.upstream.last(t).header["Cookie"]; got != nil {
			t.Errorf("%s: the upstream saw the cookies %q", path, got)
		}
	}
	s.upstream.answers(func(w http.ResponseWriter, _ *http.Request) {
		for _, cookie := range []string{"sessionid=evil; Path=/", "csrftoken=evil", "app=1; Path=/", "sessionid=; Max-Age=0"} {
			w.Header().Add("Set-Cookie", cookie)
		}
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("Vary", "Accept")
		w.Header().Set("Surrogate-Control", "max-age=60")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = w.Write([]byte("upstream"))
	})
	got := s.do("GET", "/x", c.cookies)
	if cookies := strings.Join(got.Header["Set-Cookie"], "|"); cookies != "app=1; Path=/" {
		t.Errorf("a gated answer set %q", cookies)
	}
	if cache, vary := got.Header.Get("Cache-Control"), strings.Join(got.Header["Vary"], ", "); cache != "max-age=60, private" || vary != "Accept, Cookie" || got.Header.Get("Surrogate-Control") != "" {
		t.Errorf("a gated answer has Cache-Control %q and Vary %q", cache, vary)
	}
	got = s.do("GET", "/public/x", c.cookies)
	if cookies := strings.Join(got.Header["Set-Cookie"], "|"); cookies != "app=1; Path=/" {
		t.Errorf("a public answer set %q", cookies)
	}
	if cache, vary := got.Header.Get("Cache-Control"), strings.Join(got.Header["Vary"], ", "); cache != "public, max-age=60" || vary != "Accept" {
		t.Errorf("a public answer has Cache-Control %q and Vary %q", cache, vary)
	}
}

func TestPlaceholdersAndAccessLog(t *testing.T) {
	s := start(t, setup{site: `log {
		output test_capture
		format filter {
			wrap json
			fields {
				request>headers>X-Csrftoken delete
			}
		}
	}
	require_session {
		public /public/*
		require /admin/* "IT Admins"
		forward_groups Ingenieria
	}
	respond "{http.auth.user.id}|{http.auth.user.uid}|{http.auth.user.dn}|{http.auth.user.name}|{http.auth.user.first_name}|{http.auth.user.last_name}|{http.auth.user.email}|{http.auth.user.upn}|{http.auth.user.title}|{http.auth.user.manager}|{http.auth.user.groups}|{http.vars.ldap_auth.request}"`})
	c := s.signIn("ac12345")
	got := s.do("GET", "/x?a=b", c.cookies)
	fields := strings.Split(got.body, "|")
	if len(fields) != 12 {
		t.Fatalf("%q", got.body)
	}
	if len(fields[1]) < 16 {
		t.Errorf("uid %q", fields[1])
	}
	fields[1] = ""
	if got, want := strings.Join(fields, "|"), "ac12345||CN=Juan Pérez,CN=Users,DC=empresa,DC=local|Juan Pérez|Juan|Pérez|ac12345@empresa.local|ac12345@empresa.local|Ingeniero de operaciones|CN=María García,CN=Users,DC=empresa,DC=local|Ingenieria|ldap_auth.request"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	for path, user := range map[string]string{"/x?a=b": "ac12345", "/admin/x": "ac12345", "/public/x": ""} {
		mark := logged.mark()
		s.do("GET", path, c.cookies)
		var entry struct {
			UserID string `json:"user_id"`
		}
		line := wantLog(t, mark, `"logger":"http.log.access`, `"uri":"`+path+`"`)
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.UserID != user {
			t.Errorf("the access log of %s names %q, want %q", path, entry.UserID, user)
		}
	}
}
