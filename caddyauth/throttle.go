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
	opened atomic.Pointer[openedThrottle]
	later  sync.WaitGroup
	stop   context.CancelFunc

	// closed is set before close looks at what is open: who opens another one
	// looks at it afterwards, so that one of the two closes that. No reload waits
	// for sign-ins under way.
	closed atomic.Bool
}

// openedThrottle is a throttle and the secret that its keys are made of.
type openedThrottle struct {
	*throttle.Throttle
	secret []byte
}

// errThrottleNotReady: without its counters nobody can be admitted.
var errThrottleNotReady error = notReadyError("the throttle's counters cannot be read yet")

// notReadyError is something that is not open yet. To requests it is a store that
// cannot be reached.
type notReadyError string

func (e notReadyError) Error() string { return string(e) }

// Is makes it sessionstore.ErrUnavailable.
func (notReadyError) Is(target error) bool { return target == sessionstore.ErrUnavailable }

// throttleRetry is how often a throttle is tried to be opened again.
const throttleRetry = time.Second

// open opens the throttle. Where the store waits for space on its disk, or its
// server cannot be reached, that is done later: until then nobody signs in, and
// sign-outs are possible all the same.
func (h *throttleHandle) open(sessions *sessionstore.Sessions, logger *slog.Logger) error {
	opened, err := openThrottle(context.Background(), sessions, logger)
	if err == nil {
		h.opened.Store(opened)
		return nil
	}
	if !worksLater(sessions, err) {
		return err
	}
	told := tellNotOpen(err, false, logger)
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
			opened, err := openThrottle(ctx, sessions, logger)
			if err == nil {
				h.opened.Store(opened)
				if told {
					logger.Info("the throttle is open: sign-ins are possible again")
				}
				return
			}
			if ctx.Err() == nil {
				told = tellNotOpen(err, told, logger)
			}
		}
	})
	return nil
}

// worksLater tells whether a store that failed at the start comes back by itself.
// One elsewhere may be slow; one here that is, is broken.
func worksLater(sessions *sessionstore.Sessions, err error) bool {
	return errors.Is(err, sessionstore.ErrNoSpace) || errors.Is(err, sessionstore.ErrUnavailable) ||
		sessions.Budgets() != nil && errors.Is(err, context.DeadlineExceeded)
}

// tellNotOpen logs once that the throttle could not be opened. A lack of space
// the store tells of itself.
func tellNotOpen(err error, told bool, logger *slog.Logger) bool {
	if !told && !errors.Is(err, sessionstore.ErrNoSpace) {
		logger.Error("opening the throttle failed: nobody can sign in until that works", "error", err)
		told = true
	}
	return told
}

// close saves what the throttle has counted.
func (h *throttleHandle) close() error {
	h.closed.Store(true)
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
func openThrottle(ctx context.Context, sessions *sessionstore.Sessions, logger *slog.Logger) (*openedThrottle, error) {
	var backend throttle.Backend = storedCounters{sessions}
	patience := 30 * time.Second // to load all counters
	if budgets := sessions.Budgets(); budgets != nil {
		backend, patience = sharedCounters{storedCounters{sessions}, budgets}, 2*time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	fresh := make([]byte, 32)
	if _, err := rand.Read(fresh); err != nil {
		return nil, fmt.Errorf("making the throttle's secret: %w", err)
	}
	secret, err := sessions.Secret(ctx, throttleSecret, fresh)
	if err != nil {
		return nil, fmt.Errorf("reading the throttle's secret: %w", err)
	}
	opened, err := throttle.New(ctx, secret, backend, throttle.Options{Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("reading the throttle's counters: %w", err)
	}
	return &openedThrottle{opened, secret}, nil
}

// throttleSecret is the name of the throttle's secret in the store.
const throttleSecret = "throttle"

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
