package attack

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
)

// upgradeLines are a handshake of HTTP/1.1 for a protocol.
func upgradeLines(protocol string) string {
	return "Connection: Upgrade, HTTP2-Settings\nUpgrade: " + protocol + "\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\n" +
		"Sec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n"
}

// upgradeAny is an upstream that changes to whatever protocol it is asked for.
func upgradeAny(r rawecho.Request) string {
	protocol := r.Values("Upgrade")
	if len(protocol) == 0 {
		return ""
	}
	return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + protocol[0] + "\r\nSet-Cookie: sessionid=evil\r\nSet-Cookie: app=1\r\n\r\n"
}

// upgradeWantNone fails if the upstream was offered another protocol.
func upgradeWantNone(t testing.TB, what string, r rawecho.Request) {
	t.Helper()
	if len(r.Values("Upgrade"))+len(r.Values("HTTP2-Settings"))+len(r.Values("Connection")) != 0 {
		t.Errorf("%s: the upstream was offered another protocol: %v", what, r.Header)
	}
}

// What follows an upgrade to HTTP/2 would run past every check of a request.
func TestP53UpgradeToHTTP2(t *testing.T) {
	t.Parallel()
	for _, tls := range []bool{false, true} {
		s := start(t, setup{site: headerSite, tls: tls})
		s.echo.Answer(upgradeAny)
		juan := s.signIn(t, juan)
		h2c := upgradeLines("h2c")
		wantRefused(t, s.raw(t, "GET /inside HTTP/1.1\nHost: HOST\n"+h2c+"\n"))
		wantRefused(t, s.raw(t, "POST /inside HTTP/1.1\nHost: HOST\nContent-Length: 0\n"+h2c+"\n"))
		s.wantNothingUpstream(t)
		for _, path := range []string{"/open/x", "/inside"} {
			wantServed(t, s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\nCookie: "+juan.cookie()+"\n"+h2c+"\n"))
			upgradeWantNone(t, path, s.echo.Last(t))
		}
		for _, path := range []string{"/accounts/login/", "/api/session/"} {
			if r := s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\nCookie: "+juan.cookie()+"\n"+h2c+"\n"); r.status != 200 {
				t.Errorf("%s: %d", path, r.status)
			}
		}

		// Frames that are sent as if the upgrade had been accepted.
		s.echo.Forget()
		conn := s.dial(t, "http/1.1")
		_, _ = io.WriteString(conn, s.wire("GET /open/x HTTP/1.1\nHost: HOST\n"+h2c+"\n")+http2.ClientPreface)
		framer := http2.NewFramer(conn, conn)
		_ = framer.WriteSettings()
		_ = framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: 1, EndHeaders: true, EndStream: true,
			BlockFragment: block([][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "127.0.0.1:" + s.port}, {":path", "/inside"}, {"remote-user", headerForged}}),
		})
		_, _ = io.ReadAll(conn)
		for _, r := range s.echo.Requests() {
			if r.Target() != "/open/x" {
				t.Errorf("%s reached the upstream by frames", r.Line)
			}
		}
	}
}

// Only a WebSocket may leave HTTP; every other offer goes no further, alone or
// beside one.
func TestB23OnlyWebSocketsUpgrade(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: headerSite})
	s.echo.Answer(upgradeAny)
	cookie := "Cookie: " + s.signIn(t, juan).cookie() + "\n"
	for _, path := range []string{"/open/x", "/inside"} {
		get := "GET " + path + " HTTP/1.1\nHost: HOST\n" + cookie
		for _, offer := range []string{
			upgradeLines("h2c"), upgradeLines("foo"), upgradeLines("websocket, h2c"), upgradeLines("h2c, websocket"), upgradeLines("websocket\nUpgrade: h2c"),
			upgradeLines("TLS/1.0"), upgradeLines("websocket/13"), upgradeLines(`"websocket"`), upgradeLines("websockets"), upgradeLines("websocket " + "x"),
			"Connection: upgrade\nUpgrade:\n", "Connection: close, Upgrade\nUpgrade: h2c\n", "Upgrade: websocket\n", "Upgrade: h2c\nConnection: keep-alive\nConnection: Upgrade\n",
			"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\n", "Connection: HTTP2-Settings\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\n",
		} {
			wantServed(t, s.raw(t, get+offer+"\n"))
			upgradeWantNone(t, offer, s.echo.Last(t))
		}
		// A method that posts under the cover of a handshake.
		token := ""
		if path == "/inside" {
			token = "X-CSRFToken: " + strings.TrimSpace(cookie[strings.Index(cookie, "csrftoken=")+len("csrftoken="):]) + "\n"
		}
		wantServed(t, s.raw(t, "POST "+path+" HTTP/1.1\nHost: HOST\nContent-Length: 0\n"+cookie+token+upgradeLines("websocket")+"\n"))
		upgradeWantNone(t, "POST", s.echo.Last(t))
		wantServed(t, s.raw(t, "GET "+path+" HTTP/1.0\nHost: HOST\n"+cookie+upgradeLines("h2c")+"\n"))
		upgradeWantNone(t, "HTTP/1.0", s.echo.Last(t))

		// And a WebSocket works: bytes go both ways, our settings' header stays.
		conn := s.dial(t, "http/1.1")
		_, _ = io.WriteString(conn, s.wire(get+upgradeLines("websocket")+"Origin: http://HOST\n\n"))
		in := bufio.NewReader(conn)
		response, err := http.ReadResponse(in, nil)
		if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%s: a WebSocket got %v, %v", path, response, err)
		}
		if got := response.Header["Set-Cookie"]; len(got) != 1 || got[0] != "app=1" {
			t.Errorf("%s: the handshake's answer sets %q", path, got)
		}
		r := s.echo.Last(t)
		if got := r.Values("Upgrade"); len(got) != 1 || got[0] != "websocket" || len(r.Values("HTTP2-Settings")) != 0 {
			t.Errorf("%s: the upstream got the handshake %v", path, r.Header)
		}
		_, _ = io.WriteString(conn, "ping")
		echoed := make([]byte, 4)
		if _, err := io.ReadFull(in, echoed); err != nil || string(echoed) != "ping" {
			t.Errorf("%s: through the WebSocket came %q, %v", path, echoed, err)
		}
		_ = conn.Close()
	}
}

// An extended CONNECT is refused as long as the server does not offer it.
func TestB24ExtendedConnectIsNotOffered(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: headerSite})
	cookie := s.signIn(t, juan).cookie()
	for _, path := range []string{"/open/x", "/inside"} {
		r, err := s.h2(t, upgradeConnect(path, "websocket", cookie, ""))
		if err == nil && r.status < 400 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	s.wantNothingUpstream(t)
}

// upgradeConnect is an extended CONNECT (RFC 8441).
func upgradeConnect(path, protocol, cookie, origin string) h2Request {
	request := h2Request{fields: [][2]string{{":method", "CONNECT"}, {":protocol", protocol}, {":path", path}, {"sec-websocket-version", "13"}}}
	if cookie != "" {
		request.fields = append(request.fields, [2]string{"cookie", cookie})
	}
	if origin != "" {
		request.fields = append(request.fields, [2]string{"origin", origin})
	}
	return request
}

// Where it is offered, it is an upgrade: to a WebSocket alone, with a session,
// and from a page of ours.
func TestB24ExtendedConnectIsAnUpgrade(t *testing.T) {
	t.Setenv("GODEBUG", "http2xconnect=1") // of the program, which inherits it
	s := start(t, setup{site: headerSite})
	cookie, own := s.signIn(t, juan).cookie(), "http://127.0.0.1:"+s.port
	for _, test := range []struct {
		path, protocol, cookie, origin string
		status                         int
	}{
		{"/inside", "websocket", "", own, 401},
		{"/inside", "websocket", cookie, "https://evil.test", 403},
		{"/inside", "websocket", cookie, "null", 403},
		{"/inside", "foo", cookie, own, 405},
		{"/inside", "h2c", cookie, own, 405},
		{"/open/x", "connect-udp", "", "", 405},
	} {
		r, err := s.h2(t, upgradeConnect(test.path, test.protocol, test.cookie, test.origin))
		if err != nil || r.status != test.status {
			t.Errorf("%s for %q, from %q, session %v: %d %s, %v, want %d", test.path, test.protocol, test.origin, test.cookie != "", r.status, r.body, err, test.status)
		}
	}
	s.wantNothingUpstream(t)

	s.echo.Answer(func(r rawecho.Request) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%s", "no")
	})
	_, _ = s.h2(t, upgradeConnect("/inside", "websocket", cookie, own))
	headerWant(t, "a WebSocket in HTTP/2", s.echo.Last(t), headerJuan())
}
