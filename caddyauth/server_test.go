package caddyauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// setup is a server to start. The zero value guards an upstream with
// require_session alone, in front of the demonstration's directory.
type setup struct {
	directory *ldaptest.Directory // default: ldaptest.Demo
	blocks    string              // the directory blocks; default: one, with servers
	global    string              // further global options
	servers   string              // lines of the directory block; default: the directory's URL
	auth      string              // further lines of the ldap_auth block
	sessions  string              // lines of the sessions block
	storage   string              // default: badger in a folder of the test
	site      string              // the site's body; UPSTREAM is the upstream
}

// server is Caddy with the plugin, in this process.
type server struct {
	t         *testing.T
	setup     setup
	directory *ldaptest.Server
	upstream  *upstream
	folder    string
	port      int
	base      string
	client    *http.Client
}

// start runs Caddy until the test ends. Caddy is one for the process, so tests
// that start it are never parallel.
func start(t *testing.T, setup setup) *server {
	t.Helper()
	s := newServer(t, setup)
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatalf("starting Caddy: %v", err)
	}
	return s
}

// newServer prepares all but Caddy itself.
func newServer(t *testing.T, setup setup) *server {
	t.Helper()
	dir := ldaptest.Demo()
	if setup.directory != nil {
		dir = *setup.directory
	}
	directory, err := ldaptest.Start("127.0.0.1:0", dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, setup: setup, directory: directory, upstream: newUpstream(t), folder: filepath.Join(t.TempDir(), "s"), port: freePort(t)}
	s.base = "http://127.0.0.1:" + strconv.Itoa(s.port)
	transport := &http.Transport{DisableCompression: true}
	s.client = &http.Client{Transport: transport, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	logged.keepSecret("password", ldaptest.DemoPassword)
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
		if err := directory.Close(); err != nil {
			t.Errorf("stopping the directory: %v", err)
		}
	})
	return s
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *server) caddyfile() string {
	c := s.setup
	if c.servers == "" {
		c.servers = "servers " + s.directory.URL()
	}
	if c.blocks == "" {
		c.blocks = "directory empresa.local ad {\n\t\t\t" + c.servers + "\n\t\t}"
	}
	if c.storage == "" {
		c.storage = "storage badger " + s.folder
	}
	if c.site == "" {
		c.site = "require_session\nreverse_proxy UPSTREAM"
	}
	return strings.ReplaceAll(fmt.Sprintf(`{
	admin off
	persist_config off
	skip_install_trust
	auto_https off
	grace_period 3s
	log {
		output test_capture
		format json
		level DEBUG
	}
	%s
	ldap_auth {
		%s
		sessions {
			%s
			%s
		}
		%s
	}
}
http://:%d {
	bind 127.0.0.1
	%s
}
`, c.global, c.blocks, c.storage, c.sessions, c.auth, s.port, c.site), "UPSTREAM", s.upstream.addr())
}

// adapt returns the JSON of a Caddyfile.
func adapt(caddyfile string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// load makes Caddy run a Caddyfile, forced.
func (s *server) load(caddyfile string) error {
	config, err := adapt(caddyfile)
	if err != nil {
		return fmt.Errorf("adapting: %w", err)
	}
	return s.loadJSON(config)
}

// loadJSON makes Caddy run a configuration, forced. The client's connections
// to the old one go: before, because Caddy waits for those that were never used,
// and after, because it closes the others at some time.
func (s *server) loadJSON(config []byte) error {
	s.client.CloseIdleConnections()
	err := caddy.Load(config, true)
	s.client.CloseIdleConnections()
	return err
}

// edited returns the adapted configuration after edit changed it.
func (s *server) edited(edit func(config map[string]any)) []byte {
	s.t.Helper()
	text, err := adapt(s.caddyfile())
	if err != nil {
		s.t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		s.t.Fatal(err)
	}
	edit(config)
	if text, err = json.Marshal(config); err != nil {
		s.t.Fatal(err)
	}
	return text
}

// at walks to an object of a configuration.
func at(t *testing.T, config any, path ...any) map[string]any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			config = config.(map[string]any)[step]
		case int:
			config = config.([]any)[step]
		}
		if config == nil {
			t.Fatalf("the configuration has nothing at %v", path)
		}
	}
	return config.(map[string]any)
}

// reply is an answer with its body.
type reply struct {
	*http.Response
	body string
}

// setCookies are the Set-Cookie values of one name.
func (r reply) setCookies(name string) []string {
	var values []string
	for _, value := range r.Header["Set-Cookie"] {
		if strings.HasPrefix(value, name+"=") {
			values = append(values, value)
		}
	}
	return values
}

// cookie is the value that a name was set to, "" if it was not set.
func (r reply) cookie(name string) string {
	for _, line := range r.setCookies(name) {
		value, _, _ := strings.Cut(strings.TrimPrefix(line, name+"="), ";")
		return value
	}
	return ""
}

// change is a detail of a request.
type change func(*http.Request)

// header sets a header under the very name given.
func header(name string, values ...string) change {
	return func(r *http.Request) {
		if strings.EqualFold(name, "Host") {
			r.Host = values[0]
			return
		}
		r.Header[name] = append(r.Header[name], values...)
	}
}

func body(contentType, text string) change {
	return func(r *http.Request) {
		r.Header["Content-Type"] = []string{contentType}
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	}
}

func jsonBody(text string) change { return body("application/json", text) }

func form(text string) change { return body("application/x-www-form-urlencoded", text) }

// navigation is what a browser sends for a page.
func navigation(r *http.Request) {
	r.Header["Sec-Fetch-Mode"], r.Header["Sec-Fetch-Dest"] = []string{"navigate"}, []string{"document"}
	r.Header["Accept"] = []string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
}

// do sends one request and notes the secrets of the answer.
func (s *server) do(method, path string, changes ...change) reply {
	s.t.Helper()
	answer, err := s.try(method, path, changes...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer
}

// try is do for other goroutines than the test's. Right after a reload a new
// connection may land on the old listener, which the kernel resets, or the old
// server closes, before anybody read from it: that is tried again. So is a
// request whose session ended while it was answered.
func (s *server) try(method, path string, changes ...change) (answer reply, err error) {
	err = untilConnected(func() error {
		answer, err = s.once(method, path, changes...)
		return err
	})
	return answer, err
}

// untilConnected sends a request again, for at most 5 s, while a server that
// goes for a reload resets or closes its connection.
func untilConnected(send func() error) error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := send()
		if !closedOn(err) || time.Now().After(end) {
			return err
		}
	}
}

// closedOn tells whether the other side closed or reset the connection.
func closedOn(err error) bool {
	for _, closed := range []error{syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, closed) {
			return true
		}
	}
	return err != nil && strings.Contains(err.Error(), "server closed idle connection") // net/http's has no name
}

func (s *server) once(method, path string, changes ...change) (reply, error) {
	r, err := http.NewRequest(method, s.base, nil)
	if err != nil {
		return reply{}, err
	}
	r.URL.Opaque = path
	if rest, ok := strings.CutPrefix(path, "//"); ok { // which Opaque takes for a host
		r.URL.Opaque, r.URL.Path = "", "//"+rest
	}
	r.Header["User-Agent"] = []string{"test"}
	for _, change := range changes {
		change(r)
	}
	response, err := s.client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{}, fmt.Errorf("reading the body: %w", err)
	}
	answer := reply{Response: response, body: string(text)}
	logged.keepSecret("token", answer.cookie("sessionid"))
	logged.keepSecret("csrf secret", answer.cookie("csrftoken"))
	logged.keepSecret("device cookie", answer.cookie(deviceCookie))
	return answer, nil
}

// signedIn is a client with a session.
type signedIn struct {
	token, csrf string
	device      string // the device cookie, "" where the sign-in set none
}

// cookies sends both cookies.
func (c signedIn) cookies(r *http.Request) {
	r.Header["Cookie"] = append(r.Header["Cookie"], "sessionid="+c.token+"; csrftoken="+c.csrf)
}

// shown sends both cookies and the CSRF header.
func (c signedIn) shown(r *http.Request) {
	c.cookies(r)
	r.Header["X-CSRFToken"] = []string{c.csrf}
}

// signIn signs an account of the directory in through the API.
func (s *server) signIn(user string, changes ...change) signedIn {
	s.t.Helper()
	answer := s.do("POST", "/api/login-ldap/", append([]change{jsonBody(credentialsJSON(user, ldaptest.DemoPassword))}, changes...)...)
	if answer.StatusCode != http.StatusOK {
		s.t.Fatalf("signing %s in: %d %s", user, answer.StatusCode, answer.body)
	}
	c := signedIn{token: answer.cookie("sessionid"), csrf: answer.cookie("csrftoken"), device: answer.cookie(deviceCookie)}
	if len(c.token) != 43 || len(c.csrf) != 32 {
		s.t.Fatalf("signing %s in: the cookies are %q", user, answer.Header["Set-Cookie"])
	}
	return c
}

func credentialsJSON(user, password string) string {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(map[string]string{"username": user, "password": password})
	return text.String()
}

// want checks status and body.
func want(t *testing.T, got reply, status int, body string) {
	t.Helper()
	if got.StatusCode != status || got.body != body {
		t.Fatalf("got %d %s\nwant %d %s", got.StatusCode, got.body, status, body)
	}
}

// The bodies of the wire table.
const (
	bodyAuthenticationRequired = `{"error":"Authentication required","redirect":"/accounts/login/","code":"authentication_required"}`
	bodyInvalidCredentials     = `{"status":"error","message":"Credenciales inválidas","code":"invalid_credentials"}`
	bodyInvalidJSON            = `{"status":"error","message":"Formato JSON inválido","code":"invalid_json"}`
	bodySignedIn               = `{"status":"ok","message":"Login exitoso","first_name":"Juan","last_name":"Pérez"}`
	bodySignedOut              = `{"status":"ok","message":"Sesión cerrada"}`
	bodyCSRF                   = `{"error":"CSRF verification failed","code":"csrf_failed"}`
	bodyOrigin                 = `{"error":"Origin not trusted","code":"origin_not_trusted"}`
	bodyGroup                  = `{"error":"Group required","code":"group_required"}`
	bodyAmbiguous              = `{"error":"Ambiguous path","code":"path_ambiguous"}`
	bodyIP                     = `{"error":"IP address not allowed","code":"ip_not_allowed"}`
	bodyStore                  = `{"error":"Session store unavailable","code":"store_unavailable"}`
	bodyMethod                 = `{"error":"Method not allowed","code":"method_not_allowed"}`
)
