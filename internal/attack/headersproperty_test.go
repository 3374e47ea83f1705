package attack

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
)

// headerRandom is a source of names whose seed the test prints.
func headerRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// headerSpelling returns a spelling of a name that the most tolerant server
// takes for it. Separators are these characters.
func headerSpelling(t *testing.T, random *rand.Rand, name, separators string) string {
	t.Helper()
	var spelling strings.Builder
	separate := func(least, most int) {
		for range least + random.IntN(most-least+1) {
			spelling.WriteByte(separators[random.IntN(len(separators))])
		}
	}
	separate(0, random.IntN(3))
	for i, word := range strings.Split(name, "-") {
		if i > 0 {
			separate(1, 1+random.IntN(3))
		}
		for _, c := range strings.Split(word, "") {
			if random.IntN(2) == 0 {
				c = strings.ToUpper(c)
			}
			spelling.WriteString(c)
		}
	}
	separate(0, random.IntN(3))
	if rawecho.CGIName(spelling.String()) != rawecho.CGIName(name) {
		t.Fatalf("%q is no spelling of %q", spelling.String(), name)
	}
	return spelling.String()
}

// headerSpellings returns spellings of these names, several of each.
func headerSpellings(t *testing.T, random *rand.Rand, names []string) []string {
	t.Helper()
	var spellings []string
	for range 3 {
		for _, name := range names {
			spellings = append(spellings, headerSpelling(t, random, strings.ToLower(name), headerSeparators))
		}
	}
	random.Shuffle(len(spellings), func(i, j int) { spellings[i], spellings[j] = spellings[j], spellings[i] })
	return spellings
}

// Whatever name a client chooses: if some server could take it for a header that
// tells who is signed in, it does not arrive, by HTTP/1.1, in HTTP/2 frames or in
// trailers, at an upstream of either protocol.
func TestB03NamesThatFoldOntoAnIdentityHeader(t *testing.T) {
	t.Parallel()
	identity := []string{"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups"}
	own := []string{"Who", "Sso2-Full-Name", "X-Auth-Mail", "My-Groups"}
	for _, test := range []struct {
		name, option, server string
		names                []string
		inside, open         map[string]string
	}{
		{"default names", "", "", identity, headerJuan(), nil},
		{"default names that the server expects", "", "expected_underscore_headers Remote_* _*\nexpected_dot_headers Remote.* .*", identity, headerJuan(), nil},
		{
			"configured names", "identity_headers " + strings.Join(own, " "), "", append(own, identity...),
			map[string]string{"WHO": "ac12345", "SSO2_FULL_NAME": "Juan Pérez", "X_AUTH_MAIL": "ac12345@empresa.local", "MY_GROUPS": ""},
			map[string]string{"WHO": "", "SSO2_FULL_NAME": "", "X_AUTH_MAIL": "", "MY_GROUPS": ""},
		},
		{"no headers", "identity_headers off", "", identity, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			random := headerRandom(t)
			s := start(t, setup{server: test.server, site: `
	require_session {
		public /open/*
		csrf origin
		` + test.option + `
	}
	@h2 path */h2
	reverse_proxy @h2 h2c://UPSTREAM
	reverse_proxy UPSTREAM`})
			juan := s.signIn(t, juan)
			for path, want := range map[string]map[string]string{
				"/open/h1": test.open, "/open/h2": test.open, "/inside/h1": test.inside, "/inside/h2": test.inside,
			} {
				for range 4 {
					names := headerSpellings(t, random, test.names)
					headerSendForged(t, s, path, juan, names, want)
				}
			}
		})
	}
}

// headerSendForged sends names as headers and as trailers, over both protocols,
// half of the trailers announced.
func headerSendForged(t *testing.T, s *site, path string, juan session, names []string, want map[string]string) {
	t.Helper()
	half := len(names) / 2
	what := fmt.Sprintf("%s with %q", path, names)
	s.echo.Forget()
	wantServed(t, s.raw(t, "POST "+path+" HTTP/1.1\nHost: HOST\nCookie: "+juan.cookie()+"\nX-Kept: 1\n"+headerLines(names...)+
		"Transfer-Encoding: chunked\nTrailer: X-Sum, "+strings.Join(names[:half], ", ")+"\n\n1\n.\n0\nX-Sum: 7\n"+headerLines(names...)+"\n"))
	headerWantAlone(t, "HTTP/1.1 "+what, s.echo.Last(t), want)

	request := h2Request{
		fields:  [][2]string{{":method", "POST"}, {":path", path}, {"cookie", juan.cookie()}, {"x-kept", "1"}, {"trailer", "x-sum, " + strings.ToLower(strings.Join(names[:half], ", "))}},
		body:    ".",
		trailer: [][2]string{{"x-sum", "7"}},
	}
	for _, name := range names {
		field := [2]string{strings.ToLower(name), headerForged}
		request.fields, request.trailer = append(request.fields, field), append(request.trailer, field)
	}
	s.echo.Forget()
	answer, err := s.h2(t, request)
	if err != nil {
		t.Fatalf("HTTP/2 %s: %v", what, err)
	}
	wantServed(t, answer)
	headerWantAlone(t, "HTTP/2 "+what, s.echo.Last(t), want)
}

// headerWantAlone is headerWant for a request whose honest header and trailer
// must have arrived too, so that the test sees what it says.
func headerWantAlone(t *testing.T, what string, r rawecho.Request, want map[string]string) {
	t.Helper()
	headerWant(t, what, r, want)
	if got := r.CGI(); len(got["X_KEPT"]) != 1 || len(got["X_SUM"]) != 1 || r.Body != "." {
		t.Errorf("%s: of the honest part %v and %q arrived", what, got, r.Body)
	}
}

// Names with characters that no name may have are refused, or dropped: a server
// that is less strict would fold them too.
func TestB03NamesThatAreNoTokens(t *testing.T) {
	t.Parallel()
	random := headerRandom(t)
	s := start(t, setup{site: headerSite})
	juan := s.signIn(t, juan)
	const strange = " \t\x00\x01\x0b\x0c\x1f\x7f\x80\x85\xa0\xad\xc3\xa9\xe2\x80\x90\xff\"(),/;<=>?@[\\]{}"
	for i := range 40 {
		path := [...]string{"/open/x", "/inside"}[i%2]
		want := [...]map[string]string{nil, headerJuan()}[i%2]
		name := headerSpelling(t, random, "remote-user", strange)
		if name[0] == ' ' || name[0] == '\t' {
			name = "Remote" + name // a line that begins so continues the one before
		}
		s.echo.Forget()
		r, err := s.tryRaw(t, "GET "+path+" HTTP/1.1\nHost: HOST\nCookie: "+juan.cookie()+"\n"+headerLines(name)+"\n")
		if err == nil && r.status != 200 && r.status != 400 {
			t.Errorf("HTTP/1.1 %q: %d", name, r.status)
		}
		for _, request := range s.echo.Requests() {
			headerWant(t, fmt.Sprintf("HTTP/1.1 %s with %q", path, name), request, want)
		}

		s.echo.Forget()
		lower := []byte(name) // strings.ToLower would repair what is no UTF-8
		for i, c := range lower {
			if 'A' <= c && c <= 'Z' {
				lower[i] += 'a' - 'A'
			}
		}
		_, _ = s.h2(t, h2Request{fields: [][2]string{{":path", path}, {"cookie", juan.cookie()}, {string(lower), headerForged}}})
		for _, request := range s.echo.Requests() {
			headerWant(t, fmt.Sprintf("HTTP/2 %s with %q", path, name), request, want)
		}
	}
	// HTTP/2 has names in lower case.
	s.echo.Forget()
	_, _ = s.h2(t, h2Request{fields: [][2]string{{":path", "/open/x"}, {"Remote-User", headerForged}}})
	for _, request := range s.echo.Requests() {
		headerWant(t, "HTTP/2 with capitals", request, nil)
	}
}
