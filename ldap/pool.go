package ldap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// laneKind tells connections apart by who they are bound as. A connection of
// one lane is never used for the other: a wrong password must not leave the
// service account's connection as somebody else, or as nobody.
type laneKind int

const (
	signInLane laneKind = iota // binds of people; on AD also what proves them
	lookupLane                 // searches as the service account
	lanes
)

// capacities share the connections to one server out. Where there are look-ups
// they get half: a sign-in asks as much in the one lane as in the other.
func capacities(connections int, lookups bool) [lanes]int {
	if !lookups {
		return [lanes]int{signInLane: connections}
	}
	half := max(connections/2, 1)
	return [lanes]int{signInLane: max(connections-half, 1), lookupLane: half}
}

// host is one server and its connections. Its fields are the pool's, under the
// pool's lock.
type host struct {
	server
	health
	lanes   [lanes]lane
	retired bool // it is no server of the directory any more
}

// lane are the connections of one kind to one server.
type lane struct {
	inUse int
	idle  []*connection // the one that was used last is last
}

// pool hands out a directory's connections, each to one user at a time. It
// prefers the first healthy server, and takes the next where that one has no
// connection left. It dials nothing itself: a grant without a connection is
// the right to open one.
type pool struct {
	limits   *limits
	capacity [lanes]int // per server
	queue    int        // how many may wait
	label    string
	logger   *slog.Logger
	probe    func(ctx context.Context, s server) error
	spawn    func(work func(ctx context.Context))

	mu      sync.Mutex
	hosts   []*host
	waiting []*waiter
	closed  bool
	sweeper *time.Timer
}

// waiter is somebody for whom there was no connection.
type waiter struct {
	kind    laneKind
	prefer  *host
	avoid   []*host
	granted chan grant // has room for the one answer
}

// grant is the right to use one connection of a host. conn is nil where a new
// one must be opened. Whoever got a grant gives it back, once.
type grant struct {
	host *host
	kind laneKind
	conn *connection
	err  error

	unused bool // conn was not touched
}

var (
	errBusy = errors.New("too many sign-ins at once")
	errNone = errors.New("there is no other server")
)

// setServers replaces the servers, keeping what is known of those that stay.
func (p *pool) setServers(servers []server) {
	var gone []*connection
	p.mu.Lock()
	before := p.hosts
	p.hosts = make([]*host, 0, len(servers))
	for _, s := range servers {
		i := slices.IndexFunc(before, func(h *host) bool { return h.server == s })
		if i >= 0 {
			p.hosts = append(p.hosts, before[i])
			continue
		}
		p.hosts = append(p.hosts, &host{server: s})
	}
	for _, h := range before {
		if !slices.Contains(p.hosts, h) {
			h.retire()
			gone = append(gone, h.takeIdle()...)
		}
	}
	p.serve()
	p.mu.Unlock()
	closeAll(gone)
}

// take waits for a connection to one of the servers that are not to be avoided,
// best the preferred one (nil: the first). With none of them healthy it fails at
// once.
func (p *pool) take(ctx context.Context, kind laneKind, prefer *host, avoid []*host) (grant, error) {
	if err := ctx.Err(); err != nil {
		return grant{}, err // lending a kept connection to it would close it
	}
	p.mu.Lock()
	if g, ok := p.pick(kind, prefer, avoid); ok {
		p.mu.Unlock()
		return g, g.err
	}
	if len(p.waiting) >= p.queue {
		p.mu.Unlock()
		return grant{}, errBusy
	}
	w := &waiter{kind: kind, prefer: prefer, avoid: avoid, granted: make(chan grant, 1)}
	p.waiting = append(p.waiting, w)
	p.mu.Unlock()

	timer := time.NewTimer(p.limits.wait)
	defer timer.Stop()
	var err error
	select {
	case g := <-w.granted:
		return g, g.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = errBusy
	}
	p.mu.Lock()
	i := slices.Index(p.waiting, w)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 { // granted in the same moment
		if g := <-w.granted; g.err == nil {
			p.giveBack(g, false)
		}
	}
	return grant{}, err
}

// pick grants a connection, or says that none ever comes; ok is false where
// waiting helps. The caller holds mu.
func (p *pool) pick(kind laneKind, prefer *host, avoid []*host) (g grant, ok bool) {
	full := false
	order := p.hosts
	if i := slices.Index(order, prefer); i > 0 {
		order = slices.Concat([]*host{prefer}, order[:i], order[i+1:])
	}
	for _, h := range order {
		if h.isDown() || slices.Contains(avoid, h) {
			continue
		}
		l := &h.lanes[kind]
		if l.inUse >= p.capacity[kind] {
			full = true
			continue
		}
		l.inUse++
		g = grant{host: h, kind: kind}
		if n := len(l.idle); n > 0 {
			g.conn = l.idle[n-1]
			l.idle = slices.Delete(l.idle, n-1, n)
		}
		return g, true
	}
	if full {
		return grant{}, false
	}
	return grant{err: p.whyNone(avoid)}, true
}

// whyNone explains that no server is left to ask, and has those that are down
// looked at sooner, since somebody waits for them. The caller holds mu.
func (p *pool) whyNone(avoid []*host) error {
	if len(p.hosts) == 0 {
		return errors.New("no server is known")
	}
	var last error
	for _, h := range p.hosts {
		if h.isDown() {
			p.hurry(h)
			if last == nil {
				last = fmt.Errorf("%s is down: %w", h.url, h.failure)
			}
		}
	}
	if len(avoid) > 0 || last == nil {
		return errNone
	}
	return last
}

// giveBack ends a grant. A connection is kept only where the caller says so.
func (p *pool) giveBack(g grant, keep bool) {
	p.mu.Lock()
	l := &g.host.lanes[g.kind]
	l.inUse--
	keep = keep && g.conn != nil && !p.closed && !g.host.retired && !g.host.isDown()
	if keep {
		if !g.unused {
			g.conn.idleSince = time.Now()
		}
		l.idle = append(l.idle, g.conn)
		p.sweepLater()
	}
	p.serve()
	p.mu.Unlock()
	if !keep && g.conn != nil {
		g.conn.close()
	}
}

// passBy waits for a connection like somebody who needs one, and leaves it.
func (p *pool) passBy(ctx context.Context, kind laneKind) error {
	g, err := p.take(ctx, kind, nil, nil)
	if err == nil {
		g.unused = true
		p.giveBack(g, true)
	}
	return err
}

// serve grants what became free to those who wait, the first one first. The
// caller holds mu.
func (p *pool) serve() {
	p.waiting = slices.DeleteFunc(p.waiting, func(w *waiter) bool {
		g, ok := p.pick(w.kind, w.prefer, w.avoid)
		if ok {
			w.granted <- g
		}
		return ok
	})
}

// sweepLater has idle connections closed when their time has come. The caller
// holds mu.
func (p *pool) sweepLater() {
	if p.sweeper == nil && !p.closed {
		p.sweeper = time.AfterFunc(p.limits.idle/2, p.sweep)
	}
}

// sweep closes the connections that were idle for too long: servers and
// firewalls forget them without a word.
func (p *pool) sweep() {
	now := time.Now()
	var old []*connection
	p.mu.Lock()
	p.sweeper = nil
	left := false
	for _, h := range p.hosts {
		for kind := range h.lanes {
			l := &h.lanes[kind]
			l.idle = slices.DeleteFunc(l.idle, func(c *connection) bool {
				expired := now.Sub(c.idleSince) >= p.limits.idle || c.tooOld(now)
				if expired {
					old = append(old, c)
				}
				return expired
			})
			left = left || len(l.idle) > 0
		}
	}
	if left {
		p.sweepLater()
	}
	p.mu.Unlock()
	closeAll(old)
}

// dropIdle closes the idle connections to h: one of them was found dead.
func (p *pool) dropIdle(h *host) {
	p.mu.Lock()
	idle := h.takeIdle()
	p.mu.Unlock()
	closeAll(idle)
}

// retire ends the looking after a server. The caller holds the pool's lock.
func (h *host) retire() {
	h.retired = true
	if h.timer != nil {
		h.timer.Stop()
	}
}

// takeIdle removes the idle connections. The caller holds the pool's lock.
func (h *host) takeIdle() []*connection {
	var idle []*connection
	for kind := range h.lanes {
		idle = append(idle, h.lanes[kind].idle...)
		h.lanes[kind].idle = nil
	}
	return idle
}

// close closes what is idle, and keeps nothing from now on.
func (p *pool) close() {
	var idle []*connection
	p.mu.Lock()
	p.closed = true
	if p.sweeper != nil {
		p.sweeper.Stop()
	}
	for _, h := range p.hosts {
		h.retire()
		idle = append(idle, h.takeIdle()...)
	}
	p.mu.Unlock()
	closeAll(idle)
}

// closeAll closes connections, at most a second for all of them: each may be
// one whose peer takes no more data.
func closeAll(connections []*connection) {
	var closing sync.WaitGroup
	for _, c := range connections {
		closing.Go(c.close)
	}
	closing.Wait()
}

// size is the number of servers that are known.
func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.hosts)
}

// others counts the servers that can be asked beside h.
func (p *pool) others(h *host, avoid []*host) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, o := range p.hosts {
		if o != h && !o.isDown() && !slices.Contains(avoid, o) {
			n++
		}
	}
	return n
}

// has tells whether the servers are these, in this order.
func (p *pool) has(servers []server) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.EqualFunc(p.hosts, servers, func(h *host, s server) bool { return h.server == s })
}
