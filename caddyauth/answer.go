package caddyauth

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// answer is the response writer of everything behind our handlers. It decides
// our headers at the last moment, when the response's own are known: whether
// the session still lives, what an upstream set under our names, what caches
// may keep. It is the outermost writer of the site's routes, so that deferred
// header operations come before it.
type answer struct {
	caddyhttp.ResponseWriterWrapper
	q *request

	// set are our own Set-Cookie values, as far as they are decided.
	set []string

	// gated: a gate let the request through with its session, or refused it
	// with its session. Public answers keep their cookies and cache headers.
	gated bool

	// page: a browser shows the answer as a page.
	page bool

	// renew allows the session cookie to be sent again.
	renew bool

	// cors, with gated: the trusted origin that reads the answer, or "";
	// varies: there are such origins, so that the answer depends on it.
	cors   string
	varies bool

	// prompt: the client has only so long to read it.
	prompt bool

	decided, wroteHeader, watching bool

	// open ends the answer with its session, while watching.
	open openAnswer
}

// wrap returns the writer for the handlers behind. Behind a second of our
// handlers w leads to the first one's already. In an error route it does not:
// Caddy starts those with the server's own writer, and what was decided before
// holds for the new one too.
func (q *request) wrap(w http.ResponseWriter) http.ResponseWriter {
	switch {
	case q.answer == nil:
		q.answer = &q.first
	case leadsTo(w, q.answer):
		return w
	default:
		q.answer = q.answer.again()
	}
	q.answer.ResponseWriter, q.answer.q = w, q
	return q.answer
}

// again returns the state of a for another writer.
func (a *answer) again() *answer {
	return &answer{
		set: a.set, gated: a.gated, page: a.page, renew: a.renew, cors: a.cors, varies: a.varies, prompt: a.prompt, decided: a.decided,
	}
}

// leadsTo tells whether w is a, or wraps it.
func leadsTo(w http.ResponseWriter, a *answer) bool {
	for {
		if w == http.ResponseWriter(a) {
			return true
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = wrapper.Unwrap()
	}
}

// decide completes the headers. What an error route does to them it completes
// again, if one of our handlers stands there too.
func (a *answer) decide() {
	h := a.Header()
	a.q.app.cookies.dropSetCookies(h)
	dropTrailer(h, "Set-Cookie")
	if a.gated && !a.decided {
		a.decided = true
		a.decideCookies()
	}
	if len(a.set) > 0 {
		h["Set-Cookie"] = append(h["Set-Cookie"], a.set...)
	}
	if !a.gated && !a.q.asked {
		return // public, and no matcher asked for the session
	}
	a.forOneClient(h)
	dropCacheOverrides(h)
	if !a.gated {
		return
	}
	if a.varies {
		addVary(h, "Origin")
	}
	allowOrigin(h, a.cors)
}

// decideCookies queues our cookies, if the session still lives now.
func (a *answer) decideCookies() {
	session := a.q.session
	if !a.q.lookedUp || session.Session == nil {
		return
	}
	cookies, tls := &a.q.app.cookies, a.q.tls
	if a.renew && session.Renew() {
		idle, _ := session.Left()
		a.set = append(a.set, cookies.setSession(a.q.cookies.token, idle, tls))
	}
	if !a.q.cookies.hasCSRF(session.CSRF) && session.Alive() {
		a.set = append(a.set, cookies.setCSRF(session.CSRF, tls))
	}
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		// An informational answer comes before the real one, and may carry
		// headers of the upstream as well.
		a.q.app.cookies.dropSetCookies(a.Header())
		a.ResponseWriter.WriteHeader(status)
		return
	}
	if !a.wroteHeader {
		a.wroteHeader = true
		a.decide()
		a.streams()
		if a.prompt {
			_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(answerTimeout))
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.open.ended.Load() {
		return 0, errSessionEnded
	}
	if !a.wroteHeader {
		a.WriteHeader(http.StatusOK)
	}
	return a.ResponseWriter.Write(p)
}

// ReadFrom implements io.ReaderFrom, which would write the header past us.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	if a.open.ended.Load() {
		return 0, errSessionEnded
	}
	if !a.wroteHeader {
		a.WriteHeader(http.StatusOK)
	}
	if small, ok := r.(*io.LimitedReader); ok && small.N <= smallBody {
		buffer := smallBodies.Get().(*[smallBody]byte)
		defer smallBodies.Put(buffer)
		return io.CopyBuffer(writerOnly{a}, r, buffer[:])
	}
	return a.ResponseWriterWrapper.ReadFrom(r)
}

// smallBody is up to how many bytes are copied here. net/http makes a buffer of
// 32 KiB for each file that Caddy sends, and sends its header on its own: for a
// small file that is more work than all that the gate does.
const smallBody = 32 << 10

var smallBodies = sync.Pool{New: func() any { return new([smallBody]byte) }}

// writerOnly keeps io.CopyBuffer from asking for ReadFrom again.
type writerOnly struct{ io.Writer }

// FlushError lets http.ResponseController flush; a flush writes the header.
func (a *answer) FlushError() error {
	if !a.wroteHeader {
		a.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (a *answer) Flush() { _ = a.FlushError() }

// Hijack implements http.Hijacker.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err == nil && a.watching {
		a.hijack(conn)
	}
	return conn, buffered, err
}

// serve runs the rest of the chain. A handler that wrote nothing leaves the
// header to the server, and one that failed to the error routes: both write
// past this wrapper, so our headers are decided before.
func (q *request) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	a := q.answer
	err := next.ServeHTTP(w, r)
	if !a.wroteHeader {
		a.decide()
	}
	// A trailer that was not announced is sent when we are back in the server.
	delete(w.Header(), http.TrailerPrefix+"Set-Cookie")
	return err
}

// setCookie queues a Set-Cookie value of ours.
func (q *request) setCookie(value string) { q.answer.set = append(q.answer.set, value) }

// dropTrailer keeps a header from being sent, once more, as a trailer: some
// clients take a trailer's fields for the header's.
func dropTrailer(h http.Header, name string) {
	values, ok := h["Trailer"]
	if !ok {
		return
	}
	newStripper([]string{name}).stripTokens(h, "Trailer", values)
}

// Interface guards
var (
	_ http.ResponseWriter = (*answer)(nil)
	_ http.Flusher        = (*answer)(nil)
	_ http.Hijacker       = (*answer)(nil)
	_ io.ReaderFrom       = (*answer)(nil)
)
