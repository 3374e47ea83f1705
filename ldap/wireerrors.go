package ldap

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	goldap "github.com/go-ldap/ldap/v3"
)

// maxDiagnostic bounds what of a server's text goes into errors and logs.
const maxDiagnostic = 300

// errTooMany means that a search found more than it asked for, whether the
// server said so or the client counted. The entries so far are valid.
var errTooMany = errors.New("more entries than the limit")

// resultError is a result code with which a server answered.
type resultError struct {
	doing      string
	code       uint16
	diagnostic string
}

func (e *resultError) Error() string {
	name := goldap.LDAPResultCodeMap[e.code]
	if e.diagnostic == "" {
		return fmt.Sprintf("%s: result %d (%s)", e.doing, e.code, name)
	}
	return fmt.Sprintf("%s: result %d (%s): %s", e.doing, e.code, name, e.diagnostic)
}

// transportError means that no usable answer came.
type transportError struct {
	doing    string
	err      error
	timedOut bool // the server was silent for as long as it may be
}

func (e *transportError) Error() string { return e.doing + ": " + e.err.Error() }

func (e *transportError) Unwrap() error { return e.err }

// wireError sorts what go-ldap returns. Its own error for too many entries has
// a code of the transport range, and must be told apart first: else a duplicate
// e-mail address would look like a dead server.
func wireError(doing string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, goldap.ErrSizeLimitExceeded) {
		return errTooMany
	}
	var result *goldap.Error
	if !errors.As(err, &result) || result.ResultCode >= goldap.ErrorNetwork {
		return &transportError{doing: doing, err: errors.New(printable(err.Error()))}
	}
	if result.ResultCode == goldap.LDAPResultSizeLimitExceeded {
		return errTooMany
	}
	return &resultError{doing: doing, code: result.ResultCode, diagnostic: printable(result.Err.Error())}
}

// printable makes a server's text fit for one line of a log. Windows ends its
// diagnostics with a NUL, Samba with a space.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
	if len(s) > maxDiagnostic {
		s = strings.ToValidUTF8(s[:maxDiagnostic], "") + "…"
	}
	return s
}
