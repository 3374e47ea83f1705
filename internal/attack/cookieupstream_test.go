package attack

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
)

// cookieUpstreamHas fails unless exactly these Cookie lines reached the upstream,
// joined, and nothing of the token anywhere.
func cookieUpstreamHas(t testing.TB, what string, r rawecho.Request, token, want string) {
	t.Helper()
	if got := strings.Join(r.Values("Cookie"), "; "); got != want {
		t.Errorf("%s: the upstream got the cookies %q, want %q", what, got, want)
	}
	if strings.Contains(fmt.Sprint(r.Header, r.Trailer, r.Raw), token) {
		t.Errorf("%s: the token reached the upstream: %v", what, r.Header)
	}
}

// Whoever runs one application must not get sessions of all of them.
func TestP64SessionCookieReachesNoUpstream(t *testing.T) {
	t.Parallel()
	for _, layout := range []setup{
		{site: trailerSite},
		{site: trailerSite, tls: true, sessions: "cookie_prefix __Host-"},
		{site: "ldap_login\n" + trailerSite, sessions: "cookie_name sid"},
	} {
		s := start(t, layout)
		name, device := "sessionid", "ldap_device"
		switch {
		case s.tls:
			name, device = "__Host-sessionid", "__Host-ldap_device"
		case layout.sessions != "":
			name = "sid"
		}
		r := s.trySignIn(t, juan, "secreto")
		if r.cookies[name] == nil || r.cookies["csrftoken"] == nil {
			t.Fatalf("signing in: %d %v", r.status, r.header["Set-Cookie"])
		}
		token, csrf := r.cookies[name].Value, "csrftoken="+r.cookies["csrftoken"].Value
		own, other := name+"="+token, strings.Replace(name, "s", "S", 1)
		for _, test := range []struct{ sent, want string }{
			{own, ""},
			{own + "; " + csrf, csrf},
			{csrf + "; " + own, csrf},
			{"app=1; " + own + "; " + csrf, "app=1; " + csrf},
			{"app=\"a,b c\"; other=%7B%22x%22%3A1%7D=; " + own, "app=\"a,b c\"; other=%7B%22x%22%3A1%7D="},
			{own + ";" + own + ";a=b", "a=b"},
			{own + "; " + device + "=x.y; a=b", "a=b"},
			{device + "=x; " + own + "; " + device + "=y", ""},
			{name + "x=1; x" + name + "=2; " + own + "; " + other + "=3", name + "x=1; x" + name + "=2; " + other + "=3"},
			{own + "\nCookie: a=b\nCookie: " + csrf, "a=b; " + csrf},
			{"a=b\nCookie: " + own + "\nCookie: c=d", "a=b; c=d"},
			{"\t" + own + " \t; a=b", "a=b"},
			{"a=b; ;; " + own + ";", "a=b"},
		} {
			for _, path := range []string{"/inside/h1", "/inside/h2", "/open/h1", "/open/h2"} {
				s.echo.Forget()
				wantServed(t, s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\nCookie: "+test.sent+"\n\n"))
				cookieUpstreamHas(t, path+" with "+test.sent, s.echo.Last(t), token, test.want)

				// HTTP/2 may have a field for each cookie.
				request := h2Request{fields: [][2]string{{":path", path}}}
				for _, crumb := range strings.Split(strings.ReplaceAll(test.sent, "\nCookie: ", "; "), "; ") {
					request.fields = append(request.fields, [2]string{"cookie", crumb})
				}
				if answer, err := s.h2(t, request); err == nil {
					wantServed(t, answer)
					cookieUpstreamHas(t, "HTTP/2 "+path+" with "+test.sent, s.echo.Last(t), token, test.want)
				}
			}
		}
		// Cookies that are no session are no business of the upstream either.
		for _, sent := range []string{own + "x", name + "=" + strings.Repeat("A", 43), name + "=", name, own + "; " + name + "=x", name + `="` + token + `"`} {
			s.echo.Forget()
			wantServed(t, s.raw(t, "GET /open/h1 HTTP/1.1\nHost: HOST\nCookie: a=b; "+sent+"\n\n"))
			cookieUpstreamHas(t, sent, s.echo.Last(t), token, "a=b")
		}
	}
}

// cookieUpstreamSets are Set-Cookie values under our names, as clients read them.
func cookieUpstreamSets() []string {
	return []string{
		"sessionid=evil", "sessionid=evil; Path=/x; HttpOnly", "sessionid=; Max-Age=0", " sessionid=evil", "sessionid =evil", "sessionid\t= evil", "sessionid",
		"csrftoken=evil", "csrftoken=evil; Path=/deep", "ldap_device=evil", "=sessionid=evil", " = csrftoken=evil; Path=/",
	}
}

// An application that sets our cookies would sign people out, or plant a token.
func TestB33CookiesOfTheUpstream(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: trailerSite})
	juan := s.signIn(t, juan)
	sets := "Set-Cookie: app=1; Path=/; HttpOnly\r\n"
	for _, value := range cookieUpstreamSets() {
		sets += "Set-Cookie: " + value + "\r\n"
	}
	sets += "set-cookie: other=\"x;y\"; SameSite=None\r\nSet-Cookie: sessionidx=2\r\nSet-Cookie: xcsrftoken=3\r\n"
	kept := []string{"app=1; Path=/; HttpOnly", `other="x;y"; SameSite=None`, "sessionidx=2", "xcsrftoken=3"}
	early := "HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n" + sets + "\r\n"
	s.echo.Answer(func(r rawecho.Request) string {
		hints := early
		if r.Protocol == 2 {
			hints = ""
		}
		return hints + "HTTP/1.1 200 OK\r\nConnection: close\r\n" + sets + "Transfer-Encoding: chunked\r\nTrailer: Set-Cookie, X-Sum\r\n\r\n4\r\ntext\r\n0\r\n" + sets + "X-Sum: 7\r\n\r\n"
	})
	for _, path := range []string{"/inside/h1", "/inside/h2", "/open/h1", "/open/h2"} {
		for _, method := range []string{"GET", "POST"} {
			text := cookieUpstreamAnswer(t, s, method+" "+path+" HTTP/1.1\nHost: HOST\nContent-Length: 0\nTE: trailers\nConnection: close, TE\nCookie: "+juan.cookie()+"\n\n")
			if strings.Contains(text, "evil") || !strings.Contains(text, "text") {
				t.Errorf("%s %s: an upstream's cookie came through: %q", method, path, text)
			}
			var got []string
			for _, part := range strings.SplitAfter(text, "\r\n\r\n") {
				response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(part)), nil)
				if err == nil && response.StatusCode == http.StatusOK {
					got = response.Header["Set-Cookie"]
				}
			}
			if strings.Join(got, "|") != strings.Join(kept, "|") {
				t.Errorf("%s %s: of the application's own cookies came %q, want %q", method, path, got, kept)
			}
			if strings.HasSuffix(path, "h1") && !strings.Contains(text, "X-Sum: 7") {
				t.Errorf("%s: an honest trailer is gone: %q", path, text)
			}
		}
	}

	// A trailer that was not announced.
	s.echo.Answer(func(r rawecho.Request) string {
		return "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntext\r\n0\r\n" + sets + "X-Sum: 7\r\n\r\n"
	})
	for _, path := range []string{"/inside/h1", "/open/h1"} {
		text := cookieUpstreamAnswer(t, s, "GET "+path+" HTTP/1.1\nHost: HOST\nTE: trailers\nConnection: close, TE\nCookie: "+juan.cookie()+"\n\n")
		if strings.Contains(text, "evil") || !strings.Contains(text, "X-Sum: 7") {
			t.Errorf("%s: a trailer set a cookie, or an honest one is gone: %q", path, text)
		}
	}
}

// cookieUpstreamAnswer returns all bytes that answer a request.
func cookieUpstreamAnswer(t *testing.T, s *site, text string) string {
	t.Helper()
	conn := s.dial(t, "http/1.1")
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, s.wire(text)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("reading the answer to %q: %v", text, err)
	}
	return string(answer)
}

// A token that is nearly one is none: it has one spelling and one length.
func TestP55TokensThatAreNearlyOnes(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: headerSite})
	juan := s.signIn(t, juan)
	token := juan.token
	s.echo.Forget()
	flipped := []byte(token)
	for i, c := range flipped {
		if c|0x20 >= 'a' && c|0x20 <= 'z' {
			flipped[i] = c ^ 0x20
			break
		}
	}
	values := []string{
		token[:42], token[:32], token[:1], token[1:], token + "A", token + "=", token + "==", token + token, "A" + token, string(flipped), strings.ToLower(token) + "", strings.ToUpper(token),
		`"` + token + `"`, "'" + token + "'", token + "%00", token + "%20", "%" + fmt.Sprintf("%02x", token[0]) + token[1:], token + ",x", token + "\t" + "x", "v1." + token, token[:20] + " " + token[20:],
		strings.NewReplacer("-", "+", "_", "/").Replace(token) + "A", "", "null", "undefined", strings.Repeat("A", 43), strings.Repeat("A", 6000),
	}
	// The last character of 43 has four bits that count: the others of the same
	// bits are other spellings of one token.
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		if other := token[:42] + string(c); other != token {
			values = append(values, other)
		}
	}
	for _, value := range values {
		if value == token {
			continue
		}
		r := s.raw(t, "GET /inside HTTP/1.1\nHost: HOST\nCookie: sessionid="+value+"\n\n")
		if r.status != 401 || r.body != unauthenticated {
			t.Errorf("%q: %d %s", value, r.status, r.body)
		}
	}
	s.wantNothingUpstream(t)
	wantServed(t, juan.get(t, "/inside"))
	if r := juan.get(t, "/api/logout/"); r.status != 200 || r.body != signedOut {
		t.Fatalf("signing out: %d %s", r.status, r.body)
	}
	s.echo.Forget()
	wantRefused(t, juan.get(t, "/inside")) // the server's side of it is gone too
	s.wantNothingUpstream(t)
}
