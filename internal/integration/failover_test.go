package integration

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap"
)

// slack is what a machine with other work may add to a time that is bounded.
const slack = 2 * time.Second

// Row 35: a first server that accepts and never answers costs one sign-in three
// seconds, the next ones nothing, and it is back by itself.
func TestStalledFirstServerCostsOneSignInOnce(t *testing.T) {
	dc, slapd := servers.Samba(t), servers.Slapd(t)
	for _, test := range []struct {
		what, name, password, second, behind string
		config                               ldap.Config
	}{
		{"AD", "juan", dc.Juan.Password, dc.URL, hostOf(dc.URL), adConfig(dc)},
		{"AD with a service account", "juan", dc.Juan.Password, dc.URL, hostOf(dc.URL), adServiceConfig(dc)},
		{"OpenLDAP", "lucia", slapd.Lucia.Password, slapd.URL, hostOf(slapd.URL), openldapConfig(slapd)},
	} {
		t.Run(test.what, func(t *testing.T) {
			t.Parallel()
			first := netfault.NewProxy(t, test.behind)
			first.Stall()
			config := test.config
			config.Servers = []string{"ldaps://" + first.Addr(), test.second}
			d := open(t, config)
			timed := func() time.Duration {
				start := time.Now()
				d.expectIdentity(t, test.name, test.password)
				return time.Since(start)
			}
			if took := timed(); took > 3500*time.Millisecond+slack {
				t.Errorf("the first sign-in took %v", took)
			}
			for range 5 {
				if took := timed(); took > time.Second {
					t.Errorf("a sign-in while the first server is known to be down took %v", took)
				}
			}
			first.Resume()
			// What it was asked while it was stalled is behind it; what comes now
			// comes from somebody who takes it for healthy.
			first.Cut()
			asked := first.Connections()
			for start := time.Now(); first.Connections() < asked+2; time.Sleep(100 * time.Millisecond) {
				timed()
				if time.Since(start) > backWithin {
					t.Fatal("the first server is not used again")
				}
			}
		})
	}
}

func hostOf(url string) string { return url[len("ldaps://"):] }

// Row 36: start_tls is accepted and then nothing comes.
func TestSilenceAfterStartTLSEndsWithinThreeSeconds(t *testing.T) {
	dc := servers.Samba(t)
	proxy := netfault.NewProxy(t, "127.0.0.1:389")
	proxy.StallAfter(1)
	before := runtime.NumGoroutine()
	config := adConfig(dc)
	config.Servers, config.StartTLS = []string{"ldap://" + proxy.Addr()}, true
	d := open(t, config)
	start := time.Now()
	d.expectUnavailable(t, "juan", dc.Juan.Password, ldap.ReasonDirectoryUnavailable)
	if took := time.Since(start); took > 3*time.Second+slack {
		t.Errorf("it took %v", took)
	}
	if err := d.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	waitFor(t, "the connection to be closed", func() bool { return proxy.Open() == 0 })
	waitFor(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}

// Row 37: servers close connections that nobody uses, and firewalls forget them
// without a word. The next sign-in sees nothing of it, and its password is sent
// once.
func TestIdleConnectionThatIsGoneIsNoticedBeforeThePassword(t *testing.T) {
	const idle = 3 * time.Second
	s := realserver.NewSlapd(t, realserver.SlapdOptions{IdleTimeout: idle})
	for _, test := range []struct {
		what string
		lose func(*netfault.Proxy)
	}{
		{"closed by the server", func(*netfault.Proxy) { time.Sleep(idle + 3*time.Second) }},
		{"cut on the way", func(p *netfault.Proxy) { p.Cut() }},
		{"forgotten on the way", func(p *netfault.Proxy) { p.StallOpen() }},
		{"forgotten on the way, and closed by the server", func(p *netfault.Proxy) {
			p.StallOpen()
			time.Sleep(idle + 3*time.Second)
		}},
	} {
		for _, password := range []string{s.Lucia.Password, "wrong"} {
			t.Run(test.what+", "+map[bool]string{true: "wrong", false: "right"}[password == "wrong"]+" password", func(t *testing.T) {
				t.Parallel()
				account := s.NewAccount(t, "inactiva")
				if password != "wrong" {
					password = account.Password
				}
				proxy := netfault.NewProxy(t, hostOf(s.URL))
				config := openldapConfig(s)
				config.Servers = []string{"ldaps://" + proxy.Addr()}
				d := open(t, config)
				d.expectIdentity(t, account.Username, account.Password)
				test.lose(proxy)
				time.Sleep(500 * time.Millisecond) // no longer taken for fresh

				before := s.Binds(t, account.DN)
				start := time.Now()
				if password == "wrong" {
					d.expectRefused(t, account.Username, password, ldap.ReasonBadCredentials)
				} else {
					d.expectIdentity(t, account.Username, password)
				}
				if took := time.Since(start); took > 5*time.Second+slack {
					t.Errorf("it took %v", took)
				}
				if n := s.Binds(t, account.DN) - before; n != 1 {
					t.Errorf("%d binds, want 1", n)
				}
			})
		}
	}
}

// Row 37 on AD, where each wrong password is one of the few that lock.
func TestADForgottenConnectionCostsNoPassword(t *testing.T) {
	dc := servers.Samba(t)
	dc.SetLockoutThreshold(t, 999) // else it does not count
	account := dc.NewAccount(t, "olvidada")
	proxy := netfault.NewProxy(t, hostOf(dc.URL))
	config := adConfig(dc)
	config.Servers = []string{"ldaps://" + proxy.Addr()}
	d := open(t, config)
	for _, lose := range []func(){proxy.StallOpen, proxy.Cut} {
		d.expectIdentity(t, account.Username, account.Password)
		lose()
		time.Sleep(500 * time.Millisecond)
		before := dc.BadPwdCount(t, account)
		d.expectRefused(t, account.Username, "wrong", ldap.ReasonBadCredentials)
		if n := dc.BadPwdCount(t, account) - before; n != 1 {
			t.Errorf("%d wrong passwords were counted, want 1", n)
		}
		d.expectIdentity(t, account.Username, account.Password)
	}
}

// Wherever a connection dies, nothing is asked twice with a password. (Row 4.)
func TestADConnectionThatDiesAnywhereIsOneBindAtMost(t *testing.T) {
	dc := servers.Samba(t)
	dc.SetLockoutThreshold(t, 999)
	account := dc.NewAccount(t, "cortada")
	judged, died, sent := 0, 0, 0
	attempt := func(what string, d *directory) {
		t.Helper()
		before := dc.BadPwdCount(t, account)
		_, err := d.signIn(t, account.Username, "una-clave-que-no-es")
		binds := dc.BadPwdCount(t, account) - before
		var refused *ldap.RefusedError
		var unavailable *ldap.UnavailableError
		switch {
		case errors.As(err, &refused) && refused.Reason == ldap.ReasonBadCredentials && binds == 1:
			judged++
		case errors.As(err, &unavailable) && binds <= 1:
			died++
			if unavailable.Sent {
				sent++
			}
			if binds == 1 && !unavailable.Sent {
				t.Errorf("%s: the password was sent, and the error does not say so: %v", what, err)
			}
		default:
			t.Errorf("%s: %v with %d binds", what, err, binds)
		}
	}
	for n := int64(0); n < 3000; n += 60 {
		proxy := netfault.NewProxy(t, hostOf(dc.URL))
		proxy.DropAfter(n)
		config := adConfig(dc)
		config.Servers = []string{"ldaps://" + proxy.Addr(), dc.URL}
		d := open(t, config)
		attempt(fmt.Sprintf("after %d bytes", n), d)
		d.Close()
	}
	// On a connection that was good a moment ago: the answer is what is lost.
	proxy := netfault.NewProxy(t, hostOf(dc.URL))
	config := adConfig(dc)
	config.Servers = []string{"ldaps://" + proxy.Addr(), dc.URL}
	d := open(t, config)
	for range 5 {
		d.expectIdentity(t, account.Username, account.Password)
		proxy.DropAfter(0)
		attempt("on a kept connection", d)
		proxy.Resume()
	}
	t.Logf("%d attempts were judged, %d died on the way, %d of them with the password sent", judged, died, sent)
	if judged == 0 {
		t.Error("no attempt reached the second server")
	}
}

// Row 40: while all servers are down nobody waits, and they come back without
// anybody's help.
func TestADAllServersDownFailsAtOnceAndComesBack(t *testing.T) {
	dc := servers.Samba(t)
	first, second := netfault.NewProxy(t, hostOf(dc.URL)), netfault.NewProxy(t, hostOf(dc.URL))
	first.Refuse()
	second.Refuse()
	config := adConfig(dc)
	config.Servers = []string{"ldaps://" + first.Addr(), "ldaps://" + second.Addr()}
	d := open(t, config)
	d.expectUnavailable(t, "juan", dc.Juan.Password, ldap.ReasonDirectoryUnavailable)
	start := time.Now()
	for range 50 {
		d.expectUnavailable(t, "juan", dc.Juan.Password, ldap.ReasonDirectoryUnavailable)
	}
	if took := time.Since(start); took > slack {
		t.Errorf("50 sign-ins took %v", took)
	}
	second.Resume()
	d.expectBack(t, "juan", dc.Juan.Password)
	first.Resume()
	d.expectBack(t, "juan", dc.Juan.Password)
}

// Row 40: a server that takes about two seconds for a sign-in, and more people
// than it can serve.
func TestADManySignInsOnASlowServer(t *testing.T) {
	dc := servers.Samba(t)
	const people, connections, queue = 100, 8, 64
	for _, test := range []struct {
		what   string
		config ldap.Config
		first  int // who need not wait
		most   int // connections
	}{
		{"without a service account", adConfig(dc), connections, connections},
		{"with one, whose two connections are asked first", adServiceConfig(dc), 2, connections + 2},
	} {
		t.Run(test.what, func(t *testing.T) {
			before := runtime.NumGoroutine()
			proxy := netfault.NewProxy(t, hostOf(dc.URL))
			proxy.Delay(500 * time.Millisecond)
			config := test.config
			config.Servers = []string{"ldaps://" + proxy.Addr()}
			d := open(t, config)
			var mu sync.Mutex
			signedIn, busy, atOnce := 0, 0, 0
			var all sync.WaitGroup
			for range people {
				all.Go(func() {
					start := time.Now()
					identity, err := d.SignIn(context.Background(), "juan", dc.Juan.Password)
					var unavailable *ldap.UnavailableError
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil && identity.Username == "juan":
						signedIn++
					case errors.As(err, &unavailable) && unavailable.Reason == ldap.ReasonBusy:
						busy++
						if time.Since(start) < 1500*time.Millisecond { // others wait for two seconds
							atOnce++
						}
					default:
						t.Errorf("signing in: %v", err)
					}
				})
			}
			most := watchOpen(proxy, all.Wait)
			t.Logf("%d signed in, %d were told to come again, %d of them at once, over %d connections at most", signedIn, busy, atOnce, most)
			if most > test.most {
				t.Errorf("%d connections at once, want %d at most", most, test.most)
			}
			// As many as find no place in the queue, as far as they came in time.
			if want := people - test.first - queue; signedIn == 0 || atOnce > want || atOnce < want/2 {
				t.Errorf("%d signed in and %d were told to come again at once, want some and %d", signedIn, atOnce, want)
			}
			proxy.Delay(0)
			d.expectIdentity(t, "juan", dc.Juan.Password)
			if err := d.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
			waitFor(t, "the connections to be closed", func() bool { return proxy.Open() == 0 })
			waitFor(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= before+1 }) // the proxy's
		})
	}
}

// watchOpen returns how many connections were open at most while work ran.
func watchOpen(proxy *netfault.Proxy, work func()) int {
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	most := 0
	for {
		most = max(most, proxy.Open())
		select {
		case <-done:
			return most
		case <-time.After(2 * time.Millisecond):
		}
	}
}
