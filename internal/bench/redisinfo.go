package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is what redis-server tells of itself at one moment.
type sample struct {
	at     time.Time
	cpu    float64            // its CPU time so far, in seconds
	memory int64              // bytes that it has allocated
	rss    int64              // bytes that it has of the system
	calls  map[string]float64 // of each command so far, those of scripts too
}

// info reads sections of INFO.
func (t *twins) info(ctx context.Context, sections ...string) (map[string]string, error) {
	text, err := t.client.Do(ctx, t.client.B().Info().Section(sections...).Build()).ToString()
	if err != nil {
		return nil, fmt.Errorf("reading INFO %q: %w", sections, err)
	}
	return infoFields(text), nil
}

func infoFields(text string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

func (t *twins) sample(ctx context.Context) (sample, error) {
	at := time.Now()
	fields, err := t.info(ctx, "cpu", "memory", "commandstats")
	if err != nil {
		return sample{}, err
	}
	return sampleOf(fields, at)
}

func sampleOf(fields map[string]string, at time.Time) (sample, error) {
	s := sample{at: at, calls: make(map[string]float64)}
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} { // of all its threads
		seconds, err := strconv.ParseFloat(fields[name], 64)
		if err != nil {
			return sample{}, fmt.Errorf("reading %s in INFO: %w", name, err)
		}
		s.cpu += seconds
	}
	var err error
	for name, to := range map[string]*int64{"used_memory": &s.memory, "used_memory_rss": &s.rss} {
		if *to, err = strconv.ParseInt(fields[name], 10, 64); err != nil {
			return sample{}, fmt.Errorf("reading %s in INFO: %w", name, err)
		}
	}
	for name, value := range fields {
		command, ok := strings.CutPrefix(name, "cmdstat_")
		if !ok {
			continue
		}
		calls, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		if s.calls[command], err = strconv.ParseFloat(calls, 64); err != nil {
			return sample{}, fmt.Errorf("reading %s in INFO: %w", name, err)
		}
	}
	return s, nil
}

// work is what redis-server did in some time.
type work struct {
	seconds float64
	cpu     float64 // in seconds
	calls   map[string]float64
}

// since is the work from the earlier sample to this one, without the INFO that
// took the earlier one.
func (s sample) since(earlier sample) work {
	w := work{seconds: s.at.Sub(earlier.at).Seconds(), cpu: s.cpu - earlier.cpu, calls: make(map[string]float64)}
	for command, calls := range s.calls {
		n := calls - earlier.calls[command]
		if command == "info" {
			n--
		}
		if n > 0 {
			w.calls[command] = n
		}
	}
	return w
}

// without takes away what it does in the same time when no request comes. What
// it does then only, as a sign of life on a silent connection, counts as none.
func (w work) without(idle work) work {
	share := w.seconds / idle.seconds
	left := work{seconds: w.seconds, cpu: max(w.cpu-idle.cpu*share, 0), calls: make(map[string]float64)}
	for command, calls := range w.calls {
		if n := calls - idle.calls[command]*share; n > 0 {
			left.calls[command] = n
		}
	}
	return left
}

func (w work) commands() (sum float64) {
	for _, calls := range w.calls {
		sum += calls
	}
	return sum
}

// names lists the commands by how many there are for each unit.
func (w work) names(units float64) string {
	var all []string
	for _, command := range slices.SortedFunc(maps.Keys(w.calls), func(a, b string) int {
		return cmp.Or(cmp.Compare(w.calls[b], w.calls[a]), cmp.Compare(a, b))
	}) {
		if n := fmt.Sprintf("%.1f", w.calls[command]/units); n != "0.0" {
			all = append(all, command+" "+n)
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}
