package caddyauth

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// TestOneLineForManyRequests: a store that cannot be reached fails everybody, and
// the log tells it once, with the reference that all their pages have.
func TestOneLineForManyRequests(t *testing.T) {
	storage, faults := faultyStorage(t)
	s := start(t, setup{storage: storage})
	faults.unreachable.Store(true)
	mark := logged.mark()
	references := make(map[string]bool)
	for i := range 20 {
		token := header("Cookie", "sessionid="+strings.Repeat(string(rune('A'+i)), 42)+"A")
		references[referenceOf(t, s.do("GET", "/x", navigation, token))] = true
		want503(t, s.do("GET", "/x", token), bodyStore)
	}
	if len(references) != 1 {
		t.Errorf("the references %v, want one for all", references)
	}
	for reference := range references {
		wantLog(t, mark, "session store failed", `"ref":"`+reference+`"`)
	}
	text := strings.Join(logged.since(mark), "\n")
	if n := strings.Count(text, "session store failed"); n != 1 {
		t.Errorf("%d lines for 40 requests: %s", n, text)
	}
	if strings.Contains(text, "a page said that the service is not available") {
		t.Error("pages have lines of their own")
	}
}

func TestOutageLines(t *testing.T) {
	unreachable := func(why string) error { return fmt.Errorf("reading session: %w: %s", sessionstore.ErrUnavailable, why) }
	full := fmt.Errorf("storing session: %w", sessionstore.ErrNoSpace)
	newer := func(format int) error {
		return fmt.Errorf("reading session: %w: its format is %d", sessionstore.ErrNewerRecord, format)
	}
	other := errors.New("a defect")
	began := time.Now()
	var o outages
	for i, test := range []struct {
		err   error
		after time.Duration
		own   string
		due   bool
		want  string
	}{
		{unreachable("port 40001 refuses"), 0, "A", true, "A"},
		{unreachable("port 40002 refuses"), time.Second, "B", false, "A"},
		{full, time.Second, "C", true, "C"},
		{newer(4), time.Second, "O", true, "O"},
		{newer(5), time.Second, "P", false, "O"},
		{other, time.Second, "D", true, "D"},
		{other, time.Second, "E", true, "E"},
		{unreachable("a wrong type"), time.Second, "F", true, "F"},
		{errThrottleNotReady, time.Second, "G", true, "G"},
		{errThrottleNotReady, time.Second, "H", false, "G"},
		{errStoreNotReady, time.Second, "I", true, "I"},
		{errStoreNotReady, time.Second, "J", false, "I"},
		{unreachable("port 40003 refuses"), 59 * time.Second, "K", false, "A"},
		{unreachable("port 40003 refuses"), 60 * time.Second, "L", true, "L"},
		{full, 60 * time.Second, "M", false, "C"},
		{unreachable("port 40003 refuses"), 119 * time.Second, "N", false, "L"},
	} {
		due, reference := o.line(test.err, began.Add(test.after), func() string { return test.own })
		if due != test.due || reference != test.want {
			t.Errorf("row %d: %v %q, want %v %q", i, due, reference, test.due, test.want)
		}
	}

	// However many failures there are, the lines of a minute have a bound.
	lines := 0
	var many outages
	for i := range 1000 {
		due, reference := many.line(unreachable(strings.Repeat("x", i)), began, func() string { return "R" })
		if due {
			lines++
		}
		if reference == "" {
			t.Fatal("no reference")
		}
	}
	if lines != mostOutages {
		t.Errorf("%d lines for 1000 failures, want %d", lines, mostOutages)
	}
	if due, _ := many.line(unreachable("new"), began.Add(outageLine), func() string { return "S" }); !due {
		t.Error("a minute later a new failure has no line")
	}
}
