package attack

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// directorySignIn starts a site in front of the directory lines, signs in with
// the password, and returns the answer.
func directorySignIn(t *testing.T, lines string) (*site, reply) {
	t.Helper()
	s := start(t, setup{block: lines})
	return s, s.trySignIn(t, juan, ldaptest.DemoPassword)
}

// directoryWantUnproven fails unless nobody was asked for a sign-in, because it
// is not known who answers.
func directoryWantUnproven(t *testing.T, s *site, r reply, server *ldaptest.Server, tap *directoryWiretap, cause string) {
	t.Helper()
	wantCode(t, r, 503, "directory_unavailable")
	if r.header.Get("Retry-After") == "" || len(r.cookies) != 0 {
		t.Errorf("the answer has the header %v", r.header)
	}
	if server != nil && server.Binds() != 0 {
		t.Errorf("the server got %d binds", server.Binds())
	}
	if tap.connections() == 0 {
		t.Error("nobody asked the server at all")
	}
	if tap.carried(ldaptest.DemoPassword) {
		t.Error("the password went over the network, readable")
	}
	if log := strings.ToLower(s.read("caddy.json")); cause != "" && !strings.Contains(log, cause) {
		t.Errorf("the log does not say %q", cause)
	}
}

// A directory is who its certificate says, by today's TLS, or is not asked.
func TestS30DirectoriesAreVerifiedWithoutFallback(t *testing.T) {
	t.Parallel()
	authority := directoryNewAuthority(t)
	old := authority.serve(t, directoryCertificate{})
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	weak := authority.serve(t, directoryCertificate{})
	weak.MaxVersion, weak.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}
	for name, row := range map[string]struct {
		server *tls.Config
		lines  string // after servers and ca_file
		cause  string
	}{
		"another name":       {authority.serve(t, directoryCertificate{names: []string{"dc1.empresa.local"}}), "", "name mismatch"},
		"another address":    {authority.serve(t, directoryCertificate{names: []string{"127.0.0.1"}}), "", ""}, // a DNS name that reads like an address
		"configured name":    {authority.serve(t, directoryCertificate{}), "server_name dc1.empresa.local", "name mismatch"},
		"expired":            {authority.serve(t, directoryCertificate{expired: true}), "", "expired"},
		"signed by itself":   {authority.serve(t, directoryCertificate{self: true}), "", "unknown authority"},
		"another authority":  {directoryNewAuthority(t).serve(t, directoryCertificate{}), "", "unknown authority"},
		"for clients only":   {authority.serve(t, directoryCertificate{client: true}), "", ""},
		"TLS 1.0 and 1.1":    {old, "", ""},
		"broken encryptions": {weak, "", ""},
	} {
		for _, startTLS := range []bool{false, true} {
			t.Run(name+map[bool]string{false: ", ldaps", true: ", start_tls"}[startTLS], func(t *testing.T) {
				t.Parallel()
				option, scheme, line := ldaptest.WithTLS(row.server), "ldaps", ""
				if startTLS {
					option, scheme, line = ldaptest.WithStartTLS(row.server), "ldap", "\nstart_tls"
				}
				server, tap := directoryTapped(t, option)
				s, r := directorySignIn(t, "servers "+scheme+"://"+tap.addr()+"\nca_file "+authority.file+line+"\n"+row.lines)
				directoryWantUnproven(t, s, r, server, tap, row.cause)
			})
		}
	}
	t.Run("a right one", func(t *testing.T) {
		t.Parallel()
		server, tap := directoryTapped(t, ldaptest.WithTLS(authority.serve(t, directoryCertificate{})))
		s, r := directorySignIn(t, "servers ldaps://"+tap.addr()+"\nca_file "+authority.file)
		wantServed(t, s.sessionOf(t, r).get(t, "/"))
		if server.Binds() == 0 || tap.carried(ldaptest.DemoPassword) {
			t.Errorf("%d binds, and readable: %v", server.Binds(), tap.carried(ldaptest.DemoPassword))
		}
	})
}

// Passwords are never sent readable: ldap:// to another machine is refused, and
// who takes StartTLS away gets nothing.
func TestP16NoPasswordGoesOverThePlainNetwork(t *testing.T) {
	t.Parallel()
	authority := directoryNewAuthority(t)
	t.Run("configuration", func(t *testing.T) {
		t.Parallel()
		for _, server := range []string{"ldap://dc", "ldap://dc1.empresa.local:389", "LDAP://10.0.0.1", "ldap://[2001:db8::1]", "ldap://localhost.example", "ldap://127.0.0.1.example", "ldap://0.0.0.0"} {
			s, text := prepare(t, setup{block: "servers " + server})
			s.wantRejected(t, text, "validate", server, "ldaps://", "insecure_plaintext")
		}
	})
	t.Run("the insecure option warns at every start", func(t *testing.T) {
		t.Parallel()
		s, text := prepare(t, setup{block: "servers ldap://dc1.empresa.local\ninsecure_plaintext"})
		s.run(t, text)
		s.eventually(t, "a warning", func() bool {
			for line := range strings.Lines(s.read("caddy.json")) {
				if strings.Contains(line, `"level":"warn"`) && strings.Contains(line, "insecure_plaintext") {
					return true
				}
			}
			return false
		})
	})
	t.Run("start_tls", func(t *testing.T) {
		t.Parallel()
		server, tap := directoryTapped(t, ldaptest.WithStartTLS(authority.serve(t, directoryCertificate{})))
		s, r := directorySignIn(t, "servers ldap://"+tap.addr()+"\nstart_tls\nca_file "+authority.file)
		s.sessionOf(t, r)
		if server.Binds() == 0 || tap.carried(ldaptest.DemoPassword) || tap.carried(juan) {
			t.Error("name or password went over the network, readable")
		}
	})
	const (
		granted   = "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
		refused   = "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00"
		bindIsOK  = "\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
		nonsense  = "\x16\x03\x01\x00\x02\x02\x28"
		plaintext = "the password, please"
	)
	for name, answer := range map[string]string{
		"start_tls refused": refused, "start_tls granted, then no TLS": granted + plaintext, "start_tls granted, then an alert": granted + nonsense,
		"an answer injected behind it": granted + bindIsOK,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tap := directoryTap(t, "", func(conn net.Conn) {
				_, _ = conn.Read(make([]byte, 1024))
				_, _ = io.WriteString(conn, answer)
				_, _ = io.Copy(io.Discard, conn)
			})
			s, r := directorySignIn(t, "servers ldap://"+tap.addr()+"\nstart_tls\nca_file "+authority.file)
			directoryWantUnproven(t, s, r, nil, tap, "")
		})
	}
	t.Run("a server without start_tls", func(t *testing.T) {
		t.Parallel()
		server, tap := directoryTapped(t)
		s, r := directorySignIn(t, "servers ldap://"+tap.addr()+"\nstart_tls")
		directoryWantUnproven(t, s, r, server, tap, "")
	})
}

// Certificates are verified by default, by the system's authorities where none
// is named; and no password is kept: one that was changed is of no use at once.
func TestP70VerificationIsTheDefaultAndNoPasswordIsKept(t *testing.T) {
	t.Parallel()
	certificate, err := tls.LoadX509KeyPair(issued(t, "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	server, tap := directoryTapped(t, ldaptest.WithTLS(config))
	s, r := directorySignIn(t, "servers ldaps://"+tap.addr())
	directoryWantUnproven(t, s, r, server, tap, "unknown authority")

	dir := ldaptest.Demo()
	s = start(t, setup{directory: &dir})
	s.signIn(t, juan)
	s.signIn(t, juan)
	changed := ldaptest.Demo()
	changed.Users[0].Password = "otra-clave"
	if err := s.directory.Replace(changed); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.trySignIn(t, juan, ldaptest.DemoPassword), 401, "invalid_credentials")
	s.sessionOf(t, s.trySignIn(t, juan, "otra-clave"))
	if err := s.directory.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.trySignIn(t, juan, "otra-clave"), 503, "directory_unavailable")
}
