package caddyauth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// admin is the admin endpoint of a server.
type admin struct {
	t       *testing.T
	server  *server
	text    string // the Caddyfile
	address string // as commands take it
	client  *http.Client
}

// startAdmin starts Caddy with its admin endpoint on a Unix socket: on one of
// TCP the kernel resets connections that wait for a listener which a reload
// closes.
func startAdmin(t *testing.T, setup setup) (*server, *admin) {
	t.Helper()
	s := newServer(t, setup)
	return s, s.withAdmin(t)
}

func (s *server) withAdmin(t *testing.T) *admin {
	t.Helper()
	dir, err := os.MkdirTemp("", "ca") // a socket's path has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "admin")
	// Each request has its own connection, like the command's: a reload closes
	// those that wait for a request, also when one is on its way.
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(func() {
		// Stopping Caddy leaves its admin endpoint: only a load ends it.
		if err := s.loadJSON([]byte(`{"admin":{"disabled":true,"config":{"persist":false}}}`)); err != nil {
			t.Errorf("ending the admin endpoint: %v", err)
		}
		_ = os.RemoveAll(dir)
	})
	a := &admin{
		t: t, server: s, address: "unix/" + socket,
		text:   strings.Replace(s.caddyfile(), "admin off", "admin unix/"+socket, 1),
		client: &http.Client{Transport: transport, Timeout: 20 * time.Second},
	}
	if err := s.load(a.text); err != nil {
		t.Fatalf("starting Caddy: %v", err)
	}
	return a
}

// do sends one request, again if a server that is shutting down for a reload
// closed the connection on it: no handler saw it then.
func (a *admin) do(method, path string) reply {
	a.t.Helper()
	var got reply
	err := untilConnected(func() (err error) {
		got, err = a.once(method, path)
		return err
	})
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

func (a *admin) once(method, path string) (reply, error) {
	r, err := http.NewRequest(method, "http://127.0.0.1"+path, nil)
	if err != nil {
		return reply{}, err
	}
	response, err := a.client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return reply{Response: response, body: string(text)}, err
}

// get returns the answer of a GET that succeeds.
func (a *admin) get(path string, into any) reply {
	a.t.Helper()
	got := a.do("GET", path)
	if got.StatusCode != http.StatusOK || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Cache-Control") != "no-store" {
		a.t.Fatalf("GET %s: %d %v %s", path, got.StatusCode, got.Header, got.body)
	}
	if err := json.Unmarshal([]byte(got.body), into); err != nil {
		a.t.Fatalf("GET %s: %v in %s", path, err, got.body)
	}
	return got
}

func (a *admin) sessions(query string) adminSessionPage {
	a.t.Helper()
	var page adminSessionPage
	a.get("/ldap_auth/sessions"+query, &page)
	return page
}

// all returns the sessions of a listing in pages of a size.
func (a *admin) all(query url.Values, size int) (all []adminSession, pages int) {
	a.t.Helper()
	query.Set("limit", fmt.Sprint(size))
	for {
		page := a.sessions("?" + query.Encode())
		if pages++; len(page.Sessions) > size {
			a.t.Fatalf("a page has %d sessions, at most %d were asked for", len(page.Sessions), size)
		}
		all = append(all, page.Sessions...)
		if page.Next == "" {
			return all, pages
		}
		query.Set("cursor", page.Next)
	}
}

// live are the app that runs and its sessions.
func (a *admin) live() (*App, *sessionstore.Sessions) {
	a.t.Helper()
	app, err := activeApp()
	if err != nil {
		a.t.Fatal(err)
	}
	sessions, ok := app.openSessions()
	if !ok {
		a.t.Fatal("the store is not open")
	}
	return app, sessions
}

// signInAs makes a session of somebody whom no directory knows: many of them
// take no time, and names have what directories would not let through.
func (a *admin) signInAs(user sessionstore.User) (token sessionstore.Token, id string) {
	a.t.Helper()
	app, sessions := a.live()
	token, h, err := sessions.SignIn(a.t.Context(), user, "192.0.2.1", app.limits, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return token, h.ID
}

func idsOf(sessions []adminSession) []string {
	var ids []string
	for _, s := range sessions {
		ids = append(ids, s.ID)
	}
	return ids
}

// refused checks an error's status and words.
func (a *admin) refused(got reply, status int, words ...string) {
	a.t.Helper()
	var refusal struct{ Error string }
	if err := json.Unmarshal([]byte(got.body), &refusal); err != nil || got.StatusCode != status || got.Header.Get("Content-Type") != "application/json" {
		a.t.Errorf("got %d %v %s, want %d", got.StatusCode, got.Header, got.body, status)
	}
	for _, word := range words {
		if !strings.Contains(refusal.Error, word) {
			a.t.Errorf("the error %q does not say %q", refusal.Error, word)
		}
	}
}

func TestAdminRefusesWhatItDoesNotKnow(t *testing.T) {
	s, a := startAdmin(t, setup{})
	s.signIn("ac12345")
	s.signIn("mgarcia")
	cursor := a.sessions("?limit=1").Next
	ofOne := a.sessions("?limit=1&directory=empresa.local").Next
	tampered := []byte(cursor)
	tampered[len(tampered)/2] ^= 1
	for _, test := range []struct {
		method, path string
		status       int
		allow, words string
	}{
		{"GET", "/ldap_auth/", 404, "", "nothing at this path"},
		{"GET", "/ldap_auth/session", 404, "", "nothing at this path"},
		{"GET", "/ldap_auth/sessions/", 404, "", "nothing at this path"},
		{"GET", "/ldap_auth/sessions/a/b", 404, "", "nothing at this path"},
		{"GET", "/ldap_auth/sessions/a%2Fb", 404, "", "nothing at this path"},
		{"DELETE", "/ldap_auth/sessions/", 404, "", "nothing at this path"},
		{"GET", "/ldap_auth/counts/", 404, "", "nothing at this path"},
		{"GET", "/ldap_auth/sessions/unknown", 404, "", noSuchSession},
		{"DELETE", "/ldap_auth/sessions/unknown", 404, "", noSuchSession},
		{"HEAD", "/ldap_auth/sessions", 405, "GET, DELETE", ""},
		{"POST", "/ldap_auth/sessions", 405, "GET, DELETE", "method"},
		{"PUT", "/ldap_auth/sessions", 405, "GET, DELETE", "method"},
		{"PATCH", "/ldap_auth/sessions", 405, "GET, DELETE", "method"},
		{"OPTIONS", "/ldap_auth/sessions", 405, "GET, DELETE", "method"},
		{"HEAD", "/ldap_auth/sessions/x", 405, "GET, DELETE", ""},
		{"POST", "/ldap_auth/sessions/x", 405, "GET, DELETE", "method"},
		{"DELETE", "/ldap_auth/users", 405, "GET", "method"},
		{"DELETE", "/ldap_auth/counts", 405, "GET", "method"},
		{"HEAD", "/ldap_auth/counts", 405, "GET", ""},
		{"get", "/ldap_auth/counts", 405, "GET", "method"},
		{"GET", "/ldap_auth/sessions?limit=0", 400, "", "limit"},
		{"GET", "/ldap_auth/sessions?limit=1001", 400, "", "limit"},
		{"GET", "/ldap_auth/sessions?limit=-1", 400, "", "limit"},
		{"GET", "/ldap_auth/users?limit=99999999999999999999", 400, "", "limit"},
		{"GET", "/ldap_auth/users?limit=ten", 400, "", "limit"},
		{"GET", "/ldap_auth/sessions?cursor=x", 400, "", "cursor"},
		{"GET", "/ldap_auth/sessions?cursor=" + base64.RawURLEncoding.EncodeToString(make([]byte, 64)), 400, "", "cursor"},
		{"GET", "/ldap_auth/sessions?cursor=" + string(tampered), 400, "", "cursor"},
		{"GET", "/ldap_auth/users?cursor=" + cursor, 400, "", "cursor"},
		{"GET", "/ldap_auth/sessions?user=ac12345&cursor=" + cursor, 400, "", "cursor"},
		{"GET", "/ldap_auth/sessions?cursor=" + ofOne, 400, "", "cursor"},
		{"GET", "/ldap_auth/sessions?usr=ac12345", 400, "", "usr"},
		{"GET", "/ldap_auth/sessions?user=a&user=b", 400, "", "2 times"},
		{"GET", "/ldap_auth/sessions?user=%zz", 400, "", "query"},
		{"GET", "/ldap_auth/counts?user=a", 400, "", "user"},
		{"DELETE", "/ldap_auth/sessions", 400, "", "user is missing"},
		{"DELETE", "/ldap_auth/sessions?user=", 400, "", "user is missing"},
		{"DELETE", "/ldap_auth/sessions?directory=empresa.local", 400, "", "user is missing"},
		{"DELETE", "/ldap_auth/sessions?user=ac12345&dir=x", 400, "", "dir"},
		{"DELETE", "/ldap_auth/sessions?user=ac12345&limit=1", 400, "", "limit"},
		{"DELETE", "/ldap_auth/sessions?user=ac12345;directory=x", 400, "", "query"},
		{"DELETE", "/ldap_auth/sessions/x?user=ac12345", 400, "", "user"},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			a.t = t
			got := a.do(test.method, test.path)
			if got.Header.Get("Allow") != test.allow {
				t.Errorf("Allow: %q, want %q", got.Header.Get("Allow"), test.allow)
			}
			if test.method == "HEAD" {
				if got.StatusCode != test.status || got.body != "" {
					t.Errorf("got %d %q", got.StatusCode, got.body)
				}
				return
			}
			a.refused(got, test.status, test.words)
		})
	}
	a.t = t
	if left := a.sessions("?limit=1000").Sessions; len(left) != 2 {
		t.Errorf("%d sessions are left of 2", len(left))
	}
	if page := a.sessions("?user=&directory=&cursor=&limit="); len(page.Sessions) != 2 {
		t.Errorf("empty parameters are none: %+v", page)
	}
}

// TestAdminShowsNoSecret goes through everything that the API answers and logs.
func TestAdminShowsNoSecret(t *testing.T) {
	s, a := startAdmin(t, setup{})
	mark := logged.mark()
	first, second, third := s.signIn("ac12345"), s.signIn("ac12345"), s.signIn("mgarcia")
	var forms []string
	for _, c := range []signedIn{first, second, third} {
		token, ok := sessionstore.ParseToken(c.token)
		if !ok {
			t.Fatal(c.token)
		}
		key, text, csrf := token.Key(), sha256.Sum256([]byte(c.token)), []byte(c.csrf)
		for _, secret := range [][]byte{token[:], key[:], text[:], csrf} {
			forms = append(forms, string(secret), hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret))
		}
	}
	var texts []string
	say := func(method, path string) reply {
		got := a.do(method, path)
		texts = append(texts, fmt.Sprint(got.Header), got.body)
		return got
	}
	for _, path := range []string{"/sessions", "/sessions?limit=1", "/sessions?limit=1&user=ac12345", "/sessions?user=ac12345", "/users", "/users?limit=1", "/counts", "/sessions/" + s.idOf(first), "/sessions/" + first.token[:16]} {
		say("GET", "/ldap_auth"+path)
	}
	page := a.sessions("?limit=1")
	if raw, err := base64.RawURLEncoding.DecodeString(page.Next); err != nil {
		t.Errorf("cursor %q: %v", page.Next, err)
	} else {
		texts = append(texts, string(raw))
	}
	say("DELETE", "/ldap_auth/sessions/"+s.idOf(first))
	say("DELETE", "/ldap_auth/sessions/"+s.idOf(third))
	say("DELETE", "/ldap_auth/sessions?user=ac12345")
	say("DELETE", "/ldap_auth/sessions?user=ac12345")
	say("DELETE", "/ldap_auth/sessions?user=nobody")
	texts = append(texts, logged.since(mark)...)
	for _, text := range texts {
		for _, form := range forms {
			if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
				t.Errorf("a secret is in %.300q", text)
			}
		}
	}
	if len(texts) < 20 {
		t.Errorf("only %d texts were looked at", len(texts))
	}
}

func TestAdminMakesHostileNamesHarmless(t *testing.T) {
	const name = "\x1b[2J\x1b]0;owned\x07 \u009b31m <script>alert(1)</script> \"q\" \\ \u202eevil\u2066 \x7f ñ 😀 \U000e0041"
	_, a := startAdmin(t, setup{})
	a.signInAs(sessionstore.User{Directory: "empresa.local", ID: "id-1", Username: "jdoe", DisplayName: name})
	for path, key := range map[string]string{"sessions": "sessions", "users": "users"} {
		got := a.do("GET", "/ldap_auth/"+path)
		for _, r := range got.body {
			if r != '\n' && (r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x202e || r == 0x2066 || r == 0xe0041 || r == '<' || r == '>') {
				t.Errorf("%s: the rune %U is in %s", path, r, got.body)
			}
		}
		if !strings.Contains(got.body, "ñ 😀") {
			t.Errorf("%s: what can be printed is not: %s", path, got.body)
		}
		var answer map[string][]map[string]any
		if err := json.Unmarshal([]byte(got.body), &answer); err != nil {
			t.Fatal(err)
		}
		if shown := answer[key][0]["name"]; shown != name {
			t.Errorf("%s: the name is %q, want %q", path, shown, name)
		}
	}
	// An operator may paste such a name.
	a.refused(a.do("DELETE", "/ldap_auth/sessions?"+url.Values{"user": {name}}.Encode()), 404, noSuchUser)
	a.refused(a.do("GET", "/ldap_auth/sessions?limit="+url.QueryEscape("\u009b31m")), 400, `\u009b`)
}

// TestAdminOverTCP: what browsers send is Caddy's business.
func TestAdminOverTCP(t *testing.T) {
	s, a := startAdmin(t, setup{})
	c := s.signIn("ac12345")
	id := s.idOf(c)
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	if err := s.load(strings.Replace(a.text, "admin "+a.address, "admin "+address, 1)); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	for origin, status := range map[string]int{"https://evil.example": 403, "null": 400, "http://" + address: 200, "": 200} {
		r, err := http.NewRequest("GET", "http://"+address+"/ldap_auth/sessions/"+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		got, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		if got.StatusCode != status {
			t.Errorf("from the origin %q: %d, want %d", origin, got.StatusCode, status)
		}
	}
}
