package ldap

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// faulty makes the first n searches below the base go wrong.
func faulty(n int64, fault ldaptest.Fault) func(ldaptest.Request) ldaptest.Fault {
	var left atomic.Int64
	left.Store(n)
	return func(r ldaptest.Request) ldaptest.Fault {
		if r.Bind || r.Name == "" || left.Add(-1) < 0 {
			return ldaptest.Fault{}
		}
		return fault
	}
}

// A look-up involves no password of anybody: what breaks is done again, and
// nobody notices.
func TestLookUpsThatBreak(t *testing.T) {
	unbound := ldaptest.Fault{Code: goldap.LDAPResultOperationsError, Diagnostic: "000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this operation a successful bind must be completed on the connection., data 0, v4563"}
	for _, test := range []struct {
		what    string
		fault   ldaptest.Fault
		times   int64
		second  bool   // the second server has to help
		connect int    // connections of the look-up to the first server
		reason  Reason // "" for a sign-in
	}{
		{"cut once: the same server again", ldaptest.Fault{HangUp: true}, 1, false, 2, ""},
		{"cut twice: the next server", ldaptest.Fault{HangUp: true}, 2, true, 2, ""},
		{"silent: the next server", ldaptest.Fault{Silent: true}, 1, true, 1, ""},
		{"busy: the next server", ldaptest.Fault{Code: goldap.LDAPResultBusy}, 1, true, 1, ""},
		{"lost its identity once: the same server again", unbound, 1, false, 2, ""},
		{"lost its identity twice", unbound, 2, false, 2, ReasonConnUnbound},
		{"an answer is an answer", ldaptest.Fault{Code: goldap.LDAPResultNoSuchObject}, 1, false, 1, ReasonBaseDN},
	} {
		t.Run(test.what, func(t *testing.T) {
			first, second := serve(t, plainDirectory()), serve(t, plainDirectory())
			config := plainConfig(first)
			config.Servers = append(config.Servers, second.URL())
			d, _ := open(t, config)
			d.pool.probe = func(context.Context, server) error { return nil }
			w, elsewhere := tap(first, faulty(test.times, test.fault)), tap(second, nil)
			if test.reason == "" {
				mustSignIn(t, d, "ac12345", "secreto")
				if n := w.bindsBut(serviceDN) + elsewhere.bindsBut(serviceDN); n != 1 {
					t.Errorf("%d binds with the person's password", n)
				}
			} else if u := mustBeUnavailable(t, d, "ac12345", "secreto", test.reason); u.Sent {
				t.Error("the password was sent")
			}
			if used := second.Connections() > 0; used != test.second {
				t.Errorf("%d connections to the second server", second.Connections())
			}
			lookups := 0
			for _, requests := range w.byConnection() {
				for _, r := range requests {
					if r.Bind && r.Name == serviceDN {
						lookups++
						break
					}
				}
			}
			if lookups != test.connect {
				t.Errorf("%d connections of the look-up lane to the first server, want %d", lookups, test.connect)
			}
		})
	}
}

// A server that shows its own entry to nobody but the service account.
func TestAHiddenRootDSE(t *testing.T) {
	dir := plainDirectory()
	dir.HideRootDSE = true
	s := serve(t, dir)
	config := plainConfig(s)
	config.Kind = KindAuto
	d, _ := open(t, config)
	for range 3 { // on new and on kept connections
		mustSignIn(t, d, "ac12345", "secreto")
		rested(d)
	}
	if d.knownKind() != KindGeneric || s.Connections() != 2 {
		t.Errorf("the kind is %q, %d connections", d.knownKind(), s.Connections())
	}
}

// Whatever stands for once in the place of an AD server's own entry, the next
// sign-in asks anew: the connection that it came on is not kept.
func TestAHiddenRootDSEOfADIsNotBelieved(t *testing.T) {
	for _, kind := range []Kind{KindAD, KindAuto} {
		for _, service := range []bool{true, false} {
			for _, code := range []int{32, 48, 50, 53, 8, 0} {
				t.Run(fmt.Sprintf("%q, service account %v, code %d", kind, service, code), func(t *testing.T) {
					t.Parallel()
					s := serve(t, crossed())
					config := crossedConfig(s)
					config.Kind = kind
					if !service {
						config.BindUser, config.BindPassword = "", ""
					}
					d, _ := open(t, config)
					d.pool.probe = func(context.Context, server) error { return nil }
					mustSignIn(t, d, "pb_victim", "victims-password")
					s.HangUp()
					rested(d)
					var asked atomic.Int64
					s.Observe(func(r ldaptest.Request) ldaptest.Fault {
						if asked.Add(1) <= 2 {
							return ldaptest.Fault{Code: code, Nothing: code == 0}
						}
						return ldaptest.Fault{}
					})
					_, _ = d.SignIn(context.Background(), "pb_victim", "victims-password")
					eventually(t, "people can sign in again", func() bool {
						_, err := d.SignIn(context.Background(), "pb_victim", "victims-password")
						return err == nil
					})
				})
			}
		}
	}
}

func TestARejectedServiceAccountIsNamed(t *testing.T) {
	s := serve(t, plainDirectory())
	config := plainConfig(s)
	config.BindPassword = "old"
	d, _ := open(t, config)
	u := mustBeUnavailable(t, d, "ac12345", "secreto", ReasonServiceAccountRejected)
	if !strings.Contains(u.Error(), serviceDN) || !strings.Contains(u.Error(), "option bind") || strings.Contains(u.Error(), "old") {
		t.Errorf("error %q", u)
	}
}
