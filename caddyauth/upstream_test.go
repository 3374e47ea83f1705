package caddyauth

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// upstream is an application behind the gate that remembers what reached it.
type upstream struct {
	server *httptest.Server

	mu     sync.Mutex
	seen   []seenRequest
	answer http.HandlerFunc // nil: 200 "upstream"
}

// seenRequest is a request as an application saw it.
type seenRequest struct {
	method, uri, body string
	header, trailer   http.Header
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := new(upstream)
	u.server = httptest.NewServer(u)
	t.Cleanup(u.server.Close)
	return u
}

func (u *upstream) addr() string { return strings.TrimPrefix(u.server.URL, "http://") }

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	u.mu.Lock()
	u.seen = append(u.seen, seenRequest{method: r.Method, uri: r.RequestURI, body: string(text), header: r.Header.Clone(), trailer: r.Trailer.Clone()})
	answer := u.answer
	u.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	_, _ = io.WriteString(w, "upstream")
}

// answers makes the application answer so from now on.
func (u *upstream) answers(answer http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer = answer
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.seen)
}

// last is the newest request.
func (u *upstream) last(t *testing.T) seenRequest {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.seen) == 0 {
		t.Fatal("no request reached the upstream")
	}
	return u.seen[len(u.seen)-1]
}
