package ldap

import (
	"context"
	"errors"
	"time"
)

// lease is the use of one connection by one goroutine.
type lease struct {
	*connection
	directory *Directory
	grant     grant
	ended     bool
}

// lease returns a connection that can be used, at the server that is preferred
// (nil: none) or else at the first that gives one. avoid are servers that failed
// this caller before. Nothing but rootDSE reads are sent, so that it may go on
// to the next server as it likes.
func (d *Directory) lease(ctx context.Context, kind laneKind, prefer *host, avoid *[]*host) (*lease, error) {
	if err := d.findServers(ctx); err != nil {
		return nil, err
	}
	var last error
	for {
		g, err := d.pool.take(ctx, kind, prefer, *avoid)
		switch {
		case err != nil && last != nil && errors.Is(err, errNone):
			return nil, last
		case err != nil:
			return nil, poolError(err)
		}
		l, err := d.prepare(ctx, &g, *avoid)
		if err == nil {
			return l, nil
		}
		if !over(ctx) && serverFault(err) {
			d.pool.fail(g.host, err)
			d.hurryDiscovery()
		}
		// Not before: who waits would get the right to try the same in vain.
		d.pool.giveBack(g, false)
		*avoid = append(*avoid, g.host)
		last = &UnavailableError{Reason: searchReason(err), Server: g.host.url, Err: err}
		if over(ctx) {
			return nil, last
		}
	}
}

// poolError is the error of somebody who got no connection.
func poolError(err error) error {
	reason := ReasonDirectoryUnavailable
	if errors.Is(err, errBusy) {
		reason = ReasonBusy
	}
	return &UnavailableError{Reason: reason, Err: err}
}

// over tells whether a caller's time is up. Deadlines of sockets and requests
// come from the same moment and may be noticed first: what they break off then
// says nothing about the server.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// prepare makes a grant a lease: with the connection that was kept if it is
// still alive, else with a new one.
func (d *Directory) prepare(ctx context.Context, g *grant, avoid []*host) (l *lease, err error) {
	defer func() {
		if l == nil && err == nil { // a panic
			d.pool.giveBack(*g, false)
		}
	}()
	started := time.Now()
	if c := g.conn; c != nil {
		c.lend(ctx)
		if !c.tooOld(started) && c.alive(d.limits.dial/3) {
			return &lease{connection: c, directory: d, grant: *g}, nil
		}
		c.takeBack()
		c.close()
		if g.conn = nil; ctx.Err() == nil {
			// The others have most probably met the same end.
			d.pool.dropIdle(g.host)
		}
	}
	// All of it within the time for one server, which leaves some for the rest.
	limit := d.limits.dial
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, max(time.Until(deadline)/time.Duration(1+d.pool.others(g.host, avoid)), d.limits.dial/3))
	}
	dialCtx, cancel := context.WithDeadline(ctx, started.Add(limit))
	defer cancel()
	c, err := d.dial(dialCtx, g.host.server)
	if err != nil {
		return nil, err
	}
	c.lend(ctx)
	g.conn = c
	return &lease{connection: c, directory: d, grant: *g}, nil
}

// end gives the connection back, for others to use if that is safe. err is what
// came of the use: a server that left a question unanswered, or says that it
// cannot go on, is looked at. It stays in use meanwhile, since the question may
// be the reason, which anybody may have asked.
func (l *lease) end(err error) {
	l.ended = true
	doubtful := (l.broken || serverFault(err)) && !over(l.ctx)
	l.directory.pool.giveBack(l.grant, l.takeBack() && !l.directory.doubts(l.connection))
	if doubtful {
		l.directory.pool.doubt(l.grant.host)
	}
}

// drop is deferred where a lease is used: it ends one that a panic has left, of
// which nobody knows what was asked and not read.
func (l *lease) drop() {
	if !l.ended {
		l.broken = true
		l.end(nil)
	}
}

// findServers asks DNS for the servers where none are configured.
func (d *Directory) findServers(ctx context.Context) error {
	if d.discovery == nil {
		return nil
	}
	servers, err := d.discovery.servers(ctx)
	if err != nil {
		return &UnavailableError{Reason: ReasonDirectoryUnavailable, Err: err}
	}
	if !d.pool.has(servers) {
		d.pool.setServers(servers)
	}
	return nil
}

func (d *Directory) hurryDiscovery() {
	if d.discovery != nil {
		d.discovery.hurry()
	}
}
