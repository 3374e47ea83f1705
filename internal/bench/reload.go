package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// requestRate is low enough that the machine is not busy, so that what is
	// slow is slow because of the reload.
	requestRate = 1000

	// reloadEvery makes reloads frequent enough for a percentile of all requests
	// to be about them, and leaves each time to end.
	reloadEvery = 500 * time.Millisecond
)

// reloaded is a server that is reloaded under traffic, and how long that took.
type reloaded struct {
	server    *server
	version   int
	cookies   []string
	client    *http.Client
	answers   []time.Duration // from when a request was due to its answer
	percent   []float64       // the 99.9th percentile of each round, in milliseconds
	reloads   []time.Duration
	failed    int
	lastError error
}

// reload reports how long requests take while the configuration is reloaded,
// over the same without the plugin.
func (b *bench) reload(ctx context.Context) (err error) {
	rounds, lasts := 10, 5*time.Second
	if b.short {
		rounds, lasts = 3, 2*time.Second
	}
	var both [2]*reloaded
	for i, c := range []config{{handlers: []string{""}}, {handlers: []string{protected}, sessions: b.folder.path}} {
		c.admin = "on"
		s, err := b.start(ctx, c)
		if err != nil {
			return err
		}
		defer func() { _ = s.stop() }()
		transport := &http.Transport{MaxIdleConnsPerHost: 64}
		defer transport.CloseIdleConnections()
		both[i] = &reloaded{server: s, client: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
	}
	plain, gated := both[0], both[1]
	device, err := gated.server.deviceCookie(0)
	if err != nil {
		return err
	}
	for _, r := range both {
		r.cookies = cookieHeaders(b.folder.active, device)
		all, err := dial(r.server.ports[0], "", r.cookies)
		if err != nil {
			return err
		}
		err = fetchAll(all, len(r.cookies), 0) // into memory
		hangUp(all)
		if err != nil {
			return err
		}
	}

	for round := range rounds {
		for i := range both {
			r := both[(i+round)%2] // neither always comes first
			if err := r.round(ctx, b, lasts); err != nil {
				return err
			}
		}
		b.log.Printf("round %d of %d: p99.9 %.1f ms, without the plugin %.1f ms", round+1, rounds, gated.percent[round], plain.percent[round])
	}
	for _, r := range both {
		if r.failed > 0 {
			b.log.Printf("%d requests failed, the last: %v", r.failed, r.lastError)
		}
	}
	at := func(r *reloaded, q float64) float64 { return milliseconds(quantile(r.answers, q)) }
	perRound := spreadOf(ratios(gated.percent, plain.percent))
	perRound.median = at(gated, 0.999) / at(plain, 0.999)
	b.report.ratio(perRound, 2, "p99.9 of the time of a request while reloading over the same without the plugin",
		"%.1f ms over %.1f ms; p50 %.2f over %.2f ms; the longest %.0f over %.0f ms; %s requests and %d reloads each; %d and %d failed",
		at(gated, 0.999), at(plain, 0.999), at(gated, 0.5), at(plain, 0.5), at(gated, 1), at(plain, 1),
		thousands(len(gated.answers)), len(gated.reloads), gated.failed, plain.failed)
	took := func(r *reloaded, q float64) float64 { return milliseconds(quantile(r.reloads, q)) }
	b.report.other(fmt.Sprintf("%.1f ms", took(gated, 0.5)), "a reload with all sessions stored, median", "the longest %.1f ms; without the plugin %.1f and %.1f ms",
		took(gated, 1), took(plain, 0.5), took(plain, 1))
	return nil
}

// round sends requests at a constant rate, whatever becomes of those before,
// and reloads meanwhile.
func (r *reloaded) round(ctx context.Context, b *bench, lasts time.Duration) error {
	var reloading error
	done := make(chan struct{})
	go func() {
		defer close(done)
		reloading = r.reloadFor(ctx, b, lasts)
	}()

	const gap = time.Second / requestRate
	var mu sync.Mutex
	var wait sync.WaitGroup
	var took []time.Duration
	began := time.Now()
	for n := range int(lasts / gap) {
		due := began.Add(time.Duration(n) * gap)
		time.Sleep(time.Until(due))
		wait.Go(func() {
			err := r.get(ctx, r.cookies[n%len(r.cookies)])
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(due))
			if err != nil {
				r.failed++
				r.lastError = err
			}
		})
	}
	wait.Wait()
	<-done
	if reloading != nil {
		return reloading
	}
	r.percent = append(r.percent, milliseconds(quantile(took, 0.999)))
	r.answers = append(r.answers, took...)
	return ctx.Err()
}

// reloadFor reloads again and again, each time with another configuration.
func (r *reloaded) reloadFor(ctx context.Context, b *bench, lasts time.Duration) error {
	for due := time.Now().Add(reloadEvery / 2); lasts > reloadEvery; lasts -= reloadEvery {
		r.version++
		c := r.server.config
		c.version = r.version
		text, err := b.json(c)
		if err != nil {
			return err
		}
		time.Sleep(time.Until(due))
		due = due.Add(reloadEvery)
		began := time.Now()
		if err := r.server.reload(ctx, text); err != nil {
			return err
		}
		r.reloads = append(r.reloads, time.Since(began))
	}
	return nil
}

// get fetches the file as a browser does: on a connection that was used before,
// and again on another if that one closes before the answer.
func (r *reloaded) get(ctx context.Context, cookies string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+r.server.ports[0]+page, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Cookie", cookies)
	response, err := r.client.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered %s", response.Status)
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
