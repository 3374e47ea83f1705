package ldap

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// hostResolver is the part of net.Resolver that finds addresses.
type hostResolver interface {
	LookupHost(ctx context.Context, host string) (addrs []string, err error)
}

// reach is one server on the way to a connection. What dial does at once, its
// three steps do one by one, in the same time.
type reach struct {
	server server
	spent  time.Duration
	raw    net.Conn
	meter  *meteredConn
	secure net.Conn
	conn   *connection
	err    error // ends the way
	text   string
}

func (r *reach) close() {
	switch {
	case r.conn != nil:
		r.conn.close()
	case r.raw != nil:
		r.raw.Close()
	}
}

// dns finds the servers, and the addresses of their hosts.
func (k *check) dns(s *CheckStep) error {
	ctx, cancel := context.WithTimeout(k.ctx, discoveryBound)
	defer cancel()
	resolver := hostResolver(net.DefaultResolver)
	if discovery := k.d.discovery; discovery == nil {
		k.servers = k.d.pool.all()
		s.Detail = "no SRV records needed, servers are configured"
	} else {
		if own, ok := discovery.resolver.(hostResolver); ok {
			resolver = own
		}
		started := time.Now()
		found, err := findRecords(ctx, discovery.resolver, discovery.domain)
		for target, why := range found.ignored {
			s.Warnings = append(s.Warnings, fmt.Sprintf("SRV record ignored: %s: %s", printable(target), printable(why)))
		}
		slices.Sort(s.Warnings)
		s.Warnings = s.Warnings[:min(len(s.Warnings), maxIgnoredLines)]
		if err != nil {
			return err
		}
		if time.Since(started) > discoveryWait {
			s.Warnings = append(s.Warnings, fmt.Sprintf("DNS took longer than the %s that a sign-in waits for it: the first sign-ins after a start are answered 503: look at the first name server in resolv.conf, or write servers", discoveryWait))
		}
		var urls []string
		for _, r := range inOrder(found.records) {
			if one := k.d.config.serverAt(r.target, r.port); !slices.Contains(k.servers, one) && len(k.servers) < maxDiscovered {
				k.servers, urls = append(k.servers, one), append(urls, one.url)
			}
		}
		s.Detail = found.name + " names " + strings.Join(urls, ", ")
	}
	return k.findHosts(ctx, resolver, s)
}

// findHosts looks the servers' hosts up. One that is not found may do no harm.
func (k *check) findHosts(ctx context.Context, resolver hostResolver, s *CheckStep) error {
	var hosts []string
	for _, server := range k.servers {
		host, _, err := net.SplitHostPort(server.address)
		if err == nil && net.ParseIP(host) == nil && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) == 0 {
		s.Detail += "; they are addresses"
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, k.d.limits.dial)
	defer cancel()
	addresses, failures := make([][]string, len(hosts)), make([]error, len(hosts))
	var asking sync.WaitGroup
	for i, host := range hosts {
		asking.Go(func() { addresses[i], failures[i] = resolver.LookupHost(ctx, host) })
	}
	asking.Wait()
	var found, missing []string
	var last error
	for i, host := range hosts {
		if failures[i] != nil {
			last = fmt.Errorf("looking up host %q: %w", host, failures[i])
			missing = append(missing, last.Error())
			continue
		}
		found = append(found, host+" is "+strings.Join(addresses[i], ", "))
	}
	if len(missing) == len(k.servers) {
		return last
	}
	if len(found) > 0 {
		s.Detail += "; " + strings.Join(found, "; ")
	}
	s.Warnings = append(s.Warnings, missing...)
	return nil
}

// connect opens a TCP connection to each server.
func (k *check) connect(s *CheckStep) error {
	for _, server := range k.servers {
		k.reached = append(k.reached, &reach{server: server})
	}
	return k.each(s, func(ctx context.Context, r *reach) error {
		started := time.Now()
		raw, err := new(net.Dialer).DialContext(ctx, "tcp", r.server.address)
		if err != nil {
			return &transportError{doing: "connecting", err: err}
		}
		r.raw, r.meter = raw, &meteredConn{Conn: raw}
		r.text = fmt.Sprintf("%s (%d ms)", r.server.url, time.Since(started).Milliseconds())
		return nil
	})
}

// findKind reads the rootDSEs, and goes on with the first server that answers.
func (k *check) findKind(s *CheckStep) error {
	err := k.each(s, func(ctx context.Context, r *reach) error {
		c := &connection{
			server: r.server, raw: r.raw, meter: r.meter,
			operation: k.d.limits.operation, opened: time.Now(), maxAge: k.d.limits.age,
		}
		c.lend(ctx)
		c.ldap = goldap.NewConn(r.secure, r.server.implicit || r.server.startTLS)
		c.ldap.SetTimeout(c.operation)
		c.ldap.Start()
		r.conn = c
		err := c.readRoot()
		c.takeBack()
		return err
	})
	if err != nil {
		return err
	}
	k.begin()
	for _, r := range k.reached {
		switch {
		case r.err == nil && k.service == nil:
			k.service, r.conn, r.raw = r.conn, nil, nil
			k.service.lend(k.ctx)
		default:
			r.close()
		}
	}
	k.reached = nil
	root := k.service.root
	k.kind = k.d.learnKind(k.service)
	switch {
	case k.d.config.Kind == KindAuto:
		s.Detail = fmt.Sprintf("%s (found out)", k.kind)
	default:
		s.Detail = fmt.Sprintf("%s (configured)", k.kind)
		if root.kind != k.kind && !root.hidden && (root.kind != KindGeneric || k.kind == KindAD) {
			s.Warnings = append(s.Warnings, fmt.Sprintf("the directory is configured as %s, and the server looks like %s", k.kind, root.kind))
		}
	}
	s.Detail += ", at " + k.service.server.url
	if root.hidden {
		s.Detail += "; the server shows its rootDSE to nobody that it does not know"
		return nil
	}
	if k.base, err = k.d.userBase(root); err != nil {
		return err
	}
	s.Detail += fmt.Sprintf("; base_dn %q, %d naming contexts", printable(k.base), root.contexts)
	if domain := domainOf(root.base); k.kind == KindAD && domain != "" && !k.d.names.own(domain) {
		s.Warnings = append(s.Warnings, fmt.Sprintf("the server's domain is %q, and bare names are completed with %q: label the directory with its domain", domain, k.d.config.Label))
	}
	return nil
}

// domainOf is the DNS domain of a DN that has nothing but DC parts, else "".
func domainOf(dn string) string {
	parsed, err := goldap.ParseDN(dn)
	if err != nil {
		return ""
	}
	var labels []string
	for _, rdn := range parsed.RDNs {
		if len(rdn.Attributes) != 1 || !strings.EqualFold(rdn.Attributes[0].Type, "DC") {
			return ""
		}
		labels = append(labels, rdn.Attributes[0].Value)
	}
	return printable(strings.Join(labels, "."))
}

// each takes all servers that are still on their way a step further, at once.
// It fails where none is left, with what stopped the first one.
func (k *check) each(s *CheckStep, further func(ctx context.Context, r *reach) error) error {
	var going []*reach
	for _, r := range k.reached {
		if r.err == nil {
			going = append(going, r)
		}
	}
	var steps sync.WaitGroup
	for _, r := range going {
		steps.Go(func() {
			started := time.Now()
			ctx, cancel := context.WithTimeout(k.ctx, max(k.d.limits.dial-r.spent, 0))
			defer cancel()
			r.text = ""
			if r.err = further(ctx, r); r.err != nil && over(ctx) && !over(k.ctx) {
				r.err = &silentError{after: k.d.limits.dial, err: r.err}
			}
			r.spent += time.Since(started)
		})
	}
	steps.Wait()
	var done, failed []string
	var first error
	for _, r := range going {
		if r.err == nil {
			if r.text != "" {
				done = append(done, r.text)
			}
			continue
		}
		if first == nil {
			first = &serverError{url: r.server.url, err: r.err}
		}
		cause, cure := causeAndCure(s.Name, k.kind, &serverError{url: r.server.url, err: r.err})
		failed = append(failed, cause+": "+cure)
	}
	s.Detail = strings.Join(done, "; ")
	if len(failed) < len(going) {
		s.Warnings = append(s.Warnings, failed...)
		return nil
	}
	s.Warnings = append(s.Warnings, failed[min(1, len(failed)):]...) // the first is the step's own
	return first
}

// serverError says which server an error is about.
type serverError struct {
	url string
	err error
}

func (e *serverError) Error() string { return e.url + ": " + e.err.Error() }

func (e *serverError) Unwrap() error { return e.err }

// silentError is a server that did not get as far in its time.
type silentError struct {
	after time.Duration
	err   error
}

func (e *silentError) Error() string { return fmt.Sprintf("no answer within %s", e.after) }

func (e *silentError) Unwrap() error { return e.err }
