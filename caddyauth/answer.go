package caddyauth

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
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

	// renew allows the session cookie to be sent again.
	renew bool

	// cors, with gated: the trusted origin that reads the answer, or "";
	// varies: there are such origins, so that the answer depends on it.
	cors   string
	varies bool

	// prompt: the client has only so long to read it.
	prompt bool

	decided, wroteHeader bool

	// open ends the answer with its session, while watching.
	open     openAnswer
	watching bool
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
		set: a.set, gated: a.gated, renew: a.renew, cors: a.cors, varies: a.varies, prompt: a.prompt, decided: a.decided,
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
	if a.gated && !a.decided {
		a.decided = true
		a.decideCookies()
	}
	if len(a.set) > 0 {
		h["Set-Cookie"] = append(h["Set-Cookie"], a.set...)
	}
	if !a.gated && !a.q.lookedUp {
		return // public, and no matcher looked at the session
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

// forOneClient tells caches whom the answer is for.
func (a *answer) forOneClient(h http.Header) {
	vary := h["Vary"]
	if len(h["Cache-Control"]) > 0 || len(vary) > 1 || len(vary) == 1 && vary[0] != "Accept-Encoding" {
		keepPrivate(h)
		addVary(h, "Cookie")
		return
	}
	// The usual cases, in one piece of memory.
	values := append(make([]string, 0, 3), "private")
	values = append(append(values, vary...), "Cookie")
	h["Cache-Control"], h["Vary"] = values[0:1:1], values[1:]
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
	return err
}

// setCookie queues a Set-Cookie value of ours.
func (q *request) setCookie(value string) { q.answer.set = append(q.answer.set, value) }

// keepPrivate tells shared caches to keep their hands off: cookies alone do not
// forbid them to store an answer (RFC 9111 section 3). Directives that are as
// strict or stricter stay.
func keepPrivate(h http.Header) {
	values := h["Cache-Control"]
	if len(values) == 0 {
		h["Cache-Control"] = []string{"private"}
		return
	}
	private, kept := false, make([]string, 0, 4)
	for _, value := range values {
		for directive := range strings.SplitSeq(value, ",") {
			directive = trimOWS(directive)
			name, _, _ := strings.Cut(strings.ToLower(directive), "=")
			switch name = trimOWS(name); name {
			case "", "public", "s-maxage":
				continue
			case "no-store":
				private = true
			case "private":
				// With a field list it means those fields alone.
				private = private || !strings.Contains(directive, "=")
			}
			kept = append(kept, directive)
		}
	}
	if !private {
		kept = append(kept, "private")
	}
	h["Cache-Control"] = []string{strings.Join(kept, ", ")}
}

// dropCacheOverrides removes headers that some shared caches obey instead of
// Cache-Control.
func dropCacheOverrides(h http.Header) {
	delete(h, "Surrogate-Control")
	delete(h, "X-Accel-Expires")
	for name := range h {
		if strings.HasSuffix(name, "Cdn-Cache-Control") { // RFC 9213, and vendors' own
			delete(h, name)
		}
	}
}

// addVary adds a name to Vary, once.
func addVary(h http.Header, name string) {
	values := h["Vary"]
	for _, value := range values {
		for listed := range strings.SplitSeq(value, ",") {
			if listed = trimOWS(listed); listed == "*" || strings.EqualFold(listed, name) {
				return
			}
		}
	}
	h["Vary"] = append(values, name)
}

// Interface guards
var (
	_ http.ResponseWriter = (*answer)(nil)
	_ http.Flusher        = (*answer)(nil)
	_ http.Hijacker       = (*answer)(nil)
	_ io.ReaderFrom       = (*answer)(nil)
)
