package realserver

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

const slapdAdminPassword = "Admin-Contrasenya-2"

// Slapd is a running OpenLDAP server with one mdb database.
type Slapd struct {
	server
	SlapdAccounts
	SlapdGroups

	// SlapdPolicyAccounts exist with SlapdOptions.PasswordPolicy only.
	SlapdPolicyAccounts

	crowding sync.Once
	crowdErr error
	crowded  Account
}

// SlapdOptions are what one server has differently.
type SlapdOptions struct {
	// NoMemberOf leaves the memberof overlay out: entries of people have no
	// memberOf, and only the groups know who is in them.
	NoMemberOf bool

	// PasswordPolicy adds the ppolicy overlay, and accounts of every state that
	// it knows.
	PasswordPolicy bool

	// ClientCertificates makes the server take TLS connections of clients only
	// that show a certificate of its CA.
	ClientCertificates bool

	// IdleTimeout, if not zero, is when the server closes silent connections.
	IdleTimeout time.Duration
}

// NewSlapd starts a server of its own for one test, or ends the test as the
// package comment says.
func NewSlapd(t testing.TB, options SlapdOptions) *Slapd {
	t.Helper()
	dir := t.TempDir()
	ca, err := NewCA(dir)
	if err != nil {
		t.Fatalf("making a CA: %v", err)
	}
	s, err := startSlapd(dir, ca, options)
	require(t, "slapd", err)
	t.Cleanup(s.process.stop)
	return s
}

// startSlapd starts a server in a folder below dir. A free port can be taken
// by somebody else before slapd has it, hence more than one attempt.
func startSlapd(dir string, ca *CA, options SlapdOptions) (*Slapd, error) {
	slapd, err := program("slapd")
	if err != nil {
		return nil, err
	}
	modules, err := slapdModules()
	if err != nil {
		return nil, err
	}
	var s *Slapd
	for attempt := range 3 {
		folder := filepath.Join(dir, fmt.Sprintf("slapd%d", attempt))
		if s, err = startSlapdOnce(slapd, modules, folder, ca, options); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func startSlapdOnce(slapd, modules, dir string, ca *CA, options SlapdOptions) (*Slapd, error) {
	if err := os.MkdirAll(filepath.Join(dir, "db"), 0o700); err != nil {
		return nil, fmt.Errorf("making slapd's folder: %w", err)
	}
	certFile, keyFile, err := ca.Issue(dir, "ldap.empresa.test", "localhost", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "slapd.conf")
	text := slapdConfig(modules, dir, ca.File, certFile, keyFile, options)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("writing %q: %w", config, err)
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	s := &Slapd{
		server: server{
			URL:      "ldaps://" + ports[0],
			PlainURL: "ldap://" + ports[1],
			BaseDN:   slapdBase, CA: ca,
			admin:       ldap.SimpleBindRequest{Username: slapdAdmin, Password: slapdAdminPassword},
			idAttribute: "entryUUID",
		},
		SlapdAccounts: slapdAccounts(),
		SlapdGroups:   slapdGroups(),
		crowded:       slapdPerson("popular", "Clave-Popular-6", "Paula", "Popular"),
	}
	if options.ClientCertificates {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("loading the certificate: %w", err)
		}
		s.certificates = []tls.Certificate{pair}
	}
	if options.PasswordPolicy {
		s.SlapdPolicyAccounts = slapdPolicyAccounts()
	}
	// -d keeps slapd in the foreground; "stats" logs each operation, never a
	// password.
	s.process, err = startProcess(filepath.Join(dir, "slapd.log"), slapd,
		"-f", config, "-h", s.URL+"/ "+s.PlainURL+"/", "-d", "stats")
	if err != nil {
		return nil, err
	}
	if err := s.process.waitUntil(20*time.Second, s.probe); err != nil {
		s.process.stop()
		return nil, fmt.Errorf("waiting for ldaps: %w", err)
	}
	if err := s.fill(options); err != nil {
		s.process.stop()
		return nil, fmt.Errorf("filling slapd: %w\n%s", err, tail(s.process.logFile))
	}
	return s, nil
}

// Binds counts the binds as dn that the server has logged, refused ones
// included. The log is written a moment before the answer is sent.
func (s *Slapd) Binds(t testing.TB, dn string) int {
	t.Helper()
	log, err := os.ReadFile(s.process.logFile)
	if err != nil {
		t.Fatalf("reading slapd's log: %v", err)
	}
	return strings.Count(string(log), `BIND dn="`+dn+`" method=128`)
}

// CountVisible tells how many entries a client sees below the base that is
// bound as dn; an empty dn stands for an anonymous one.
func (s *Slapd) CountVisible(t testing.TB, dn, password string) int {
	t.Helper()
	conn, err := s.dial()
	if err != nil {
		t.Fatalf("connecting to slapd: %v", err)
	}
	defer conn.Close()
	if dn != "" {
		if err := conn.Bind(dn, password); err != nil {
			t.Fatalf("binding as %q: %v", dn, err)
		}
	}
	result, err := conn.Search(&ldap.SearchRequest{
		BaseDN: s.BaseDN, Scope: ldap.ScopeWholeSubtree, Filter: "(objectClass=*)", Attributes: []string{"1.1"},
	})
	if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
		return 0
	}
	if err != nil {
		t.Fatalf("searching slapd: %v", err)
	}
	return len(result.Entries)
}

func slapdConfig(modules, dir, caFile, certFile, keyFile string, options SlapdOptions) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, schema := range []string{"core", "cosine", "nis", "inetorgperson"} {
		line("include /etc/ldap/schema/%s.schema", schema)
	}
	line("modulepath %s", modules)
	line("moduleload back_mdb")
	if !options.NoMemberOf {
		line("moduleload memberof")
	}
	if options.PasswordPolicy {
		line("moduleload ppolicy")
	}
	line("pidfile %s", filepath.Join(dir, "slapd.pid"))
	line("argsfile %s", filepath.Join(dir, "slapd.args"))
	line("TLSCACertificateFile %s", caFile)
	line("TLSCertificateFile %s", certFile)
	line("TLSCertificateKeyFile %s", keyFile)
	line("TLSProtocolMin 3.3")
	if options.ClientCertificates {
		line("TLSVerifyClient demand")
	}
	if options.IdleTimeout > 0 {
		line("idletimeout %d", int(options.IdleTimeout.Seconds()))
	}
	line(`access to dn.base="" by * read`)
	line("database mdb")
	line("dbnosync") // the folder does not outlive the server
	line("maxsize 268435456")
	line("suffix %q", slapdBase)
	line("directory %s", filepath.Join(dir, "db"))
	line("rootdn %q", slapdAdmin)
	line("rootpw %s", slapdAdminPassword)
	line("index objectClass,uid,mail,member,memberUid eq")
	if !options.NoMemberOf {
		line("overlay memberof")
	}
	if options.PasswordPolicy {
		line("overlay ppolicy")
		line("ppolicy_default %q", slapdPolicyDefault)
		// Without it the control does not tell a locked account from a wrong
		// password.
		line("ppolicy_use_lockout")
	}
	// Anonymous clients may bind and nothing else; only the service account
	// may search, and people may read their own entry.
	line("access to attrs=userPassword by anonymous auth by * none")
	line("access to * by dn.exact=%q read by self read by * none", slapdService)
	return b.String()
}

// slapdModules finds where Debian keeps slapd's modules.
func slapdModules() (string, error) {
	for _, dir := range []string{"/usr/lib/ldap", "/usr/lib/openldap", "/usr/lib64/openldap"} {
		if matches, _ := filepath.Glob(filepath.Join(dir, "back_mdb*")); len(matches) > 0 {
			return dir, nil
		}
	}
	return "", unavailable("slapd's modules are not installed; scripts/setup-tests.sh does it")
}

// freePorts returns loopback addresses that nobody listened on just now.
func freePorts(n int) ([]string, error) {
	var addrs []string
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		// Open until all are known, so that no port is found twice.
		defer listener.Close()
		addrs = append(addrs, listener.Addr().String())
	}
	return addrs, nil
}
