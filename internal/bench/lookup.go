package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// lookup measures a session in memory (hash, look-up, check, touch) over the
// SHA-256 alone: of a store that has the sessions in use and no others, and of
// one that has all of them.
func (b *bench) lookup(ctx context.Context) error {
	folders := [2]*folder{1: b.folder}
	var err error
	if folders[0], _, err = b.fill(ctx, filepath.Join(b.dir, "active"), b.active); err != nil {
		return err
	}
	var sessions [2]*sessionstore.Sessions
	var tokens [2][]sessionstore.Token
	for i, f := range folders {
		store, err := openFolder(f.path)
		if err != nil {
			return err
		}
		sessions[i] = sessionstore.New(store, sessionstore.Options{}, nil)
		defer func() { _ = sessions[i].Close() }()
		// Loaded in one order, looked up in another: else they would stand in
		// memory as they are asked for.
		for _, c := range f.active {
			tokens[i] = append(tokens[i], c.token)
		}
		if _, err := lookUp(ctx, sessions[i], tokens[i], len(tokens[i])); err != nil {
			return err
		}
		rand.Shuffle(len(tokens[i]), func(a, b int) { tokens[i][a], tokens[i][b] = tokens[i][b], tokens[i][a] })
	}

	rounds, each := 101, 200_000
	if b.short {
		rounds, each = 15, 20_000
	}
	var hashed, inFew, inMany, allocated []float64
	for range rounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		hash := hash(tokens[1], each)
		before := mallocs()
		one, err := lookUp(ctx, sessions[0], tokens[0], each)
		if err != nil {
			return err
		}
		two, err := lookUp(ctx, sessions[1], tokens[1], each)
		if err != nil {
			return err
		}
		allocated = append(allocated, float64(mallocs()-before)/float64(2*each))
		hashed, inFew, inMany = append(hashed, hash), append(inFew, one), append(inMany, two)
	}

	overHash, overFew := spreadOf(ratios(inFew, hashed)), spreadOf(ratios(inMany, inFew))
	h, f, m := quantile(hashed, 0.5), quantile(inFew, 0.5), quantile(inMany, 0.5)
	b.report.ratio(overHash, 3, "a session in memory: look-up, check and touch over one SHA-256 of the token",
		"%.0f ns over %.0f ns, %s in memory", f, h, thousands(b.active))
	b.report.ratio(overFew, 1.5, fmt.Sprintf("the same with %s stored beside them over that", thousands(b.sessions)), "%.0f ns over %.0f ns", m, f)
	b.report.quantity(fmt.Sprintf("%.3f", quantile(allocated, 0.5)), "of 0", "allocations of such a look-up", "of the whole process, median of the rounds")
	return nil
}

// hash returns the nanoseconds that the hash of a token takes.
func hash(tokens []sessionstore.Token, times int) float64 {
	var all byte
	began := time.Now()
	for i := range times {
		key := tokens[i%len(tokens)].Key()
		all ^= key[0]
	}
	took := time.Since(began)
	runtime.KeepAlive(all)
	return float64(took) / float64(times)
}

// lookUp returns the nanoseconds that a look-up takes.
func lookUp(ctx context.Context, sessions *sessionstore.Sessions, tokens []sessionstore.Token, times int) (float64, error) {
	began := time.Now()
	for i := range times {
		if _, result, err := sessions.Lookup(ctx, tokens[i%len(tokens)], limits, true); err != nil || result != sessionstore.Live {
			return 0, fmt.Errorf("looking up a session: %v, %w", result, err)
		}
	}
	return float64(time.Since(began)) / float64(times), nil
}

func mallocs() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Mallocs
}
