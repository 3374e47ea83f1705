package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServerAnswersForItsNamesOnly(t *testing.T) {
	s := New(t)
	s.SetSRV("_ldap._tcp.Corp.Test", net.SRV{Target: "dc1.corp.test", Port: 389, Priority: 1, Weight: 2})
	s.SetA("dc1.corp.test.", netip.MustParseAddr("127.0.0.7"), netip.MustParseAddr("::1"))

	_, records, err := s.Resolver().LookupSRV(t.Context(), "ldap", "tcp", "corp.test.")
	if err != nil || len(records) != 1 || *records[0] != (net.SRV{Target: "dc1.corp.test.", Port: 389, Priority: 1, Weight: 2}) {
		t.Errorf("SRV: %v, %v", records, err)
	}
	addrs, err := s.Resolver().LookupHost(t.Context(), "DC1.corp.test.")
	if err != nil || len(addrs) != 2 {
		t.Errorf("addresses: %v, %v, want two", addrs, err)
	}
	for _, name := range []string{"other.test.", "dc1.corp.test."} { // without any record; without an SRV record
		if _, _, err := s.Resolver().LookupSRV(t.Context(), "", "", name); !isNotFound(err) {
			t.Errorf("SRV of %s: %v, want not found", name, err)
		}
	}
	if n := s.Asked("_LDAP._tcp.corp.test."); n != 1 {
		t.Errorf("Asked = %d, want 1", n)
	}
}

func TestServerGivesLongAnswersOverTCP(t *testing.T) {
	s := New(t)
	var records []net.SRV
	for i := range 100 {
		records = append(records, net.SRV{Target: fmt.Sprintf("dc%d.corp.test.", i), Port: 389})
	}
	s.SetSRV("_ldap._tcp.corp.test", records...)
	_, got, err := s.Resolver().LookupSRV(t.Context(), "ldap", "tcp", "corp.test.")
	if err != nil || len(got) != len(records) {
		t.Errorf("%d records, %v, want %d", len(got), err, len(records))
	}
	if n := s.Asked("_ldap._tcp.corp.test"); n != 2 {
		t.Errorf("Asked = %d, want 2: UDP and TCP", n)
	}
}

func TestServerFailsOnCommand(t *testing.T) {
	s := New(t)
	s.SetA("a.test", netip.MustParseAddr("127.0.0.7"))
	s.SetA("b.test", netip.MustParseAddr("127.0.0.7"))
	lookUp := func(name string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := s.Resolver().LookupHost(ctx, name)
		return err
	}
	s.Fail("a.test")
	if err := lookUp("a.test."); err == nil || isNotFound(err) {
		t.Errorf("failing name: %v, want a server failure", err)
	}
	if err := lookUp("b.test."); err != nil {
		t.Errorf("other name: %v", err)
	}
	s.Fail()
	if err := lookUp("b.test."); err == nil || isNotFound(err) {
		t.Errorf("failing server: %v, want a server failure", err)
	}
	s.Resume()
	if err := lookUp("a.test."); err != nil {
		t.Errorf("after Resume: %v", err)
	}
}

func TestSilentServerCountsButDoesNotAnswer(t *testing.T) {
	s := New(t)
	s.SetA("a.test", netip.MustParseAddr("127.0.0.7"))
	s.Silence()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := s.Resolver().LookupHost(ctx, "a.test.")
	var dns *net.DNSError
	if !errors.As(err, &dns) || !dns.IsTimeout {
		t.Errorf("error %v, want a timeout", err)
	}
	if s.Asked("a.test") == 0 {
		t.Error("the question did not arrive")
	}
}

func isNotFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}
