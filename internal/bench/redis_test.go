package main

import (
	"maps"
	"strings"
	"testing"
	"time"
)

const someInfo = "# CPU\r\nused_cpu_sys:1.250000\r\nused_cpu_user:2.500000\r\nused_cpu_sys_children:9.000000\r\n\r\n" +
	"# Memory\r\nused_memory:1000\r\nused_memory_rss:3000\r\nused_memory_human:1000B\r\n\r\n" +
	"# Commandstats\r\ncmdstat_get:calls=7,usec=21,usec_per_call=3.00,rejected_calls=0,failed_calls=0\r\n" +
	"cmdstat_client|tracking:calls=1,usec=5\r\ncmdstat_info:calls=3,usec=9\r\n"

func TestRedisSample(t *testing.T) {
	s, err := sampleOf(infoFields(someInfo), time.Now())
	if err != nil || s.cpu != 3.75 || s.memory != 1000 || s.rss != 3000 {
		t.Errorf("read %+v, %v", s, err)
	}
	if want := map[string]float64{"get": 7, "client|tracking": 1, "info": 3}; !maps.Equal(s.calls, want) {
		t.Errorf("calls %v, want %v", s.calls, want)
	}
	for _, field := range []string{"used_cpu_sys:1.250000", "used_memory:1000", "used_memory_rss:3000", "calls=7"} {
		if _, err := sampleOf(infoFields(strings.Replace(someInfo, field, "", 1)), time.Now()); err == nil {
			t.Errorf("without %q it is taken", field)
		}
	}
}

func TestRedisWork(t *testing.T) {
	at := time.Now()
	before := sample{at: at, cpu: 1, calls: map[string]float64{"get": 100, "info": 10, "ping": 5}}
	after := sample{at: at.Add(20 * time.Second), cpu: 3, calls: map[string]float64{"get": 1100, "info": 31, "ping": 5, "evalsha": 2}}
	w := after.since(before)
	if want := map[string]float64{"get": 1000, "info": 20, "evalsha": 2}; w.seconds != 20 || w.cpu != 2 || !maps.Equal(w.calls, want) {
		t.Errorf("work %+v", w)
	}
	idle := work{seconds: 10, cpu: 0.25, calls: map[string]float64{"info": 10, "ping": 50, "get": 5}}
	left := w.without(idle)
	if want := map[string]float64{"get": 990, "evalsha": 2}; left.cpu != 1.5 || !maps.Equal(left.calls, want) || left.commands() != 992 {
		t.Errorf("without what comes anyway: %+v", left)
	}
	if names := left.names(10); names != "get 99.0, evalsha 0.2" {
		t.Errorf("named %q", names)
	}
	if names := left.names(1e6); names != "none" {
		t.Errorf("of very many: %q", names)
	}
}

func TestEndingOf(t *testing.T) {
	out := time.Now()
	at := func(sent, answered, status int) poll {
		return poll{out.Add(time.Duration(sent) * time.Millisecond), out.Add(time.Duration(answered) * time.Millisecond), status}
	}
	const ms = time.Millisecond
	for name, row := range map[string]struct {
		polls []poll
		want  ending
	}{
		"known before the sign-out was acknowledged": {[]poll{at(-9, -8, 200), at(-2, -1, 401), at(1, 2, 401)}, ending{}},
		"asked before, answered after":               {[]poll{at(-2, 3, 200), at(4, 6, 401)}, ending{refused: 6 * ms}},
		"served after":                               {[]poll{at(-2, 0, 200), at(1, 3, 200), at(4, 6, 401)}, ending{refused: 6 * ms, served: 1 * ms}},
		"served again after a refusal":               {[]poll{at(1, 2, 401), at(3, 4, 200), at(5, 6, 401)}, ending{refused: 2 * ms, served: 3 * ms}},
		"not knowing is no refusal":                  {[]poll{at(1, 2, 503), at(3, 4, 401)}, ending{refused: 4 * ms, unavailable: 1}},
		"ended while it was served":                  {[]poll{at(1, 2, cut), at(3, 4, 401)}, ending{refused: 4 * ms, cut: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := endingOf(out, row.polls); err != nil || got != row.want {
				t.Errorf("%+v, %v, want %+v", got, err, row.want)
			}
		})
	}
	for name, polls := range map[string][]poll{
		"never refused":               {at(1, 2, 200), at(3, 4, 503), at(5, 6, cut)},
		"no answer that a gate gives": {at(1, 2, 500), at(3, 4, 401)},
	} {
		if got, err := endingOf(out, polls); err == nil {
			t.Errorf("%s is taken as %+v", name, got)
		}
	}
}
