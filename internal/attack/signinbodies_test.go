package attack

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// signInQuiet fails if a directory hears anything at all of what test does. Its
// kind is known before.
func signInQuiet(t *testing.T, s *site, test func()) {
	t.Helper()
	s.signIn(t, maria)
	connections, binds, searches := s.directory.Connections(), s.directory.Binds(), s.directory.Searches()
	test()
	if c, b, q := s.directory.Connections()-connections, s.directory.Binds()-binds, s.directory.Searches()-searches; c+b+q != 0 {
		t.Errorf("the directory got %d connections, %d binds and %d searches, want none", c, b, q)
	}
	s.signIn(t, maria)
}

// An empty password makes a bind that succeeds for everybody, and a NUL ends
// one early: neither leaves this machine, in whatever way it is sent.
func TestP71EmptyAndCutPasswordsNeverReachTheDirectory(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: "throttle insecure_off"})
	signInQuiet(t, s, func() {
		for _, row := range []struct {
			what, body string
			status     int
		}{
			{"empty password", `{"username":"ac12345","password":""}`, 401},
			{"spaces", `{"username":"ac12345","password":"   "}`, 401},
			{"white space", `{"username":"ac12345","password":"\t\n\u00a0\u2003"}`, 401},
			{"NUL", `{"username":"ac12345","password":"\u0000"}`, 401},
			{"right password and a NUL", `{"username":"ac12345","password":"secreto\u0000"}`, 401},
			{"right password, a NUL and more", `{"username":"ac12345","password":"secreto\u0000x"}`, 401},
			{"empty name", `{"username":"","password":"secreto"}`, 401},
			{"spaces as the name", `{"username":" \t ","password":"secreto"}`, 401},
			{"name and a NUL", `{"username":"ac12345\u0000","password":"secreto"}`, 401},
			{"nothing", `{"username":"","password":""}`, 401},
			{"missing password", `{"username":"ac12345"}`, 400},
			{"missing name", `{"password":"secreto"}`, 400},
			{"null", `{"username":"ac12345","password":null}`, 400},
			{"false", `{"username":"ac12345","password":false}`, 400},
			{"number", `{"username":"ac12345","password":0}`, 400},
			{"array", `{"username":"ac12345","password":["secreto"]}`, 400},
			{"empty array", `{"username":"ac12345","password":[]}`, 400},
			{"object", `{"username":{"$ne":null},"password":{"$ne":null}}`, 400},
			{"not UTF-8", "{\"username\":\"ac12345\",\"password\":\"secreto\xff\"}", 400},
		} {
			r := s.do(t, "POST", "/api/login-ldap/", row.body, "Content-Type", "application/json")
			if r.status != row.status || len(r.cookies) != 0 {
				t.Errorf("%s: got %d %q with the cookies %v, want %d", row.what, r.status, r.body, r.cookies, row.status)
			}
		}
		for what, body := range map[string]string{
			"form without a password":  "username=ac12345",
			"form, empty":              "username=ac12345&password=",
			"form, spaces":             "username=ac12345&password=+%20+",
			"form, NUL":                "username=ac12345&password=%00",
			"form, cut by a NUL":       "username=ac12345&password=secreto%00x",
			"form, as an array":        "username=ac12345&password[]=secreto",
			"form, name cut by a NUL":  "username=ac12345%00x&password=secreto",
			"form, overlong UTF-8 NUL": "username=ac12345&password=secreto%c0%80",
		} {
			r := s.do(t, "POST", "/accounts/login/", body, "Content-Type", "application/x-www-form-urlencoded")
			if r.status != 401 || r.body != signInRefused {
				t.Errorf("%s: got %d %q", what, r.status, r.body)
			}
		}
	})
}

// Credentials are read up to 64 KiB, in ten seconds, as what they are said to
// be, and once.
func TestP63SignInBodiesAreBounded(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: "throttle insecure_off"})
	const good = `{"username":"ac12345","password":"secreto"`
	var compressed bytes.Buffer
	zip := gzip.NewWriter(&compressed)
	_, _ = io.WriteString(zip, good+"}")
	_ = zip.Close()
	var bomb bytes.Buffer
	zip = gzip.NewWriter(&bomb)
	_, _ = io.WriteString(zip, good+`,"x":"`+strings.Repeat("x", 32<<20)+`"}`)
	_ = zip.Close()
	signInQuiet(t, s, func() {
		for _, row := range []struct {
			what, body, contentType string
			encoding                string
			status                  int
		}{
			{"over 64 KiB", good + `,"x":"` + strings.Repeat("x", 64<<10) + `"}`, "application/json", "", 413},
			{"over 64 KiB of blanks", good + "}" + strings.Repeat(" ", 64<<10), "application/json", "", 413},
			{"over 64 KiB, form", "username=ac12345&password=secreto&x=" + strings.Repeat("x", 64<<10), "application/x-www-form-urlencoded", "", 413},
			{"1 MiB, multipart", "--b\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\n" + strings.Repeat("x", 1<<20) + "\r\n--b--\r\n", "multipart/form-data; boundary=b", "", 413},
			{"many parts", strings.Repeat("--b\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nx\r\n", 1050) + "--b--\r\n", "multipart/form-data; boundary=b", "", 400},
			{"many fields", strings.Repeat("username=x&", 5000) + "password=x", "application/x-www-form-urlencoded", "", 401},
			{"compressed", compressed.String(), "application/json", "gzip", 400},
			{"compressed bomb", bomb.String(), "application/json", "gzip", 400},
			{"deep arrays", good + `,"x":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + "}", "application/json", "", 400},
			{"deep objects", good + `,"x":` + strings.Repeat(`{"a":`, 12000) + "1" + strings.Repeat("}", 2000), "application/json", "", 400},
			{"password twice", `{"username":"ac12345","password":"x","password":"secreto"}`, "application/json", "", 400},
			{"password twice, escaped", `{"username":"ac12345","password":"x","pass\u0077ord":"secreto"}`, "application/json", "", 400},
			{"name twice, form", "username=ac12345&username=mgarcia&password=secreto", "application/x-www-form-urlencoded", "", 401},
			{"password twice, form", "username=ac12345&password=x&password=secreto", "application/x-www-form-urlencoded", "", 401},
			{"other case", `{"Username":"ac12345","Password":"secreto"}`, "application/json", "", 400},
			{"two values", good + "}" + good + "}", "application/json", "", 400},
			{"array of one", "[" + good + "}]", "application/json", "", 400},
			{"JSON as text", good + "}", "text/plain", "", 415},
			{"JSON as a form", good + "}", "application/x-www-form-urlencoded", "", 401},
		} {
			path := "/api/login-ldap/"
			if strings.Contains(row.contentType, "form") {
				path = "/accounts/login/"
			}
			fields := []string{"Content-Type", row.contentType}
			if row.encoding != "" {
				fields = append(fields, "Content-Encoding", row.encoding)
			}
			r, err := s.send("POST", path, row.body, fields...)
			if err != nil && row.status == 413 {
				continue // closed while the rest was on its way
			}
			if err != nil || r.status != row.status || r.cookies["sessionid"] != nil {
				t.Errorf("%s: got %d %q %v, want %d", row.what, r.status, r.body, err, row.status)
			}
		}
		// A header that is too large never becomes a request.
		r, err := s.send("POST", "/api/login-ldap/", good+"}", "Content-Type", "application/json", "Cookie", strings.Repeat("a=b; ", 1<<19))
		if err == nil && r.status != 431 {
			t.Errorf("a header of more than 2 MiB: %d", r.status)
		}
	})
	// Of thousands of cookies only ours are read.
	r := s.do(t, "POST", "/api/login-ldap/", good+"}", "Content-Type", "application/json", "Cookie", strings.Repeat("a=b; ", 4000))
	s.sessionOf(t, r)
}

// Bodies that drip hold up neither others nor themselves for long: they are
// answered while they still drip, and people sign in meanwhile.
func TestP63SlowBodiesAreCutOff(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	ended := make(chan string, 20)
	for range cap(ended) {
		conn := s.dial(t)
		_, _ = io.WriteString(conn, s.wire("POST /api/login-ldap/ HTTP/1.1\nHost: HOST\nContent-Type: application/json\nContent-Length: 60000\n\n{"))
		go func() {
			answered := make(chan string, 1)
			go func() {
				b := make([]byte, 512)
				n, err := conn.Read(b)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					answered <- "nothing for half a minute"
					return
				}
				answered <- string(b[:n])
			}()
			for {
				select {
				case text := <-answered:
					ended <- text
					return
				case <-time.After(100 * time.Millisecond):
					_, _ = io.WriteString(conn, " ")
				}
			}
		}()
	}
	s.signIn(t, juan)
	for range cap(ended) {
		if text := <-ended; text != "" && !strings.HasPrefix(text, "HTTP/1.1 4") {
			t.Errorf("a body that drips got %q, want a refusal", text)
		}
	}
	s.signIn(t, juan)
}

// A password of a megabyte costs nothing but its reading, and that is bounded.
func TestP84HugePasswordsAreRefusedUnread(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: "throttle insecure_off"})
	signInQuiet(t, s, func() {
		for _, size := range []int{1025, 5000, 60 << 10, 1 << 20} {
			password := strings.Repeat("p", size)
			want := 401
			if size > 64<<10 {
				want = 413
			}
			for path, body := range map[string]string{
				"/api/login-ldap/": signInJSON(juan, password),
				"/accounts/login/": "username=ac12345&password=" + password,
			} {
				contentType := "application/json"
				if path == "/accounts/login/" {
					contentType = "application/x-www-form-urlencoded"
				}
				// Length and all, on one connection: what is refused unread is closed.
				r, err := s.tryRaw(t, fmt.Sprintf("POST %s HTTP/1.1\nHost: HOST\nContent-Type: %s\nContent-Length: %d\nExpect: 100-continue\n\n", path, contentType, len(body)))
				switch {
				case err != nil:
					t.Errorf("%d bytes to %s: %v", size, path, err)
				case want == 413 && r.status != 413:
					t.Errorf("%d bytes announced to %s: got %d, want 413 before they are sent", size, path, r.status)
				case want == 401:
					wantCode(t, s.do(t, "POST", path, body, "Content-Type", contentType), 401, "invalid_credentials")
				}
			}
		}
	})
}

// The longest names and passwords that are allowed are, and those after them are
// refused before a directory hears of them.
func TestS29NamesAndPasswordsHaveLimits(t *testing.T) {
	t.Parallel()
	dir := ldaptest.Demo()
	longest := strings.Repeat("ñ", 512) // 1024 bytes
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: strings.Repeat("n", 64), Password: longest})
	s := start(t, setup{directory: &dir, auth: "throttle insecure_off"})
	long := strings.Repeat("n", 64)
	s.sessionOf(t, s.trySignIn(t, long, longest))
	signInQuiet(t, s, func() {
		for what, g := range map[string]signInTry{
			"a byte more in the password": {username: long, password: longest + "x"},
			"a name of 257 bytes":         {username: long + strings.Repeat("n", 193), password: longest},
			"a name of 256 signs":         {username: strings.Repeat("ñ", 256), password: "x"},
			"a name of a megabyte":        {username: strings.Repeat("n", 50<<10), password: "x"},
			"a line break":                {username: long + "\n", password: longest},
			"a right-to-left escape":      {username: "\u0085" + long, password: longest},
			"DEL":                         {username: long + "\x7f", password: longest},
			"C1 control character":        {username: long + "\u009b", password: longest},
		} {
			r := s.trySignIn(t, g.username, g.password)
			if r.status != 401 || r.body != signInRefused {
				t.Errorf("%s: got %d %q", what, r.status, r.body)
			}
		}
		form := url.Values{"username": {"\xff\xfe" + long}, "password": {longest}}.Encode()
		wantCode(t, s.do(t, "POST", "/accounts/login/", form, "Content-Type", "application/x-www-form-urlencoded"), 401, "invalid_credentials")
	})
}
