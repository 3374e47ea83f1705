package ldap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
)

// resolver is the part of net.Resolver that finds servers.
type resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
}

// machineDNS is the resolver that the machine is set to.
func machineDNS() resolver { return cancellable(net.DefaultResolver) }

// cancellable is base with questions that end when their context does: Go's own
// resolver looks at it between two packets only, so that closing a directory
// would take as long as a dead name server.
func cancellable(base *net.Resolver) *net.Resolver {
	dial := base.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &net.Resolver{
		PreferGo:     base.PreferGo,
		StrictErrors: base.StrictErrors,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err == nil {
				context.AfterFunc(ctx, func() { conn.Close() })
			}
			return conn, err
		},
	}
}

// record is a usable SRV record.
type record struct {
	target   string // lower case, no dot at the end
	port     uint16
	priority uint16
	weight   uint16
}

// findings is what a look-up brought.
type findings struct {
	name     string // that led to records
	records  []record
	ignored  map[string]string // targets of no use, and why
	answered bool              // DNS has said something, even if it was of no use
}

// serverNames are what DNS is asked for. They are absolute: with the machine's
// search suffixes appended, other domains could answer.
func serverNames(domain string) [2]string {
	return [2]string{"_ldap._tcp.dc._msdcs." + domain + ".", "_ldap._tcp." + domain + "."}
}

// findRecords asks for the first name, and for the second one only where the
// first has no usable record. A failure ends it: whoever can make a name server
// fail must not choose which servers are taken.
func findRecords(ctx context.Context, r resolver, domain string) (findings, error) {
	found := findings{ignored: make(map[string]string)}
	names := serverNames(domain)
	for _, name := range names {
		_, answer, err := r.LookupSRV(ctx, "ldap", "tcp", strings.TrimPrefix(name, "_ldap._tcp."))
		var dns *net.DNSError
		switch {
		case err == nil:
			found.records = usable(domain, answer, found.ignored)
		case answer != nil: // without those that net.Resolver could not read
			found.ignored[name] = err.Error()
			found.records = usable(domain, answer, found.ignored)
		case !errors.As(err, &dns) || !dns.IsNotFound:
			return found, withCure(domain, fmt.Errorf("asking for %s: %w", name, err))
		}
		found.answered = true
		if len(found.records) > 0 {
			found.name = name
			return found, nil
		}
	}
	return found, withCure(domain, fmt.Errorf("neither %s nor %s has an SRV record of a server in the domain", names[0], names[1]))
}

func withCure(domain string, err error) error {
	return fmt.Errorf("finding the servers of %q in DNS: %w: write servers ldaps://<host>, or let this machine ask the domain's DNS", domain, err)
}

// usable picks the records that may be used for a domain, one for each host and
// port, and sorts them, so that equal answers are equal slices. The targets of
// the others are added to ignored, with the reason.
func usable(domain string, answer []*net.SRV, ignored map[string]string) []record {
	var records []record
	for _, srv := range answer {
		if srv == nil || srv.Target == "." { // RFC 2782: decidedly no such service
			continue
		}
		host := strings.TrimSuffix(srv.Target, ".")
		target := strings.ToLower(host)
		switch {
		case !isHostName(host):
			ignored[target] = "it is no host name"
		case target != domain && !strings.HasSuffix(target, "."+domain):
			ignored[target] = "it is outside of the domain"
		case srv.Port == 0:
			ignored[target] = "its port is 0"
		default:
			records = append(records, record{target: target, port: srv.Port, priority: srv.Priority, weight: srv.Weight})
		}
	}
	slices.SortFunc(records, func(a, b record) int {
		return cmp.Or(strings.Compare(a.target, b.target), cmp.Compare(a.port, b.port),
			cmp.Compare(a.priority, b.priority), cmp.Compare(b.weight, a.weight))
	})
	return slices.CompactFunc(records, func(a, b record) bool { return a.target == b.target && a.port == b.port })
}

// isHostName is stricter than DNS, where a label may hold any byte.
func isHostName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if !dnsLabel.MatchString(label) {
			return false
		}
	}
	return true
}

// inOrder returns records by priority and within one at random by weight, as
// RFC 2782 has it.
func inOrder(records []record) []record {
	records = slices.Clone(records)
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	// Those of weight 0 stand first, so that the mark 0 alone chooses them.
	slices.SortStableFunc(records, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(min(a.weight, 1), min(b.weight, 1)))
	})
	for i := range records {
		rest := records[i:]
		if end := slices.IndexFunc(rest, func(r record) bool { return r.priority != rest[0].priority }); end >= 0 {
			rest = rest[:end]
		}
		sum := 0
		for _, r := range rest {
			sum += int(r.weight)
		}
		mark := rand.IntN(sum + 1)
		chosen := slices.IndexFunc(rest, func(r record) bool {
			mark -= int(r.weight)
			return mark <= 0
		})
		first := rest[chosen]
		copy(rest[1:chosen+1], rest[:chosen])
		rest[0] = first
	}
	return records
}

// Interface guard
var _ resolver = (*net.Resolver)(nil)
