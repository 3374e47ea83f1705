package ldap

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Times of looking up servers.
const (
	// discoveryFresh is how long an answer is taken as read.
	discoveryFresh = 5 * time.Minute

	// discoveryWait is how long sign-ins wait for a look-up where no server is
	// known. It goes on behind them for up to discoveryBound: a dead first entry
	// in resolv.conf costs 5 s a name, and a look-up that gave up before would
	// never reach the second entry.
	discoveryWait  = 3 * time.Second
	discoveryBound = 20 * time.Second

	// discoveryClaim is how long to wait for spawn, which starts nothing any
	// more once the directory is closed.
	discoveryClaim = 100 * time.Millisecond

	// discoveryHurry is the least time from an answer to a look-up that hurry
	// asked for.
	discoveryHurry = 5 * time.Second

	// Pauses after failures: the first, doubled by each, up to the last.
	firstDiscoveryPause = time.Second
	maxDiscoveryPause   = time.Minute
)

// maxDiscovered bounds the servers that are kept of one answer, and
// maxIgnoredLines the log lines about those that are not: whoever forges
// answers shall neither fill the memory nor the disk.
const (
	maxDiscovered   = 64
	maxIgnoredLines = 10
)

// discovery finds a domain's servers by DNS SRV records (RFC 2782) and
// remembers them: _ldap._tcp.dc._msdcs.<domain>, which AD keeps for its domain
// controllers, and where that names none _ldap._tcp.<domain>. It looks up only
// while somebody asks for servers, one look-up at a time.
//
// DNS is not to be trusted: forged records would have passwords sent elsewhere.
// Only names inside the domain are taken, and then the certificate must carry
// that name. What DNS says less than before, in an error or by knowing no
// server any more, takes nothing away.
type discovery struct {
	domain     string // lower case, no dot at the end
	resolver   resolver
	makeServer func(host string, port uint16) server
	logger     *slog.Logger
	spawn      func(work func(ctx context.Context))

	// Written and read by the look-up under way only, without the lock.
	records []record          // of which known was made, sorted
	ignored map[string]string // targets that were warned of, and why

	mu      sync.Mutex
	running *lookup       // nil: none is under way
	known   []server      // in the order in which they are tried
	failure error         // of the last look-up
	ended   time.Time     // when it ended; zero: there was none
	pause   time.Duration // after failures
	hurried bool
}

// lookup is one look-up under way. Whoever claims it does it.
type lookup struct {
	began   time.Time
	claimed atomic.Bool
	done    chan struct{}
}

func (l *lookup) claim() bool { return l.claimed.CompareAndSwap(false, true) }

// newDiscovery looks nothing up yet. makeServer gets host name and port as the
// record has them, and so decides which port serves ldaps where 389 is
// announced. spawn must not run the work in the goroutine that calls it; where
// it drops the work, known servers are kept, and who knows none looks them up
// itself.
func newDiscovery(domain string, r resolver, makeServer func(host string, port uint16) server, logger *slog.Logger, spawn func(work func(ctx context.Context))) *discovery {
	return &discovery{
		domain:     strings.ToLower(strings.TrimSuffix(domain, ".")),
		resolver:   r,
		makeServer: makeServer,
		logger:     logger,
		spawn:      spawn,
	}
}

// servers returns those found last, in the order in which to try them. It waits
// only where none were ever found, and then about 3 s at the most. The order
// stays as it is until the records change. The error names what DNS was asked
// for and the cure, or is that of ctx.
func (d *discovery) servers(ctx context.Context) ([]server, error) {
	d.startIfDue()
	for {
		d.mu.Lock()
		known, failure, running := slices.Clone(d.known), d.failure, d.running
		d.mu.Unlock()
		switch {
		case len(known) > 0:
			return known, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("finding the servers of %q in DNS: %w", d.domain, ctx.Err())
		case running != nil:
			if !d.wait(ctx, running) {
				names := serverNames(d.domain)
				return nil, withCure(d.domain, fmt.Errorf("no answer to %s or %s within %s", names[0], names[1], discoveryWait))
			}
		case failure != nil:
			return nil, failure
		default: // The look-up was cut off, so that spawn is of no use now.
			if due := d.begin(); due != nil && due.claim() {
				d.run(ctx, due, discoveryWait)
			}
		}
	}
}

// wait waits for the end of a look-up, and does it where nobody else did within
// a moment. It is false when the look-up has been waited for long enough, by
// whomever: one that hangs costs 3 s once.
func (d *discovery) wait(ctx context.Context, running *lookup) bool {
	claim := time.NewTimer(time.Until(running.began.Add(discoveryClaim)))
	defer claim.Stop()
	select {
	case <-running.done:
		return true
	case <-ctx.Done():
		return true
	case <-claim.C:
		if running.claim() {
			d.run(ctx, running, discoveryWait)
			return true
		}
	}
	timeout := time.NewTimer(time.Until(running.began.Add(discoveryWait)))
	defer timeout.Stop()
	select {
	case <-running.done:
		return true
	case <-ctx.Done():
		return true
	case <-timeout.C:
		return false
	}
}

// hurry has the servers looked up before their time: one of them could not be
// reached, and may have been replaced.
func (d *discovery) hurry() {
	d.mu.Lock()
	d.hurried = true
	d.mu.Unlock()
	d.startIfDue()
}

func (d *discovery) startIfDue() {
	due := d.begin()
	if due == nil {
		return
	}
	d.spawn(func(ctx context.Context) {
		if due.claim() {
			d.run(ctx, due, discoveryBound)
		}
	})
}

// begin returns a new look-up, which the caller must have done, unless one is
// under way or it is too early.
func (d *discovery) begin() *lookup {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running != nil || !d.isDue(time.Since(d.ended)) {
		return nil
	}
	d.running, d.hurried = &lookup{began: time.Now(), done: make(chan struct{})}, false
	return d.running
}

// isDue needs mu.
func (d *discovery) isDue(since time.Duration) bool {
	switch {
	case d.ended.IsZero():
		return true
	case d.failure != nil:
		return since >= d.pause
	case d.hurried:
		return since >= discoveryHurry
	default:
		return since >= discoveryFresh
	}
}

// run does a look-up. One that is cut off, because the directory is closed or
// the only one who waited went away, says nothing about DNS.
func (d *discovery) run(parent context.Context, running *lookup, bound time.Duration) {
	ctx, cancel := context.WithTimeout(parent, bound)
	defer cancel()
	found, err := d.find(ctx)
	cutOff := err != nil && parent.Err() != nil
	var known []server
	if !cutOff {
		known = d.judge(found, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !cutOff {
		d.ended, d.known = time.Now(), known
		switch {
		case err == nil:
			d.pause = 0
		case d.failure == nil:
			d.pause = firstDiscoveryPause
		default:
			d.pause = min(2*d.pause, maxDiscoveryPause)
		}
		d.failure = err
	}
	d.running = nil
	close(running.done)
}

// find asks DNS. A panic over what it said is a failure like any other, or the
// look-up would never end for those that wait.
func (d *discovery) find(ctx context.Context) (found findings, err error) {
	defer func() {
		if p := recover(); p != nil {
			found, err = findings{}, fmt.Errorf("reading what DNS said panicked: %v", p)
		}
	}()
	return findRecords(ctx, d.resolver, d.domain)
}

// judge returns the servers to use after a look-up, and logs what is new. It
// runs without the lock, so that a slow log holds nobody up: what it reads is
// written by the look-up under way only.
func (d *discovery) judge(found findings, err error) []server {
	if found.answered {
		d.warnOf(found.ignored)
	}
	if err != nil {
		if d.failure == nil {
			d.logger.Warn("looking up directory servers in DNS fails: those known before stay in use", "directory", d.domain, "known", len(d.known), "error", err.Error())
		}
		return d.known
	}
	if d.failure != nil {
		d.logger.Info("looking up directory servers in DNS works again", "directory", d.domain)
	}
	if slices.Equal(found.records, d.records) {
		return d.known // in the old order: whoever has found a good server stays with it
	}
	d.records = found.records
	var known []server
	var urls []string
	for _, r := range inOrder(found.records) {
		// Two records may stand for one server, at 389 and 636.
		if s := d.makeServer(r.target, r.port); !slices.Contains(known, s) && len(known) < maxDiscovered {
			known, urls = append(known, s), append(urls, s.url)
		}
	}
	d.logger.Info("directory servers found in DNS", "directory", d.domain, "name", found.name, "servers", urls)
	return known
}

// warnOf warns of each target once, until the reason changes or it has been
// gone in between.
func (d *discovery) warnOf(ignored map[string]string) {
	lines := 0
	for _, target := range slices.Sorted(maps.Keys(ignored)) {
		if d.ignored[target] == ignored[target] {
			continue
		}
		if lines++; lines > maxIgnoredLines {
			d.logger.Warn("DNS has still more directory servers that are ignored", "directory", d.domain)
			break
		}
		d.logger.Warn("directory server in DNS is ignored", "directory", d.domain, "target", target, "reason", ignored[target])
	}
	d.ignored = ignored
}
