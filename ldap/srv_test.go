package ldap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/dnstest"
)

const (
	firstName  = "_ldap._tcp.dc._msdcs.corp.test."
	secondName = "_ldap._tcp.corp.test."
)

var (
	errNotFound = &net.DNSError{Err: "no such host", IsNotFound: true}
	errTimeout  = &net.DNSError{Err: "i/o timeout", IsTimeout: true, IsTemporary: true}
	errServfail = &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	errUnread   = &net.DNSError{Err: "DNS response contained records which contain invalid names"}
)

// answer is what a fakeDNS says to one name.
type answer struct {
	records []*net.SRV
	err     error
}

func srvAt(targets ...string) answer {
	a := answer{records: []*net.SRV{}}
	for _, target := range targets {
		a.records = append(a.records, &net.SRV{Target: target, Port: 389, Weight: 100})
	}
	return a
}

func TestFindRecordsAsksTheSecondNameOnlyWhereTheFirstHasNothing(t *testing.T) {
	for _, row := range []struct {
		name          string
		first, second answer
		want          string // targets
		failure       string // part of the error, or empty
		asked         []string
	}{
		{"domain controllers", srvAt("dc1.corp.test.", "dc2.corp.test."), srvAt("other.corp.test."), "dc1.corp.test dc2.corp.test", "", []string{firstName}},
		{"no AD", answer{err: errNotFound}, srvAt("ldap.corp.test."), "ldap.corp.test", "", []string{firstName, secondName}},
		{"no record", srvAt(), srvAt("ldap.corp.test."), "ldap.corp.test", "", []string{firstName, secondName}},
		{"decidedly none", srvAt("."), srvAt("ldap.corp.test."), "ldap.corp.test", "", []string{firstName, secondName}},
		{"only foreign ones", srvAt("evil.test."), srvAt("ldap.corp.test."), "ldap.corp.test", "", []string{firstName, secondName}},
		{"only unreadable ones", answer{records: []*net.SRV{}, err: errUnread}, srvAt("ldap.corp.test."), "ldap.corp.test", "", []string{firstName, secondName}},
		{"some unreadable ones", answer{records: srvAt("dc1.corp.test.").records, err: errUnread}, answer{}, "dc1.corp.test", "", []string{firstName}},
		{"timeout", answer{err: errTimeout}, srvAt("ldap.corp.test."), "", "asking for " + firstName + ": lookup : i/o timeout", []string{firstName}},
		{"server failure", answer{err: errServfail}, srvAt("ldap.corp.test."), "", "server misbehaving", []string{firstName}},
		{"no DNS error", answer{err: errors.New("out of file descriptors")}, srvAt("ldap.corp.test."), "", "out of file descriptors", []string{firstName}},
		{"second fails", answer{err: errNotFound}, answer{err: errTimeout}, "", "asking for " + secondName, []string{firstName, secondName}},
		{"no such names", answer{err: errNotFound}, answer{err: errNotFound}, "", "neither " + firstName + " nor " + secondName, []string{firstName, secondName}},
		{"nothing of use", srvAt("evil.test."), srvAt("."), "", "neither " + firstName + " nor " + secondName, []string{firstName, secondName}},
	} {
		t.Run(row.name, func(t *testing.T) {
			dns := newFakeDNS()
			dns.set(firstName, row.first)
			dns.set(secondName, row.second)
			found, err := findRecords(t.Context(), dns, "corp.test")
			if got := strings.Join(targets(found.records), " "); got != row.want {
				t.Errorf("targets %q, want %q", got, row.want)
			}
			if (err != nil) != (row.failure != "") || err != nil && !strings.Contains(err.Error(), row.failure) {
				t.Errorf("error %v, want one with %q", err, row.failure)
			}
			if err != nil && !strings.Contains(err.Error(), "write servers ldaps://<host>") {
				t.Errorf("error %q names no cure", err)
			}
			if got := dns.names(); !slices.Equal(got, row.asked) {
				t.Errorf("asked %q, want %q", got, row.asked)
			}
		})
	}
}

func TestUsableTargets(t *testing.T) {
	for _, row := range []struct {
		name   string
		target string
		want   string // "" and no reason: left out without a word
		reason string
	}{
		{"inside", "dc1.corp.test.", "dc1.corp.test", ""},
		{"inside, in capitals", "DC1.Corp.TEST.", "dc1.corp.test", ""},
		{"deeper inside", "dc1.site.corp.test.", "dc1.site.corp.test", ""},
		{"the domain", "corp.test.", "corp.test", ""},
		{"without the dot", "dc1.corp.test", "dc1.corp.test", ""},
		{"underscore", "dc_1.corp.test.", "dc_1.corp.test", ""},
		{"none", ".", "", ""},
		{"empty", "", "", "no host name"},
		{"other domain", "dc1.evil.test.", "", "outside"},
		{"same letters, other label", "evilcorp.test.", "", "outside"},
		{"domain in the middle", "dc1.corp.test.evil.test.", "", "outside"},
		{"parent", "test.", "", "outside"},
		{"address", "192.0.2.1.", "", "outside"},
		{"space", "dc 1.corp.test.", "", "no host name"},
		{"line end", "dc1\n.corp.test.", "", "no host name"},
		{"NUL", "dc1\x00.corp.test.", "", "no host name"},
		{"slash", "evil.test/.corp.test.", "", "no host name"},
		{"at sign", "a@b.corp.test.", "", "no host name"},
		{"port", "dc1:80.corp.test.", "", "no host name"},
		{"letters that fold to others", "\u212aing.corp.test.", "", "no host name"},
		{"no UTF-8", "\xff.corp.test.", "", "no host name"},
		{"empty label", "dc1..corp.test.", "", "no host name"},
		{"dot first", ".corp.test.", "", "no host name"},
		{"two dots last", "dc1.corp.test..", "", "no host name"},
		{"hyphen first", "-dc1.corp.test.", "", "no host name"},
		{"wildcard", "*.corp.test.", "", "no host name"},
		{"long label", strings.Repeat("a", 64) + ".corp.test.", "", "no host name"},
		{"longest name", strings.Repeat("a.", 122) + "corp.test.", strings.Repeat("a.", 122) + "corp.test", ""},
		{"too long", strings.Repeat("a.", 123) + "corp.test.", "", "no host name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			ignored := map[string]string{}
			records := usable("corp.test", srvAt(row.target).records, ignored)
			if got := strings.Join(targets(records), " "); got != row.want {
				t.Errorf("taken %q, want %q", got, row.want)
			}
			reasons := slices.Collect(maps.Values(ignored))
			if row.reason == "" && len(reasons) != 0 || row.reason != "" && (len(reasons) != 1 || !strings.Contains(reasons[0], row.reason)) {
				t.Errorf("ignored for %q, want %q", reasons, row.reason)
			}
		})
	}
}

func TestUsableTakesEachHostAndPortOnce(t *testing.T) {
	ignored := map[string]string{}
	records := usable("corp.test", []*net.SRV{
		{Target: "dc2.corp.test.", Port: 389, Priority: 5, Weight: 1},
		{Target: "DC1.corp.test.", Port: 389, Priority: 10, Weight: 70},
		{Target: "dc1.corp.test.", Port: 636, Priority: 10, Weight: 1},
		nil,
		{Target: "dc1.corp.test", Port: 389, Priority: 0, Weight: 1},
		{Target: "dc1.corp.test", Port: 389, Priority: 0, Weight: 9},
		{Target: "dc3.corp.test", Port: 0},
	}, ignored)
	want := []record{{"dc1.corp.test", 389, 0, 9}, {"dc1.corp.test", 636, 10, 1}, {"dc2.corp.test", 389, 5, 1}}
	if !slices.Equal(records, want) {
		t.Errorf("records %v, want %v", records, want)
	}
	if len(ignored) != 1 || ignored["dc3.corp.test"] != "its port is 0" {
		t.Errorf("ignored %q", ignored)
	}
}

func TestInOrderGoesByPriorityThenByWeight(t *testing.T) {
	// d has the lowest priority, whatever its weight; c is not to be used much.
	records := []record{{"a", 389, 10, 100}, {"b", 389, 10, 300}, {"c", 389, 10, 0}, {"d", 389, 20, 65535}, {"e", 389, 0, 0}, {"f", 389, 0, 0}}
	before := slices.Clone(records)
	first := map[string]int{}
	const rounds = 2000
	for range rounds {
		got := inOrder(records)
		if got[5].target != "d" || got[0].priority != 0 || got[1].priority != 0 {
			t.Fatalf("order %v is not by priority", got)
		}
		sorted := slices.Sorted(slices.Values(targets(got)))
		if strings.Join(sorted, "") != "abcdef" {
			t.Fatalf("order %v has lost or doubled one", got)
		}
		first[got[0].target]++
		first[got[2].target]++
	}
	// The expected counts are 500, 1,500, under 5, and 1,000 for e and f; the
	// bounds are more than ten standard deviations away.
	if first["a"] < 250 || first["b"] < 1250 || first["c"] > 60 || first["e"] < 750 || first["f"] < 750 {
		t.Errorf("first of their priority: %v", first)
	}
	if !slices.Equal(records, before) {
		t.Error("the records were sorted in place")
	}
	if got := inOrder(nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestFindRecordsFromANameServer(t *testing.T) {
	dns := dnstest.New(t)
	find := func() (findings, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return findRecords(ctx, cancellable(dns.Resolver()), "corp.test")
	}
	if _, err := find(); err == nil || !strings.Contains(err.Error(), "neither") {
		t.Errorf("no such names: %v", err)
	}

	dns.SetSRV(secondName, net.SRV{Target: "ldap.corp.test.", Port: 389})
	found, err := find()
	if err != nil || found.name != secondName || strings.Join(targets(found.records), " ") != "ldap.corp.test" {
		t.Errorf("second name: %v, %v", found, err)
	}

	dns.Fail(firstName)
	second := dns.Asked(secondName)
	if found, err := find(); err == nil || len(found.records) > 0 || dns.Asked(secondName) != second {
		t.Errorf("failure of the first name: %v, %v, second name asked %d times", found, err, dns.Asked(secondName)-second)
	}
	dns.Resume()

	// More than a datagram holds, with names that are none.
	records := []net.SRV{{Target: "dc 0.corp.test.", Port: 389}, {Target: "evil.test.", Port: 389}, {Target: ".", Port: 0}}
	for i := range 100 {
		records = append(records, net.SRV{Target: fmt.Sprintf("DC%d.corp.test.", i), Port: 389, Priority: 1, Weight: 100})
	}
	dns.SetSRV(firstName, records...)
	found, err = find()
	if err != nil || found.name != firstName || len(found.records) != 100 || len(found.ignored) != 2 || found.ignored["evil.test"] == "" {
		t.Errorf("many records: %d, ignored %q, %v", len(found.records), found.ignored, err)
	}
}

func TestCancellableEndsAQuestionAtOnce(t *testing.T) {
	dns := dnstest.New(t)
	dns.Silence()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, _, err := cancellable(dns.Resolver()).LookupSRV(ctx, "ldap", "tcp", "corp.test.")
		ended <- err
	}()
	eventually(t, "the question arrives", func() bool { return dns.Asked(secondName) > 0 })
	started := time.Now()
	cancel()
	if err := <-ended; err == nil {
		t.Error("no error")
	}
	// Without it the answer is waited for: 5 s, or what resolv.conf says.
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("ended after %s", took)
	}
}

func targets(records []record) []string {
	names := make([]string, len(records))
	for i, r := range records {
		names[i] = r.target
	}
	return names
}
