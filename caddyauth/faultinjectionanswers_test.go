package caddyauth

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// garbler stands between Caddy and a directory, and sends something else in the
// place of one answer.
type garbler struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool
	chunks  int // that have passed since the last arm
	at      int // which to replace; 0: none
	garbage string
}

func startGarbler(t *testing.T, target string) *garbler {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &garbler{listener: listener, target: target, conns: map[net.Conn]bool{}}
	g.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			g.mu.Lock()
			g.conns[client], g.conns[server] = true, true
			g.mu.Unlock()
			g.running.Go(func() { _, _ = io.Copy(server, client); server.Close() })
			g.running.Go(func() { g.answers(client, server); client.Close() })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		g.mu.Lock()
		for conn := range g.conns {
			conn.Close()
		}
		g.mu.Unlock()
		g.running.Wait()
	})
	return g
}

func (g *garbler) answers(client, server net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		text := buffer[:n]
		g.mu.Lock()
		if g.chunks++; g.chunks == g.at {
			text = []byte(g.garbage)
			if strings.HasPrefix(g.garbage, "cut") {
				text = buffer[:n/2]
			}
		}
		g.mu.Unlock()
		if _, err := client.Write(text); err != nil {
			return
		}
	}
}

// arm has the answer at that place replaced, counted from now on.
func (g *garbler) arm(at int, garbage string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.chunks, g.at, g.garbage = 0, at, garbage
}

func (g *garbler) passed() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.chunks
}

// nonsense is what a directory, or whoever took its place, may answer.
var nonsense = []string{
	"\x00\x00\x00\x00", "HTTP/1.1 400 Bad Request\r\n\r\n",
	"\x30\x84\xff\xff\xff\xff",                             // a message of 4 GiB
	"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00",     // a bind's answer without its last part
	"\x30\x03\x02\x01\x02", "\x30\x05\x02\x01\x02\x65\x00", // without an operation; an empty result
	strings.Repeat("\x30\x80", 200), "cut",
}

// TestEachAnswerOfTheDirectoryFailsInTurn: of a sign-in with a service account,
// group resolution included: a result code, a connection that ends, silence,
// nonsense. Nobody gets a session that the directory did not prove, the process
// lives, and the next sign-in works once the directory does.
func TestEachAnswerOfTheDirectoryFailsInTurn(t *testing.T) {
	s := newServer(t, setup{directory: rechecked(), auth: unthrottled, site: faultSite})
	between := startGarbler(t, s.directory.Addr())
	s.setup.servers = "servers ldap://" + between.listener.Addr().String() + "\n" + bindService + "\ntimeout 1s\nrecheck 24h"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	keeper := s.signIn("ac12345")
	s.signIn("ac12345")

	requests := new(atomic.Int64)
	fault := new(atomic.Pointer[func(n int64) ldaptest.Fault])
	s.directory.Observe(func(ldaptest.Request) ldaptest.Fault {
		n := requests.Add(1)
		if f := fault.Load(); f != nil {
			return (*f)(n)
		}
		return ldaptest.Fault{}
	})
	s.directory.HangUp() // so that everything is asked anew
	between.arm(0, "")
	requests.Store(0)
	s.signIn("mgarcia")
	asked, chunks := int(requests.Load()), between.passed()
	if asked < 4 || chunks < 4 {
		t.Fatalf("a sign-in of %d requests and %d answers", asked, chunks)
	}
	try := func(t *testing.T, mayPass bool) {
		t.Helper()
		before := s.upstream.count()
		for _, password := range []string{"wrong", ldaptest.DemoPassword} {
			s.directory.HangUp()
			requests.Store(0)
			got, err := s.try("POST", "/api/login-ldap/", jsonBody(credentialsJSON("mgarcia", password)))
			switch {
			case err != nil:
				t.Errorf("it was not answered: %v", err)
			case got.StatusCode == 200 && (password == "wrong" || !mayPass):
				t.Errorf("signed in with %q", password)
			case got.StatusCode == 200:
				want(t, s.do("GET", "/admin/x", header("Cookie", "sessionid="+got.cookie("sessionid"))), 200, "upstream")
				before++
			case got.cookie("sessionid") != "", got.StatusCode != 401 && got.StatusCode != 503:
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		}
		want(t, s.do("GET", "/x", keeper.cookies), 200, "upstream")
		if n := s.upstream.count() - before; n != 1 {
			t.Errorf("%d requests reached the upstream", n)
		}
	}
	healed := func(t *testing.T) {
		t.Helper()
		eventually(t, "signing in works again", func() bool {
			return s.do("POST", "/api/login-ldap/", jsonBody(credentialsJSON("mgarcia", ldaptest.DemoPassword))).StatusCode == 200
		})
	}
	turn := 0
	skipped := func() bool { turn++; return turn%oneIn() != 0 }
	for n := 1; n <= asked; n++ {
		for _, one := range []struct {
			name  string
			fault ldaptest.Fault
		}{
			{"busy", ldaptest.Fault{Code: 51}},
			{"unavailable", ldaptest.Fault{Code: 52}},
			{"an operations error", ldaptest.Fault{Code: 1}},
			{"no such object", ldaptest.Fault{Code: 32}},
			{"wrong credentials", ldaptest.Fault{Code: 49, Diagnostic: "80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data 52e, v4563"}},
			{"a referral", ldaptest.Fault{Code: 10}},
			{"a code that there is not", ldaptest.Fault{Code: 4711}},
			{"nothing", ldaptest.Fault{Nothing: true}},
			{"hangs up", ldaptest.Fault{HangUp: true}},
			{"is silent", ldaptest.Fault{Silent: true}},
		} {
			if skipped() {
				continue
			}
			t.Run(fmt.Sprintf("request %d: %s", n, one.name), func(t *testing.T) {
				fault.Store(new(func(m int64) ldaptest.Fault {
					if int(m) == n {
						return one.fault
					}
					return ldaptest.Fault{}
				}))
				try(t, true)
				fault.Store(nil)
				healed(t)
			})
		}
	}
	for n := 1; n <= chunks; n++ {
		for i, garbage := range nonsense {
			if skipped() {
				continue
			}
			t.Run(fmt.Sprintf("answer %d: nonsense %d", n, i), func(t *testing.T) {
				between.arm(n, garbage)
				try(t, true)
				between.arm(0, "")
				healed(t)
			})
		}
	}
	fault.Store(new(func(int64) ldaptest.Fault { return ldaptest.Fault{HangUp: true} }))
	try(t, false)
	fault.Store(nil)
	healed(t)
}
