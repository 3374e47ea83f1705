package realserver

import (
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
)

// Shared starts each server at its first use and keeps it until Stop, for all
// tests of a package: Samba's ports cannot be moved, so there is one a machine.
// The zero value is ready to use; TestMain calls Stop.
type Shared struct {
	mu  sync.Mutex
	dir string
	ca  *CA

	samba    *Samba
	sambaErr error
	slapd    *Slapd
	slapdErr error
	ds389    *DS389
	ds389Err error
}

// Samba returns the domain controller, or ends the test as the package comment
// says.
func (s *Shared) Samba(t testing.TB) *Samba {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.samba == nil && s.sambaErr == nil {
		if s.sambaErr = s.prepare(); s.sambaErr == nil {
			s.samba, s.sambaErr = startSamba(s.dir, s.ca)
		}
	}
	require(t, "a Samba domain controller", s.sambaErr)
	return s.samba
}

// Slapd returns the OpenLDAP server, or ends the test as the package comment
// says.
func (s *Shared) Slapd(t testing.TB) *Slapd {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slapd == nil && s.slapdErr == nil {
		if s.slapdErr = s.prepare(); s.slapdErr == nil {
			s.slapd, s.slapdErr = startSlapd(s.dir, s.ca, SlapdOptions{})
		}
	}
	require(t, "slapd", s.slapdErr)
	return s.slapd
}

// DS389 returns the 389 Directory Server, or ends the test as the package
// comment says.
func (s *Shared) DS389(t testing.TB) *DS389 {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ds389 == nil && s.ds389Err == nil {
		if s.ds389Err = s.prepare(); s.ds389Err == nil {
			s.ds389, s.ds389Err = startDS389(s.dir, s.ca)
		}
	}
	require(t, "389 Directory Server", s.ds389Err)
	return s.ds389
}

// prepare makes what every server needs. The folder sits directly in the
// system's temporary folder: Samba puts Unix sockets into it, whose paths may
// have 107 bytes at most.
func (s *Shared) prepare() error {
	if s.ca != nil {
		return nil
	}
	dir, err := os.MkdirTemp("", "caddy-ldap-")
	if err != nil {
		return fmt.Errorf("making the servers' folder: %w", err)
	}
	s.dir = dir
	s.ca, err = NewCA(dir)
	return err
}

// DumpLogs writes the end of each server's log, to be read beside a failed
// test.
func (s *Shared) DumpLogs(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.samba != nil {
		fmt.Fprintln(w, tail(s.samba.process.logFile))
	}
	if s.slapd != nil {
		fmt.Fprintln(w, tail(s.slapd.process.logFile))
	}
	if s.ds389 != nil {
		fmt.Fprintln(w, tail(s.ds389.process.logFile))
	}
}

// Stop ends the servers and removes their folders.
func (s *Shared) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.samba != nil {
		s.samba.stop()
	}
	if s.slapd != nil {
		s.slapd.process.stop()
	}
	if s.ds389 != nil {
		s.ds389.process.stop()
	}
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}
