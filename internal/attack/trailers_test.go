package attack

import (
	"fmt"
	"strings"
	"testing"
)

// trailerSite reaches the same upstream over both protocols.
const trailerSite = `
	require_session {
		public /open/*
		csrf origin
	}
	@h2 path */h2
	reverse_proxy @h2 h2c://UPSTREAM
	reverse_proxy UPSTREAM`

// trailerNames are spellings of the identity headers, and the cookie.
func trailerNames() []string {
	return []string{
		"Remote-User", "remote_user", "Remote.User", "Remote--User", "Remote-User-", "-Remote-User", "Remote~User", "REMOTE-USER",
		"Remote-Groups", "remote_groups", "Remote.Email", "Remote!Name", "X-Forwarded-User",
	}
}

// trailerTry sends a trailer with forged names over both protocols to an
// upstream of both protocols. announced are in the Trailer header; the trailer
// X-Sum is announced always.
func trailerTry(t *testing.T, s *site, juan session, announced, sent []string) {
	t.Helper()
	for path, want := range map[string]map[string]string{
		"/open/h1": nil, "/open/h2": nil, "/inside/h1": headerJuan(), "/inside/h2": headerJuan(),
	} {
		for _, body := range []string{"", "some text"} {
			what := fmt.Sprintf("%s with %q, announced %q, after %q", path, sent, announced, body)
			text := "POST " + path + " HTTP/1.1\nHost: HOST\nCookie: " + juan.cookie() + "\nTransfer-Encoding: chunked\nTrailer: " + strings.Join(append(announced, "X-Sum"), ", ") + "\n\n"
			if body != "" {
				text += fmt.Sprintf("%x\n%s\n", len(body), body)
			}
			s.echo.Forget()
			wantServed(t, s.raw(t, text+"0\n"+headerLines(sent...)+"X-Sum: 7\nCookie: sessionid="+headerForged+"\n\n"))
			trailerWant(t, s, "HTTP/1.1 "+what, want, body)

			request := h2Request{
				fields:  [][2]string{{":method", "POST"}, {":path", path}, {"cookie", juan.cookie()}, {"trailer", strings.ToLower(strings.Join(append(announced, "x-sum"), ", "))}},
				body:    body,
				trailer: [][2]string{{"x-sum", "7"}, {"cookie", "sessionid=" + headerForged}},
			}
			for _, name := range sent {
				request.trailer = append(request.trailer, [2]string{strings.ToLower(name), headerForged})
			}
			s.echo.Forget()
			answer, err := s.h2(t, request)
			if err != nil {
				t.Fatalf("HTTP/2 %s: %v", what, err)
			}
			wantServed(t, answer)
			trailerWant(t, s, "HTTP/2 "+what, want, body)
		}
	}
}

// trailerWant fails unless the upstream got the honest trailer and body, and of
// the identity what the gate says.
func trailerWant(t *testing.T, s *site, what string, want map[string]string, body string) {
	t.Helper()
	r := s.echo.Last(t)
	headerWant(t, what, r, want)
	sum := r.Trailer
	if len(sum) != 1 || !strings.EqualFold(sum[0].Name, "X-Sum") || sum[0].Value != "7" || r.Body != body {
		t.Errorf("%s: the trailer arrived as %q after %q", what, sum, r.Body)
	}
	for _, value := range r.Values("Trailer") {
		if strings.Contains(strings.ToLower(value), "remote") {
			t.Errorf("%s: the upstream was told to expect %q", what, value)
		}
	}
}

// Applications merge trailers into headers. So nothing of an identity comes in
// one, announced or not.
func TestB05Trailers(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: trailerSite})
	juan := s.signIn(t, juan)
	names := trailerNames()
	t.Run("announced", func(t *testing.T) { trailerTry(t, s, juan, names, names) })
	t.Run("announced otherwise", func(t *testing.T) { trailerTry(t, s, juan, []string{"Remote-User", "Cookie"}, names) })
	t.Run("not announced", func(t *testing.T) { trailerTry(t, s, juan, nil, names) })
	t.Run("none announced at all", func(t *testing.T) {
		for path, want := range map[string]map[string]string{"/open/h1": nil, "/open/h2": nil, "/inside/h1": headerJuan(), "/inside/h2": headerJuan()} {
			s.echo.Forget()
			wantServed(t, s.raw(t, "POST "+path+" HTTP/1.1\nHost: HOST\nCookie: "+juan.cookie()+"\nTransfer-Encoding: chunked\n\n0\n"+headerLines(names...)+"\n"))
			headerWant(t, path, s.echo.Last(t), want)
		}
	})
}

// A form is read before the request goes on, to find the token in it: by then
// its trailer has come.
func TestB05TrailerOfAForm(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: "require_session\nreverse_proxy UPSTREAM"})
	juan := s.signIn(t, juan)
	form := "csrfmiddlewaretoken=" + juan.csrf
	wantServed(t, s.raw(t, fmt.Sprintf("POST /inside HTTP/1.1\nHost: HOST\nCookie: %s\nContent-Type: application/x-www-form-urlencoded\nTransfer-Encoding: chunked\nTrailer: X-Sum, Remote-User\n\n%x\n%s\n0\n%sX-Sum: 7\n\n",
		juan.cookie(), len(form), form, headerLines(trailerNames()...))))
	trailerWant(t, s, "a form", headerJuan(), form)
}
