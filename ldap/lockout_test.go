package ldap

import (
	"context"
	"errors"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

func TestLockout(t *testing.T) {
	finer := "CN=Password Settings Container,CN=System,DC=empresa,DC=local"
	tests := []struct {
		what      string
		kind      int // of kinds
		domain    int
		policies  []ldaptest.Policy
		threshold int
		policy    string
	}{
		{"the domain's", 0, 5, nil, 5, "DC=empresa,DC=local"},
		{"none", 0, 0, nil, 0, ""},
		{"a finer one", 0, 5, []ldaptest.Policy{{Name: "Jefes", Threshold: 3}, {Name: "Todos", Threshold: 7}}, 3, "CN=Jefes," + finer},
		{"finer ones that are not", 0, 5, []ldaptest.Policy{{Name: "Jefes", Threshold: 9}, {Name: "Todos"}}, 5, "DC=empresa,DC=local"},
		{"a finer one only", 0, 0, []ldaptest.Policy{{Name: "Jefes", Threshold: 4}}, 4, "CN=Jefes," + finer},
		{"no policy", 1, 0, nil, 0, ""},
		{"a policy", 1, 0, []ldaptest.Policy{{Name: "default", Threshold: 6}}, 6, "cn=default,ou=policies," + plainBase},
		{"the strictest of several", 1, 0, []ldaptest.Policy{{Name: "default", Threshold: 6}, {Name: "admins", Threshold: 3}}, 3, "cn=admins,ou=policies," + plainBase},
		{"one that locks nobody", 1, 0, []ldaptest.Policy{{Name: "default", Threshold: 6}, {Name: "admins", Threshold: 3, Off: true}}, 6, "cn=default,ou=policies," + plainBase},
		{"one without a number", 1, 0, []ldaptest.Policy{{Name: "default"}}, 0, ""},
	}
	for _, test := range tests {
		t.Run(kinds[test.kind].what+"/"+test.what, func(t *testing.T) {
			dir := kinds[test.kind].dir()
			dir.LockoutThreshold, dir.Policies = test.domain, test.policies
			s := serve(t, dir)
			d, _ := open(t, kinds[test.kind].config(s))
			policies, err := d.Lockout(context.Background())
			threshold, policy := strictest(policies)
			if err != nil || threshold != test.threshold || policy != test.policy {
				t.Errorf("Lockout = %d, %q, %v, want %d, %q", threshold, policy, err, test.threshold, test.policy)
			}
		})
	}
}

// strictest is the policy that locks first.
func strictest(policies []LockoutPolicy) (threshold int, dn string) {
	for _, p := range policies {
		if threshold == 0 || p.Threshold < threshold {
			threshold, dn = p.Threshold, p.DN
		}
	}
	return threshold, dn
}

func TestIntervalsOfAD(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"-18000000000": 30 * time.Minute, "-1": 100, "0": 0, "": 0, "x": 0, "18000000000": 0, "-9223372036854775808": 0,
	} {
		if got := interval(text); got != want {
			t.Errorf("interval(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestLockoutThatCannotBeRead(t *testing.T) {
	container := "CN=Password Settings Container,CN=System,DC=empresa,DC=local"
	for _, test := range []struct {
		what      string
		base      string
		code      int
		threshold int
		reason    Reason // "" for an answer
	}{
		{"finer ones that only administrators may see", container, goldap.LDAPResultInsufficientAccessRights, 5, ""},
		{"finer ones that fail", container, goldap.LDAPResultOther, 0, ReasonDirectoryUnavailable},
		{"the domain's", "DC=empresa,DC=local", goldap.LDAPResultInsufficientAccessRights, 0, ReasonBaseDN},
	} {
		t.Run(test.what, func(t *testing.T) {
			dir := ldaptest.Demo()
			dir.LockoutThreshold, dir.Policies = 5, []ldaptest.Policy{{Name: "Jefes", Threshold: 3}}
			s := serve(t, dir)
			d, _ := open(t, kinds[0].config(s))
			s.Observe(func(r ldaptest.Request) ldaptest.Fault {
				if !r.Bind && r.Name == test.base {
					return ldaptest.Fault{Code: test.code}
				}
				return ldaptest.Fault{}
			})
			policies, err := d.Lockout(context.Background())
			threshold, _ := strictest(policies)
			var u *UnavailableError
			switch {
			case test.reason == "" && (err != nil || threshold != test.threshold):
				t.Errorf("Lockout = %d, %v, want %d", threshold, err, test.threshold)
			case test.reason != "" && (!errors.As(err, &u) || u.Reason != test.reason || threshold != 0):
				t.Errorf("Lockout = %d, %v, want unavailable: %s", threshold, err, test.reason)
			}
		})
	}
	d, _ := open(t, adConfig(serve(t, ldaptest.Demo())))
	if _, err := d.Lockout(context.Background()); !errors.Is(err, errNoService) {
		t.Errorf("without a service account: %v", err)
	}
}
