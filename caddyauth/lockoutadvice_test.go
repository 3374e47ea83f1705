package caddyauth

import (
	"math"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/throttle"
)

// TestGuessesWithinTheDirectorysWindow: a limit that begins anew while the
// directory still counts lets more through than it says.
func TestGuessesWithinTheDirectorysWindow(t *testing.T) {
	for _, row := range []struct {
		name            string
		failures        int
		window, counts  time.Duration
		threshold, want int
		cure            string
	}{
		{"the defaults and the usual 30 minutes", 3, 15 * time.Minute, 30 * time.Minute, 10, 6, ""},
		{"a threshold of 5", 3, 15 * time.Minute, 30 * time.Minute, 5, 6, "allow 2 failures at most, or count them for at least 30m0s: throttle account 3 30m0s"},
		{"a threshold of 2", 3, 15 * time.Minute, 30 * time.Minute, 2, 6, "count failures for at least 30m0s: throttle account 1 30m0s"},
		{"a part of a window", 3, 15 * time.Minute, 16 * time.Minute, 6, 6, "allow 2 failures at most, or count them for at least 16m0s: throttle account 3 16m0s"},
		{"the same window", 3, 15 * time.Minute, 15 * time.Minute, 3, 3, "allow 2 failures at most"},
		{"a longer one", 3, time.Hour, 15 * time.Minute, 4, 3, ""},
		{"a directory that never forgets", 3, 15 * time.Minute, 0, 4, 3, ""},
		{"and locks as soon", 3, 15 * time.Minute, 0, 3, 3, "allow 2 failures at most"},
		{"one wrong password", 1, time.Hour, time.Minute, 1, 1, "no limit is below 1: raise the directory's threshold"},
		{"more than a window can be", 1, time.Hour, 48 * time.Hour, 10, 48, "count failures for longer, up to 24h0m0s, or raise the directory's threshold"},
		{"no end of it", 1000, time.Second, math.MaxInt64, 10, 9223372037000, "count failures for longer, up to 24h0m0s, or raise the directory's threshold"},
	} {
		limit := throttle.Limit{Failures: row.failures, Window: row.window}
		got := guesses(limit, row.counts)
		if got != row.want || got >= row.threshold != (row.cure != "") {
			t.Errorf("%s: %d guesses, want %d", row.name, got, row.want)
		}
		if row.cure == "" {
			continue
		}
		if got := lockoutCure(limit, ldap.LockoutPolicy{Threshold: row.threshold, Window: row.counts}); got != row.cure {
			t.Errorf("%s: %s, want %s", row.name, got, row.cure)
		}
	}
}
