package ldap

import (
	"context"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// A panic over what a server said costs the connection that it came on, and not
// the place of it: or a few of them would end all sign-ins.
func TestPanicGivesTheConnectionBack(t *testing.T) {
	panics := func(t *testing.T, work func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Error("it did not panic")
			}
		}()
		work()
	}
	t.Run("looking up", func(t *testing.T) {
		config := crossedConfig(serve(t, crossed()))
		config.Connections = 2 // one of them for the service account
		d, _ := open(t, config)
		for range 3 {
			panics(t, func() {
				_, _ = d.lookup(context.Background(), nil, func(*connection, string) error { panic("a name without an end") })
			})
			mustSignIn(t, d, "pb_victim", "victims-password")
		}
	})
	t.Run("signing in", func(t *testing.T) {
		d, _ := open(t, Config{Kind: KindAD, Servers: []string{serve(t, ldaptest.Demo()).URL()}, Connections: 1})
		for range 3 {
			groups := d.groups
			d.groups = nil
			panics(t, func() { _, _ = d.SignIn(context.Background(), "ac12345", "secreto") })
			d.groups = groups
			mustSignIn(t, d, "ac12345", "secreto")
		}
	})
	t.Run("connecting", func(t *testing.T) {
		d, _ := open(t, Config{Kind: KindAD, Servers: []string{serve(t, ldaptest.Demo()).URL()}, Connections: 1})
		for range 3 {
			g, err := d.pool.take(context.Background(), signInLane, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			var none context.Context
			panics(t, func() { _, _ = d.prepare(none, &g, nil) })
		}
		mustSignIn(t, d, "ac12345", "secreto")
	})
}

// What panics while a server that is down is looked at says that it is down
// still, and it is looked at again.
func TestPanicOfAProbeIsAFailure(t *testing.T) {
	d, _ := open(t, Config{Kind: KindAD, Servers: []string{serve(t, ldaptest.Demo()).URL()}})
	var none context.Context
	if err := d.probe(none, d.pool.hosts[0].server); err == nil {
		t.Error("a probe that panicked found the server back")
	}
	if err := d.probe(context.Background(), d.pool.hosts[0].server); err != nil {
		t.Error(err)
	}
}
