package caddyauth

import (
	"crypto/rand"
	"encoding/base32"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
)

// explanation is what a page says of a refusal beyond its code.
type explanation struct {
	reference string     // a log line has it too
	reason    string     // for that line, where none has said it before
	needs     [][]string // groups, as pages.Page has them
}

func (q *request) explain() *explanation {
	if q.explanation == nil {
		q.explanation = new(explanation)
	}
	return q.explanation
}

// reference is a short name for what went wrong with the request, the same at
// each call: people read it to those who read the log.
func (q *request) reference() string {
	e := q.explain()
	if e.reference == "" {
		e.reference = newReference()
	}
	return e.reference
}

// newReference has 40 random bits, without letters that look like digits.
func newReference() string {
	var random [5]byte
	_, _ = rand.Read(random[:])
	return base32.NewEncoding("23456789ABCDEFGHJKLMNPQRSTUVWXYZ").EncodeToString(random[:])
}

// logged is the reference as a field of a log line.
func (q *request) logged() zap.Field {
	if q == nil {
		return zap.Skip()
	}
	return zap.String("ref", q.reference())
}

// explainTo adds to a page what is known of the refusal. A reference that no line
// has yet gets one: that of what anybody can cause at will, which is no error.
func (s *site) explainTo(page *pages.Page, q *request, status int) {
	if status == http.StatusServiceUnavailable {
		if q.explanation == nil || q.explanation.reference == "" {
			s.logger.Info("a page said that the service is not available", zap.String("code", page.Code), zap.String("reason", q.explain().reason), q.logged())
		}
		page.Reference = q.reference()
	}
	if page.Code == string(codeGroupRequired) && q.explanation != nil {
		page.Needs = q.explanation.needs
	}
}
