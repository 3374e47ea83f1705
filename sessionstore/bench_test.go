package sessionstore

import (
	"testing"
	"time"
)

// BenchmarkHash is what every Lookup begins with.
func BenchmarkHash(b *testing.B) {
	token := NewToken()
	b.ReportAllocs()
	for b.Loop() {
		token.Key()
	}
}

// BenchmarkLookupParallel shows that requests do not wait for each other: it
// takes less with every core. internal/bench measures one after the other.
func BenchmarkLookupParallel(b *testing.B) {
	const sessions = 10_000
	s := New(newFakeStore(), Options{MaxEntries: 2 * sessions}, nil)
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
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		// A start of its own, so that goroutines do not walk together.
		for i := int(time.Now().UnixNano() & 0xffff); pb.Next(); i += 7919 {
			if _, got, err := s.Lookup(ctx, tokens[i%sessions], hour, true); got != Live || err != nil {
				b.Error(got, err)
			}
		}
	})
}

func BenchmarkDecodeSession(b *testing.B) {
	record := mustAppend(b, Key{}, exampleSession())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeSession(record, Key{}); err != nil {
			b.Fatal(err)
		}
	}
}
