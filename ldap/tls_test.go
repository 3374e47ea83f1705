package ldap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// ca is a certificate authority of a test's own.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newCA(t *testing.T) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &ca{cert: cert, key: key, pool: pool}
}

// certificate says what is wrong with a server's certificate.
type certificate struct {
	names                          []string // instead of 127.0.0.1
	noSAN, expired, negativeSerial bool
}

func (a *ca) server(t *testing.T, c certificate) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x12345678), Subject: pkix.Name{CommonName: "dc1.corp.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	switch {
	case c.noSAN:
	case c.names != nil:
		template.DNSNames = c.names
	default:
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	if c.expired {
		template.NotAfter = time.Now().Add(-time.Minute)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if c.negativeSerial {
		// Go makes none, so that the sign bit is set afterwards.
		der = bytes.Replace(der, []byte{0x02, 0x04, 0x12, 0x34}, []byte{0x02, 0x04, 0x92, 0x34}, 1)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func TestTLS(t *testing.T) {
	authority := newCA(t)
	tests := []struct {
		what string
		cert certificate
		edit func(*Config)
		text string // of the error; "" for success
	}{
		{"right", certificate{}, nil, ""},
		{"server_name", certificate{names: []string{"dc1.corp.test"}}, func(c *Config) { c.ServerName = "dc1.corp.test" }, ""},
		{"unknown authority", certificate{}, func(c *Config) { c.RootCAs = newCA(t).pool }, "unknown authority"},
		{"name mismatch", certificate{names: []string{"dc1.corp.test"}}, nil, "name mismatch"},
		{"no SAN", certificate{noSAN: true}, func(c *Config) { c.ServerName = "dc1.corp.test" }, "no SAN"},
		{"expired", certificate{expired: true}, nil, "expired"},
		{"negative serial", certificate{negativeSerial: true}, nil, "GODEBUG=x509negativeserial=1"},
	}
	for _, test := range tests {
		for _, startTLS := range []bool{false, true} {
			name := test.what + ", ldaps"
			option := ldaptest.WithTLS(authority.server(t, test.cert))
			if startTLS {
				name = test.what + ", start_tls"
				option = ldaptest.WithStartTLS(authority.server(t, test.cert))
			}
			t.Run(name, func(t *testing.T) {
				s := serve(t, ldaptest.Demo(), option)
				config := adConfig(s)
				config.RootCAs, config.StartTLS = authority.pool, startTLS
				if test.edit != nil {
					test.edit(&config)
				}
				d, _ := open(t, config)
				if test.text == "" {
					mustSignIn(t, d, "ac12345", "secreto")
					return
				}
				u := mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
				if !strings.Contains(u.Error(), test.text) {
					t.Errorf("error %q does not name the cause %q", u, test.text)
				}
				if s.Binds() != 0 {
					t.Errorf("%d binds: the password went to a server that is not proven", s.Binds())
				}
			})
		}
	}
}

func TestWrongSchemeForThePort(t *testing.T) {
	authority := newCA(t)
	plain := serve(t, ldaptest.Demo())
	d, _ := open(t, Config{Kind: KindAD, Servers: []string{"ldaps://" + plain.Addr()}, RootCAs: authority.pool})
	if u := mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable); !strings.Contains(u.Error(), "wrong scheme") {
		t.Errorf("ldaps to the plain port: %q", u)
	}
	secure := serve(t, ldaptest.Demo(), ldaptest.WithTLS(authority.server(t, certificate{})))
	d, _ = open(t, Config{Kind: KindAD, Servers: []string{"ldap://" + secure.Addr()}})
	if u := mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable); !strings.Contains(u.Error(), "wrong scheme") {
		t.Errorf("ldap to the TLS port: %q", u)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	authority := newCA(t)
	config := authority.server(t, certificate{})
	config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	s := serve(t, ldaptest.Demo(), ldaptest.WithTLS(config))
	d, _ := open(t, Config{Kind: KindAD, Servers: []string{s.URL()}, RootCAs: authority.pool})
	mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
	if s.Binds() != 0 {
		t.Errorf("%d binds", s.Binds())
	}
}

func TestStartTLSThatFails(t *testing.T) {
	authority := newCA(t)
	t.Run("refused by the server", func(t *testing.T) {
		s := serve(t, ldaptest.Demo())
		config := adConfig(s)
		config.StartTLS = true
		d, _ := open(t, config)
		u := mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
		if !strings.Contains(u.Error(), "start_tls") || s.Binds() != 0 {
			t.Errorf("error %q, %d binds: never go on without TLS", u, s.Binds())
		}
	})
	t.Run("handshake that never comes", func(t *testing.T) {
		s := serve(t, ldaptest.Demo(), ldaptest.WithStartTLS(authority.server(t, certificate{})))
		s.Stall(ldaptest.StallStartTLS)
		config := adConfig(s)
		config.StartTLS = true
		d, _ := open(t, config)
		start := time.Now()
		mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
		if took := time.Since(start); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("plain text injected behind the answer", func(t *testing.T) {
		accepted := reply(1, []byte{0x78, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00})
		injected := reply(2, []byte{0x61, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00})
		url := "ldap://" + listen(t, func(c net.Conn) {
			c.Read(make([]byte, 1024))
			c.Write(append(accepted, injected...))
			c.Read(make([]byte, 1024))
		})
		d, _ := open(t, Config{Kind: KindAD, Servers: []string{url}, StartTLS: true, RootCAs: authority.pool})
		mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
	})
}
