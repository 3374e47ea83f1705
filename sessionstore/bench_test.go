package sessionstore

import (
	"crypto/sha256"
	"testing"
	"time"
)

// BenchmarkHash is what BenchmarkLookup is measured against.
func BenchmarkHash(b *testing.B) {
	value := []byte(NewToken().Value())
	b.ReportAllocs()
	for b.Loop() {
		sha256.Sum256(value)
	}
}

func benchmarkLookup(b *testing.B, sessions int, parallel bool) {
	s := New(newFakeStore(), Options{MaxEntries: 2 * sessions, MaxBytes: 4 << 30}, nil)
	defer s.Close()
	tokens := make([]Token, sessions)
	user := exampleSession().User
	for i := range tokens {
		var err error
		if tokens[i], _, err = s.SignIn(b.Context(), user, "", hour, nil); err != nil {
			b.Fatal(err)
		}
	}
	ctx := b.Context()
	look := func(i int) {
		if _, got, err := s.Lookup(ctx, tokens[i%sessions], hour, true); got != Live || err != nil {
			b.Error(got, err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	if parallel {
		b.RunParallel(func(pb *testing.PB) {
			// A stride of its own, so that goroutines do not walk together.
			for i := int(time.Now().UnixNano() & 0xffff); pb.Next(); i += 7919 {
				look(i)
			}
		})
		return
	}
	for i := 0; b.Loop(); i += 7919 {
		look(i)
	}
}

func BenchmarkLookup10000(b *testing.B)         { benchmarkLookup(b, 10_000, false) }
func BenchmarkLookup10000Parallel(b *testing.B) { benchmarkLookup(b, 10_000, true) }

func BenchmarkDecodeSession(b *testing.B) {
	record := mustAppend(b, Key{}, exampleSession())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeSession(record, Key{}); err != nil {
			b.Fatal(err)
		}
	}
}
