package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// signInRounds are the sign-ins of one measurement, of each kind.
const signInRounds = 200

// BenchmarkSignInOnAD reports how long a sign-in takes at the directory client,
// beside the calls that it cannot do without: bind, rootDSE and one search. The
// kinds alternate, so that the server's moods meet all alike.
//
//	ours-cold  a sign-in, which dials
//	raw-cold   dial with TLS, bind and both searches
//	raw-warm   bind and both searches on a connection that is open
func BenchmarkSignInOnAD(b *testing.B) {
	b.Run("Samba", func(b *testing.B) {
		dc := servers.Samba(b)
		benchmarkSignIn(b, adConfig(dc), dc.Juan.UPN, dc.Juan.Username, dc.Juan.Password, dc.BaseDN)
	})
	b.Run("test directory", func(b *testing.B) {
		dir := b.TempDir()
		ca, err := realserver.NewCA(dir)
		if err != nil {
			b.Fatal(err)
		}
		certFile, keyFile, err := ca.Issue(dir, "127.0.0.1")
		if err != nil {
			b.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			b.Fatal(err)
		}
		directory, err := ldaptest.Start("127.0.0.1:0", ldaptest.Demo(), ldaptest.WithTLS(&tls.Config{Certificates: []tls.Certificate{pair}}))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = directory.Close() })
		config := ldap.Config{Label: "empresa.local", Servers: []string{directory.URL()}, RootCAs: ca.Pool()}
		benchmarkSignIn(b, config, "ac12345@empresa.local", "ac12345", ldaptest.DemoPassword, "DC=empresa,DC=local")
	})
}

func benchmarkSignIn(b *testing.B, config ldap.Config, bind, username, password, base string) {
	config.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	directory, err := ldap.New(config)
	if err != nil {
		b.Fatal(err)
	}
	defer directory.Close()
	ours := func() {
		identity, err := directory.SignIn(context.Background(), username, password)
		if err != nil || identity.Username != username {
			b.Fatalf("signing in: %+v, %v", identity, err)
		}
	}
	ask := func(conn *goldap.Conn) {
		if err := conn.Bind(bind, password); err != nil {
			b.Fatalf("binding: %v", err)
		}
		for _, request := range []*goldap.SearchRequest{
			{Scope: goldap.ScopeBaseObject, Filter: "(objectClass=*)", Attributes: []string{"defaultNamingContext", "tokenGroups"}},
			{BaseDN: base, Scope: goldap.ScopeWholeSubtree, SizeLimit: 2, Filter: "(sAMAccountName=" + username + ")", Attributes: []string{
				"objectSid", "objectGUID", "sAMAccountName", "givenName", "sn", "displayName", "mail", "userPrincipalName", "title", "manager"}},
		} {
			if result, err := conn.Search(request); err != nil || len(result.Entries) != 1 {
				b.Fatalf("searching below %q: %v, %v", request.BaseDN, result, err)
			}
		}
	}
	dial := func(roots *x509.CertPool) *goldap.Conn {
		conn, err := goldap.DialURL(config.Servers[0], goldap.DialWithTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}))
		if err != nil {
			b.Fatal(err)
		}
		return conn
	}
	warm := dial(config.RootCAs)
	defer warm.Close()
	kinds := []struct {
		name string
		call func()
		took []time.Duration
	}{
		{name: "ours-cold", call: ours},
		{name: "raw-cold", call: func() {
			conn := dial(config.RootCAs)
			ask(conn)
			conn.Close()
		}},
		{name: "raw-warm", call: func() { ask(warm) }},
	}
	for b.Loop() {
		for round := range signInRounds + len(kinds) {
			for i := range kinds {
				kind := &kinds[(i+round)%len(kinds)] // none always follows the same one
				start := time.Now()
				kind.call()
				if took := time.Since(start); round >= len(kinds) { // the first rounds warm up
					kind.took = append(kind.took, took)
				}
			}
		}
	}
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	for i := range kinds {
		took := kinds[i].took
		slices.Sort(took)
		b.ReportMetric(milliseconds(took[len(took)/2]), kinds[i].name+"-ms")
		b.ReportMetric(milliseconds(took[len(took)*99/100]), kinds[i].name+"-p99-ms")
	}
	b.ReportMetric(0, "ns/op") // of no meaning: it is all kinds together
}
