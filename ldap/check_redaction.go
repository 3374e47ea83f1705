package ldap

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Redaction takes passwords out of texts. What a directory says is repeated to
// the operator, and goes into tickets from there: it may hold the password that
// it was sent, by mistake or on purpose. The zero value hides nothing.
type Redaction struct {
	secrets []string // the longest first
	short   []*regexp.Regexp
}

const (
	redacted = "[redacted]"

	// shortSecret is the length in bytes below which a secret is taken out as a
	// word of its own only: else it would be read off the gaps in known texts.
	shortSecret = 4
)

// Hide takes a secret out, as it is and as texts come to spell it.
func (r *Redaction) Hide(secret string) {
	if secret == "" {
		return
	}
	quoted := strconv.Quote(secret)
	for _, form := range []string{
		secret, strings.TrimSpace(secret), printable(secret), quoted[1 : len(quoted)-1],
		hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawStdEncoding.EncodeToString([]byte(secret)),
	} {
		form = strings.TrimSuffix(form, "…")
		switch {
		case form == "":
		case len(form) < shortSecret:
			r.short = append(r.short, regexp.MustCompile(`(^|[^\pL\pN])`+regexp.QuoteMeta(form)+`($|[^\pL\pN])`))
		case !slices.Contains(r.secrets, form):
			r.secrets = append(r.secrets, form)
		}
	}
	slices.SortFunc(r.secrets, func(a, b string) int { return len(b) - len(a) })
}

// Text returns s without the secrets.
func (r *Redaction) Text(s string) string {
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, redacted)
		s = replaceFold(s, secret)
		s = cutOff(s, secret)
	}
	for _, short := range r.short {
		s = short.ReplaceAllString(s, "${1}"+redacted+"${2}")
	}
	return s
}

// replaceFold finds a secret in another case, as servers that fold names have
// it.
func replaceFold(s, secret string) string {
	lower, find := strings.ToLower(s), strings.ToLower(secret)
	if len(lower) != len(s) || len(find) != len(secret) {
		return s
	}
	var b strings.Builder
	for {
		i := strings.Index(lower, find)
		if i < 0 {
			break
		}
		b.WriteString(s[:i] + redacted)
		s, lower = s[i+len(find):], lower[i+len(find):]
	}
	return b.String() + s
}

// cutOff finds the front of a secret where printable has cut a text.
func cutOff(s, secret string) string {
	const mark = "…"
	for at := strings.Index(s, mark); at >= 0; {
		for n := min(len(secret)-1, at); n >= shortSecret-1; n-- {
			if strings.EqualFold(s[at-n:at], secret[:n]) {
				s = s[:at-n] + redacted + s[at:]
				at += len(redacted) - n
				break
			}
		}
		next := strings.Index(s[at+len(mark):], mark)
		if next < 0 {
			break
		}
		at += len(mark) + next
	}
	return s
}

// Step returns s without the secrets.
func (r *Redaction) Step(s CheckStep) CheckStep {
	s.Detail, s.Cause, s.Cure = r.Text(s.Detail), r.Text(s.Cause), r.Text(s.Cure)
	warnings := make([]string, len(s.Warnings))
	for i, w := range s.Warnings {
		warnings[i] = r.Text(w)
	}
	s.Warnings = warnings
	return s
}
