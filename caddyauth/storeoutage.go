package caddyauth

import (
	"errors"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// A store that cannot be reached, or has no space, fails every request that needs
// it, for as long as that lasts; so do the records of nodes that were updated before
// this one. A line for each would bury everything else, so
// each failure has one a minute, and the requests between share its reference: a
// page that somebody reads to the operator leads to a line in any case.

const (
	// outageLine is how long a line stands for the requests that come after it.
	outageLine = time.Minute

	// mostOutages is how many failures are told apart: more share the lines of others.
	mostOutages = 8
)

// outages are the failures that were logged last.
type outages struct {
	mu   sync.Mutex
	last []outage
}

type outage struct {
	text      string // of the error, without what differs from request to request
	reference string
	at        time.Time
}

// line tells whether a request that met err is worth a line, and the reference
// that it has from now on: its own, or that of the line which stands for it.
func (o *outages) line(err error, now time.Time, own func() string) (due bool, reference string) {
	if !errors.Is(err, sessionstore.ErrUnavailable) && !errors.Is(err, sessionstore.ErrNoSpace) && !errors.Is(err, sessionstore.ErrNewerRecord) {
		return true, own()
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, err.Error())
	o.mu.Lock()
	defer o.mu.Unlock()
	oldest := 0
	for i := range o.last {
		known := &o.last[i]
		if known.text == text {
			if now.Sub(known.at) >= outageLine {
				known.at, known.reference = now, own()
				return true, known.reference
			}
			return false, known.reference
		}
		if known.at.Before(o.last[oldest].at) {
			oldest = i
		}
	}
	next := outage{text: text, at: now}
	switch {
	case len(o.last) < mostOutages:
		next.reference = own()
		o.last = append(o.last, next)
	case now.Sub(o.last[oldest].at) >= outageLine:
		next.reference = own()
		o.last[oldest] = next
	default:
		return false, o.last[oldest].reference
	}
	return true, next.reference
}
