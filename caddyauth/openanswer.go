package caddyauth

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// openAnswer ends an answer that is still under way when its session ends. It
// is a part of the answer, so that watching costs no memory of its own.
type openAnswer struct {
	watch    sessionstore.Watch
	ctx      sessionContext
	ended    atomic.Bool
	protocol int  // the major version of HTTP
	body     bool // the request has one

	// mu is held while the connection is touched from outside the handler,
	// which must be over when the handler returns.
	mu       sync.Mutex
	done     bool
	hijacked net.Conn
}

// errSessionEnded is what handlers get for reads and writes of an answer whose
// session has ended.
var errSessionEnded = errors.New("the session has ended")

// endAgain is how often an answer that is still open is ended again: handlers
// and timeouts set deadlines of their own, after ours.
const endAgain = 100 * time.Millisecond

// longAgo is a deadline that has passed.
func longAgo() time.Time { return time.Unix(1, 0) }

// watch has the answer end when the request's session ends. It is false if that
// has happened already. A true one is followed by stopWatching.
func (q *request) watch() bool {
	a := q.answer
	a.watching = q.session.Watch(&a.open.watch, a)
	return a.watching
}

// serveWatched runs the rest of the chain for the session's user, until the
// session ends. What goes wrong from then on is no error.
func (q *request) serveWatched(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	a := q.answer
	if a.open.ctx.Context == nil {
		if isUpgrade(r) {
			a.open.watch.WhenIdle()
		}
		// The session may end at any time from the watch on.
		a.open.mu.Lock()
		a.open.protocol = r.ProtoMajor
		a.open.body = r.Body != nil && r.Body != http.NoBody
		a.open.mu.Unlock()
		a.open.ctx.Context = r.Context()
		// In place: Caddy's placeholders read the request that the server has,
		// and {http.request.body} puts back there what it has read.
		*r = *r.WithContext(&a.open.ctx)
		if a.open.body {
			r.Body = &watchedBody{r.Body, a}
		}
	}
	err := q.serve(w, r, next)
	if a.open.ended.Load() {
		return nil
	}
	return err
}

// unwatch has the answer go on whatever becomes of the session: it is one of
// ours, about the session's end perhaps.
func (a *answer) unwatch() {
	a.open.watch.Stop()
	a.watching = false
}

// stopWatching ends the watch. Nobody touches the connection any more when it
// returns: from then on it is the server's.
func (a *answer) stopWatching() {
	a.unwatch()
	if !a.open.ended.Load() {
		return
	}
	a.open.mu.Lock()
	closed := a.open.done || a.open.hijacked != nil
	a.open.mu.Unlock()
	if a.open.protocol == 1 && !closed {
		// Its deadlines have passed, which the next request on it would suffer
		// from. Before the server gives it away it may want the rest of the
		// request's body, which a client need never send, and handlers may have
		// set another deadline by now: so the answer goes on being ended meanwhile.
		if conn, _, err := http.NewResponseController(unwrapped(a.ResponseWriter)).Hijack(); err == nil {
			closeNow(conn)
		}
	}
	a.open.mu.Lock()
	a.open.done = true
	a.open.mu.Unlock()
}

// SessionEnded implements sessionstore.Watcher: nothing more is read from the
// client or written to it.
func (a *answer) SessionEnded() {
	a.open.ended.Store(true)
	a.endAgain()
}

func (a *answer) endAgain() {
	if a.endNow() {
		time.AfterFunc(endAgain, a.endAgain)
	}
}

// endNow makes whatever waits for the client or an upstream return with an
// error. It is false when that need not be done again: the handler is done, or
// it is HTTP/2, where once is enough, and each time a frame.
func (a *answer) endNow() bool {
	o := &a.open
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done {
		return false
	}
	o.ctx.end()
	if o.hijacked != nil {
		closeNow(o.hijacked)
		return true
	}
	// Past the wrappers: those of the server's write timeout are not made for a
	// second goroutine.
	server := http.NewResponseController(unwrapped(a.ResponseWriter))
	_ = server.SetWriteDeadline(longAgo())
	if o.body {
		_ = server.SetReadDeadline(longAgo())
	}
	return o.protocol != 2
}

// unwrapped returns the server's own writer.
func unwrapped(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// closeNow closes a connection without the goodbye of TLS, which would wait for
// a client that does not read.
func closeNow(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close()
}

// hijack takes note of a connection that is no HTTP any more.
func (a *answer) hijack(conn net.Conn) {
	a.open.watch.WhenIdle()
	a.open.mu.Lock()
	defer a.open.mu.Unlock()
	a.open.hijacked = conn
	if a.open.ended.Load() {
		closeNow(conn)
	}
}

const eventStream = "text/event-stream"

// streams has an event stream end with the idle limit: it stays open for as
// long as somebody listens.
func (a *answer) streams() {
	if !a.watching {
		return
	}
	values := a.Header()["Content-Type"]
	if len(values) > 0 && len(values[0]) >= len(eventStream) && strings.EqualFold(values[0][:len(eventStream)], eventStream) {
		a.open.watch.WhenIdle()
	}
}

// watchedBody is a request's body that ends with the session.
type watchedBody struct {
	io.ReadCloser
	answer *answer
}

// Read implements io.Reader. What came in while the session ended is not passed
// on.
func (b *watchedBody) Read(p []byte) (int, error) {
	if b.answer.open.ended.Load() {
		return 0, errSessionEnded
	}
	n, err := b.ReadCloser.Read(p)
	if b.answer.open.ended.Load() {
		return 0, errSessionEnded
	}
	return n, err
}

// Interface guard
var _ sessionstore.Watcher = (*answer)(nil)
