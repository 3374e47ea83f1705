package caddyauth

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(testHeld{})
	httpcaddyfile.RegisterHandlerDirective("test_held", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) { return testHeld{}, nil })
}

// testHeld holds requests that ask for it, in the middle of the chain of the
// configuration that they came under, and notes the names of requests that have
// one.
type testHeld struct{}

func (testHeld) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_held", New: func() caddy.Module { return new(testHeld) }}
}

func (testHeld) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if name := r.Header.Get("X-Name"); name != "" {
		reached.Store(name, true)
	}
	if held, ok := holds.Load(r.Header.Get("X-Held")); ok {
		held.(*heldRequests).arrived.Done()
		<-held.(*heldRequests).released
	}
	return next.ServeHTTP(w, r)
}

var (
	holds   sync.Map // value of X-Held to *heldRequests
	reached sync.Map // value of X-Name to true
)

// heldRequests is a number of requests that wait together.
type heldRequests struct {
	t        *testing.T
	arrived  sync.WaitGroup
	released chan struct{}
	release  func()
}

// hold makes n requests wait that carry the test's name as X-Held.
func hold(t *testing.T, n int) *heldRequests {
	h := &heldRequests{t: t, released: make(chan struct{})}
	h.release = sync.OnceFunc(func() { close(h.released) })
	h.arrived.Add(n)
	holds.Store(t.Name(), h)
	t.Cleanup(func() {
		holds.Delete(t.Name())
		h.release()
	})
	return h
}

// wait returns when all requests are there.
func (h *heldRequests) wait() {
	h.t.Helper()
	arrived := make(chan struct{})
	go func() {
		h.arrived.Wait()
		close(arrived)
	}()
	select {
	case <-arrived:
	case <-time.After(20 * time.Second):
		h.t.Fatal("the requests to hold did not come")
	}
}

// mark marks a request of the hold.
func (h *heldRequests) mark(r *http.Request) { r.Header["X-Held"] = []string{h.t.Name()} }

var _ caddyhttp.MiddlewareHandler = testHeld{}
