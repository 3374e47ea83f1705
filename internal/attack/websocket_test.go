package attack

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
)

// websocketUpstream makes the upstream agree to every upgrade.
func websocketUpstream(s *site) {
	s.echo.Answer(func(r rawecho.Request) string {
		if len(r.Values("Upgrade")) == 0 {
			return ""
		}
		return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	})
}

// websocketRequest is a handshake with further header lines.
func (s session) websocketRequest(path string, lines ...string) string {
	text := "GET " + path + " HTTP/1.1\nHost: HOST\nCookie: " + s.cookie() +
		"\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
	for _, line := range lines {
		text += line + "\n"
	}
	return text + "\n"
}

// A WebSocket begins with a GET, which the CSRF checks of Mailpit, Dozzle, Tilt
// and others let pass, and no same-origin policy holds its page back: any page
// could talk to an application with its visitor's session.
func TestP88WebSocketsOfForeignPagesAreRefused(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]string{"token": "", "origin": "csrf origin", "off": "csrf insecure_off"} {
		t.Run("csrf "+name, func(t *testing.T) {
			t.Parallel()
			s := start(t, setup{auth: originList + "\n" + policy})
			websocketUpstream(s)
			juan := s.signIn(t, juan)
			for origin, passes := range originsOf(s.base()) {
				if strings.Contains(origin, "HOST") {
					continue // a word of the harness
				}
				s.echo.Forget()
				r := s.raw(t, juan.websocketRequest("/socket", "Origin: "+origin))
				if passes && r.status != http.StatusSwitchingProtocols {
					t.Errorf("from %q: %d %s", origin, r.status, r.body)
				}
				if !passes {
					wantCode(t, r, 403, "origin_not_trusted")
					s.wantNothingUpstream(t)
				}
			}
		})
	}
}

// ASVS 4.4: a handshake needs an Origin that may have it, and a session; and it
// ends with the session.
func TestS22WebSocketsNeedAnOriginAndEndWithTheSession(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: originList})
	websocketUpstream(s)
	juan := s.signIn(t, juan)
	own := "Origin: http://HOST"
	stranger := session{s, strings.Repeat("A", 43), juan.csrf}

	for name, text := range map[string]string{
		"no session":          "GET /socket HTTP/1.1\nHost: HOST\nConnection: Upgrade\nUpgrade: websocket\n" + own + "\n\n",
		"an unknown session":  stranger.websocketRequest("/socket", own),
		"of another page too": stranger.websocketRequest("/socket", "Origin: "+originEvil),
		"asked for as a page": stranger.websocketRequest("/socket", own, "Accept: text/html", "Sec-Fetch-Mode: websocket"),
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, s.raw(t, text)) })
	}
	s.wantNothingUpstream(t)
	for name, text := range map[string]string{
		"two origins":                     juan.websocketRequest("/socket", own, own),
		"an origin and another":           juan.websocketRequest("/socket", own, "Origin: "+originEvil),
		"a sibling's port":                juan.websocketRequest("/socket", "Origin: http://127.0.0.1:1"),
		"a foreign one, with the token":   juan.websocketRequest("/socket", "Origin: "+originEvil, "X-CSRFToken: "+juan.csrf),
		"a foreign one that says it's us": juan.websocketRequest("/socket", "Origin: "+originEvil, "Sec-Fetch-Site: same-origin", "Referer: http://HOST/"),
		"a foreign one in other letters":  strings.Replace(juan.websocketRequest("/socket", "oRiGiN: "+originEvil), "Upgrade: websocket", "uPgRaDe: WebSocket", 1),
		"a foreign one, more options":     strings.Replace(juan.websocketRequest("/socket", "Origin: "+originEvil), "Connection: Upgrade", "Connection: keep-alive, upgrade", 1),
		"a foreign one, a list":           strings.Replace(juan.websocketRequest("/socket", "Origin: "+originEvil), "Connection: Upgrade", "Connection: keep-alive\nConnection: upgrade", 1),
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, s.raw(t, text), 403, "origin_not_trusted") })
	}
	s.wantNothingUpstream(t)

	// What is not quite a handshake does not come on as one.
	for name, text := range map[string]string{
		"two protocols":        strings.Replace(juan.websocketRequest("/socket", "Origin: "+originEvil), "Upgrade: websocket", "Upgrade: websocket, foo", 1),
		"two lines":            strings.Replace(juan.websocketRequest("/socket", "Origin: "+originEvil), "Upgrade: websocket", "Upgrade: websocket\nUpgrade: websocket", 1),
		"without its token":    strings.Replace(juan.websocketRequest("/socket", "Origin: "+originEvil), "Connection: Upgrade", "Connection: close", 1),
		"another version":      strings.Replace(juan.websocketRequest("/socket", "Origin: "+originEvil), "Upgrade: websocket", "Upgrade: websocket/13", 1),
		"HTTP/1.0":             strings.Replace(juan.websocketRequest("/socket", "Origin: "+originEvil), "HTTP/1.1", "HTTP/1.0", 1),
		"with something ahead": strings.Replace(juan.websocketRequest("/socket", "Origin: "+originEvil), "Upgrade: websocket", "Upgrade: xwebsocket", 1),
	} {
		t.Run(name, func(t *testing.T) {
			s.echo.Forget()
			if r := s.raw(t, text); r.status == http.StatusSwitchingProtocols {
				t.Errorf("it became a WebSocket: %v", r.header)
			}
			for _, got := range s.echo.Requests() {
				if len(got.Values("Upgrade")) > 0 {
					t.Errorf("the upstream got %q", got.Raw)
				}
			}
		})
	}

	// A browser always names an origin: a client without one is a program that
	// holds the cookie on purpose.
	conn := s.dial(t, "http/1.1")
	if _, err := io.WriteString(conn, s.wire(juan.websocketRequest("/socket"))); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("opening a WebSocket: %v, %v", response, err)
	}
	if _, err := io.WriteString(conn, "ping"); err != nil {
		t.Fatal(err)
	}
	if got := make([]byte, 4); true {
		if _, err := io.ReadFull(in, got); err != nil || string(got) != "ping" {
			t.Fatalf("the open WebSocket sends %q, %v", got, err)
		}
	}
	signedOutAt := time.Now()
	if r := juan.get(t, "/api/logout/"); r.status != 200 {
		t.Fatalf("signing out: %d %s", r.status, r.body)
	}
	if rest, err := io.ReadAll(in); len(rest) > 0 || time.Since(signedOutAt) > 20*time.Second {
		t.Errorf("after the sign-out it sends %q and ends with %v after %s", rest, err, time.Since(signedOutAt))
	}
	wantRefused(t, s.raw(t, juan.websocketRequest("/socket", own)))
}
