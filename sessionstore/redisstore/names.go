package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// lookupTimeout bounds a look-up. A name server that is down takes five seconds
	// of it, before the next one is asked, and there may be two of them.
	lookupTimeout = 15 * time.Second

	// keptFor is how long the addresses that came too late for an attempt are there
	// for the next one: the longest pause, and what sentinels take that come first.
	keptFor = 5 * time.Second
)

// names looks up the hosts of servers, one look-up at a time for each. It goes on
// when the attempt to connect that began it has given up: as long as the first name
// server is down each takes longer than an attempt may, and begun anew each time
// none would ever end.
//
// Addresses are used once, as a failover may be a change of the name only: they are
// there for the attempts that wait for them, and what came too late for all of these
// is there for the next one. Failures are for those who wait.
type names struct {
	mu      sync.Mutex
	lookups map[string]*lookup // under way, or with addresses that nobody has used
	closed  bool
}

type lookup struct {
	began time.Time
	over  chan struct{}

	// From then on:
	ended time.Time
	found []string
	err   error
}

// find returns the addresses of a host.
func (s *Store) find(ctx context.Context, host string, resolver *net.Resolver) ([]string, error) {
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{host}, nil
	}
	began := time.Now()
	l := s.lookup(host, resolver)
	if l == nil {
		return nil, net.ErrClosed
	}
	select {
	case <-l.over:
	case <-ctx.Done():
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, ctx.Err()
		}
		// Not with the context's error, which is that of a server that is silent.
		return nil, fmt.Errorf("looking up %q takes longer than %s", host, inSeconds(time.Since(l.began)))
	}
	if l.err != nil {
		return nil, l.err
	}
	// What waited for most of its time may not get to use them.
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > time.Since(began) {
		s.names.used(host, l)
	}
	return l.found, nil
}

// lookup returns the one under way, or the last one if nobody has used what it
// found, or a new one. nil: the store is closed.
func (s *Store) lookup(host string, resolver *net.Resolver) *lookup {
	n := &s.names
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	for host, l := range n.lookups {
		if !l.ended.IsZero() && time.Since(l.ended) > keptFor {
			delete(n.lookups, host)
		}
	}
	if l := n.lookups[host]; l != nil {
		return l
	}
	if n.lookups == nil {
		n.lookups = make(map[string]*lookup)
	}
	l := &lookup{began: time.Now(), over: make(chan struct{})}
	n.lookups[host] = l
	s.background.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, lookupTimeout)
		defer cancel()
		found, err := lookUp(ctx, host, resolver)
		n.mu.Lock()
		defer n.mu.Unlock()
		l.ended, l.found, l.err = time.Now(), found, err
		if err != nil {
			delete(n.lookups, host)
		}
		close(l.over)
	})
	return l
}

// used is called by who has time to use the addresses.
func (n *names) used(host string, l *lookup) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lookups[host] == l {
		delete(n.lookups, host)
	}
}

// close has no further look-up begin, so that those under way can be waited for.
func (n *names) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
}

func lookUp(ctx context.Context, host string, resolver *net.Resolver) ([]string, error) {
	found, err := cancellable(resolver).LookupHost(ctx, host)
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		// As above: it would be taken for the silence of the server.
		return nil, fmt.Errorf("looking up %q: no name server answers: %v", host, err)
	case err == nil && len(found) == 0:
		return nil, fmt.Errorf("looking up %q: it has no address", host)
	}
	return found, err
}

// cancellable is base with questions that end when their context is cancelled: Go's
// own resolver looks at it between two packets only, so that closing a store would
// take as long as a dead name server.
func cancellable(base *net.Resolver) *net.Resolver {
	if base == nil {
		base = new(net.Resolver)
	}
	dial := base.Dial
	if dial == nil {
		dial = (&net.Dialer{Resolver: base}).DialContext
	}
	return &net.Resolver{
		PreferGo:     base.PreferGo,
		StrictErrors: base.StrictErrors,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err == nil {
				context.AfterFunc(ctx, func() {
					// Its deadline is the socket's too, which ends as one that timed out.
					if errors.Is(ctx.Err(), context.Canceled) {
						conn.Close()
					}
				})
			}
			return conn, err
		},
	}
}

// inSeconds is for errors, which the log tells apart without their digits.
func inSeconds(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Truncate(time.Millisecond)
	}
	return d.Truncate(time.Second)
}
