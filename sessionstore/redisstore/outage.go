package redisstore

import (
	"log/slog"
	"strings"
	"time"
	"unicode"
)

// reasonEvery is how often one failure may give another reason in the log, after
// the first one: a server that dies closes its sockets, and what keeps the next
// one from being found comes behind that.
const reasonEvery = time.Minute

// outage writes down that the server fails and that it works again, once each,
// however many calls and attempts fail meanwhile. One goroutine uses it.
type outage struct {
	log       *slog.Logger
	addresses []string
	now       func() time.Time

	lasts  bool
	reason string    // without what differs from attempt to attempt
	told   time.Time // when another reason was written down last
}

func newOutage(log *slog.Logger, addresses []string) *outage {
	return &outage{log: log, addresses: addresses, now: time.Now}
}

func (o *outage) failed(err error) {
	now, reason := o.now(), outline(err)
	switch {
	case !o.lasts:
		o.lasts, o.told = true, time.Time{}
		o.log.Error("the Redis server with the sessions fails: requests with a session get 503 until it works again", "addresses", o.addresses, "error", err)
	case reason != o.reason && (o.told.IsZero() || now.Sub(o.told) >= reasonEvery):
		o.told = now
		o.log.Error("the Redis server with the sessions still fails, for another reason", "addresses", o.addresses, "error", err)
	default:
		return
	}
	o.reason = reason
}

func (o *outage) works() {
	if o.lasts {
		o.lasts = false
		o.log.Info("the Redis server with the sessions works again", "addresses", o.addresses)
	}
}

// outline is the text of an error without its numbers: addresses and ports differ
// although the reason is the same.
func outline(err error) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, err.Error())
}
