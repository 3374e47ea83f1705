package caddyauth

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// heldSite is a site whose requests can be held before they reach the gate.
const heldSite = `@in session_group Ingenieria
	route {
		test_held
		handle /matched {
			respond @in "matched" 200
			respond 403
		}
		require_session {
			public /public/*
		}
		reverse_proxy UPSTREAM
	}`

// crossing is a request that comes under one configuration and reaches the gate
// under another.
type crossing struct {
	what         string
	method, path string
	changes      []change
	status       int    // across a reload
	body         string // the same; "" for a page
	removed      int    // the status across the plugin's removal
}

func crossings(c, out signedIn) []crossing {
	return []crossing{
		{"with a session", "GET", "/x", []change{c.cookies}, 200, "upstream", 503},
		{"with a session, by a browser", "GET", "/x", []change{c.cookies, navigation}, 200, "upstream", 503},
		{"with a token that nobody knows", "GET", "/x", []change{header("Cookie", "sessionid="+strings.Repeat("A", 43))}, 401, bodyAuthenticationRequired, 503},
		{"without a session", "GET", "/x", nil, 401, bodyAuthenticationRequired, 401},
		{"of a public path", "GET", "/public/x", []change{c.cookies}, 200, "upstream", 200},
		{"that changes something", "POST", "/x", []change{c.shown, form("a=b")}, 200, "upstream", 503},
		{"for the sign-in page", "GET", "/accounts/login/", []change{c.cookies, navigation}, 200, "", 503},
		{"who is signed in", "GET", "/api/session/", []change{c.cookies}, 200, "", 503},
		{"to sign in", "POST", "/api/login-ldap/", []change{jsonBody(goodJSON)}, 200, bodySignedIn, 503},
		{"to sign in by a form", "POST", "/accounts/login/", []change{navigation, form("username=mgarcia&password=" + url.QueryEscape(ldaptest.DemoPassword))}, 303, "", 503},
		{"to sign out", "GET", "/api/logout/", []change{out.cookies}, 200, bodySignedOut, 503},
	}
}

func TestRequestsAcrossAReload(t *testing.T) {
	s := startReloaded(t, setup{site: heldSite})
	c, out := s.signIn("mgarcia"), s.signIn("mgarcia")
	cross(t, s, crossings(c, out), func() {
		for range 3 {
			if err := s.load(s.caddyfile()); err != nil {
				t.Fatal(err)
			}
		}
		// And one that fails, in which they are held as well.
		if err := s.loadJSON(s.edited(func(config map[string]any) { at(t, config, "apps", "ldap_auth")["csrf"] = "x" })); err == nil {
			t.Fatal("it loads")
		}
	}, func(t *testing.T, k crossing, got reply) {
		if got.StatusCode != k.status || k.body != "" && got.body != k.body {
			t.Errorf("got %d %s\nwant %d %s", got.StatusCode, got.body, k.status, k.body)
		}
	})
	want(t, s.do("GET", "/x", out.cookies), 401, bodyAuthenticationRequired)
	s.isOpen(t, 1, 0)
}

// TestRequestsAcrossTheRemoval: the store that they came for is closed. Nobody
// is told that there is no session, and nothing protected is served.
func TestRequestsAcrossTheRemoval(t *testing.T) {
	s := startReloaded(t, setup{site: heldSite})
	c, out := s.signIn("mgarcia"), s.signIn("mgarcia")
	want(t, s.do("GET", "/matched", s.kept.cookies), 200, "matched")
	mark := logged.mark()
	matched := crossing{"of a group", "GET", "/matched", []change{s.kept.cookies}, 200, "matched", 503}
	cross(t, s, append(crossings(c, out), matched), func() {
		if err := s.load(s.unplugged()); err != nil {
			t.Fatal(err)
		}
		s.isClosed(t)
	}, func(t *testing.T, k crossing, got reply) {
		if got.StatusCode != k.removed {
			t.Errorf("got %d %s, want %d", got.StatusCode, got.body, k.removed)
		}
		if got.StatusCode == 503 && (got.Header.Get("Retry-After") == "" && k.what != "of a group" || len(got.setCookies("sessionid")) != 0 || strings.Contains(got.body, "upstream")) {
			t.Errorf("a 503 with %v %s", got.Header, got.body)
		}
	})
	s.isClosed(t)
	noPanics(t, mark)
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	want(t, s.do("GET", "/x", out.cookies), 200, "upstream") // its sign-out was not acknowledged
	want(t, s.do("GET", "/matched", s.kept.cookies), 200, "matched")
}

// cross sends requests, does something while they are held, and judges the
// answers.
func cross(t *testing.T, s *reloaded, list []crossing, meanwhile func(), judge func(*testing.T, crossing, reply)) {
	t.Helper()
	held := hold(t, len(list))
	answers := make([]chan reply, len(list))
	for i, k := range list {
		answers[i] = make(chan reply, 1)
		go func() {
			answer, err := s.once(k.method, k.path, append(k.changes, held.mark)...)
			if err != nil {
				t.Errorf("%s: %v", k.what, err)
				answer = reply{Response: new(http.Response)}
			}
			answers[i] <- answer
		}()
	}
	held.wait()
	meanwhile()
	held.release()
	for i, k := range list {
		t.Run(k.what, func(t *testing.T) { judge(t, k, <-answers[i]) })
	}
}

// noPanics checks that no request ended in one.
func noPanics(t *testing.T, mark int) {
	t.Helper()
	for _, line := range logged.since(mark) {
		if strings.Contains(line, "panic") {
			t.Errorf("logged: %s", line)
		}
	}
}

// TestAnswersAcrossReloadAndRemoval: a request that has passed the gate is
// answered, whatever happens to the configuration, and what is ours in its
// answer stays so.
func TestAnswersAcrossReloadAndRemoval(t *testing.T) {
	for _, next := range []string{"reload", "removal"} {
		t.Run(next, func(t *testing.T) {
			s := startReloaded(t, setup{})
			release, arrived := make(chan struct{}), make(chan struct{})
			s.upstream.answers(func(w http.ResponseWriter, _ *http.Request) {
				close(arrived)
				<-release
				w.Header().Set("Set-Cookie", "sessionid=evil")
				_, _ = io.WriteString(w, "late")
			})
			done := make(chan reply, 1)
			go func() {
				answer, err := s.once("GET", "/x", header("Cookie", "sessionid="+s.kept.token))
				if err != nil {
					t.Error(err)
					answer = reply{Response: new(http.Response)}
				}
				done <- answer
			}()
			<-arrived
			text := s.caddyfile()
			if next == "removal" {
				text = s.unplugged()
			}
			if err := s.load(text); err != nil {
				t.Fatal(err)
			}
			if next == "removal" {
				s.isClosed(t)
			}
			s.upstream.answers(nil)
			close(release)
			got := <-done
			want(t, got, 200, "late")
			if set := got.Header["Set-Cookie"]; slices.ContainsFunc(set, func(c string) bool { return strings.Contains(c, "evil") }) || len(got.setCookies("csrftoken")) > 1 {
				t.Errorf("it set %q", set)
			}
		})
	}
}

// TestSignInAcrossReload: the directory takes its time, and the configuration
// that the sign-in came under goes meanwhile.
func TestSignInAcrossReload(t *testing.T) {
	for _, test := range []struct {
		what   string
		next   func(s *reloaded) string
		status int
	}{
		{"of the same configuration", func(s *reloaded) string { return s.caddyfile() }, 200},
		{"with another of the directory's options", func(s *reloaded) string {
			s.setup.servers = "servers " + s.directory.URL() + "\n\t\t\ttimeout 9s"
			return s.caddyfile()
		}, 200},
		{"that takes the plugin out", func(s *reloaded) string { return s.unplugged() }, 503},
	} {
		t.Run(test.what, func(t *testing.T) {
			s := startReloaded(t, setup{})
			searched := make(chan struct{}, 100)
			proceed := make(chan struct{})
			s.directory.Observe(func(ldaptest.Request) ldaptest.Fault {
				searched <- struct{}{}
				<-proceed
				return ldaptest.Fault{}
			})
			mark := logged.mark()
			done := make(chan reply, 1)
			go func() {
				answer, err := s.once("POST", "/api/login-ldap/", jsonBody(credentialsJSON("mgarcia", ldaptest.DemoPassword)))
				if err != nil {
					t.Error(err)
					answer = reply{Response: new(http.Response)}
				}
				done <- answer
			}()
			<-searched
			if err := s.load(test.next(s)); err != nil {
				t.Fatal(err)
			}
			s.directory.Observe(nil)
			close(proceed)
			got := <-done
			if got.StatusCode != test.status {
				t.Fatalf("the sign-in: %d %s, want %d", got.StatusCode, got.body, test.status)
			}
			noPanics(t, mark)
			if test.status != 200 {
				if len(got.setCookies("sessionid")) != 0 || got.Header.Get("Retry-After") == "" {
					t.Errorf("a refusal with %v", got.Header)
				}
				return
			}
			c := signedIn{token: got.cookie("sessionid"), csrf: got.cookie("csrftoken")}
			want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
			want(t, s.do("GET", "/api/logout/", c.cookies), 200, bodySignedOut)
			want(t, s.do("GET", "/x", c.cookies), 401, bodyAuthenticationRequired)
		})
	}
}

// TestSlowFormAcrossRemoval: the client takes its time with the body of a
// sign-out, whose session and store go before it comes.
func TestSlowFormAcrossRemoval(t *testing.T) {
	s := startReloaded(t, setup{})
	reader, writer := io.Pipe()
	mark := logged.mark()
	done := make(chan reply, 1)
	go func() {
		answer, err := s.once("POST", "/api/logout/", s.kept.cookies, func(r *http.Request) {
			r.Header["Content-Type"] = []string{"application/x-www-form-urlencoded"}
			r.Body, r.ContentLength = reader, -1
		})
		if err != nil {
			t.Error(err)
			answer = reply{Response: new(http.Response)}
		}
		done <- answer
	}()
	_, _ = io.WriteString(writer, "csrfmiddlewaretoken=")
	time.Sleep(200 * time.Millisecond) // the gate waits for the rest
	if err := s.load(s.unplugged()); err != nil {
		t.Fatal(err)
	}
	s.isClosed(t)
	_, _ = io.WriteString(writer, s.kept.csrf)
	_ = writer.Close()
	if got := <-done; got.StatusCode != 503 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	noPanics(t, mark)
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", s.kept.cookies), 200, "upstream")
}

// TestOpenStreamAcrossReload: an answer that is under way is tied to its session
// after the configuration that it came under has gone, and one that a later one
// ends it under ends it.
func TestOpenStreamAcrossReload(t *testing.T) {
	s := startReloaded(t, setup{})
	s.upstream.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stream" {
			_, _ = io.WriteString(w, "upstream")
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for n := 0; r.Context().Err() == nil; n++ {
			if _, err := fmt.Fprintf(w, "data: %d\n\n", n); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	})
	stream := func() io.ReadCloser {
		r, err := http.NewRequest("GET", s.base+"/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		s.kept.cookies(r)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		var answer *http.Response
		err = untilConnected(func() (err error) {
			answer, err = client.Do(r)
			return err
		})
		if err != nil || answer.StatusCode != 200 {
			t.Fatalf("the stream: %v %v", answer, err)
		}
		t.Cleanup(func() { _ = answer.Body.Close() })
		return answer.Body
	}
	read := func(body io.Reader) error {
		_, err := io.ReadFull(body, make([]byte, 40))
		return err
	}
	first := stream()
	if err := read(first); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
	}
	second := stream()
	for _, body := range []io.Reader{first, second} {
		if err := read(body); err != nil {
			t.Fatalf("the stream ended with the reload: %v", err)
		}
	}
	want(t, s.do("GET", "/api/logout/", s.kept.cookies), 200, bodySignedOut)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, body := range []io.Reader{first, second} {
			_, _ = io.Copy(io.Discard, body)
		}
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("a stream goes on after the sign-out")
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	s.isClosed(t)
}
