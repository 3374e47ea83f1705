package caddyauth

import (
	"net/http"
	"time"
)

// sessionInfo is the answer of the session route: who is signed in, and how
// long the session lives on.
type sessionInfo struct {
	Status      string `json:"status"`
	Username    string `json:"username"`
	FirstName   string `json:"first_name"`
	LastName    string `json:"last_name"`
	DisplayName string `json:"display_name"`
	Email       string `json:"email"`

	timeLeft
}

// timeLeft is how long a session lives, wherever one is shown in JSON.
type timeLeft struct {
	// SecondsLeft until it ends without a further request.
	SecondsLeft int64 `json:"seconds_left"`

	// AbsoluteSecondsLeft until it ends in any case, null without such a limit.
	AbsoluteSecondsLeft *int64 `json:"absolute_seconds_left"`
}

func timeLeftOf(idle, absolute time.Duration) timeLeft {
	left := timeLeft{SecondsLeft: int64(idle / time.Second)}
	if absolute > 0 {
		seconds := int64(absolute / time.Second)
		left.AbsoluteSecondsLeft = &seconds
	}
	return left
}

// showSession lets an application ask who is signed in and when to warn them.
// It renews nothing, or a page that asks in the background would keep a session
// alive for ever.
func (s *site) showSession(w http.ResponseWriter, r *http.Request, q *request) error {
	live, err := q.lookup(r.Context(), false)
	if err != nil {
		s.app.logStoreError(q, "reading a session", err)
		return s.refuseSession(w, r, q, codeStoreUnavailable)
	}
	if !live {
		return s.refuseSession(w, r, q, codeAuthenticationRequired)
	}
	if q.overdue() {
		return s.refuseSession(w, r, q, codeDirectoryUnavailable)
	}
	q.showUser(r, viewOf(q.session), "")
	user := q.session.User
	info := sessionInfo{
		Status: "ok", Username: user.Username, FirstName: user.FirstName, LastName: user.LastName,
		DisplayName: user.DisplayName, Email: user.Email, timeLeft: timeLeftOf(q.session.Left()),
	}
	return writeJSON(w, http.StatusOK, info)
}

// refuseSession answers in the shape of the gate, and always with JSON: nobody
// navigates here.
func (s *site) refuseSession(w http.ResponseWriter, r *http.Request, q *request, c code) error {
	wire := refusalOf(c)
	s.prepareRefusal(w, r, q, wire.status)
	body := gateRefusal{Error: wire.error, Code: c}
	if c == codeAuthenticationRequired {
		body.Redirect = s.pathsOf(q).page
	}
	return writeJSON(w, wire.status, body)
}
