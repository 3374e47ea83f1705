package redisstore

import (
	"net"
	"testing"
)

// Something that speaks another protocol is an error, and nothing worse.
func TestAServerThatIsNoRedis(t *testing.T) {
	for name, answer := range map[string]string{
		"HTTP":             "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
		"a TLS alert":      "\x15\x03\x03\x00\x02\x02\x46",
		"SSH":              "SSH-2.0-OpenSSH_9.2p1\r\n",
		"one answer":       "+OK\r\n",
		"nothing":          "",
		"a huge length":    "$999999999999\r\n",
		"a huge array":     "*999999999\r\n",
		"a negative size":  "*-7\r\n$-9\r\n",
		"too many answers": "%0\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					if _, err := conn.Write([]byte(answer)); err != nil {
						t.Log(err)
					}
					var b [4096]byte
					for err == nil {
						_, err = conn.Read(b[:])
					}
					conn.Close()
				}
			}()
			t.Log(unavailable(t, open(t, Options{Addresses: []string{l.Addr().String()}})))
		})
	}
}
