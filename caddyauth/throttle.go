package caddyauth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/throttle"
)

// Throttle bounds wrong passwords before the directory hears of them, so that
// nobody can guess for long, and nobody can have the directory lock other
// people's accounts.
type Throttle struct {
	// Wrong passwords for one account. It should stay below the directory's own
	// lockout threshold. Default: 3 in 15m
	Account *Rate `json:"account,omitempty"`

	// Wrong passwords from one address: an IPv4 address, or a /64 of IPv6.
	// Default: 20 in 15m
	Source *Rate `json:"source,omitempty"`

	// Turns the throttle off, for directories with a guard of their own.
	// Default: false
	InsecureOff bool `json:"insecure_off,omitempty"`
}

// Rate is a number of failures within a time.
type Rate struct {
	// How many failures are possible; one more attempt is refused.
	Failures int `json:"failures"`

	// Within how long they count.
	Window caddy.Duration `json:"window"`
}

// deviceFailures are the wrong passwords that a browser has of its own which
// signed in as this user before, whatever strangers do meanwhile.
const deviceFailures = 2

// Bounds of a Rate.
const (
	maxFailures = 1000
	maxWindow   = 24 * time.Hour
)

// compile checks the options and fills in the defaults.
func (t Throttle) compile() (throttle.Limits, error) {
	var limits throttle.Limits
	if t.InsecureOff {
		if t.Account != nil || t.Source != nil {
			return limits, errors.New("throttle: insecure_off does not go with account or source: remove one of them")
		}
		return limits, nil
	}
	var err error
	if limits.Account, err = t.Account.limit("account", Rate{Failures: 3, Window: caddy.Duration(15 * time.Minute)}); err != nil {
		return limits, err
	}
	if limits.Source, err = t.Source.limit("source", Rate{Failures: 20, Window: caddy.Duration(15 * time.Minute)}); err != nil {
		return limits, err
	}
	limits.Device = throttle.Limit{Failures: deviceFailures, Window: limits.Account.Window}
	return limits, nil
}

func (r *Rate) limit(option string, otherwise Rate) (throttle.Limit, error) {
	if r == nil {
		r = &otherwise
	}
	window := time.Duration(r.Window)
	switch {
	case r.Failures < 1 || r.Failures > maxFailures:
		return throttle.Limit{}, fmt.Errorf("throttle %s: %d failures is not from 1 to %d", option, r.Failures, maxFailures)
	case window < time.Second || window > maxWindow:
		return throttle.Limit{}, fmt.Errorf("throttle %s: %s is not from 1s to %s", option, window, maxWindow)
	}
	return throttle.Limit{Failures: r.Failures, Window: window}, nil
}

// throttleHandle is the throttle of a store, for as long as that is open.
type throttleHandle struct {
	opened atomic.Pointer[throttle.Throttle]
	later  sync.WaitGroup
	stop   context.CancelFunc
}

// errThrottleNotReady: without its counters nobody can be admitted.
var errThrottleNotReady = errors.New("the throttle's counters cannot be read yet")

// throttleRetry is how often a throttle is tried to be opened again.
const throttleRetry = time.Second

// open opens the throttle. A store that waits for space on its disk opens
// later: until then nobody signs in, and sign-outs are possible all the same.
func (h *throttleHandle) open(sessions *sessionstore.Sessions, logger *slog.Logger) error {
	opened, err := openThrottle(sessions, logger)
	if err == nil {
		h.opened.Store(opened)
		return nil
	}
	if !errors.Is(err, sessionstore.ErrNoSpace) {
		return err
	}
	var ctx context.Context
	ctx, h.stop = context.WithCancel(context.Background())
	h.later.Go(func() {
		ticker := time.NewTicker(throttleRetry)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			opened, err := openThrottle(sessions, logger)
			switch {
			case err == nil:
				h.opened.Store(opened)
				return
			case !errors.Is(err, sessionstore.ErrNoSpace):
				logger.Error("opening the throttle failed: nobody can sign in until that works", "error", err)
			}
		}
	})
	return nil
}

// close saves what the throttle has counted.
func (h *throttleHandle) close() error {
	if h.stop != nil {
		h.stop()
		h.later.Wait()
	}
	if opened := h.opened.Load(); opened != nil {
		return opened.Close()
	}
	return nil
}

// openThrottle makes the throttle that goes with a store: its counters outlive
// configurations and restarts.
func openThrottle(sessions *sessionstore.Sessions, logger *slog.Logger) (*throttle.Throttle, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	fresh := make([]byte, 32)
	if _, err := rand.Read(fresh); err != nil {
		return nil, fmt.Errorf("making the throttle's secret: %w", err)
	}
	secret, err := sessions.Secret(ctx, "throttle", fresh)
	if err != nil {
		return nil, fmt.Errorf("reading the throttle's secret: %w", err)
	}
	opened, err := throttle.New(ctx, secret, storedCounters{sessions}, throttle.Options{Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("reading the throttle's counters: %w", err)
	}
	return opened, nil
}

// storedCounters keeps the throttle's counters beside the sessions.
type storedCounters struct{ sessions *sessionstore.Sessions }

// Save implements throttle.Backend.
func (s storedCounters) Save(ctx context.Context, counters []throttle.Counter) error {
	stored := make([]sessionstore.Counter, len(counters))
	for i, c := range counters {
		stored[i] = sessionstore.Counter(c)
	}
	return s.sessions.SaveCounters(ctx, stored)
}

// Load implements throttle.Backend.
func (s storedCounters) Load(ctx context.Context, yield func(throttle.Counter) error) error {
	return s.sessions.Counters(ctx, func(c sessionstore.Counter) error { return yield(throttle.Counter(c)) })
}

// countsAsFailure tells whether a sign-in that failed counts as a guess. What
// the directory says to the right password only does not, nor what no directory
// was asked about, nor a directory that did not answer. A client that goes away
// once the password was sent is a guesser who does not wait to be counted.
func countsAsFailure(err error) bool {
	var unavailable *ldap.UnavailableError
	if errors.As(err, &unavailable) {
		return unavailable.Reason == ldap.ReasonCancelled && unavailable.Sent
	}
	var refused *ldap.RefusedError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Reason {
	case ldap.ReasonBadCredentials, ldap.ReasonUserUnknown, ldap.ReasonAmbiguousUser, ldap.ReasonAccountLocked,
		ldap.ReasonNameForm, ldap.ReasonNoPassword, ldap.ReasonRefused:
		return true
	}
	return false
}

// Interface guard
var _ throttle.Backend = storedCounters{}
