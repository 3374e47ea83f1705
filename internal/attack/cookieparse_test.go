package attack

import (
	"net/http"
	"strings"
	"testing"
)

// cookieparseCase is a Cookie header, in lines of its own, and whether it is
// the session's. OWN is a session's token.
type cookieparseCase struct {
	name, lines string
	served      bool
}

// cookieparseMalformed are headers of clients, other servers' cookies and
// attackers. OTHER is a well-formed token that nobody has.
func cookieparseMalformed() []cookieparseCase {
	return []cookieparseCase{
		{"its own", "Cookie: sessionid=OWN", true},
		{"the same twice", "Cookie: sessionid=OWN; sessionid=OWN", true},
		{"the same in two lines", "Cookie: sessionid=OWN\nCookie: sessionid=OWN", true},
		{"spaces around it", "Cookie:   sessionid=OWN;  x=y", true},
		{"no spaces", "Cookie: a=b;sessionid=OWN;c=d", true},
		{"a tab", "Cookie: a=b;\tsessionid=OWN", true},
		{"behind a pair without a name", "Cookie: =x; y; ; sessionid=OWN", true},
		{"quotes elsewhere", `Cookie: a="; sessionid=OWN; b="`, true},
		{"a broken csrftoken beside it", "Cookie: csrftoken=\x80; sessionid=OWN", true},
		{"a space before the sign of equality", "Cookie: sessionid =OWN", false},
		{"a space behind it", "Cookie: sessionid= OWN", false},
		{"a folded line", "Cookie: sessionid=\n OWN", false},
		{"many cookies before it", "Cookie: " + strings.Repeat("a=b; ", 3000) + "sessionid=OWN", true},

		{"none", "X-Cookie: sessionid=OWN", false},
		{"empty", "Cookie: sessionid=", false},
		{"no equals sign", "Cookie: sessionid", false},
		{"only semicolons", "Cookie: ;;;=;=;;", false},
		{"quoted", `Cookie: sessionid="OWN"`, false},
		{"half quoted", `Cookie: sessionid="OWN`, false},
		{"quoted with single quotes", "Cookie: sessionid='OWN'", false},
		{"a version before it", "Cookie: $Version=1; sessionid=\"OWN\"; $Path=\"/\"", false},
		{"a version inside it", "Cookie: $Version=1, sessionid=OWN", false},
		{"a comma behind it", "Cookie: sessionid=OWN, x=y", false},
		{"a second value behind it", "Cookie: sessionid=OWN; sessionid=OTHER", false},
		{"a second value before it", "Cookie: sessionid=OTHER; sessionid=OWN", false},
		{"a second value in a line of its own", "Cookie: sessionid=OTHER\nCookie: sessionid=OWN", false},
		{"an empty second value", "Cookie: sessionid=OWN; sessionid=", false},
		{"a malformed second value", "Cookie: sessionid=OWN; sessionid=x", false},
		{"a quoted second value", `Cookie: sessionid="OWN"; sessionid=OWN`, false},
		{"percent-encoded", "Cookie: sessionid=%4fOWN", false},
		{"a percent-encoded name", "Cookie: session%69d=OWN", false},
		{"a name in capitals", "Cookie: SESSIONID=OWN", false},
		{"a longer name", "Cookie: xsessionid=OWN; sessionidx=OWN; a.sessionid=OWN", false},
		{"an array", "Cookie: sessionid[]=OWN; sessionid[0]=OWN", false},
		{"in the value of another", `Cookie: x="sessionid=OWN"`, false},
		{"two equals signs", "Cookie: sessionid==OWN", false},
		{"a space inside", "Cookie: sessionid=OWN OWN", false},
		{"not ASCII", "Cookie: sessionid=\xff\xfe\x80", false},
		{"not UTF-8", "Cookie: sessionid=\xc3\x28", false},
		{"a path", "Cookie: sessionid=../../etc/passwd", false},
		{"a placeholder", "Cookie: sessionid={env.HOME}", false},
		{"JSON", `Cookie: sessionid={"user":"ac12345"}`, false},
		{"serialized", `Cookie: sessionid=O:4:"User":1:{s:4:"name";}`, false},
		{"long", "Cookie: sessionid=" + strings.Repeat("A", 16000), false},
		{"many", "Cookie: " + strings.Repeat("sessionid=x; ", 1000), false},
		{"thousands, and the own as one of them", "Cookie: " + strings.Repeat("sessionid=x; ", 1000) + "sessionid=OWN", false},
		{"43 characters that are none", "Cookie: sessionid=" + strings.Repeat("=", 43), false},
		{"43 bytes that are not ASCII", "Cookie: sessionid=" + strings.Repeat("\xe9", 43), false},
	}
}

// cookieparseFill puts tokens into a case.
func cookieparseFill(lines, token string) string {
	return strings.NewReplacer("OWN", token, "OTHER", strings.Repeat("A", 43)).Replace(lines)
}

// A cookie that is not exactly one well-formed value is no session, whichever
// parser would have read something into it.
func TestB34OnlyAnExactCookieCounts(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	juan := s.signIn(t, juan)
	for _, test := range cookieparseMalformed() {
		t.Run(test.name, func(t *testing.T) {
			s.echo.Forget()
			r := s.raw(t, "GET /x HTTP/1.1\nHost: HOST\n"+cookieparseFill(test.lines, juan.token)+"\nConnection: close\n\n")
			if !test.served {
				wantRefused(t, r)
				s.wantNothingUpstream(t)
				return
			}
			wantServed(t, r)
			if sent := s.echo.Last(t).Raw; strings.Contains(sent, juan.token) {
				t.Error("the token reached the upstream")
			}
		})
	}
	wantServed(t, juan.get(t, "/"))
}

// On HTTP/2 the cookies may come in fields of their own.
func TestB34CookieFieldsOfHTTP2(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	juan := s.signIn(t, juan)
	other := strings.Repeat("A", 43)
	for _, test := range []struct {
		name   string
		fields []string
		served bool
	}{
		{"in crumbs", []string{"a=b", "sessionid=" + juan.token, "c=d"}, true},
		{"two values in crumbs", []string{"sessionid=" + other, "sessionid=" + juan.token}, false},
		{"an empty second crumb", []string{"sessionid=" + juan.token, "sessionid="}, false},
		{"the value in a crumb of its own", []string{"sessionid=", juan.token}, false},
		{"a name split over crumbs", []string{"session", "id=" + juan.token}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.echo.Forget()
			fields := [][2]string{{":path", "/x"}}
			for _, field := range test.fields {
				fields = append(fields, [2]string{"cookie", field})
			}
			r, err := s.h2(t, h2Request{fields: fields})
			if err != nil {
				t.Fatal(err)
			}
			if test.served {
				wantServed(t, r)
				return
			}
			wantRefused(t, r)
			s.wantNothingUpstream(t)
		})
	}
}

// A malformed cookie is no session, on every route: never an answer as if
// somebody were signed in, never an upstream without an identity, never an
// error of ours. The server itself refuses what is no header at all.
func TestP52MalformedCookiesAreNoSession(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: "require_session {\n\t\tpublic /open\n\t}\n\treverse_proxy UPSTREAM"})
	juan := s.signIn(t, juan)
	for _, test := range append(cookieparseMalformed(),
		cookieparseCase{"a NUL", "Cookie: sessionid=\x00", false},
		cookieparseCase{"over a megabyte", "Cookie: sessionid=" + strings.Repeat("A", 1100<<10), false},
	) {
		if test.served {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			s.echo.Forget()
			for _, request := range []string{"GET /x", "HEAD /x", "POST /x", "GET /api/session/", "GET /accounts/sessions/"} {
				r := s.raw(t, request+" HTTP/1.1\nHost: HOST\n"+cookieparseFill(test.lines, juan.token)+"\nConnection: close\nContent-Length: 0\n\n")
				switch {
				case r.status == http.StatusUnauthorized, r.status == http.StatusBadRequest, r.status == http.StatusRequestHeaderFieldsTooLarge:
				default:
					t.Errorf("%s: %d %s", request, r.status, r.body)
				}
			}
			s.wantNothingUpstream(t)
			// What needs no session still works, and claims none.
			r := s.raw(t, "GET /open HTTP/1.1\nHost: HOST\n"+cookieparseFill(test.lines, juan.token)+"\nConnection: close\n\n")
			if r.status == http.StatusBadRequest || r.status == http.StatusRequestHeaderFieldsTooLarge {
				return
			}
			wantServed(t, r)
			if user := s.echo.Last(t).CGI()["REMOTE_USER"]; user != nil {
				t.Errorf("the upstream of a public path got %q", user)
			}
		})
	}
	wantServed(t, juan.get(t, "/"))
}
