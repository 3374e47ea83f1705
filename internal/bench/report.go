package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// report collects what was measured.
type report struct{ ratios, quantities, others []row }

type row struct{ value, limit, name, note string }

// ratio adds one, with the limit that it was given; 0: none, it stands beside
// for comparison.
func (r *report) ratio(s spread, limit float64, name, note string, args ...any) {
	l := ""
	if limit > 0 {
		l = fmt.Sprintf("of %.2f", limit)
	}
	note = fmt.Sprintf("%.2f to %.2f; ", s.low, s.high) + fmt.Sprintf(note, args...)
	r.ratios = append(r.ratios, row{fmt.Sprintf("%.2f", s.median), l, name, note})
}

// quantity adds a figure that is no ratio and has a limit.
func (r *report) quantity(value, limit, name, note string, args ...any) {
	r.quantities = append(r.quantities, row{value, limit, name, fmt.Sprintf(note, args...)})
}

// other adds a figure that is only reported.
func (r *report) other(value, name, note string, args ...any) {
	r.others = append(r.others, row{value, "", name, fmt.Sprintf(note, args...)})
}

func (r *report) print(to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, group := range []struct {
		title string
		rows  []row
	}{
		{"ratios, with the 10th to 90th percentile of the rounds", r.ratios},
		{"other figures with a limit", r.quantities},
		{"only reported", r.others},
	} {
		if len(group.rows) == 0 {
			continue
		}
		_, _ = fmt.Fprintf(w, "\n%s\n", group.title)
		for _, row := range group.rows {
			_, _ = fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", row.value, row.limit, row.name, row.note)
		}
		_ = w.Flush()
	}
}
