package attack

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// sessionCrowd is a directory of people whose passwords and names differ.
func sessionCrowd(n int) (dir ldaptest.Directory, names []string) {
	dir = ldaptest.Demo()
	for i := range n {
		name := fmt.Sprintf("persona%02d", i)
		names = append(names, name)
		dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: name, Surname: name, DisplayName: name, Password: "clave-" + name, MemberOf: []string{"Empleados"}})
	}
	return dir, names
}

// sessionEchoUser has the upstream say whom it was told of.
func sessionEchoUser(s *site) {
	s.echo.Answer(func(r rawecho.Request) string {
		body := strings.Join(r.CGI()["REMOTE_USER"], ",") + " " + strings.Join(r.CGI()["REMOTE_NAME"], ",")
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	})
}

// sessionLife is what one person does: sign in, use it, sign out, come back.
func sessionLife(s *site, name string) error {
	r, err := s.send("POST", "/api/login-ldap/", signInJSON(name, "clave-"+name), "Content-Type", "application/json")
	if err != nil || r.status != http.StatusOK {
		return fmt.Errorf("signing in: %d %s %w", r.status, r.body, err)
	}
	c := session{s, r.cookies["sessionid"].Value, r.cookies["csrftoken"].Value}
	for range 4 {
		r, err := s.send("GET", "/of/"+name, "", "Cookie", c.cookie())
		if err != nil || r.body != name+" "+name {
			return fmt.Errorf("the upstream was told of %q: %d %w", r.body, r.status, err)
		}
	}
	r, err = s.send("GET", "/api/session/", "", "Cookie", c.cookie())
	if err != nil || !strings.Contains(r.body, `"username":"`+name+`"`) {
		return fmt.Errorf("the session is %d %s %w", r.status, r.body, err)
	}
	r, err = s.send("POST", "/api/logout/", "", "Cookie", c.cookie(), "X-CSRFToken", c.csrf)
	if err != nil || r.body != signedOut {
		return fmt.Errorf("signing out: %d %s %w", r.status, r.body, err)
	}
	r, err = s.send("GET", "/of/"+name, "", "Cookie", c.cookie())
	if err != nil || r.status != http.StatusUnauthorized {
		return fmt.Errorf("after the sign-out: %d %s %w", r.status, r.body, err)
	}
	return nil
}

// Many people at once, in, using and out: whoever holds a cookie is who signed
// in for it, at the upstream and in every answer.
func TestP47NobodyBecomesSomebodyElse(t *testing.T) {
	t.Parallel()
	dir, names := sessionCrowd(8)
	s := start(t, setup{directory: &dir})
	sessionEchoUser(s)
	until := time.Now().Add(2 * time.Second)
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			for lives := 0; lives == 0 || time.Now().Before(until); lives++ {
				if err := sessionLife(s, name); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, r := range s.echo.Requests() {
		if user := strings.Join(r.CGI()["REMOTE_USER"], ","); r.Target() != "/of/"+user {
			t.Errorf("%s reached the upstream as %q", r.Target(), user)
		}
	}
	if n := s.sessionCounts(t).Sessions; n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// Nothing is kept between requests: not on one HTTP/2 connection that many
// people share, as behind a proxy, and not between right and wrong passwords
// that are tried for one account at the same moment.
func TestR11RequestsShareNoState(t *testing.T) {
	t.Parallel()
	dir, names := sessionCrowd(6)
	s := start(t, setup{directory: &dir, auth: "throttle insecure_off"})
	sessionEchoUser(s)
	cookies := map[string]string{}
	for _, name := range names {
		cookies[name] = s.sessionOf(t, s.trySignIn(t, name, "clave-"+name)).cookie()
	}
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	shared := &http.Client{Transport: transport, Timeout: 60 * time.Second}
	var wg sync.WaitGroup
	for _, name := range append(names, "") {
		wg.Go(func() {
			for range 40 {
				if err := sessionShared(shared, s, name, cookies[name]); err != nil {
					t.Errorf("%q: %v", name, err)
				}
			}
		})
	}
	// The parts of a name and a password, put together otherwise.
	for _, try := range []struct {
		username, password string
		status             int
	}{
		{names[0], "clave-" + names[0], http.StatusOK},
		{names[0], "clave-" + names[1], http.StatusUnauthorized},
		{names[0] + "c", "lave-" + names[0], http.StatusUnauthorized},
		{names[1], "clave-" + names[0], http.StatusUnauthorized},
		{names[1], "clave-" + names[1], http.StatusOK},
	} {
		wg.Go(func() {
			for range 6 {
				r, err := s.send("POST", "/api/login-ldap/", signInJSON(try.username, try.password), "Content-Type", "application/json")
				if err != nil || r.status != try.status || (r.cookies["sessionid"] != nil) != (try.status == http.StatusOK) {
					t.Errorf("%s with %s: %d %v, want %d", try.username, try.password, r.status, err, try.status)
				}
			}
		})
	}
	wg.Wait()
}

// sessionShared sends requests of one person over a connection of all.
func sessionShared(client *http.Client, s *site, name, cookie string) error {
	request, err := http.NewRequest("GET", s.base()+"/api/session/", nil)
	if err != nil {
		return err
	}
	inside, err := http.NewRequest("GET", s.base()+"/of/"+name, nil)
	if err != nil {
		return err
	}
	for _, r := range []*http.Request{request, inside} {
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		var who struct{ Username string }
		switch {
		case err != nil:
			return err
		case name == "" && response.StatusCode == http.StatusUnauthorized:
		case name == "":
			return fmt.Errorf("nobody got %d %s", response.StatusCode, body)
		case r == inside && string(body) != name+" "+name:
			return fmt.Errorf("the upstream was told of %q", body)
		case r == request && (json.Unmarshal(body, &who) != nil || who.Username != name):
			return fmt.Errorf("the session is of %s", body)
		}
	}
	return nil
}
