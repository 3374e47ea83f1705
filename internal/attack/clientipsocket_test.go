package attack

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clientipOverSocket sends a request to the site on the Unix socket.
func clientipOverSocket(t *testing.T, s *site, lines string) reply {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(s.dir, "site.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, s.wire("GET /x HTTP/1.1\nHost: site.test\nConnection: close\n"+lines+"\n")); err != nil {
		t.Fatal(err)
	}
	r, err := readReply(bufio.NewReader(conn), "GET")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A Unix socket has no address: no rule can be met on one, not even one that
// every address meets, unless Caddy is told that a proxy sits there, strictly.
func TestB38UnixSocketsMeetNoAddressRule(t *testing.T) {
	t.Parallel()
	const one, another = "X-Forwarded-For: 10.0.0.1\n", "X-Forwarded-For: 203.0.113.1\n"
	for name, row := range map[string]struct {
		server, ips string
		allowed     map[string]bool
	}{
		"no proxy": {
			"", "0.0.0.0/0 ::/0",
			map[string]bool{"": false, one: false, "X-Real-Ip: 10.0.0.1\n": false, "X-Forwarded-For: @\n": false},
		},
		"a proxy elsewhere": {
			"trusted_proxies static 10.0.0.0/8\ntrusted_proxies_strict", "0.0.0.0/0 ::/0",
			map[string]bool{"": false, one: false, another: false},
		},
		"a strict proxy": {
			"trusted_proxies_unix\ntrusted_proxies_strict", "10.0.0.0/8",
			map[string]bool{one: true, "X-Forwarded-For: 203.0.113.1, 10.0.0.1\n": true, "": false, another: false, "X-Forwarded-For: 10.0.0.1, 203.0.113.1\n": false, "X-Forwarded-For: @\n": false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, behindSocket(row.server, row.ips))
			for lines, allowed := range row.allowed {
				r := clientipOverSocket(t, s, lines)
				if allowed {
					wantRefused(t, r)
				} else if r.status != 403 || r.code() != "ip_not_allowed" {
					t.Errorf("with %q: %d %s, want 403", lines, r.status, r.body)
				}
			}
			s.wantNothingUpstream(t)
		})
	}
	t.Run("a proxy that is not strict", func(t *testing.T) {
		s, text := prepare(t, behindSocket("trusted_proxies_unix", "10.0.0.0/8"))
		if err := s.tell(t, text, "validate"); err == nil || !strings.Contains(err.Error(), "trusted_proxies_strict") {
			t.Errorf("got %v, want an error that names trusted_proxies_strict", err)
		}
	})
}

func behindSocket(server, ips string) setup {
	return setup{server: server, more: "http://site.test {\nbind unix/DIR/site.sock\nrequire_session {\ntrusted_ips " + ips + "\n}\nreverse_proxy UPSTREAM\n}"}
}
