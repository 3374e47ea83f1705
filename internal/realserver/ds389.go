package realserver

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

const (
	ds389Admin         = "cn=Directory Manager"
	ds389AdminPassword = "Admin-Contrasenya-3"
)

// DS389 is a running 389 Directory Server with one database.
type DS389 struct {
	server
	DS389Accounts
	DS389Groups
}

// NewDS389 starts a server of its own for one test, or ends the test as the
// package comment says.
func NewDS389(t testing.TB) *DS389 {
	t.Helper()
	dir := t.TempDir()
	ca, err := NewCA(dir)
	if err != nil {
		t.Fatalf("making a CA: %v", err)
	}
	s, err := startDS389(dir, ca)
	require(t, "389 Directory Server", err)
	t.Cleanup(s.process.stop)
	return s
}

// ds389Tools are the programs that an instance is made with. The package's own
// dscreate is not among them: it writes to /etc and /var and wants systemd.
type ds389Tools struct{ server, certutil, pk12util, openssl string }

// startDS389 starts a server in a folder below dir. A free port can be taken
// by somebody else before the server has it, hence more than one attempt.
func startDS389(dir string, ca *CA) (*DS389, error) {
	var tools ds389Tools
	for name, path := range map[string]*string{
		"ns-slapd": &tools.server, "certutil": &tools.certutil, "pk12util": &tools.pk12util, "openssl": &tools.openssl,
	} {
		var err error
		if *path, err = program(name); err != nil {
			return nil, err
		}
	}
	var s *DS389
	var err error
	for attempt := range 3 {
		folder := filepath.Join(dir, fmt.Sprintf("ds389-%d", attempt))
		if s, err = startDS389Once(tools, folder, ca); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func startDS389Once(tools ds389Tools, dir string, ca *CA) (*DS389, error) {
	for _, sub := range []string{"schema", "lock", "tmp", "ldif", "bak", "run", "inst", "log", "db", "cert"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("making the server's folder: %w", err)
		}
	}
	// The package's own copies of these are in /etc, readable by root alone.
	for name, text := range map[string]string{
		"schema/99user.ldif":    "dn: cn=schema\n",
		"certmap.conf":          "certmap default default\n",
		"slapd-collations.conf": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("writing %q: %w", name, err)
		}
	}
	if err := tools.certificate(dir, ca); err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	config, err := ds389DSE(dir, ports[0], ports[1])
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "dse.ldif"), []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("writing the server's configuration: %w", err)
	}
	s := &DS389{
		server: server{
			URL: "ldaps://" + ports[0], PlainURL: "ldap://" + ports[1],
			BaseDN: ds389Base, CA: ca, idAttribute: "nsUniqueId",
			admin: ldap.SimpleBindRequest{Username: ds389Admin, Password: ds389AdminPassword},
		},
		DS389Accounts: ds389Accounts(),
		DS389Groups:   ds389Groups(),
	}
	// -d keeps it in the foreground. Its own log of errors is the same file.
	s.process, err = startProcess(filepath.Join(dir, "log", "errors"), tools.server,
		"-D", dir, "-i", filepath.Join(dir, "run", "pid"), "-d", "0")
	if err != nil {
		return nil, err
	}
	if err := s.process.waitUntil(30*time.Second, s.probe); err != nil {
		s.process.stop()
		return nil, fmt.Errorf("waiting for ldaps: %w", err)
	}
	if err := s.fill(); err != nil {
		s.process.stop()
		return nil, fmt.Errorf("filling 389 Directory Server: %w\n%s", err, tail(s.process.logFile))
	}
	return s, nil
}

// certificate puts a pair into the NSS database that the server reads, by way
// of the PKCS #12 file that is the only form in which NSS takes a key.
func (tools ds389Tools) certificate(dir string, ca *CA) error {
	certFile, keyFile, err := ca.Issue(dir, "ldap.fabrica.test", "localhost", "127.0.0.1")
	if err != nil {
		return err
	}
	bundle, database := filepath.Join(dir, "server.p12"), filepath.Join(dir, "cert")
	for _, command := range []*exec.Cmd{
		exec.Command(tools.openssl, "pkcs12", "-export", "-in", certFile, "-inkey", keyFile,
			"-name", "Server-Cert", "-passout", "pass:", "-out", bundle),
		exec.Command(tools.certutil, "-N", "-d", database, "--empty-password"),
		exec.Command(tools.pk12util, "-i", bundle, "-d", database, "-W", "", "-K", ""),
		exec.Command(tools.certutil, "-A", "-d", database, "-n", "tests", "-t", "CT,,", "-a", "-i", ca.File),
	} {
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("preparing the certificate: %s: %w\n%s", command.Path, err, out)
		}
	}
	return nil
}

// ds389DSE is the server's first configuration: the package's own template,
// with what an administrator sets.
func ds389DSE(dir, tlsAddr, plainAddr string) (string, error) {
	current, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("asking who runs the server: %w", err)
	}
	var text strings.Builder
	for _, name := range []string{"template-dse.ldif", "template-suffix-db.ldif"} {
		template, err := os.ReadFile(filepath.Join("/usr/share/dirsrv/data", name))
		if err != nil {
			return "", unavailable("389-ds-base is not whole: %v", err)
		}
		text.Write(template)
	}
	in := func(sub string) string { return filepath.Join(dir, sub) }
	config := strings.NewReplacer(
		"%schema_dir%", in("schema"), "%lock_dir%", in("lock"), "%tmp_dir%", in("tmp"), "%cert_dir%", in("cert"),
		"%ldif_dir%", in("ldif"), "%bak_dir%", in("bak"), "%run_dir%", in("run"), "%inst_dir%", in("inst"),
		"%log_dir%", in("log"), "%db_dir%", in("db"), "%db_home_dir%", in("db"), "%config_dir%", dir,
		"%ldapi%", in("run/ldapi"), "%ldapi_enabled%", "off", "%ldapi_autobind%", "off",
		"%db_lib%", "bdb", "%ds_bename%", "userRoot", "%ds_suffix%", ds389Base,
		"%fqdn%", "localhost", "%ds_user%", current.Username,
		"%rootdn%", ds389Admin, "%ds_passwd%", "{CLEAR}"+ds389AdminPassword,
		"%ds_port%", portOf(plainAddr)+strings.Join([]string{
			"",
			"nsslapd-listenhost: 127.0.0.1",
			"nsslapd-security: on",
			"nsslapd-secureport: " + portOf(tlsAddr),
			"nsslapd-securelistenhost: 127.0.0.1",
			"nsslapd-pwpolicy-local: on",
			"passwordStorageScheme: SSHA512", // the default is slow, on purpose
			"passwordIsGlobalPolicy: on",
			"passwordExp: on",
			"passwordMaxAge: 8640000",
			"passwordWarning: 86400",
			"passwordLockout: on",
			"passwordMaxFailure: 3",
			"passwordUnlock: off",
			// Off by default: then a password that was changed leaves no trace
			// that is the same under every policy.
			"passwordTrackUpdateTime: on",
		}, "\n"),
	).Replace(text.String())

	plugin := strings.Index(config, "dn: cn=MemberOf Plugin,")
	if plugin < 0 {
		return "", fmt.Errorf("the template has no MemberOf plugin")
	}
	const off, on = "nsslapd-pluginenabled: off", "nsslapd-pluginenabled: on"
	return config[:plugin] + strings.Replace(config[plugin:], off, on, 1), nil
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
