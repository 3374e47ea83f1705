package integration

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap"
)

func TestADTransports(t *testing.T) {
	dc := servers.Samba(t)
	tests := []struct {
		what string
		edit func(*ldap.Config)
	}{
		{"ldaps", func(*ldap.Config) {}},
		{"start_tls", func(c *ldap.Config) { c.Servers, c.StartTLS = []string{dc.PlainURL}, true }},
		{"another name of the certificate", func(c *ldap.Config) { c.ServerName = dc.Host }},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			config := adConfig(dc)
			test.edit(&config)
			d := open(t, config)
			expectPerson(t, d.expectIdentity(t, "juan", dc.Juan.Password), dc.Domain, dc.Juan)
			d.expectRefused(t, "juan", "wrong", ldap.ReasonBadCredentials)
		})
	}
}

func TestADUnavailable(t *testing.T) {
	dc := servers.Samba(t)
	other, err := realserver.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		what   string
		edit   func(*ldap.Config)
		reason ldap.Reason
		text   string // in the error
	}{
		{"another CA", func(c *ldap.Config) { c.RootCAs = other.Pool() },
			ldap.ReasonDirectoryUnavailable, "unknown authority"},
		{"the system's CAs", func(c *ldap.Config) { c.RootCAs = nil },
			ldap.ReasonDirectoryUnavailable, "unknown authority"},
		{"another CA, start_tls", func(c *ldap.Config) {
			c.RootCAs, c.Servers, c.StartTLS = other.Pool(), []string{dc.PlainURL}, true
		}, ldap.ReasonDirectoryUnavailable, "unknown authority"},
		{"another name", func(c *ldap.Config) { c.ServerName = "dc2.corp.test" },
			ldap.ReasonDirectoryUnavailable, "dc2.corp.test"},
		{"ldaps to the plain port", func(c *ldap.Config) { c.Servers = []string{"ldaps://127.0.0.1:389"} },
			ldap.ReasonDirectoryUnavailable, "scheme"},
		{"plain text, which the server refuses", func(c *ldap.Config) { c.Servers = []string{dc.PlainURL} },
			ldap.ReasonTLSRequired, ""},
		{"nobody listens", func(c *ldap.Config) { c.Servers = []string{"ldaps://127.0.0.1:1"} },
			ldap.ReasonDirectoryUnavailable, "refused"},
		{"wrong base", func(c *ldap.Config) { c.BaseDN = "OU=Nada,DC=corp,DC=test" },
			ldap.ReasonBaseDN, ""},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			config := adConfig(dc)
			test.edit(&config)
			got := open(t, config).expectUnavailable(t, "juan", dc.Juan.Password, test.reason)
			if !strings.Contains(got.Error(), test.text) {
				t.Errorf("error %q does not name the cause %q", got, test.text)
			}
		})
	}
}

func TestStalledServerEndsWithinTenSeconds(t *testing.T) {
	for _, test := range []struct {
		what     string
		scheme   string
		startTLS bool
	}{
		{"in the TLS handshake", "ldaps://", false},
		{"in StartTLS", "ldap://", true},
		{"in the first request", "ldap://", false},
	} {
		t.Run(test.what, func(t *testing.T) {
			t.Parallel()
			stalled := netfault.NewStalled(t)
			d := open(t, ldap.Config{
				Label: "corp.test", Kind: ldap.KindAD,
				Servers: []string{test.scheme + stalled.Addr()}, StartTLS: test.startTLS,
			})
			start := time.Now()
			d.expectUnavailable(t, "juan", "a-password", ldap.ReasonDirectoryUnavailable)
			// A second for the machine, not for the code.
			if took := time.Since(start); took > 11*time.Second {
				t.Errorf("it took %v", took)
			}
			if stalled.Connections() == 0 {
				t.Error("the server was not asked")
			}
		})
	}
}

// The network dies at the worst moments of a sign-in that had begun.
func TestADServerThatStallsOrDiesMidway(t *testing.T) {
	dc := servers.Samba(t)
	proxy := netfault.NewProxy(t, "127.0.0.1:636")
	config := adConfig(dc)
	config.Servers = []string{"ldaps://" + proxy.Addr()}
	d := open(t, config)
	d.expectIdentity(t, "juan", dc.Juan.Password)

	proxy.Stall()
	start := time.Now()
	d.expectUnavailable(t, "juan", dc.Juan.Password, ldap.ReasonDirectoryUnavailable)
	if took := time.Since(start); took > 11*time.Second {
		t.Errorf("it took %v", took)
	}
	proxy.Resume()
	d.expectBack(t, "juan", dc.Juan.Password)

	proxy.Refuse()
	proxy.Cut()
	d.expectUnavailable(t, "juan", dc.Juan.Password, ldap.ReasonDirectoryUnavailable)
	proxy.Resume()
	d.expectBack(t, "juan", dc.Juan.Password)
}

func TestADClientThatGoesAway(t *testing.T) {
	dc := servers.Samba(t)
	stalled := netfault.NewStalled(t)
	config := adConfig(dc)
	config.Servers = []string{"ldaps://" + stalled.Addr()}
	d := open(t, config)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(200*time.Millisecond, cancel)
	start := time.Now()
	_, err := d.SignIn(ctx, "juan", dc.Juan.Password)
	var unavailable *ldap.UnavailableError
	if !errors.As(err, &unavailable) || unavailable.Reason != ldap.ReasonCancelled {
		t.Errorf("SignIn: %v, want %q", err, ldap.ReasonCancelled)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v after the client had gone", took)
	}
}

// Connections carry an identity: mixing them up between people who sign in at
// the same moment would hand out each other's.
func TestADManySignInsAtOnceNeverMix(t *testing.T) {
	dc := servers.Samba(t)
	d := open(t, adConfig(dc))
	people := []realserver.Account{dc.Juan, dc.Munoz, dc.Maria, dc.NoUPN, dc.TwinA, dc.TwinB, dc.Victim, dc.Eve}
	var wg sync.WaitGroup
	for i := range 2 * len(people) {
		account, wrong := people[i%len(people)], i%3 == 0
		wg.Add(1)
		go func() {
			defer wg.Done()
			password := account.Password
			if wrong {
				password = "wrong"
			}
			identity, err := d.SignIn(context.Background(), account.Username, password)
			var refused *ldap.RefusedError
			switch {
			case wrong && !errors.As(err, &refused):
				t.Errorf("%q with a wrong password: %v, want it refused", account.Username, err)
			case !wrong && err != nil:
				t.Errorf("%q: %v", account.Username, err)
			case !wrong && identity.Username != account.Username:
				t.Errorf("%q signed in as %q", account.Username, identity.Username)
			}
		}()
	}
	wg.Wait()
}
