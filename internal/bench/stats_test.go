package main

import (
	"slices"
	"strings"
	"testing"
)

func TestQuantile(t *testing.T) {
	values := []int{5, 1, 4, 2, 3}
	for _, row := range []struct {
		q    float64
		want int
	}{{0, 1}, {0.5, 3}, {0.9, 5}, {0.999, 5}, {1, 5}} {
		if got := quantile(slices.Clone(values), row.q); got != row.want {
			t.Errorf("quantile %g is %d, want %d", row.q, got, row.want)
		}
	}
	if s := spreadOf([]float64{7}); s != (spread{7, 7, 7}) {
		t.Errorf("of one round: %v", s)
	}
	if r := ratios([]float64{2, 9}, []float64{1, 3}); !slices.Equal(r, []float64{2, 3}) {
		t.Errorf("ratios %v", r)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 10_000: "10,000", 1_234_567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

// Each user, and each session in use, is one of its own.
func TestUserIDsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for user := range 10_000 {
		id := userID(user)
		if seen[id] || len(id) != 36 {
			t.Fatalf("user %d has the ID %q", user, id)
		}
		seen[id] = true
	}
}

func TestReportHasRatiosFirst(t *testing.T) {
	var r report
	r.other("3/s", "writes", "alone")
	r.quantity("5 MB", "of 10 MB", "memory", "")
	r.ratio(spread{0.55, 0.5, 0.6}, 3, "look-up", "%d ns", 7)
	r.ratio(spread{1, 1, 1}, 0, "beside it", "")
	var text strings.Builder
	r.print(&text)
	at := -1
	for _, want := range []string{"0.55  of 3.00  look-up", "0.50 to 0.60; 7 ns", "1.00           beside it", "5 MB  of 10 MB  memory", "writes"} {
		next := strings.Index(text.String(), want)
		if next <= at {
			t.Errorf("%q is missing, or not in its place, in:\n%s", want, text.String())
		}
		at = next
	}
}
