package integration

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/exchange"
)

// newStream starts an application that answers with events that never end.
func newStream(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/events" {
			fmt.Fprint(w, "{}")
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			if _, err := io.WriteString(w, "data: hola\n\n"); err != nil {
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// openStream opens the event stream, and has read from it when it returns. The
// channel gets the time when it ends.
func (s session) openStream(t testing.TB) chan time.Time {
	t.Helper()
	response, err := exchange.Send(s.http, "GET", s.base+"/events", "", "Cookie", s.cookies())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		t.Fatalf("opening the stream: %d", response.StatusCode)
	}
	if _, err := io.ReadFull(response.Body, make([]byte, len("data: hola\n\n"))); err != nil {
		t.Fatalf("reading the stream: %v", err)
	}
	ended := make(chan time.Time, 1)
	go func() {
		_, _ = io.Copy(io.Discard, response.Body)
		ended <- time.Now()
	}()
	return ended
}
