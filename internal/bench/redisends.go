package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// enders sign out at once.
	enders = 4

	// pollEvery is the pause between two requests with a session that ends: what
	// is measured is at most that and one answer too long.
	pollEvery = time.Millisecond

	// A session that ended is used for a moment more, and at most so long if it is
	// not refused.
	usedAfter, usedAtMost = 50 * time.Millisecond, 10 * time.Second
)

// ends reports how long a session that was signed out on one node is served by
// another one, while both answer as many other requests as they can.
func (t *twins) ends(ctx context.Context) error {
	var nodes [2]*server
	for i := range nodes {
		s, err := t.b.start(ctx, config{handlers: []string{protected}, redis: t.server.Addr})
		if err != nil {
			return err
		}
		defer func() { _ = s.stop() }()
		nodes[i] = s
	}
	device, err := nodes[0].deviceCookie(0)
	if err != nil {
		return err
	}
	busy, err := keepBusy(nodes[:], cookieHeaders(t.active, device))
	if err != nil {
		return err
	}
	t.b.log.Printf("%d sign-outs under load", len(t.ended))
	cookies := cookieHeaders(t.ended, device)
	all := make([]ending, len(cookies))
	var next atomic.Int64
	began, before := time.Now(), busy.requests.Load()
	err = atOnce(enders, func(int) error {
		e, err := newEnder(nodes[0], nodes[1])
		if err != nil {
			return err
		}
		defer e.hangUp()
		for i := next.Add(1) - 1; i < int64(len(cookies)) && ctx.Err() == nil; i = next.Add(1) - 1 {
			if all[i], err = e.end(cookies[i]); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	rate := perSecond(int(busy.requests.Load()-before), time.Since(began))
	if failed := busy.stop(); err == nil {
		err = failed
	}
	if err != nil {
		return err
	}

	var refused, served []float64
	var late, cuts, unavailable int
	for _, e := range all {
		refused, served = append(refused, milliseconds(e.refused)), append(served, milliseconds(e.served))
		cuts += e.cut
		unavailable += e.unavailable
		if e.served > 0 {
			late++
		}
	}
	t.b.report.quantity(fmt.Sprintf("%.1f ms", quantile(refused, 0.99)), "of 1000 ms", "from an acknowledged sign-out to the refusal on another node, p99",
		"median %.1f ms, the longest %.1f ms; %s sign-outs, %s other requests on both; %d had a request served that was sent after the sign-out, the last of them %.1f ms after; %d requests were cut, %d answered 503",
		quantile(refused, 0.5), quantile(refused, 1), thousands(len(all)), rate, late, quantile(served, 1), cuts, unavailable)
	return nil
}

// poll is one request with a session that ends.
type poll struct {
	sent, answered time.Time
	status         int // cut: none
}

// cut is a request whose connection was closed before an answer: the session
// ended while it was served.
const cut = 0

// ending is what became of a session on the other node.
type ending struct {
	refused     time.Duration // from the acknowledged sign-out to the answer that first refused
	served      time.Duration // until the last request that was served was sent; 0: none was after the sign-out
	cut         int           // requests that it ended
	unavailable int           // answers of a node that did not know
}

// endingOf tells it from the requests, in their order. What was refused before
// the sign-out was acknowledged took no time.
func endingOf(acknowledged time.Time, polls []poll) (e ending, err error) {
	known := false
	for _, p := range polls {
		switch p.status {
		case http.StatusOK:
			e.served = max(e.served, p.sent.Sub(acknowledged))
		case http.StatusUnauthorized:
			if !known {
				known, e.refused = true, max(p.answered.Sub(acknowledged), 0)
			}
		case cut:
			e.cut++
		case http.StatusServiceUnavailable:
			e.unavailable++
		default:
			return ending{}, fmt.Errorf("the other node answered %d", p.status)
		}
	}
	if !known {
		return ending{}, fmt.Errorf("the other node refused a session that had ended in none of %d requests", len(polls))
	}
	return e, nil
}

// ender signs out on one node and asks another.
type ender struct {
	other            *server
	out, here, there *client
}

// noBrowser is what a client sends that gets short answers.
const noBrowser = "User-Agent: curl/8.14.1\r\nAccept: */*\r\n"

func newEnder(one, other *server) (*ender, error) {
	var all []*client
	for _, to := range []struct{ port, path string }{{one.ports[0], "/api/logout/"}, {one.ports[0], page}, {other.ports[0], page}} {
		c, err := connect(to.port, to.path, noBrowser)
		if err != nil {
			hangUp(all)
			return nil, err
		}
		all = append(all, c)
	}
	return &ender{other, all[0], all[1], all[2]}, nil
}

func (e *ender) hangUp() { hangUp([]*client{e.out, e.here, e.there}) }

// end signs a session out while it is used on the other node, at some moment
// after it came into the memory of both.
func (e *ender) end(cookies string) (ending, error) {
	for _, c := range []*client{e.here, e.there} {
		if err := c.served(cookies); err != nil {
			return ending{}, fmt.Errorf("using a session before its end: %w", err)
		}
	}
	var polls []poll
	var failed error
	var acknowledged atomic.Pointer[time.Time]
	done := make(chan struct{})
	go func() {
		defer close(done)
		polls, failed = e.poll(cookies, &acknowledged)
	}()
	time.Sleep(rand.N(usedAfter))
	err := e.out.served(cookies)
	now := time.Now()
	acknowledged.Store(&now)
	<-done
	if err != nil {
		return ending{}, fmt.Errorf("signing out: %w", err)
	}
	if failed != nil {
		return ending{}, failed
	}
	return endingOf(now, polls)
}

// poll uses the session until it has been refused for a while after the
// sign-out.
func (e *ender) poll(cookies string, acknowledged *atomic.Pointer[time.Time]) (polls []poll, err error) {
	for {
		p := poll{sent: time.Now()}
		if p.status, err = e.there.send(cookies); err != nil {
			p.status = cut
			again, err := connect(e.other.ports[0], page, noBrowser)
			if err != nil {
				return nil, fmt.Errorf("using a session that ends: %w", err)
			}
			_ = e.there.conn.Close()
			e.there = again
		}
		p.answered = time.Now()
		polls = append(polls, p)
		if at := acknowledged.Load(); at != nil {
			after := p.sent.Sub(*at)
			if after > usedAtMost || after > usedAfter && p.status == http.StatusUnauthorized {
				return polls, nil
			}
		}
		time.Sleep(pollEvery)
	}
}
