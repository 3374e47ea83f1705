package realserver

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
)

const sambaAdminPassword = "Admin-Contrasenya-1"

// Samba is a running Active Directory domain controller of the realm
// CORP.TEST, on 127.0.0.1:636 and :389.
type Samba struct {
	server
	SambaAccounts
	SambaGroups
	SambaSpecial

	// Domain is the DNS domain, NetBIOS the short one.
	Domain, NetBIOS string

	// Host is the controller's name; the certificate carries it besides
	// localhost and 127.0.0.1.
	Host string

	// OtherOU is a DN to move people to; nobody is there.
	OtherOU string

	config string   // smb.conf
	ports  *os.File // held while the controller has the ports

	crowding sync.Once
	crowdErr error
	crowded  Account
}

// startSamba provisions and starts a controller in a folder below dir. The test
// programs of several packages run at the same time and want the same ports, so
// one of them waits for the other.
func startSamba(dir string, ca *CA) (*Samba, error) {
	samba, err := program("samba")
	if err != nil {
		return nil, err
	}
	tool, err := program("samba-tool")
	if err != nil {
		return nil, err
	}
	// samba-ad-provision is only recommended by Debian's samba-ad-dc.
	if _, err := os.Stat("/usr/share/samba/setup/provision.ldif"); err != nil {
		return nil, unavailable("samba-ad-provision is not installed; scripts/setup-tests.sh does it")
	}
	if os.Geteuid() != 0 {
		return nil, unavailable("ports 389 and 636, which cannot be moved, need root")
	}
	// Less than the 10 minutes that go test gives a package.
	lock, err := lockFile(filepath.Join(os.TempDir(), "caddy-ldap-samba.lock"), 8*time.Minute)
	if err != nil {
		return nil, fmt.Errorf("waiting for the ports: %w", err)
	}
	s, err := provisionSamba(samba, tool, dir, ca)
	if err != nil {
		lock.Close()
		return nil, err
	}
	s.ports = lock
	return s, nil
}

func provisionSamba(samba, tool, dir string, ca *CA) (*Samba, error) {
	if err := portsFree("389", "636", "3268", "3269"); err != nil {
		return nil, err
	}

	dir = filepath.Join(dir, "ad")
	config := filepath.Join(dir, "etc", "smb.conf")
	logFile := filepath.Join(dir, "samba.log")
	for _, sub := range []string{"etc", "run"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("making the controller's folder: %w", err)
		}
	}
	// An empty configuration of our own: otherwise the machine's, with its log
	// and PAM settings, would be the starting point.
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		return nil, fmt.Errorf("writing %q: %w", config, err)
	}
	certFile, keyFile, err := ca.Issue(dir, "dc1.corp.test", "localhost", "127.0.0.1")
	if err != nil {
		return nil, err
	}

	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, tool, "domain", "provision",
		"--configfile="+config, "--targetdir="+dir, "--realm=CORP.TEST", "--domain=CORP",
		"--server-role=dc", "--dns-backend=NONE", "--host-ip=127.0.0.1", "--host-name=dc1",
		"--adminpass="+sambaAdminPassword,
		"--option=interfaces=lo 127.0.0.1", "--option=bind interfaces only=yes").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("provisioning the domain: %w\n%s", err, out)
	}

	run := filepath.Join(dir, "run")
	process, err := startProcess(logFile, samba, "-s", config, "-i", "--no-process-group", "--debuglevel=1",
		"--option=server services=ldap",
		"--option=tls certfile="+certFile, "--option=tls keyfile="+keyFile, "--option=tls cafile="+ca.File,
		"--option=pid directory="+run, "--option=ncalrpc dir="+filepath.Join(run, "ncalrpc"),
		"--option=log file="+filepath.Join(dir, "samba-%m.log"))
	if err != nil {
		return nil, err
	}
	s := &Samba{
		server: server{
			URL: "ldaps://127.0.0.1:636", PlainURL: "ldap://127.0.0.1:389",
			BaseDN: sambaBase, CA: ca, process: process,
			admin:       ldap.SimpleBindRequest{Username: "Administrator@corp.test", Password: sambaAdminPassword},
			idAttribute: "objectGUID",
		},
		SambaAccounts: sambaAccounts(),
		SambaSpecial:  sambaSpecial(),
		SambaGroups:   sambaGroups(),
		Domain:        "corp.test", NetBIOS: "CORP", Host: "dc1.corp.test",
		OtherOU: sambaOther,
		config:  config,
		crowded: sambaPerson("popular", "Clave-Popular-20", "Paula", "Popular"),
	}
	if err := process.waitUntil(time.Minute, s.probe); err != nil {
		process.stop()
		return nil, fmt.Errorf("waiting for ldaps: %w", err)
	}
	if err := s.fill(); err != nil {
		process.stop()
		return nil, fmt.Errorf("filling the domain: %w\n%s", err, tail(logFile))
	}
	return s, nil
}

// portsFree waits a moment for ports that a controller gives back whose test
// process was killed.
func portsFree(ports ...string) error {
	for _, port := range ports {
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
			if err == nil {
				listener.Close()
				break
			}
			if time.Now().After(deadline) {
				return unavailable("port %s is taken: %v", port, err)
			}
		}
	}
	return nil
}

func (s *Samba) stop() {
	s.process.stop()
	s.ports.Close()
}
