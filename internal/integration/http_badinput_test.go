package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// raw sends bytes over a connection of its own and reads one answer. What
// clients cannot make, attackers write by hand.
func raw(t testing.TB, c *caddy, request string) reply {
	t.Helper()
	return sendRaw(t, c, request)()
}

// sendRaw is raw in two steps: many requests can wait for their answers, most
// of which come after the floor for refusals, at the same time.
func sendRaw(t testing.TB, c *caddy, request string) (read func() reply) {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+c.port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatalf("sending: %v", err)
	}
	return func() reply {
		t.Helper()
		defer conn.Close()
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("reading the answer: %v", err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatalf("reading the answer: %v", err)
		}
		return reply{status: response.StatusCode, header: response.Header, body: string(body)}
	}
}

// post is a sign-in as it goes over the line.
func post(path, contentType, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		path, contentType, len(body), body)
}

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
)

// startOnTestDirectory guards an echo with the in-process directory, which
// counts what reaches it.
func startOnTestDirectory(t testing.TB, gate string) (*client, *ldaptest.Server) {
	t.Helper()
	directory, err := ldaptest.Start("127.0.0.1:0", ldaptest.Demo())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = directory.Close() })
	c := newCaddy(t)
	block := "\t\tdirectory empresa.local ad {\n\t\t\tservers " + directory.URL() + "\n\t\t}"
	c.run(t, c.caddyfile(block, gate, newEcho(t), ""))
	return newClient(t, c), directory
}

// hostileCredentials are names and passwords that no directory may see, made of
// good ones where a directory would cut off what is wrong.
func hostileCredentials(username, password string) []struct{ what, username, password string } {
	return []struct{ what, username, password string }{
		{"empty name", "", password},
		{"blank name", "   ", password},
		{"empty password", username, ""},
		{"NUL after the name", username + "\x00", password},
		{"NUL and more after the name", username + "\x00@evil", password},
		{"NUL after the password", username, password + "\x00"},
		{"NUL and more after the password", username, password + "\x00x"},
		{"only a NUL as the password", username, "\x00"},
		{"line break in the name", username + "\r\n", password},
		{"control character in the name", username + "\x1b[2J", password},
		{"over-long name", strings.Repeat("n", 257), password},
		{"very long name", strings.Repeat("n", 40000), password},
		{"over-long password", username, strings.Repeat("p", 1025)},
		{"very long password", username, strings.Repeat("p", 40000)},
	}
}

// Row 6.
func TestHTTPHostileCredentialsNeverReachTheDirectory(t *testing.T) {
	site, directory := startOnTestDirectory(t, "require_session")
	site.signIn(t, "ac12345", ldaptest.DemoPassword) // the directory's kind is known from now on
	connections, binds, searches := directory.Connections(), directory.Binds(), directory.Searches()

	var answers []func()
	refused := func(what, request string, status int) {
		t.Helper()
		read := sendRaw(t, site.caddy, request)
		answers = append(answers, func() {
			r := read()
			if r.status != status || r.header.Get("Set-Cookie") != "" {
				t.Errorf("%s: got %d %s with the cookies %q, want %d without any", what, r.status, r.body, r.header["Set-Cookie"], status)
			}
			if status == http.StatusUnauthorized && r.body != bodyRefused {
				t.Errorf("%s: got %s, want %s", what, r.body, bodyRefused)
			}
		})
	}
	for _, test := range hostileCredentials("ac12345", ldaptest.DemoPassword) {
		form := url.Values{"username": {test.username}, "password": {test.password}}.Encode()
		refused(test.what+", form", post("/accounts/login/", formType, form), http.StatusUnauthorized)
		body := `{"username":"` + jsonEscape(test.username) + `","password":"` + jsonEscape(test.password) + `"}`
		refused(test.what+", JSON", post("/api/login-ldap/", jsonType, body), http.StatusUnauthorized)
		refused(test.what+", JSON to the page", post("/accounts/login", jsonType, body), http.StatusUnauthorized)
	}
	for _, test := range []struct{ what, body string }{
		{"name not UTF-8", "username=ac12345%ff&password=secreto"},
		{"password not UTF-8", "username=ac12345&password=secreto%ff"},
		{"password not UTF-8, unescaped", "username=ac12345&password=secreto\xff"},
		{"UTF-16 half as UTF-8", "username=ac12345&password=secreto%ed%a0%80"},
		{"over-long form of a NUL", "username=ac12345&password=secreto%c0%80"},
		{"two names", "username=nadie&username=ac12345&password=secreto"},
		{"two passwords", "username=ac12345&password=x&password=secreto"},
		{"name in the query", "password=secreto"},
		{"nothing", ""},
	} {
		refused(test.what+", form", post("/accounts/login/?username=ac12345", formType, test.body), http.StatusUnauthorized)
	}
	for _, test := range []struct{ what, body string }{
		{"name not UTF-8", "{\"username\":\"ac12345\xff\",\"password\":\"secreto\"}"},
		{"password not UTF-8", "{\"username\":\"ac12345\",\"password\":\"secreto\xff\"}"},
		{"two passwords", `{"username":"ac12345","password":"x","password":"secreto"}`},
	} {
		refused(test.what+", JSON", post("/api/login-ldap/", jsonType, test.body), http.StatusBadRequest)
	}

	for _, answer := range answers {
		answer()
	}

	if n := directory.Connections() - connections; n != 0 {
		t.Errorf("the directory got %d connections, want none", n)
	}
	if directory.Binds() != binds || directory.Searches() != searches {
		t.Errorf("the directory got %d binds and %d searches, want none", directory.Binds()-binds, directory.Searches()-searches)
	}
	site.signIn(t, "ac12345", ldaptest.DemoPassword).echo(t, "/")
}

func jsonEscape(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c < 0x20 {
			fmt.Fprintf(&b, `\u%04x`, c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// Row 6.
func TestHTTPHostileCredentialsNeverReachOpenLDAP(t *testing.T) {
	s := servers.Slapd(t)
	site := startOpenLDAP(t, s, "require_session")
	site.signInAs(t, s.Lucia)
	people, service := s.Binds(t, s.Lucia.DN), s.Binds(t, s.Service.DN)
	anonymous := s.Binds(t, "")
	var answers []func() reply
	for _, test := range hostileCredentials("lucia", s.Lucia.Password) {
		form := url.Values{"username": {test.username}, "password": {test.password}}.Encode()
		answers = append(answers, sendRaw(t, site.caddy, post("/accounts/login/", formType, form)))
	}
	for _, answer := range answers {
		expect(t, answer(), http.StatusUnauthorized, bodyRefused)
	}
	if n := s.Binds(t, s.Lucia.DN) - people; n != 0 {
		t.Errorf("%d binds as lucia, want none", n)
	}
	if n := s.Binds(t, s.Service.DN) - service; n != 0 {
		t.Errorf("%d binds of the service account, want none", n)
	}
	if n := s.Binds(t, "") - anonymous; n != 0 {
		t.Errorf("%d anonymous binds, want none", n)
	}
}

func TestHTTPMalformedAndOversizeBodies(t *testing.T) {
	site, directory := startOnTestDirectory(t, "require_session")
	site.signIn(t, "ac12345", ldaptest.DemoPassword)
	connections := directory.Connections()
	const good = `{"username":"ac12345","password":"secreto"`
	const api, page = "/api/login-ldap/", "/accounts/login/"
	tests := []struct {
		what, request string
		status        int
	}{
		{"empty", post(api, jsonType, ""), 400},
		{"half an object", post(api, jsonType, good), 400},
		{"two objects", post(api, jsonType, good+"}{}"), 400},
		{"garbage after the object", post(api, jsonType, good+"}x"), 400},
		{"array", post(api, jsonType, "["+good+"}]"), 400},
		{"null", post(api, jsonType, "null"), 400},
		{"number as the password", post(api, jsonType, `{"username":"ac12345","password":1}`), 400},
		{"null as the password", post(api, jsonType, `{"username":"ac12345","password":null}`), 400},
		{"array as the name", post(api, jsonType, `{"username":["ac12345"],"password":"secreto"}`), 400},
		{"other spelling of the fields", post(api, jsonType, `{"Username":"ac12345","PASSWORD":"secreto"}`), 400},
		{"field missing", post(api, jsonType, `{"username":"ac12345"}`), 400},
		{"deep nesting", post(api, jsonType, good+`,"x":`+strings.Repeat("[", 60000)+"}"), 400},
		{"deep nesting, closed", post(api, jsonType, good+`,"x":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+"}"), 400},
		{"byte order mark", post(api, jsonType, "\xef\xbb\xbf"+good+"}"), 400},
		{"UTF-16", post(api, jsonType, "{\x00\"\x00u\x00"), 400},
		{"broken escape in a form, which leaves a name out", post(page, formType, "username=%zz&password=secreto"), 401},
		{"semicolon in a form, which leaves the password out", post(page, formType, "username=ac12345;password=secreto"), 401},
		{"multipart without a boundary", post(page, "multipart/form-data", "x"), 400},
		{"multipart cut off", post(page, "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nac"), 400},
		{"plain text", post(api, "text/plain", good+"}"), 415},
		{"form to the API", post(api, formType, "username=ac12345&password=secreto"), 415},
		{"no content type", strings.Replace(post(api, jsonType, good+"}"), "Content-Type: application/json\r\n", "", 1), 415},
		{"two content types", strings.Replace(post(api, jsonType, good+"}"), "Content-Type", "Content-Type: text/plain\r\nContent-Type", 1), 415},
		{"over 64 KiB", post(api, jsonType, good+`,"x":"`+strings.Repeat("x", 64<<10)+`"}`), 413},
		{"over 64 KiB, form", post(page, formType, "username=ac12345&password="+strings.Repeat("x", 64<<10)), 413},
		{"a terabyte announced", "POST " + api + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1099511627776\r\n\r\n{", 413},
		{"length that is none", "POST " + api + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n", 400},
		{"two lengths", "POST " + api + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}", 400},
		{"broken chunks", "POST " + api + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			r := raw(t, site.caddy, test.request)
			if r.status != test.status {
				t.Errorf("got %d %s, want %d", r.status, r.body, test.status)
			}
		})
	}
	if n := directory.Connections() - connections; n != 0 {
		t.Errorf("the directory got %d connections, want none", n)
	}
}

// A body without an end is answered and cut off, long before it costs anything.
func TestHTTPEndlessBodyIsCutOff(t *testing.T) {
	site, _ := startOnTestDirectory(t, "require_session")
	conn, err := net.Dial("tcp", "127.0.0.1:"+site.caddy.port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(conn, "POST /api/login-ldap/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(conn).ReadString('\n')
		answered <- line
	}()
	chunk := "1000\r\n" + strings.Repeat(" ", 0x1000) + "\r\n"
	sent := 0
	// Sockets buffer some megabytes on both sides.
	const most = 64 << 20
	for sent < most {
		if _, err = io.WriteString(conn, chunk); err != nil {
			break
		}
		sent += len(chunk)
	}
	if sent >= most {
		t.Errorf("Caddy took %d bytes and did not close the connection", sent)
	}
	t.Logf("closed after %d KiB", sent>>10)
	if line := <-answered; !strings.HasPrefix(line, "HTTP/1.1 413 ") {
		t.Errorf("got %q, want 413", line)
	}
}
