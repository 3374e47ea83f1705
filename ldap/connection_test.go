package ldap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// listen hands each connection to serve, and waits for all of them at the end.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer c.Close()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				serve(c)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

var stages = []struct {
	what  string
	stage ldaptest.Stage
}{
	{"at connect", ldaptest.StallConnect},
	{"at the bind", ldaptest.StallBind},
	{"at the search after the bind", ldaptest.StallSearch},
}

// Once the password was sent, a server that falls silent costs a bounded time,
// and no other one gets the password as well.
func TestServerThatFallsSilentAfterThePassword(t *testing.T) {
	for _, test := range stages[1:] {
		t.Run(test.what, func(t *testing.T) {
			dead, alive := serve(t, ldaptest.Demo()), serve(t, ldaptest.Demo())
			d, _ := open(t, adConfig(dead, alive))
			mustSignIn(t, d, "ac12345", "secreto") // from now on there is a connection
			dead.Stall(test.stage)
			start := time.Now()
			mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
			if took := time.Since(start); took > d.limits.total {
				t.Errorf("it took %v", took)
			}
			if dead.Binds() != 2 || alive.Binds() != 0 {
				t.Errorf("binds: %d on the dead server, %d on the other, want 2 and 0", dead.Binds(), alive.Binds())
			}
			dead.Stall(ldaptest.StallNever)
			mustSignIn(t, d, "ac12345", "secreto")
		})
	}
}

func TestNextServerBeforeThePasswordWasSent(t *testing.T) {
	ca := newCA(t)
	for _, test := range []struct {
		what   string
		server func(t *testing.T) string
	}{
		{"nobody listens", func(t *testing.T) string { return "ldap://" + closedPort(t) }},
		{"stalls at the rootDSE", func(t *testing.T) string {
			s := serve(t, ldaptest.Demo())
			s.Stall(ldaptest.StallSearch)
			return s.URL()
		}},
		{"stalls in the TLS handshake", func(t *testing.T) string {
			s := serve(t, ldaptest.Demo(), ldaptest.WithTLS(ca.server(t, certificate{})))
			s.Stall(ldaptest.StallConnect)
			return s.URL()
		}},
		{"hangs up", func(t *testing.T) string { return "ldap://" + listen(t, func(c net.Conn) {}) }},
		{"talks rubbish", func(t *testing.T) string {
			return "ldap://" + listen(t, func(c net.Conn) { c.Write([]byte("SSH-2.0-x\r\n")); c.Read(make([]byte, 1)) })
		}},
	} {
		t.Run(test.what, func(t *testing.T) {
			alive := serve(t, ldaptest.Demo())
			d, _ := open(t, Config{Servers: []string{test.server(t), alive.URL()}, RootCAs: ca.pool})
			mustSignIn(t, d, "ac12345", "secreto")
			if alive.Binds() != 1 {
				t.Errorf("%d binds for one attempt", alive.Binds())
			}
		})
	}
}

func TestRefusalIsFinal(t *testing.T) {
	first, second := serve(t, ldaptest.Demo()), serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(first, second))
	for i, name := range []string{"ac12345", "nobody", "bloqueada", "expirada"} {
		if _, err := d.SignIn(context.Background(), name, "wrong"); err == nil {
			t.Errorf("%q signed in", name)
		}
		if first.Binds() != i+1 || second.Binds() != 0 {
			t.Errorf("after %q: %d and %d binds, want %d and 0", name, first.Binds(), second.Binds(), i+1)
		}
	}
}

func TestServerThatHangsUpAfterTheBind(t *testing.T) {
	binds := make(chan struct{}, 10)
	url := "ldap://" + listen(t, func(c net.Conn) {
		ber.ReadPacket(c) // of the rootDSE
		c.Write(searchDone(1))
		if _, err := ber.ReadPacket(c); err == nil { // a probe sends none
			binds <- struct{}{}
		}
	})
	second := serve(t, ldaptest.Demo())
	d, _ := open(t, Config{Kind: KindAD, Servers: []string{url, second.URL()}})
	mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
	if len(binds) != 1 || second.Connections() != 0 {
		t.Errorf("%d binds, %d connections to the second server, want 1 and 0", len(binds), second.Connections())
	}
}

func TestCancelReturnsAtOnce(t *testing.T) {
	for _, test := range stages {
		t.Run(test.what, func(t *testing.T) {
			s := serve(t, ldaptest.Demo())
			d, _ := open(t, adConfig(s))
			d.limits = defaultLimits(defaultTimeout)
			s.Stall(test.stage)
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(50*time.Millisecond, cancel)
			start := time.Now()
			_, err := d.SignIn(ctx, "ac12345", "secreto")
			var u *UnavailableError
			if !errors.As(err, &u) || u.Reason != ReasonCancelled {
				t.Errorf("SignIn: %v, want %s", err, ReasonCancelled)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestBudgetEndsASlowServer(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, Config{Servers: []string{s.URL(), s.URL(), s.URL()}, Kind: KindGeneric, BindUser: "cn=x", BindPassword: "y", Label: "x"})
	d.limits.total = 300 * time.Millisecond
	s.Stall(ldaptest.StallBind)
	start := time.Now()
	mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// A configuration is replaced while requests of its own are still under way.
func TestSignInsOutliveClose(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(s))
	d.limits = defaultLimits(defaultTimeout)
	s.Delay(200 * time.Millisecond)
	done := make(chan error, 1)
	go func() {
		_, err := d.SignIn(context.Background(), "ac12345", "secreto")
		done <- err
	}()
	eventually(t, "the bind arrives", func() bool { return s.Binds() == 1 })
	start := time.Now()
	d.Close()
	if waited := time.Since(start); waited > 100*time.Millisecond {
		t.Errorf("Close waited %v for a sign-in", waited)
	}
	if err := <-done; err != nil {
		t.Errorf("the sign-in under way ended with %v", err)
	}
	if _, err := d.SignIn(context.Background(), "ac12345", "secreto"); err != nil {
		t.Errorf("a late sign-in ended with %v", err)
	}
	d.Close()
}

// However many sign in at once on a server that hangs: so many have a
// connection, so many wait, and the rest is told at once.
func TestSignInsAtOnceAreBounded(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	config := adConfig(s)
	config.Connections, config.Queue = 3, 5
	d, _ := open(t, config)
	d.limits.total, d.limits.wait, d.limits.operation = time.Minute, time.Minute, time.Minute
	s.Stall(ldaptest.StallBind)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range config.Connections + config.Queue {
		wg.Go(func() { d.SignIn(ctx, "ac12345", "secreto") })
	}
	waiting := func() int {
		d.pool.mu.Lock()
		defer d.pool.mu.Unlock()
		return len(d.pool.waiting)
	}
	eventually(t, "the queue is full", func() bool { return waiting() == config.Queue })
	u := mustBeUnavailable(t, d, "ac12345", "secreto", ReasonBusy)
	if !errors.Is(u, errBusy) {
		t.Errorf("got %v, want %v", u, errBusy)
	}
	if s.Connections() > config.Connections {
		t.Errorf("%d connections", s.Connections())
	}
	cancel()
	wg.Wait()
	if waiting() != 0 {
		t.Errorf("%d still wait", waiting())
	}
}

func TestManySignInsAtOnceNeverMix(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, Config{Servers: []string{s.URL()}, Groups: []string{"Ingenieria"}})
	d.limits = defaultLimits(defaultTimeout)
	var wg sync.WaitGroup
	for i := range 60 {
		name := []string{"ac12345", "mgarcia"}[i%2]
		wg.Go(func() {
			id, err := d.SignIn(context.Background(), name, "secreto")
			if err != nil || id.Username != name || groupNamed(id, "Ingenieria") != (name == "ac12345") {
				t.Errorf("%s: %+v, %v", name, id, err)
			}
		})
	}
	wg.Wait()
}

func TestPlainTextThatTheServerRefuses(t *testing.T) {
	dir := ldaptest.Demo()
	dir.RequireTLS = true
	s := serve(t, dir)
	d, _ := open(t, adConfig(s))
	mustBeUnavailable(t, d, "ac12345", "secreto", ReasonTLSRequired)
}

func TestErrorsNameTheServer(t *testing.T) {
	url := "ldap://" + closedPort(t)
	d, _ := open(t, Config{Kind: KindAD, Servers: []string{url}})
	u := mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
	if u.Server != url || !strings.Contains(fmt.Sprint(u), url) {
		t.Errorf("error %q, server %q, want %q", u, u.Server, url)
	}
}
