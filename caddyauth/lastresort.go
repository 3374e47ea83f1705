package caddyauth

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// lastResort answers a request over which our own code panics, and keeps it
// from the handlers behind: nobody has judged it. Without it the server would
// cut the connection, which is as safe and tells clients nothing.
//
// It is no business of handlers behind: what panics there goes on as it is. So
// does a panic once an answer of ours has begun, and http.ErrAbortHandler.
type lastResort struct {
	site *site
	w    http.ResponseWriter // as it came: what ours would add may be what panicked
	r    *http.Request

	// handedOn: from now on the handlers behind run.
	handedOn bool
}

// answer is deferred.
func (l *lastResort) answer() {
	if l.handedOn {
		return
	}
	p := recover()
	if p == nil {
		return
	}
	q, _ := caddyhttp.GetVar(l.r.Context(), requestVar).(*request)
	if p == http.ErrAbortHandler || q != nil && q.answer != nil && q.answer.wroteHeader {
		panic(p)
	}
	l.site.app.logPanic("judging a request panicked: it was refused", p)
	// Of both shapes of a refusal, and without a code: that list is closed.
	_ = writeJSON(l.w, http.StatusInternalServerError, struct {
		Status  string `json:"status"`
		Error   string `json:"error"`
		Message string `json:"message"`
	}{"error", "Internal error", "Error interno"})
}

// logPanic logs a panic that was caught. The stack has no arguments, which may
// hold bytes of tokens.
func (app *App) logPanic(text string, p any) {
	app.logger.Error(text, zap.String("panic", fmt.Sprint(p)), zap.StackSkip("stack", 1))
}
