package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// rested makes the idle connections look as if nothing had come for a second.
func rested(d *Directory) {
	d.pool.mu.Lock()
	defer d.pool.mu.Unlock()
	for _, h := range d.pool.hosts {
		for kind := range h.lanes {
			for _, c := range h.lanes[kind].idle {
				c.idleSince = c.idleSince.Add(-time.Second)
			}
		}
	}
}

func TestTheNextSignInUsesTheSameConnection(t *testing.T) {
	t.Run("Active Directory", func(t *testing.T) {
		s := serve(t, ldaptest.Demo())
		d, _ := open(t, adConfig(s))
		for i := range 10 {
			mustSignIn(t, d, []string{"ac12345", "mgarcia"}[i%2], "secreto")
		}
		if s.Connections() != 1 || s.Binds() != 10 {
			t.Errorf("%d connections, %d binds for 10 sign-ins", s.Connections(), s.Binds())
		}
	})
	t.Run("generic: one for each lane", func(t *testing.T) {
		s := serve(t, plainDirectory())
		d, _ := open(t, plainConfig(s))
		for i := range 10 {
			mustSignIn(t, d, []string{"ac12345", "mgarcia"}[i%2], "secreto")
		}
		if s.Connections() != 2 || s.Binds() != 11 {
			t.Errorf("%d connections, %d binds for 10 sign-ins", s.Connections(), s.Binds())
		}
	})
}

// Samba keeps the identity that a connection had before a bind that failed, and
// slapd may have taken on the new one although it said no.
func TestAConnectionWhoseBindFailedIsNotUsedAgain(t *testing.T) {
	t.Run("Active Directory", func(t *testing.T) {
		s := serve(t, ldaptest.Demo())
		d, _ := open(t, adConfig(s))
		mustSignIn(t, d, "mgarcia", "secreto")
		mustRefuse(t, d, "ac12345", "wrong", ReasonBadCredentials)
		if id := mustSignIn(t, d, "ac12345", "secreto"); id.Username != "ac12345" {
			t.Errorf("signed in as %q", id.Username)
		}
		if s.Connections() != 2 {
			t.Errorf("%d connections, want a new one after the refusal", s.Connections())
		}
		eventually(t, "the old one is closed", func() bool { return s.Open() == 1 })
	})
	t.Run("expired, and signed in all the same", func(t *testing.T) {
		dir := plainDirectory()
		dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "late", Password: "secreto", State: ldaptest.Expired})
		s := serve(t, dir)
		d, _ := open(t, plainConfig(s))
		mustRefuse(t, d, "late", "secreto", ReasonPasswordExpired)
		mustRefuse(t, d, "late", "wrong", ReasonBadCredentials)
		mustSignIn(t, d, "ac12345", "secreto")
		if s.Connections() != 4 {
			t.Errorf("%d connections, want one for look-ups and one for each bind", s.Connections())
		}
	})
}

// A password that must be changed: the bind says yes, only the control says no.
func TestPolicyControlsDecideGenericSignIns(t *testing.T) {
	dir := plainDirectory()
	for name, state := range map[string]ldaptest.State{"reset": ldaptest.MustChange, "late": ldaptest.Expired, "locked": ldaptest.Locked} {
		dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: name, Password: "secreto", State: state})
	}
	s := serve(t, dir)
	d, _ := open(t, plainConfig(s))
	for _, test := range []struct {
		name, password string
		reason         Reason
	}{
		{"reset", "secreto", ReasonPasswordMustChange},
		{"reset", "wrong", ReasonBadCredentials},
		{"late", "secreto", ReasonPasswordExpired},
		{"late", "wrong", ReasonBadCredentials},
		{"locked", "secreto", ReasonAccountLocked},
		{"locked", "wrong", ReasonAccountLocked},
	} {
		mustRefuse(t, d, test.name, test.password, test.reason)
	}
}

func TestAConnectionThatBrokeIsNotUsedAgain(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(s))
	s.Observe(func(r ldaptest.Request) ldaptest.Fault {
		return ldaptest.Fault{HangUp: r.Bind && r.Connection == 1}
	})
	u := mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
	if !u.Sent || s.Binds() != 1 {
		t.Errorf("%+v, %d binds: the password had left", u, s.Binds())
	}
	mustSignIn(t, d, "ac12345", "secreto")
	if s.Binds() != 2 {
		t.Errorf("%d binds", s.Binds())
	}
}

// Whoever waits when a connection breaks gets a new one, not this one.
func TestAWaiterDoesNotGetTheConnectionThatBroke(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	config := adConfig(s)
	config.Connections = 1
	d, _ := open(t, config)
	d.limits.wait = time.Minute
	s.Observe(func(r ldaptest.Request) ldaptest.Fault {
		return ldaptest.Fault{Silent: r.Connection == 1 && r.Name == "DC=empresa,DC=local"}
	})
	var all sync.WaitGroup
	all.Go(func() { mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable) })
	eventually(t, "the first one has bound", func() bool { return s.Binds() == 1 })
	all.Go(func() { mustSignIn(t, d, "ac12345", "secreto") })
	all.Wait()
}

func TestOldConnectionsAreReplaced(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(s))
	d.limits.age = time.Hour
	mustSignIn(t, d, "ac12345", "secreto")
	d.pool.mu.Lock()
	d.pool.hosts[0].lanes[signInLane].idle[0].opened = time.Now().Add(-time.Hour)
	d.pool.mu.Unlock()
	mustSignIn(t, d, "ac12345", "secreto")
	if s.Connections() != 2 || s.Binds() != 2 {
		t.Errorf("%d connections, %d binds", s.Connections(), s.Binds())
	}
	eventually(t, "the old one is closed", func() bool { return s.Open() == 1 })
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(s))
	d.limits.idle = 20 * time.Millisecond
	mustSignIn(t, d, "ac12345", "secreto")
	eventually(t, "it is closed", func() bool { return s.Open() == 0 })
	mustSignIn(t, d, "ac12345", "secreto")
}

// The first sign-in of the day comes on a connection that is long dead: the
// person must not notice, and the password must not go there.
func TestConnectionsThatEndWhileIdle(t *testing.T) {
	t.Run("the server closed them", func(t *testing.T) {
		s := serve(t, ldaptest.Demo())
		d, _ := open(t, adConfig(s))
		mustSignIn(t, d, "ac12345", "secreto")
		s.HangUp()
		eventually(t, "they are closed", func() bool { return s.Open() == 0 })
		rested(d)
		mustSignIn(t, d, "ac12345", "secreto")
		if s.Binds() != 2 || isDown(d, 0) {
			t.Errorf("%d binds for 2 sign-ins", s.Binds())
		}
	})
	t.Run("a firewall forgot them", func(t *testing.T) {
		s := serve(t, ldaptest.Demo())
		d, _ := open(t, adConfig(s))
		var all sync.WaitGroup
		s.Delay(20 * time.Millisecond)
		for range 4 {
			all.Go(func() { mustSignIn(t, d, "ac12345", "secreto") })
		}
		all.Wait()
		s.Delay(0)
		before := s.Connections()
		w := tap(s, func(r ldaptest.Request) ldaptest.Fault { return ldaptest.Fault{Silent: r.Connection <= before} })
		rested(d)
		start := time.Now()
		mustSignIn(t, d, "ac12345", "secreto")
		mustSignIn(t, d, "ac12345", "secreto")
		if took := time.Since(start); took > d.limits.total {
			t.Errorf("it took %v", took)
		}
		if n := len(w.binds()); n != 2 {
			t.Errorf("%d binds for 2 sign-ins", n)
		}
		silent := 0
		for number, requests := range w.byConnection() {
			if number > before {
				continue
			}
			silent += len(requests)
			for _, r := range requests {
				if r.Bind {
					t.Error("a password went to a dead connection")
				}
			}
		}
		if silent != 1 {
			t.Errorf("%d questions to dead connections", silent)
		}
		eventually(t, "the others, which met the same end, are closed", func() bool { return before > 1 && s.Open() == 1 })
		if s.Connections() != before+1 || isDown(d, 0) {
			t.Errorf("%d new connections", s.Connections()-before)
		}
	})
	t.Run("and the server with them", func(t *testing.T) {
		first, second := serve(t, ldaptest.Demo()), serve(t, ldaptest.Demo())
		d, _ := open(t, adConfig(first, second))
		mustSignIn(t, d, "ac12345", "secreto")
		rested(d)
		first.Stall(ldaptest.StallSearch)
		mustSignIn(t, d, "ac12345", "secreto")
		if first.Binds() != 1 || second.Binds() != 1 {
			t.Errorf("%d and %d binds", first.Binds(), second.Binds())
		}
		if !isDown(d, 0) {
			t.Error("the silent server is still in use")
		}
	})
}

// Whoever waits for a connection while the server turns out to be dead must not
// get the right to find that out once more.
func TestWaitersAreNotSentToAServerThatJustFailed(t *testing.T) {
	dead, alive := netfault.NewStalled(t), serve(t, ldaptest.Demo())
	d, _ := open(t, Config{Kind: KindAD, Servers: []string{"ldap://" + dead.Addr(), alive.URL()}, Connections: 1})
	d.limits.wait = time.Minute
	d.pool.probe = func(context.Context, server) error { return errDown }
	held, err := d.lease(context.Background(), signInLane, d.pool.hosts[1], new([]*host))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { mustSignIn(t, d, "ac12345", "secreto") })
	}
	eventually(t, "the dead server is found out", func() bool { return isDown(d, 0) })
	held.end(nil)
	all.Wait()
	if dead.Connections() != 1 {
		t.Errorf("%d connections to the dead server, want the one that found out", dead.Connections())
	}
}

// However many come while a server is slow, it gets eight connections, and all
// of it ends.
func TestASlowServerGetsEightConnections(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(s))
	d.limits = defaultLimits(defaultTimeout)
	d.limits.wait = 300 * time.Millisecond
	s.Delay(100 * time.Millisecond)
	var all sync.WaitGroup
	var in, busy atomic.Int64
	for range 200 {
		all.Go(func() {
			_, err := d.SignIn(context.Background(), "ac12345", "secreto")
			var u *UnavailableError
			switch {
			case err == nil:
				in.Add(1)
			case errors.As(err, &u) && u.Reason == ReasonBusy && !u.Sent:
				busy.Add(1)
			default:
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	if s.MostOpen() > 8 || in.Load() == 0 || busy.Load() < 200-8-64 {
		t.Errorf("%d connections at once, %d signed in, %d were told to come back", s.MostOpen(), in.Load(), busy.Load())
	}
	if s.Binds() != int(in.Load()) {
		t.Errorf("%d binds for %d sign-ins", s.Binds(), in.Load())
	}
}

// Two lanes: no password of a person on a connection of the service account,
// and no service account where people bind.
func TestLanesNeverMixOnTheWire(t *testing.T) {
	for _, test := range []struct {
		what    string
		dir     ldaptest.Directory
		config  func(s *ldaptest.Server) Config
		service string
	}{
		{"generic", plainDirectory(), plainConfig, serviceDN},
		{"Active Directory", ldaptest.Demo(), serviceConfig, "mgarcia@empresa.local"},
	} {
		t.Run(test.what, func(t *testing.T) {
			s := serve(t, test.dir)
			w := tap(s, nil)
			d, _ := open(t, test.config(s))
			d.limits = defaultLimits(defaultTimeout)
			d.limits.wait = time.Minute
			var all sync.WaitGroup
			for i := range 40 {
				all.Go(func() {
					d.SignIn(context.Background(), []string{"ac12345", "nobody", "expirada"}[i%3], []string{"secreto", "wrong"}[i%2])
					if i%10 == 0 {
						d.Recheck(context.Background(), []string{"6e3de8c6-caf5-4fda-b111-44938a9b6b7e"})
					}
				})
			}
			all.Wait()
			for number, requests := range w.byConnection() {
				service, people := 0, 0
				for _, r := range requests {
					switch {
					case r.Bind && r.Name == test.service:
						service++
					case r.Bind:
						people++
					}
				}
				if service > 0 && people > 0 || service > 1 {
					t.Errorf("connection %d: %d binds of the service account, %d of people", number, service, people)
				}
			}
		})
	}
}

// An LDAP client must end with its caller, also while it only waits.
func TestWhoWaitsIsLetGoAtOnce(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	config := adConfig(s)
	config.Connections = 1
	d, _ := open(t, config)
	d.limits = defaultLimits(defaultTimeout)
	held, err := d.lease(context.Background(), signInLane, nil, new([]*host))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	_, err = d.SignIn(ctx, "ac12345", "secreto")
	var u *UnavailableError
	if !errors.As(err, &u) || u.Reason != ReasonCancelled || u.Sent {
		t.Errorf("SignIn: %v", err)
	}
	if took := time.Since(start); took > d.limits.wait {
		t.Errorf("it took %v", took)
	}
	held.end(nil)
	mustSignIn(t, d, "ac12345", "secreto")
	if s.Binds() != 1 {
		t.Errorf("%d binds", s.Binds())
	}
}

// A peer that takes no more data holds nobody up: TLS would wait 5 s for its
// last words to leave.
func TestClosingAConnectionWhosePeerIsFull(t *testing.T) {
	ca := newCA(t)
	near, far := net.Pipe()
	defer far.Close()
	go tls.Server(far, ca.server(t, certificate{})).Handshake() // and reads no more
	secured := tls.Client(near, &tls.Config{InsecureSkipVerify: true})
	if err := secured.Handshake(); err != nil {
		t.Fatal(err)
	}
	c := &connection{raw: near, ldap: goldap.NewConn(secured, true)}
	c.ldap.Start()
	start := time.Now()
	c.close()
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
}
