package attack

import (
	"fmt"
	"strings"
	"testing"
)

// headerSeparators are all characters but letters and digits that a header name
// may have.
const headerSeparators = "!#$%&'*+-.^_`|~"

// A server that turns more than the hyphen into an underscore takes these for
// the gate's own.
func TestP19EverySeparatorOfAHeaderName(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: headerSite})
	juan := s.signIn(t, juan)
	var names []string
	for _, c := range headerSeparators {
		sep := string(c)
		names = append(names, "Remote"+sep+"User", "remote"+sep+"groups", "REMOTE"+sep+sep+"EMAIL", sep+"Remote-User", "Remote-Name"+sep, sep+"Remote"+sep+"Groups"+sep)
	}
	headerTry(t, s, juan, names)
}

// The underscore alone broke several products.
func TestP35UnderscoresForHyphens(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: headerSite})
	headerTry(t, s, s.signIn(t, juan), []string{
		"Remote_User", "remote_user", "REMOTE_USER", "Remote__User", "_Remote_User", "Remote_User_", "Remote_-User", "Remote-_User",
		"Remote_Name", "Remote_Email", "Remote_Groups", "Remote_groups",
	})
}

// WSGI and CGI have one name for all of these.
func TestP83NamesThatWSGIFolds(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: headerSite})
	headerTry(t, s, s.signIn(t, juan), []string{"REMOTE-USER", "remote-user", "rEMOTE_uSER", "Remote-user", "Remote_Email", "REMOTE-GROUPS", "remote_name"})
}

// What a client says arrives in no spelling, line or trailer, and the address of
// the client is the peer's.
func TestS19HeadersOfTheProxyCannotBeOverridden(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: headerSite})
	juan := s.signIn(t, juan)
	twelve := []string{
		"Remote-User", "remote-user", "REMOTE-USER", "Remote_User", "Remote.User", "Remote--User", "-Remote-User", "Remote-User-", "Remote~User", "Remote!User", "Remote-User", "Remote-User",
	}
	headerTry(t, s, juan, twelve)
	headerTry(t, s, juan, []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"})
	for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "127.0.0.1:" + s.port, "X-Forwarded-Proto": "http"} {
		if got := s.echo.Last(t).Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s arrived as %q, want %q", name, got, want)
		}
	}
	trailer := "0\n" + headerLines(twelve...) + "\n"
	wantServed(t, s.raw(t, "POST /inside HTTP/1.1\nHost: HOST\nCookie: "+juan.cookie()+"\nX-CSRFToken: "+juan.csrf+
		"\nTrailer: Remote-User, X-Sum\nTransfer-Encoding: chunked\n\n"+trailer))
	headerWant(t, "trailer", s.echo.Last(t), headerJuan())
}

// A header that is only set where there is a value lets the client's own
// through where there is none.
func TestP17AbsentValuesLeaveNoHeaderOfTheClient(t *testing.T) {
	t.Parallel()
	s := start(t, setup{directory: headerDirectory(), site: `
	require_session {
		require /it/* "IT Admins"
		public /open/*
	}
	reverse_proxy UPSTREAM`})
	all := headerLines("Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "remote_groups", "Remote--Email")
	for _, test := range []struct {
		name, user string
		want       map[string]string
	}{
		{"in none of the groups that are named", juan, headerJuan()},
		{"in one of them", maria, map[string]string{"REMOTE_USER": "mgarcia", "REMOTE_NAME": "María García", "REMOTE_EMAIL": "mgarcia@empresa.local", "REMOTE_GROUPS": "IT Admins"}},
		{"no address", "nadie", map[string]string{"REMOTE_USER": "nadie", "REMOTE_NAME": "nadie"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			user := s.signIn(t, test.user)
			s.echo.Forget()
			wantServed(t, s.raw(t, "GET /inside HTTP/1.1\nHost: HOST\nCookie: "+user.cookie()+"\n"+all+"\n"))
			headerWant(t, test.user, s.echo.Last(t), test.want)
			wantServed(t, s.raw(t, "GET /open/x HTTP/1.1\nHost: HOST\nCookie: "+user.cookie()+"\n"+all+"\n"))
			headerWant(t, test.user+" on a public path", s.echo.Last(t), nil)
		})
	}
}

// A name that the gate sets in one spelling and strips in another is no
// protection: configured names are canonical, or an error.
func TestP58ConfiguredNamesAreCanonical(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{site: `
	require_session {
		public /open/*
		identity_headers x-auth-user X-AUTH-NAME x-Auth-Email X-auth-groups
		forward_groups "IT Admins"
	}
	reverse_proxy UPSTREAM`})
	for _, wrong := range []string{"x_auth_user", "x.auth.user", `"x auth user"`, "Cookie", "--host--", "X-Auth-Name", "x-auth--name", "usér", "Connection", "X-CSRFToken"} {
		err := s.tell(t, strings.Replace(text, "x-auth-user", wrong, 1), "validate")
		if err == nil || !strings.Contains(err.Error(), "identity_headers") {
			t.Errorf("identity_headers %s is accepted, or refused without its name: %v", wrong, err)
		}
	}

	s.run(t, text)
	maria := s.signIn(t, maria)
	var forged []string
	for _, name := range []string{"User", "Name", "Email", "Groups"} {
		forged = append(forged, "X-Auth-"+name, "x_auth_"+name, "X.Auth."+name, "X--Auth-"+name, "X-Auth-"+name+"-", "X~auth~"+name, "Remote-"+name, "remote_"+name)
	}
	for path, want := range map[string]map[string]string{
		"/open/x": {"X_AUTH_USER": "", "X_AUTH_NAME": "", "X_AUTH_EMAIL": "", "X_AUTH_GROUPS": ""},
		"/inside": {"X_AUTH_USER": "mgarcia", "X_AUTH_NAME": "María García", "X_AUTH_EMAIL": "mgarcia@empresa.local", "X_AUTH_GROUPS": "IT Admins"},
	} {
		wantServed(t, s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\nCookie: "+maria.cookie()+"\n"+headerLines(forged...)+"\n"))
		headerWant(t, path, s.echo.Last(t), want)
	}
	if raw := s.echo.Requests(); !strings.Contains(fmt.Sprint(raw), "\r\nX-Auth-User: mgarcia\r\n") {
		t.Errorf("the name is not in its canonical spelling: %v", raw)
	}
}

// Caddy drops names with an underscore or a dot, unless it is told not to.
func TestB02ExpectedUnderscoreHeaders(t *testing.T) {
	t.Parallel()
	s := start(t, setup{
		server: "expected_underscore_headers Remote_* _* Remote_User Y_Kept\nexpected_dot_headers Remote.* .*",
		site:   headerSite,
	})
	juan := s.signIn(t, juan)
	headerTry(t, s, juan, []string{
		"Remote_User", "Remote_user_", "_Remote_User", "_remote_groups", "Remote_Groups", "Remote__Email",
		"Remote.User", ".Remote.User", "Remote.Groups", "Remote..Name", "Remote._User", "Remote-_User",
	})
	// The test sees what it says: others of these names do arrive.
	wantServed(t, s.raw(t, "GET /open/x HTTP/1.1\nHost: HOST\nY_Kept: 1\nRemote_Users: 2\nRemote.Users: 3\n\n"))
	if got := s.echo.Last(t).CGI(); len(got["Y_KEPT"]) != 1 || len(got["REMOTE_USERS"]) != 2 {
		t.Errorf("names that the server expects did not arrive: %v", got)
	}
}
