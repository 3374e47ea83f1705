package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// memory reports what the server has in memory a minute after its start, over
// the same program without the plugin in its configuration: with nothing
// stored and no requests, and with all sessions stored and as many in use as
// there are to be. Nothing is done to free any before.
func (b *bench) memory(ctx context.Context) error {
	if _, _, err := memoryOf(1); errors.Is(err, errNotHere) {
		return err
	}
	lasts := time.Minute
	if b.short {
		lasts = 5 * time.Second
	}
	const idle = 3 // of each, as one differs from the next
	var servers []*server
	defer func() {
		for _, s := range servers {
			_ = s.stop()
		}
	}()
	for i := range 2*idle + 2 {
		c := config{handlers: []string{""}}
		switch {
		case i == 2*idle+1:
			c = config{handlers: []string{protected}, sessions: b.folder.path}
		case i >= idle && i < 2*idle:
			c = config{handlers: []string{protected}, sessions: filepath.Join(b.dir, fmt.Sprint("empty", i))}
		}
		s, err := b.start(ctx, c)
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	began := time.Now()
	plain, full := servers[2*idle], servers[2*idle+1]
	device, err := full.deviceCookie(0)
	if err != nil {
		return err
	}
	b.log.Printf("servers are idle, and in use, for %s", lasts)
	// Each session is used six times in the minute.
	cookies := cookieHeaders(b.folder.active, device)
	err = atOnce(2, func(i int) error {
		all, err := dial([]*server{plain, full}[i].ports[0], "", cookies)
		if err != nil {
			return err
		}
		defer hangUp(all)
		requests := 6 * len(cookies)
		return fetchAll(all, requests, lasts/time.Duration(requests))
	})
	if err != nil {
		return err
	}
	select {
	case <-time.After(time.Until(began.Add(lasts))):
	case <-ctx.Done():
		return ctx.Err()
	}

	type use struct{ anonymous, file []float64 }
	var uses [4]use // plain and empty, idle; plain and full, in use
	for i, s := range servers {
		anonymous, file, err := memoryOf(s.child.Process.Pid)
		if err != nil {
			return err
		}
		u := &uses[min(i/idle, 2)]
		if s == full {
			u = &uses[3]
		}
		if s == full && b.memProfile != "" {
			if _, err := s.command("heap " + b.memProfile); err != nil {
				return err
			}
		}
		u.anonymous = append(u.anonymous, megabytes(anonymous))
		u.file = append(u.file, megabytes(file))
	}
	report := func(limit float64, name string, with, without use) {
		a, p := quantile(with.anonymous, 0.5), quantile(without.anonymous, 0.5)
		b.report.quantity(fmt.Sprintf("%.1f MB", a-p), fmt.Sprintf("of %.0f MB", limit), name,
			"%.1f over %.1f, anonymous; file-mapped %.0f over %.0f", a, p, quantile(with.file, 0.5), quantile(without.file, 0.5))
	}
	report(10, "memory over a plain Caddy, idle, nothing stored", uses[1], uses[0])
	report(100, fmt.Sprintf("memory over a plain Caddy, %s stored, %s in use, a minute after the start", thousands(b.sessions), thousands(b.active)), uses[3], uses[2])
	return nil
}

func megabytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }
