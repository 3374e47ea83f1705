package pages

import (
	"strconv"
	"strings"
)

// counted returns the text for a number of things. All five languages have one
// form for one and another for more (CLDR plural rules); what is said of none
// is a text of its own.
func (v view) counted(key string, n int64) (string, error) {
	form := ".other"
	if n == 1 {
		form = ".one"
	}
	text, err := v.Text(key + form)
	return strings.ReplaceAll(text, "{n}", strconv.FormatInt(n, 10)), err
}

// RetryHint says when to try again, after too many attempts.
func (v view) RetryHint() (string, error) {
	if v.Code != "too_many_attempts" {
		return "", nil
	}
	return v.counted("retry", max(v.RetryMinutes, 1))
}

// GraceLeft says how often one can still sign in with an expired password.
func (v view) GraceLeft() (string, error) {
	if v.GraceSignIns <= 0 {
		return v.Text("grace.none")
	}
	return v.counted("grace", int64(v.GraceSignIns))
}
