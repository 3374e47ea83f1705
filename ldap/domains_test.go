package ldap

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

func TestTheDomainsOwnNamesAreRead(t *testing.T) {
	dir := ldaptest.Demo()
	dir.NetBIOS, dir.UPNSuffixes = "GRUPO", []string{"empresa.example", "Otra.Example"}
	for _, test := range []struct {
		what   string
		config func(s *ldaptest.Server) Config
	}{
		{"by whoever signs in", func(s *ldaptest.Server) Config { return adConfig(s) }},
		{"by the service account", func(s *ldaptest.Server) Config {
			c := adConfig(s)
			c.BindUser, c.BindPassword = "mgarcia@empresa.local", "secreto"
			return c
		}},
	} {
		t.Run(test.what, func(t *testing.T) {
			s := serve(t, dir)
			w := tap(s, nil)
			d, _ := open(t, test.config(s))
			d.limits.wait = 5 * time.Second // for eight at once
			if !d.Owns(`EMPRESA\x`) || d.Owns(`GRUPO\x`) {
				t.Error("before it was asked, the front of the label is its name")
			}
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() { mustSignIn(t, d, "ac12345", "secreto") })
			}
			all.Wait()
			mustSignIn(t, d, "ac12345", "secreto")
			if d.Owns(`EMPRESA\x`) || !d.Owns(`grupo\x`) || !d.Owns("x@empresa.local") {
				t.Error("afterwards, it is what the domain says")
			}
			if mustSignIn(t, d, `GRUPO\ac12345`, "secreto").Username != "ac12345" {
				t.Error("its prefix signs somebody else in")
			}
			if !d.names.knows("EMPRESA.example") || !d.names.knows("otra.example") || d.names.knows("third.example") || d.Owns("x@empresa.example") {
				t.Error("suffixes of the forest are known, and not this domain's own")
			}
			if n := len(d.names.suffixes); n != 2 {
				t.Errorf("%d suffixes are kept", n)
			}
			before := reads(w)
			for range 5 {
				mustSignIn(t, d, "ac12345", "secreto")
			}
			if n := reads(w) - before; n != 0 {
				t.Errorf("read %d times more", n)
			}
		})
	}
}

const partitions = "CN=Partitions,CN=Configuration,DC=empresa,DC=local"

func reads(w *wire) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, r := range w.requests {
		if r.Name == partitions {
			n++
		}
	}
	return n
}

// A forest whose names cannot be read, or take for ever, costs nobody the
// sign-in, and the time once.
func TestNamesThatCannotBeRead(t *testing.T) {
	for _, fault := range []ldaptest.Fault{{Code: 50}, {Silent: true}, {HangUp: true}} {
		for _, service := range []bool{false, true} {
			t.Run(fmt.Sprintf("%+v, service account %v", fault, service), func(t *testing.T) {
				s := serve(t, ldaptest.Demo())
				w := tap(s, func(r ldaptest.Request) ldaptest.Fault {
					if r.Name == partitions {
						return fault
					}
					return ldaptest.Fault{}
				})
				config := adConfig(s)
				if service {
					config.BindUser, config.BindPassword = "mgarcia@empresa.local", "secreto"
				}
				d, _ := open(t, config)
				for range 5 {
					mustSignIn(t, d, "ac12345", "secreto")
				}
				if n := reads(w); n != 1 {
					t.Errorf("%d tries", n)
				}
				if isDown(d, 0) {
					t.Error("the server is out of use")
				}
				d.names.mu.Lock()
				d.names.failed = time.Now().Add(-d.limits.refresh)
				d.names.mu.Unlock()
				s.Observe(nil)
				mustSignIn(t, d, "ac12345", "secreto")
				if !d.names.known() {
					t.Error("it is not tried again")
				}
			})
		}
	}
}

func TestASuffixOfTheForestIsNoReasonToCutItOff(t *testing.T) {
	dir := ldaptest.Demo()
	dir.UPNSuffixes = []string{"empresa.example"}
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "other", UPN: "ac12345@empresa.example", Password: "others"})
	s := serve(t, dir)
	d, _ := open(t, adConfig(s))
	mustSignIn(t, d, "ac12345", "secreto")
	if id := mustSignIn(t, d, "ac12345@empresa.example", "others"); id.Username != "other" {
		t.Errorf("signed in as %q", id.Username)
	}
	if _, err := d.SignIn(context.Background(), "ac12345@empresa.example", "secreto"); err == nil {
		t.Error("it is another one's name")
	}
	if d.AccountName("ac12345@empresa.example") == d.AccountName("ac12345") {
		t.Error("two people are counted as one")
	}
}
