package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// signInRounds are the sign-ins of one measurement, of each kind.
const signInRounds = 200

// signInWorkers sign in at once where throughput is measured: as many as a
// directory keeps connections to one server.
const signInWorkers = 8

// BenchmarkSignInOnAD reports how long a sign-in takes at the directory client,
// beside the calls that it cannot do without: bind, rootDSE and one search. The
// kinds alternate, so that the server's moods meet all alike.
//
//	ours-warm   a sign-in, on a connection that was kept
//	raw-warm    bind and both searches on a connection that is open
//	ours-cold   the first sign-in of a directory, which dials
//	raw-cold    dial with TLS, bind and both searches
//	warm-ratio  the medians of ours-warm and raw-warm
//
// and, with 8 workers at once:
//
//	ours-per-s, raw-per-s  sign-ins a second on kept connections
//	throughput-ratio       of these two
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
	open := func() *ldap.Directory {
		directory, err := ldap.New(config)
		if err != nil {
			b.Fatal(err)
		}
		return directory
	}
	signIn := func(directory *ldap.Directory) {
		identity, err := directory.SignIn(context.Background(), username, password)
		if err != nil || identity.Username != username {
			b.Errorf("signing in: %+v, %v", identity, err)
		}
	}
	kept := open()
	defer kept.Close()
	ask := func(conn *goldap.Conn) {
		if err := conn.Bind(bind, password); err != nil {
			b.Errorf("binding: %v", err)
		}
		for _, request := range []*goldap.SearchRequest{
			{Scope: goldap.ScopeBaseObject, Filter: "(objectClass=*)", Attributes: []string{"defaultNamingContext", "tokenGroups"}},
			{BaseDN: base, Scope: goldap.ScopeWholeSubtree, SizeLimit: 2, Filter: "(sAMAccountName=" + username + ")", Attributes: []string{
				"objectSid", "objectGUID", "sAMAccountName", "givenName", "sn", "displayName", "mail", "userPrincipalName", "title", "manager"}},
		} {
			if result, err := conn.Search(request); err != nil || len(result.Entries) != 1 {
				b.Errorf("searching below %q: %v, %v", request.BaseDN, result, err)
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
		{name: "ours-warm", call: func() { signIn(kept) }},
		{name: "raw-warm", call: func() { ask(warm) }},
		{name: "ours-cold", call: func() {
			directory := open()
			signIn(directory)
			directory.Close()
		}},
		{name: "raw-cold", call: func() {
			conn := dial(config.RootCAs)
			ask(conn)
			conn.Close()
		}},
	}
	var ourRate, rawRate []float64
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
	for range throughputRounds {
		ourRate = append(ourRate, rate(func(int) { signIn(kept) }))
		conns := make([]*goldap.Conn, signInWorkers)
		for i := range conns {
			conns[i] = dial(config.RootCAs)
		}
		rawRate = append(rawRate, rate(func(worker int) { ask(conns[worker]) }))
		for _, conn := range conns {
			conn.Close()
		}
	}
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	for i := range kinds {
		took := kinds[i].took
		slices.Sort(took)
		b.ReportMetric(milliseconds(took[len(took)/2]), kinds[i].name+"-ms")
		b.ReportMetric(milliseconds(took[len(took)*99/100]), kinds[i].name+"-p99-ms")
	}
	ours, raw := kinds[0].took, kinds[1].took
	b.ReportMetric(float64(ours[len(ours)/2])/float64(raw[len(raw)/2]), "warm-ratio")
	slices.Sort(ourRate)
	slices.Sort(rawRate)
	b.ReportMetric(ourRate[throughputRounds/2], "ours-per-s")
	b.ReportMetric(rawRate[throughputRounds/2], "raw-per-s")
	b.ReportMetric(ourRate[throughputRounds/2]/rawRate[throughputRounds/2], "throughput-ratio")
	b.ReportMetric(0, "ns/op") // of no meaning: it is all kinds together
}

// throughputRounds alternate between ours and raw.
const throughputRounds = 9

// rate is how often a second the workers do call, together. The first calls,
// which may dial, do not count.
func rate(call func(worker int)) float64 {
	const warmUp, counted = 2, 25
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	ready.Add(signInWorkers)
	for worker := range signInWorkers {
		done.Go(func() {
			for range warmUp {
				call(worker)
			}
			ready.Done()
			<-start
			for range counted {
				call(worker)
			}
		})
	}
	ready.Wait()
	began := time.Now()
	close(start)
	done.Wait()
	return float64(signInWorkers*counted) / time.Since(began).Seconds()
}
