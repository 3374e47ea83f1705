package attack

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// socket opens a WebSocket now and then. What it returns closes it, or checks
// that the end of the session does.
func (s *soak) socket(name string, c session) func(ended bool) {
	if rand.IntN(8) != 0 {
		return func(bool) {}
	}
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	if err != nil {
		s.t.Error(err)
		return func(bool) {}
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	text := s.wire("GET /of/" + name + "/socket HTTP/1.1\nHost: HOST\nCookie: " + c.cookie() +
		"\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n\n")
	answer := make([]byte, 4096)
	n := 0
	if _, err = conn.Write([]byte(text)); err == nil {
		n, err = conn.Read(answer)
	}
	if err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 101 ") {
		s.t.Errorf("%s opens a WebSocket: %q %v", name, answer[:n], err)
	}
	s.sockets.Add(1)
	return func(ended bool) {
		defer conn.Close()
		if !ended {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		for {
			_, err := conn.Read(answer)
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				s.t.Errorf("%s: the WebSocket outlived the session", name)
			}
			if err != nil {
				return
			}
		}
	}
}

// counts asks the admin API how many sessions and users there are.
func (s *soak) counts() (counts struct{ Sessions, Users int }) {
	s.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.dir, "admin.sock"))
	}}
	response, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Get("http://127.0.0.1/ldap_auth/counts")
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&counts); err != nil {
		s.t.Fatal(err)
	}
	return counts
}
