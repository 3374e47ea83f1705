package attack

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/exchange"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// Two people of the demonstration's directory.
const (
	juan  = "ac12345" // in Ingenieria, which is in Empleados
	maria = "mgarcia" // in IT Admins
)

// The answers of the wire contract that are asserted everywhere.
const (
	unauthenticated = `{"error":"Authentication required","redirect":"/accounts/login/","code":"authentication_required"}`
	signedOut       = `{"status":"ok","message":"Sesión cerrada"}`
)

// reply is an answer, read whole.
type reply struct {
	status  int
	header  http.Header
	body    string
	cookies map[string]*http.Cookie
}

func replyOf(response *http.Response) (reply, error) {
	body, cookies, err := exchange.Read(response)
	return reply{response.StatusCode, response.Header, body, cookies}, err
}

// code is the code of a JSON refusal.
func (r reply) code() string {
	var refusal struct{ Code string }
	_ = json.Unmarshal([]byte(r.body), &refusal)
	return refusal.Code
}

// sendOver sends a request on a connection of its own; fields are names and values
// of header lines, in turn. A field Host is the request's Host.
func sendOver(transport *http.Transport, method, url, body string, fields ...string) (reply, error) {
	// Not DisableKeepAlives: it sends Connection: close, and then net/http closes
	// at once, with a reset, where it answered before it read a body to its end.
	transport.DisableCompression = true
	defer transport.CloseIdleConnections()
	response, err := exchange.Send(exchange.Client(transport), method, url, body, fields...)
	if err != nil {
		return reply{}, err
	}
	return replyOf(response)
}

// send is sendOver to the site.
func (s *site) send(method, path, body string, fields ...string) (reply, error) {
	// The certificate is of a CA that was made for this test.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	return sendOver(transport, method, s.base()+path, body, fields...)
}

// do is send for requests that are answered. A GET that is cut is sent again.
func (s *site) do(t testing.TB, method, path, body string, fields ...string) reply {
	t.Helper()
	return exchange.Answered(t, method, path, func() (reply, error) { return s.send(method, path, body, fields...) })
}

// session is what a signed-in client holds.
type session struct {
	*site
	token, csrf string
}

// signInJSON is the body of a sign-in, with names as they are.
func signInJSON(username, password string) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(map[string]string{"username": username, "password": password})
	return b.String()
}

// trySignIn asks for a session through the JSON API.
func (s *site) trySignIn(t testing.TB, username, password string, fields ...string) reply {
	t.Helper()
	return s.do(t, "POST", "/api/login-ldap/", signInJSON(username, password), append(fields, "Content-Type", "application/json")...)
}

// signIn gives a person of the demonstration's directory a session.
func (s *site) signIn(t testing.TB, username string, fields ...string) session {
	t.Helper()
	r := s.trySignIn(t, username, ldaptest.DemoPassword, fields...)
	return s.sessionOf(t, r)
}

// sessionOf makes a session of an answer to a sign-in.
func (s *site) sessionOf(t testing.TB, r reply) session {
	t.Helper()
	token, csrf := r.cookies["sessionid"], r.cookies["csrftoken"]
	if r.status != http.StatusOK || token == nil || csrf == nil || len(token.Value) != 43 || len(csrf.Value) != 32 {
		t.Fatalf("signing in: %d %s with the cookies %v", r.status, r.body, r.header["Set-Cookie"])
	}
	return session{s, token.Value, csrf.Value}
}

// cookie is the session's Cookie header.
func (s session) cookie() string { return "sessionid=" + s.token + "; csrftoken=" + s.csrf }

// get requests path with the session's cookies.
func (s session) get(t testing.TB, path string, fields ...string) reply {
	t.Helper()
	return s.do(t, "GET", path, "", append(fields, "Cookie", s.cookie())...)
}

// post sends a POST with the session's cookies and its CSRF token.
func (s session) post(t testing.TB, path, body string, fields ...string) reply {
	t.Helper()
	return s.do(t, "POST", path, body, append(fields, "Cookie", s.cookie(), "X-CSRFToken", s.csrf)...)
}

// signOut ends the session.
func (s session) signOut(t testing.TB) reply {
	t.Helper()
	r := s.post(t, "/api/logout/", "")
	if r.status != http.StatusOK || r.body != signedOut {
		t.Fatalf("signing out: %d %s", r.status, r.body)
	}
	return r
}

// wantServed fails unless the upstream's own answer came back.
func wantServed(t testing.TB, r reply) {
	t.Helper()
	if r.status != http.StatusOK || !strings.HasPrefix(r.body, "upstream ") {
		t.Errorf("got %d %q, want the upstream's answer", r.status, r.body)
	}
}

// wantRefused fails unless the gate asked an API client to sign in.
func wantRefused(t testing.TB, r reply) {
	t.Helper()
	if r.status != http.StatusUnauthorized || r.body != unauthenticated {
		t.Errorf("got %d %q, want 401 %s", r.status, r.body, unauthenticated)
	}
}

// wantCode fails unless the answer is a JSON refusal with that code.
func wantCode(t testing.TB, r reply, status int, code string) {
	t.Helper()
	if r.status != status || r.code() != code {
		t.Errorf("got %d %q, want %d with the code %s", r.status, r.body, status, code)
	}
}

// wantNothingUpstream fails if any request reached the upstream.
func (s *site) wantNothingUpstream(t testing.TB) {
	t.Helper()
	for _, r := range s.echo.Requests() {
		t.Errorf("this reached the upstream: %s %v", r.Line, r.Header)
	}
}
