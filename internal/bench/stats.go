package main

import (
	"cmp"
	"slices"
	"strconv"
)

// quantile returns the value below which the part q of values lies. It sorts
// them.
func quantile[T cmp.Ordered](values []T, q float64) T {
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}

// spread is the median of several rounds, with their 10th and 90th percentile.
type spread struct{ median, low, high float64 }

func spreadOf(values []float64) spread {
	return spread{quantile(values, 0.5), quantile(values, 0.1), quantile(values, 0.9)}
}

// ratios divides round by round: what slows a whole round down cancels out.
func ratios(values, by []float64) []float64 {
	all := make([]float64, len(values))
	for i := range all {
		all[i] = values[i] / by[i]
	}
	return all
}

// thousands writes a number with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
