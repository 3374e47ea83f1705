package integration

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/exchange"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// The bodies of the wire contract that these tests rely on.
const (
	bodyUnauthenticated = `{"error":"Authentication required","redirect":"/accounts/login/","code":"authentication_required"}`
	bodyRefused         = `{"status":"error","message":"Credenciales inválidas","code":"invalid_credentials"}`
	bodyGroupRequired   = `{"error":"Group required","code":"group_required"}`
	bodyUnavailable     = `{"status":"error","message":"Directorio no disponible","code":"directory_unavailable"}`
	bodySignedOut       = `{"status":"ok","message":"Sesión cerrada"}`
)

// client speaks HTTP with one Caddy. It keeps no cookies: each request says
// which it sends.
type client struct {
	caddy *caddy
	base  string // URL
	http  *http.Client
}

func newClient(t testing.TB, c *caddy) *client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{caddy: c, base: c.url(), http: exchange.Client(transport)}
}

// reply is an answer, read whole.
type reply struct {
	status  int
	header  http.Header
	body    string
	cookies map[string]*http.Cookie
	took    time.Duration
}

// send sends a request; fields are names and values of header fields, in turn.
func (c *client) send(method, path, body string, fields ...string) (reply, error) {
	start := time.Now()
	response, err := exchange.Send(c.http, method, c.base+path, body, fields...)
	if err != nil {
		return reply{}, err
	}
	text, cookies, err := exchange.Read(response)
	return reply{response.StatusCode, response.Header, text, cookies, time.Since(start)}, err
}

// do is send for requests that must be answered. A GET that is cut is sent again.
func (c *client) do(t testing.TB, method, path, body string, fields ...string) reply {
	t.Helper()
	return exchange.Answered(t, method, path, func() (reply, error) { return c.send(method, path, body, fields...) })
}

// trySignIn asks for a session through the JSON API.
func (c *client) trySignIn(username, password string) (reply, error) {
	c.caddy.keepSecret(password, true)
	body, err := json.Marshal(map[string]string{"username": username, "password": password})
	if err != nil {
		return reply{}, err
	}
	r, err := c.send("POST", "/api/login-ldap/", string(body), "Content-Type", "application/json")
	if err != nil {
		return reply{}, err
	}
	for name, cookie := range r.cookies {
		c.caddy.keepSecret(cookie.Value, name == "sessionid")
	}
	return r, nil
}

// session is what a signed-in client holds.
type session struct {
	*client
	token, csrf string
}

// sessionOf makes a session of an answer to a sign-in.
func (c *client) sessionOf(t testing.TB, r reply) session {
	t.Helper()
	token, csrf := r.cookies["sessionid"], r.cookies["csrftoken"]
	if r.status != http.StatusOK || token == nil || csrf == nil || len(token.Value) != 43 || len(csrf.Value) != 32 {
		t.Fatalf("signing in: %d %s with the cookies %v", r.status, r.body, r.header["Set-Cookie"])
	}
	return session{c, token.Value, csrf.Value}
}

func (c *client) signIn(t testing.TB, username, password string) session {
	t.Helper()
	r, err := c.trySignIn(username, password)
	if err != nil {
		t.Fatalf("signing in as %q: %v", username, err)
	}
	return c.sessionOf(t, r)
}

// signInAs signs in a person of the directory and checks the answer.
func (c *client) signInAs(t testing.TB, account realserver.Account) session {
	t.Helper()
	r, err := c.trySignIn(account.Username, account.Password)
	if err != nil {
		t.Fatalf("signing in as %q: %v", account.Username, err)
	}
	s := c.sessionOf(t, r)
	want, _ := json.Marshal(struct {
		Status  string `json:"status"`
		Message string `json:"message"`
		First   string `json:"first_name"`
		Last    string `json:"last_name"`
	}{"ok", "Login exitoso", account.FirstName, account.LastName})
	if r.body != string(want) {
		t.Errorf("signing in as %q answered %s, want %s", account.Username, r.body, want)
	}
	return s
}

func (s session) cookies() string { return "sessionid=" + s.token + "; csrftoken=" + s.csrf }

// get requests path with the session's cookies.
func (s session) get(t testing.TB, path string, fields ...string) reply {
	t.Helper()
	return s.do(t, "GET", path, "", append(fields, "Cookie", s.cookies())...)
}

// echo requests path and returns what the application got.
func (s session) echo(t testing.TB, path string, fields ...string) echoed {
	t.Helper()
	return decodeEcho(t, s.get(t, path, fields...))
}

func decodeEcho(t testing.TB, r reply) echoed {
	t.Helper()
	var got echoed
	if r.status != http.StatusOK {
		t.Fatalf("got %d %s, want the application's answer", r.status, r.body)
	}
	if err := json.Unmarshal([]byte(r.body), &got); err != nil {
		t.Fatalf("reading the application's answer %q: %v", r.body, err)
	}
	return got
}

// signOut ends the session and checks that it was acknowledged.
func (s session) signOut(t testing.TB) {
	t.Helper()
	expect(t, s.get(t, "/api/logout/"), http.StatusOK, bodySignedOut)
}

// expectRefused checks that nothing is served with the session any more.
func (s session) expectRefused(t testing.TB, path string) {
	t.Helper()
	r := s.get(t, path)
	expect(t, r, http.StatusUnauthorized, bodyUnauthenticated)
	if cookie := r.cookies["sessionid"]; cookie == nil || cookie.MaxAge >= 0 {
		t.Errorf("the dead cookie is not deleted: %v", r.header["Set-Cookie"])
	}
}

func expect(t testing.TB, got reply, status int, body string) {
	t.Helper()
	if got.status != status || got.body != body {
		t.Errorf("got %d %s\nwant %d %s", got.status, got.body, status, body)
	}
}
