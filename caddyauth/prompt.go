package caddyauth

import (
	"net/http"
	"time"
)

// answerTimeout is how long a client may take to read the answer of a sign-in
// route. Without it one that reads nothing (on HTTP/2, with a window of zero)
// holds a request, with all it has in memory, for as long as it likes.
const answerTimeout = 10 * time.Second

// promptly has an answer of ours written in that time, where the server's
// connections can tell.
func (q *request) promptly(w http.ResponseWriter, write func() error) error {
	a := q.answer
	a.prompt = true
	defer func() {
		a.prompt = false
		if !a.wroteHeader {
			return // it failed: the error routes answer
		}
		// What is small leaves with the flush only. Later requests of the
		// connection have a time of their own.
		controller := http.NewResponseController(w)
		_ = controller.Flush()
		_ = controller.SetWriteDeadline(time.Time{})
	}()
	return write()
}
