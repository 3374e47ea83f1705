package ldap

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// Pauses before a server that is down is asked again.
const (
	firstPause = time.Second
	maxPause   = time.Minute

	// hurriedPause is the pause where every server is down and people wait.
	hurriedPause = time.Second
)

// health is what is known of one server, under the pool's lock. A server is
// taken for healthy until it fails; then nobody waits for it, and one probe at
// a time finds out when it is back.
type health struct {
	failure error // why it is down; nil: healthy
	failed  time.Time
	pause   time.Duration
	probing bool
	timer   *time.Timer // of the next probe
	suspect bool        // a probe runs although it is not down

	// silent are the names whose binds this server did not answer since it last
	// answered one.
	silent []string
}

// maxSilent is how many people's binds a server may leave unanswered in a row.
// One name may be the reason itself; so many are not, all with no answer to
// anybody in between.
const maxSilent = 3

func (h *health) isDown() bool { return h.failure != nil }

// fail takes a server out of use that could not be reached, or did not answer.
// Those who wait for it get the next one. Probes bring it back.
func (p *pool) fail(h *host, err error) {
	p.mu.Lock()
	if h.isDown() { // somebody else saw it in the same moment
		p.mu.Unlock()
		return
	}
	// The pause goes on where it was, unless a bind was answered since: probes
	// of a server that hangs at binds succeed.
	h.failure, h.failed, h.pause = err, time.Now(), min(max(2*h.pause, firstPause), maxPause)
	h.silent = nil
	p.probeLater(h, jittered(h.pause))
	idle := h.takeIdle()
	p.serve()
	p.mu.Unlock()
	closeAll(idle)
	p.logger.Error("directory server is down: it is not asked until a probe finds it back", "directory", p.label, "server", h.url, "error", err.Error())
}

// judged takes note of what became of a person's bind: answered, whatever the
// answer, or left open until the time was over. Where another server can be
// asked, one that leaves all of them open is taken out of use.
func (p *pool) judged(h *host, name string, err error) {
	var transport *transportError
	silent := errors.As(err, &transport) && transport.timedOut
	p.mu.Lock()
	switch {
	case errors.As(err, &transport) && !transport.timedOut:
	case !silent:
		h.silent, h.pause = nil, 0
	case !slices.Contains(h.silent, name):
		h.silent = append(h.silent, name)
	}
	others := slices.ContainsFunc(p.hosts, func(o *host) bool { return o != h && !o.isDown() })
	down := len(h.silent) >= maxSilent && others
	p.mu.Unlock()
	if down {
		p.fail(h, fmt.Errorf("the binds of %d people in a row had no answer: %w", maxSilent, err))
	}
}

// doubt has a server looked at that left one question unanswered. It stays in
// use meanwhile: what made it fail may be the question, which anybody may have
// asked.
func (p *pool) doubt(h *host) {
	p.dropIdle(h)
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.isDown() || h.suspect || h.retired || p.closed {
		return
	}
	h.suspect = true
	p.spawn(func(ctx context.Context) {
		err := p.probe(ctx, h.server)
		p.mu.Lock()
		h.suspect = false
		down := h.isDown()
		p.mu.Unlock()
		if err != nil && ctx.Err() == nil && !down {
			p.fail(h, err)
		}
	})
}

// probeLater sets the time of the next probe. The caller holds mu.
func (p *pool) probeLater(h *host, after time.Duration) {
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
	if p.closed || h.retired || h.probing {
		return
	}
	h.timer = time.AfterFunc(after, func() { p.probeNow(h) })
}

// hurry brings the next probe forward. The caller holds mu.
func (p *pool) hurry(h *host) {
	if since := time.Since(h.failed); !h.probing && h.pause > hurriedPause {
		h.pause = hurriedPause
		p.probeLater(h, max(hurriedPause-since, 0))
	}
}

// probeNow asks a server that is down whether it is back.
func (p *pool) probeNow(h *host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || h.retired || h.probing || !h.isDown() {
		return
	}
	h.probing = true
	p.spawn(func(ctx context.Context) {
		err := p.probe(ctx, h.server)
		if ctx.Err() != nil {
			return // the directory was closed
		}
		p.mu.Lock()
		h.probing = false
		if err != nil {
			h.failure, h.failed, h.pause = err, time.Now(), min(2*h.pause, maxPause)
			p.probeLater(h, jittered(h.pause))
			p.mu.Unlock()
			return
		}
		h.failure = nil
		p.serve()
		p.mu.Unlock()
		p.logger.Info("directory server is back", "directory", p.label, "server", h.url)
	})
}

// jittered is a time of up to d, so that the nodes of a cluster do not all
// knock at once.
func jittered(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d/4)+1))
}

// serverFault tells errors that speak of the server from those that speak of a
// question. Only the former take it out of use: with the others, one client's
// odd name would lock everybody out.
func serverFault(err error) bool {
	var result *resultError
	if errors.As(err, &result) {
		return result.code == goldap.LDAPResultBusy || result.code == goldap.LDAPResultUnavailable
	}
	var transport *transportError
	return errors.As(err, &transport)
}
