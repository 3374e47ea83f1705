package attack

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
)

// hostSite is a site of its own on the test's port, for IT Admins only.
func hostSite(names ...string) string {
	for i := range names {
		names[i] = "http://" + names[i] + ":PORT"
	}
	return strings.Join(names, ", ") + ` {
	bind 127.0.0.1
	require_session "IT Admins" {
		public /open/*
	}
	reverse_proxy UPSTREAM
}`
}

// hostSpellings are names of one site, and names that are not its own.
func hostSpellings(name string) (own, other []string) {
	return []string{name, strings.ToUpper(name), name + ":PORT", strings.ToUpper(name) + ":PORT", name + ":1"},
		[]string{
			name + ".", strings.ToUpper(name) + ".", name + ".:PORT", name + "..", "." + name, "x." + name, "evil.test", "127.0.0.1", "127.1", "[::1]", "localhost",
			name + ".evil.test", name + "%00", name + "%2e", "xn--" + name, name + "\\.evil.test", name + "@evil.test", name + "/..", name + "#", name + "?", "", "*", "*." + name,
		}
}

// hostAsks sends what reaches a closed path, to whoever serves that host.
func hostAsks(t *testing.T, s *site, host, cookie string) (r reply, ok bool) {
	t.Helper()
	text := "GET /x HTTP/1.1\nHost: " + host + "\nConnection: close\n"
	if cookie != "" {
		text += "Cookie: " + cookie + "\n"
	}
	r, err := s.tryRaw(t, text+"\n")
	return r, err == nil
}

// However its name is spelled, a site's own group holds; what is not its name
// gets nothing of it.
func hostWantOnePolicy(t *testing.T, name string, others int) {
	t.Helper()
	names := []string{name}
	for i := range others {
		names = append(names, fmt.Sprintf("h%03d.corp.test", i))
	}
	s := start(t, setup{site: `respond "nobody's site" 404`, more: hostSite(names...)})
	juan, maria := s.signIn(t, juan, "Host", name).cookie(), s.signIn(t, maria, "Host", name).cookie()
	own, other := hostSpellings(name)
	for _, host := range own {
		for cookie, want := range map[string]int{"": 401, juan: 403, maria: 200} {
			if r, ok := hostAsks(t, s, host, cookie); !ok || r.status != want {
				t.Errorf("Host %q: %d %s, want %d", host, r.status, r.body, want)
			}
		}
	}
	s.echo.Forget()
	for _, host := range other {
		for _, cookie := range []string{"", juan, maria} {
			if r, ok := hostAsks(t, s, host, cookie); ok && r.status < 400 {
				t.Errorf("Host %q: %d %s", host, r.status, r.body)
			}
		}
	}
	s.wantNothingUpstream(t)
}

func TestP42HostIsComparedWithoutCase(t *testing.T) {
	t.Parallel()
	hostWantOnePolicy(t, "app.corp.test", 0)
}

// Above a hundred hosts Caddy once searched them otherwise.
func TestP21HostIsComparedWithoutCaseAmongMany(t *testing.T) {
	t.Parallel()
	hostWantOnePolicy(t, "app.corp.test", 150)
}

// What falls out of every named site lands in the catch-all one, and is guarded
// by that; no answer leads to a name that the client made up.
func TestB16CatchAllSiteIsGuardedForEveryHost(t *testing.T) {
	t.Parallel()
	s := start(t, setup{more: hostSite("app.corp.test")})
	own, other := hostSpellings("app.corp.test")
	for _, host := range append(own, other...) {
		for _, accept := range []string{"*/*", "text/html"} {
			r, err := s.tryRaw(t, "GET /x HTTP/1.1\nHost: "+host+"\nX-Forwarded-Host: evil.test\nConnection: close\nAccept: "+accept+"\n\n")
			if err == nil && r.status != 401 && r.status != 303 && r.status != 400 {
				t.Errorf("Host %q: %d %s", host, r.status, r.body)
			}
			if location := r.header.Get("Location"); err == nil && r.status == 303 && !strings.HasPrefix(location, "/accounts/login/") {
				t.Errorf("Host %q leads to %q", host, location)
			}
		}
	}
	for _, request := range []string{"GET /x HTTP/1.0\n\n", "GET http://evil.test/x HTTP/1.1\nHost: app.corp.test\n\n", "GET http://app.corp.test/x HTTP/1.1\nHost: evil.test\n\n"} {
		wantRefused(t, s.raw(t, request))
	}
	for _, host := range []string{"evil.test", "app.corp.test.", "127.1"} {
		r := s.raw(t, "GET /accounts/login/?next=/x HTTP/1.1\nHost: "+host+"\n\n")
		for name, values := range r.header {
			if strings.Contains(strings.Join(values, " "), host) {
				t.Errorf("Host %q is in the answer's %s: %q", host, name, values)
			}
		}
		if strings.Contains(r.body, host) {
			t.Errorf("Host %q is in the page", host)
		}
	}
	s.wantNothingUpstream(t)
}

// Who shows one name in the TLS handshake and asks for another is judged by the
// one asked for.
func TestB17NameOfTheHandshakeDecidesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, setup{tls: true, more: `https://public.test:PORT {
	bind 127.0.0.1
	tls CERTIFICATE
	respond "the public site"
}`})
	ask := func(sni, host, cookie string) (reply, error) {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+s.port, 30*time.Second)
		if err != nil {
			return reply{}, err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: sni, NextProtos: []string{"http/1.1"}})
		if _, err := fmt.Fprintf(client, "GET /x HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\nConnection: close\r\n\r\n", host, cookie); err != nil {
			return reply{}, err
		}
		return readReply(bufio.NewReader(client), "GET")
	}
	juan := s.signIn(t, juan)
	if r, err := ask("public.test", "public.test", ""); err != nil || r.body != "the public site" {
		t.Fatalf("the public site: %d %s, %v", r.status, r.body, err)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "localhost:" + s.port, "LOCALHOST"} {
		r, err := ask("public.test", host, "a=b")
		if err == nil && r.status != 401 && r.status != 421 {
			t.Errorf("Host %q with the public name in the handshake: %d %s", host, r.status, r.body)
		}
	}
	s.wantNothingUpstream(t)
	if r, err := ask("public.test", "public.test", juan.cookie()); err != nil || r.body != "the public site" {
		t.Errorf("the public site with a session: %d %s, %v", r.status, r.body, err)
	}
	s.wantNothingUpstream(t)
	// By HTTP/2, where :authority and Host can differ.
	for _, fields := range [][][2]string{
		{{":authority", "localhost:" + s.port}, {"host", "public.test"}},
		{{":authority", "public.test"}, {"host", "localhost:" + s.port}},
	} {
		s.echo.Forget()
		r, err := s.h2(t, h2Request{fields: append(fields, [2]string{":path", "/x"})})
		if err == nil && r.status < 400 && r.body != "the public site" {
			t.Errorf("%v: %d %s", fields, r.status, r.body)
		}
		s.wantNothingUpstream(t)
	}
}

// Two sites, many requests at once: none ever reaches the other's upstream, or
// with the other's user.
func TestP27RequestsNeverCrossSites(t *testing.T) {
	t.Parallel()
	second := rawecho.Start(t)
	s := start(t, setup{more: `http://second.test:PORT {
	bind 127.0.0.1
	require_session
	reverse_proxy ` + second.Addr() + `
}`})
	juan, maria := s.signIn(t, juan).cookie(), s.signIn(t, maria, "Host", "second.test").cookie()
	s.echo.Forget()
	second.Forget()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			for i := range 64 {
				host, cookie := "first.test", juan
				if (worker+i)%2 == 1 {
					host, cookie = "second.test", maria
				}
				request, err := http.NewRequest("GET", s.base()+fmt.Sprintf("/%s/%d/%d", host, worker, i), nil)
				if err != nil {
					t.Error(err)
					return
				}
				request.Host = host
				request.Header.Set("Cookie", cookie)
				response, err := client.Do(request)
				if err != nil {
					t.Error(err)
					return
				}
				r, err := replyOf(response)
				if err != nil || r.status != 200 || r.body != "upstream "+request.URL.Path {
					t.Errorf("%s at %s: %d %s, %v", request.URL.Path, host, r.status, r.body, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, upstream := range []struct {
		echo       *rawecho.Server
		host, user string
	}{{s.echo, "first.test", "ac12345"}, {second, "second.test", "mgarcia"}} {
		for _, request := range upstream.echo.Requests() {
			if user := strings.Join(request.Values("Remote-User"), " "); user != upstream.user || !strings.HasPrefix(request.Target(), "/"+upstream.host+"/") {
				t.Errorf("the upstream of %s got %s of %q", upstream.host, request.Target(), user)
			}
		}
		if n := upstream.echo.Count(); n != 512 {
			t.Errorf("the upstream of %s got %d requests, want 512", upstream.host, n)
		}
	}
}
