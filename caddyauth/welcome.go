package caddyauth

import "net/http"

// signInOK is what existing clients read after a sign-in; the warning's keys
// are there only with a warning.
type signInOK struct {
	Status    string `json:"status"`
	Message   string `json:"message"`
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`

	Warning      string `json:"warning,omitempty"`
	GraceSignIns *int   `json:"grace_sign_ins,omitempty"`
	ExpiresIn    int64  `json:"expires_in,omitempty"` // seconds
}

// welcome answers a sign-in that succeeded, when its session is stored.
func (s *site) welcome(w http.ResponseWriter, r *http.Request, q *request, next string, p proof) error {
	q.signing.place.leave()
	if !s.answersWithPage(r) {
		return writeJSON(w, http.StatusOK, signInOKOf(p.identity))
	}
	target := s.targetAfterSignIn(next, q)
	if page, ok := warningPage(p.identity.Warning, target, p.directory.configured.PasswordURL); ok {
		return s.writePage(w, r, q, http.StatusOK, page)
	}
	return redirect(w, target)
}
