package main

import (
	"context"
	"fmt"
	"time"
)

// cpu reports the CPU time of a protected request whose session is in memory,
// with Redis over a folder, and what redis-server does meanwhile.
func (t *twins) cpu(ctx context.Context) error {
	rounds, portion, warmUp, idle, lasts := 15, 8000, renewalStep, 15*time.Second, renewalStep
	if t.b.short {
		rounds, portion, warmUp, idle, lasts = 5, 1600, time.Second, 3*time.Second, 5*time.Second
	}
	if _, err := cpuTime(); err != nil {
		return err
	}
	names := [2]string{"Badger", "Redis"}
	var variants, cold []*variant
	for i, c := range []config{{sessions: t.folder}, {redis: t.server.Addr}} {
		c.handlers = []string{protected}
		s, err := t.b.start(ctx, c)
		if err != nil {
			return err
		}
		defer func() { _ = s.stop() }()
		device, err := s.deviceCookie(0)
		if err != nil {
			return err
		}
		variants = append(variants, &variant{name: names[i], server: s, portion: portion, cookies: cookieHeaders(t.active, device)})
		cold = append(cold, &variant{name: names[i], server: s, cookies: cookieHeaders(t.cold, device)})
	}
	inFolder, inRedis := variants[0], variants[1]

	// As in the part cpu; of both servers at once, so that their renewals fall on
	// the rounds alike.
	t.b.log.Printf("every session in use is used once on both servers, in %s", warmUp)
	err := atOnce(len(variants), func(i int) error {
		_, err := variants[i].paced(ctx, len(t.active), warmUp)
		return err
	})
	if err != nil {
		return err
	}
	if err := t.b.alternate(ctx, variants, rounds); err != nil {
		return err
	}
	t.b.report.ratio(spreadOf(ratios(inRedis.times, inFolder.times)), 1.05, "CPU time of a protected request with its session in memory, Redis over Badger",
		"%.1f µs over %.1f µs; %d rounds, %s requests each; 1 in %.0f and 1 in %.0f answers re-sent the cookie",
		median(inRedis.times), median(inFolder.times), rounds, thousands(turns*portion), inRedis.renewals(), inFolder.renewals())

	resting, own, err := t.rest(ctx, idle, inFolder.server, inRedis.server)
	if err != nil {
		return err
	}
	t.b.report.other(fmt.Sprintf("%.1f ms", own[1]), "CPU time a second of Caddy without requests, with Redis", "with Badger %.1f ms; they are part of the ratio", own[0])
	t.b.report.other(fmt.Sprintf("%.1f", resting.commands()/resting.seconds), "commands a second in Redis of one node without requests",
		"%s; %.1f ms of redis-server's CPU time a second", resting.names(resting.seconds), 1000*resting.cpu/resting.seconds)

	t.b.log.Printf("1,000 requests a second for %s", lasts)
	requests := int(lasts / time.Second * requestRate)
	serving, took, err := t.during(ctx, func() (time.Duration, error) { return inRedis.paced(ctx, requests, lasts) })
	if err != nil {
		return err
	}
	t.load("each session in use again and again", serving.without(resting), requests, took)

	requests = len(t.cold) / clients * clients
	lasts = time.Duration(requests) * time.Second / requestRate
	var used [2]int64
	for i, v := range cold {
		before, err := v.server.used()
		if err != nil {
			return err
		}
		reading, took, err := t.during(ctx, func() (time.Duration, error) { return v.paced(ctx, requests, lasts) })
		if err != nil {
			return err
		}
		after, err := v.server.used()
		if err != nil {
			return err
		}
		used[i] = (after - before) / int64(requests)
		if v.server == inRedis.server {
			t.load("each of a session that is not in memory", reading.without(resting), requests, took)
		}
	}
	t.b.report.other(fmt.Sprintf("%d µs", used[1]), "CPU time of a protected request whose session is not in memory, with Redis",
		"of Caddy; with Badger %d µs; %s requests", used[0], thousands(requests))
	return nil
}

// load reports what redis-server did for requests.
func (t *twins) load(which string, w work, requests int, took time.Duration) {
	units := float64(requests) / 1000
	t.b.report.other(fmt.Sprintf("%.1f", w.commands()/units), "commands a second in Redis at 1,000 requests a second, "+which,
		"%s; %s requests a second were sent; without what comes anyway", w.names(units), thousands(int(float64(requests)/took.Seconds())))
	t.b.report.other(fmt.Sprintf("%.2f ms", 1000*w.cpu/units), "CPU time of redis-server for 1,000 requests, "+which, "the same requests")
}

// rest returns what redis-server does in some time without requests, and the CPU
// time of each node a second, in milliseconds. A node goes through all sessions
// every ten minutes, the first time a minute after its start, to find those that
// have expired: that belongs to neither, so it is waited for. On a busy machine it
// pauses for seconds.
func (t *twins) rest(ctx context.Context, lasts time.Duration, servers ...*server) (w work, own []float64, err error) {
	const sweeping = 3 // pages that were read; a few commands like these tidy up counters
	for until, swept := time.Now().Add(10*time.Minute), false; ; {
		t.b.log.Printf("no requests for %s", lasts)
		before, err := usedBy(servers)
		if err != nil {
			return work{}, nil, err
		}
		w, _, err = t.during(ctx, func() (time.Duration, error) {
			select {
			case <-time.After(lasts):
				return lasts, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})
		if err != nil {
			return work{}, nil, err
		}
		after, err := usedBy(servers)
		if err != nil {
			return work{}, nil, err
		}
		if w.calls["zrange"] < sweeping || time.Now().After(until) {
			for i := range after {
				own = append(own, float64(after[i]-before[i])/1000/w.seconds)
			}
			return w, own, nil
		}
		if !swept {
			swept = true
			t.b.report.other(fmt.Sprintf("%.1f ms", 1000*w.cpu/w.seconds), "CPU time of redis-server a second while a node looks for expired sessions",
				"every ten minutes; without requests; %s", w.names(w.seconds))
		}
	}
}

// usedBy returns the CPU time of each server, in microseconds.
func usedBy(servers []*server) ([]int64, error) {
	all := make([]int64, len(servers))
	for i, s := range servers {
		var err error
		if all[i], err = s.used(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// during returns what redis-server does while something happens, and for as long
// as last-seen times of before or from it may wait: they are stored within a
// quarter of a second.
func (t *twins) during(ctx context.Context, happens func() (time.Duration, error)) (work, time.Duration, error) {
	const waiting = 280 * time.Millisecond
	time.Sleep(waiting)
	before, err := t.sample(ctx)
	if err != nil {
		return work{}, 0, err
	}
	took, err := happens()
	if err != nil {
		return work{}, 0, err
	}
	time.Sleep(waiting)
	after, err := t.sample(ctx)
	if err != nil {
		return work{}, 0, err
	}
	return after.since(before), took, nil
}

// paced sends requests spread over some time, and returns how long it took.
func (v *variant) paced(ctx context.Context, requests int, lasts time.Duration) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	all, err := dial(v.server.ports[v.site], v.header, v.cookies)
	if err != nil {
		return 0, err
	}
	defer hangUp(all)
	began := time.Now()
	err = fetchAll(all, requests, lasts/time.Duration(requests))
	return time.Since(began), err
}
