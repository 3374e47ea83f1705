package ldap

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
)

// What servers say is read in the background too, where nobody above would catch
// a panic over it.
func TestPanicInTheBackgroundEndsNothing(t *testing.T) {
	var log bytes.Buffer
	d, err := New(Config{Label: "example.test", Servers: []string{"ldap://127.0.0.1:1"}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	d.spawn(func(context.Context) { panic("a name without an end") })
	done := make(chan struct{})
	d.spawn(func(context.Context) { close(done) })
	<-done
	if err := d.Close(); err != nil { // waits for both
		t.Fatal(err)
	}
	if text := log.String(); !strings.Contains(text, "panicked") || !strings.Contains(text, "a name without an end") {
		t.Errorf("the log says %q", text)
	}
}

// panickingResolver is a DNS library that panics over an answer.
type panickingResolver struct{ resolver }

func TestPanicOverDNSIsAFailedLookUp(t *testing.T) {
	d := newDiscovery("example.test", panickingResolver{}, nil, slog.New(slog.DiscardHandler), nil)
	running := d.begin()
	d.run(t.Context(), running, discoveryBound)
	select {
	case <-running.done:
	default:
		t.Error("the look-up never ends")
	}
	if d.failure == nil || !strings.Contains(d.failure.Error(), "panicked") {
		t.Errorf("the failure is %v", d.failure)
	}
}
