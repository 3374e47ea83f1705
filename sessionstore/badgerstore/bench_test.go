package badgerstore

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// fill stores n sessions, many at once.
func fill(b *testing.B, s *Store, n int) []sessionstore.Key {
	keys := make([]sessionstore.Key, n)
	var next atomic.Int64
	for i := range keys {
		keys[i] = storetest.NewKey()
	}
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
	return keys
}

func benchmarkCreate(b *testing.B, atOnce int) {
	s := open(b, filepath.Join(b.TempDir(), "sessions"))
	b.SetParallelism(atOnce)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.Create(b.Context(), storetest.NewKey(), storetest.NewSession("id-1"), nil); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sessions/s")
}

func BenchmarkCreate(b *testing.B)   { benchmarkCreate(b, 1) }
func BenchmarkCreate64(b *testing.B) { benchmarkCreate(b, 32) }
func BenchmarkDelete(b *testing.B)   { benchmarkDelete(b, 1) }
func BenchmarkDelete64(b *testing.B) { benchmarkDelete(b, 32) }

func benchmarkDelete(b *testing.B, atOnce int) {
	s := open(b, filepath.Join(b.TempDir(), "sessions"))
	keys := fill(b, s, b.N)
	var next atomic.Int64
	b.SetParallelism(atOnce)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if ok, err := s.Delete(b.Context(), keys[next.Add(1)-1]); !ok || err != nil {
				b.Error(ok, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sessions/s")
}

func BenchmarkGet(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "sessions"))
	const n = 10_000
	keys := fill(b, s, n)
	b.ReportAllocs()
	for i := 0; b.Loop(); i += 7919 {
		if _, _, ok, err := s.Get(b.Context(), keys[i%n]); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkTouch500(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "sessions"))
	keys := fill(b, s, 500)
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
