package badgerstore

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// What is created and deleted in a second, internal/bench measures.

// benchmarkSessions is how many the folder holds here.
const benchmarkSessions = 10_000

// filled returns a store with n sessions, and their keys.
func filled(b *testing.B, n int) (*Store, []sessionstore.Key) {
	b.Helper()
	s := open(b, filepath.Join(b.TempDir(), "sessions"))
	keys := make([]sessionstore.Key, n)
	for i := range keys {
		keys[i] = storetest.NewKey()
	}
	var next atomic.Int64
	done := make(chan error)
	const workers = 64
	for range workers {
		go func() {
			var err error
			for i := next.Add(1) - 1; err == nil && i < int64(n); i = next.Add(1) - 1 {
				err = s.Create(b.Context(), keys[i], storetest.NewSession("id-1"), nil)
			}
			done <- err
		}()
	}
	for range workers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	return s, keys
}

func BenchmarkGet(b *testing.B) {
	s, keys := filled(b, benchmarkSessions)
	b.ReportAllocs()
	for i := 0; b.Loop(); i += 7919 {
		if _, _, ok, err := s.Get(b.Context(), keys[i%len(keys)]); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkListPage is what a sweep does: pages of all sessions.
func BenchmarkListPage(b *testing.B) {
	s, _ := filled(b, benchmarkSessions)
	const limit = 256
	sessions := 0
	b.ReportAllocs()
	for query := (sessionstore.ListQuery{Limit: limit}); b.Loop(); {
		page, next, err := s.List(b.Context(), query)
		if err != nil {
			b.Fatal(err)
		}
		sessions += len(page)
		query.After = next
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sessions), "ns/session")
}

func BenchmarkTouch500(b *testing.B) {
	s, keys := filled(b, 500)
	touches := make([]sessionstore.Touch, len(keys))
	seen := time.Now()
	for b.Loop() {
		seen = seen.Add(time.Second)
		for i, key := range keys {
			touches[i] = sessionstore.Touch{Key: key, Seen: seen}
		}
		if err := s.Touch(b.Context(), touches); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/touch")
}
