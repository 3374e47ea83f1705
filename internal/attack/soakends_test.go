package attack

import (
	"math/rand/v2"
	"net"
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
