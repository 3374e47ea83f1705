package realserver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// Account is a person in a directory, as the tests put them there.
type Account struct {
	Username  string // sAMAccountName or uid
	Password  string
	DN        string
	FirstName string
	LastName  string
	Name      string // displayName
	Email     string
	UPN       string
	Title     string
	Manager   string // a DN
}

// server is what all servers have.
type server struct {
	// URL is the ldaps:// address, PlainURL the ldap:// one, which also speaks
	// StartTLS. Both name 127.0.0.1, which the certificate carries.
	URL, PlainURL string

	// BaseDN is the root of everything.
	BaseDN string

	// CA signed the server's certificate.
	CA *CA

	process      *process
	admin        ldap.SimpleBindRequest
	certificates []tls.Certificate // that the tests' own connections show
	idAttribute  string            // never changes and is never given to another entry
}

// Admin is a connection that may change anything, closed when the test ends.
func (s *server) Admin(t testing.TB) *ldap.Conn {
	t.Helper()
	conn, err := s.dialAdmin()
	if err != nil {
		t.Fatalf("connecting as the administrator: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Attributes reads the entry dn with all rights.
func (s *server) Attributes(t testing.TB, dn string, names ...string) *ldap.Entry {
	t.Helper()
	result, err := s.Admin(t).Search(&ldap.SearchRequest{
		BaseDN: dn, Scope: ldap.ScopeBaseObject, Filter: "(objectClass=*)", Attributes: names,
	})
	if err != nil {
		t.Fatalf("reading %q: %v", dn, err)
	}
	return result.Entries[0]
}

func (s *server) dialAdmin() (*ldap.Conn, error) {
	conn, err := s.dial()
	if err != nil {
		return nil, err
	}
	request := s.admin
	if _, err := conn.SimpleBind(&request); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// probe succeeds when the server answers LDAP over TLS.
func (s *server) probe() error {
	conn, err := s.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Search(&ldap.SearchRequest{
		Scope: ldap.ScopeBaseObject, Filter: "(objectClass=*)", Attributes: []string{"namingContexts"},
	})
	return err
}

// TryBind reports whether the server itself takes name and password,
// whatever the code under test makes of them. A refusal is an *ldap.Error.
func (s *server) TryBind(name, password string) error {
	conn, err := s.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Bind(name, password)
}

// refused tells that the directory judged the bind and said no.
func refused(err error) bool {
	var ldapErr *ldap.Error
	return errors.As(err, &ldapErr) && ldapErr.ResultCode == ldap.LDAPResultInvalidCredentials
}

func (s *server) dial() (*ldap.Conn, error) {
	return dial(s.URL, s.CA.Pool(), s.certificates...)
}

func dial(url string, roots *x509.CertPool, certificates ...tls.Certificate) (*ldap.Conn, error) {
	conn, err := ldap.DialURL(url,
		ldap.DialWithTLSConfig(&tls.Config{RootCAs: roots, Certificates: certificates, MinVersion: tls.VersionTLS12}),
		ldap.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}))
	if err != nil {
		return nil, err
	}
	conn.SetTimeout(30 * time.Second)
	return conn, nil
}
