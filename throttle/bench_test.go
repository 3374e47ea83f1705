package throttle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// BenchmarkBeginFail is guessing at ever new names from many addresses.
func BenchmarkBeginFail(b *testing.B) {
	th := start(b, newFakeBackend(), Options{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := rand.IntN(1 << 24)
			r := from(fmt.Sprint("user", n))
			r.Source = anywhere(n)
			a, err := th.Begin(context.Background(), r, usual)
			if err == nil {
				a.Fail()
			}
		}
	})
}

// BenchmarkBeginSucceed is everyday sign-ins of known users.
func BenchmarkBeginSucceed(b *testing.B) {
	th := start(b, newFakeBackend(), Options{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := rand.IntN(10_000)
			r := from(fmt.Sprint("user", n))
			r.Source = anywhere(n)
			a, err := th.Begin(context.Background(), r, usual)
			if err == nil {
				a.Succeed(r.Name, Own)
			}
		}
	})
}

// BenchmarkEntry reports what a failure of a new name costs in memory.
func BenchmarkEntry(b *testing.B) {
	now := time.Now().UnixMilli()
	for b.Loop() {
		const n = 200_000
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		tb := newTable(defaultMaxEntries, new(windows), 0)
		for range n {
			var k key
			for i := range k {
				k[i] = byte(rand.Uint32())
			}
			c := claim{key: k, limit: usual.Account}
			sh := tb.shard(k)
			sh.fail(sh.reserve(c), c, now)
			delete(sh.dirty, k)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "bytes/entry")
		runtime.KeepAlive(tb)
	}
}
