// Package throttle bounds wrong sign-ins, before anything is asked: per
// account, per source address, and per browser that has signed in as the same
// user before. It knows nothing of HTTP or LDAP, and folds no names: the caller
// gives one spelling for each account, as far as it can know.
//
// # Budgets
//
// A budget is a key and the times of its failures, a sliding window. Keys are
// HMACs, so that no client can aim at one, and what is saved names nobody.
//
//   - Source: an IPv4 address, or an IPv6 /64.
//   - Account: the typed name, and the directory's ID of the account as soon as
//     it is known: from [Attempt.Identify], or, from the start, because a
//     sign-in with this name has succeeded before.
//   - Device: a browser that holds a cookie from an earlier sign-in of this
//     account. It has a budget of its own, beside the two others, so that
//     nobody can keep the owner out by guessing. The cookie is useless without
//     the password.
//
// # Counting before the bind
//
// An attempt reserves a place in all of its budgets before the password is
// sent, and only the outcome turns the place into a failure or gives it back.
// However many attempts arrive at once, no more wrong passwords reach the
// directory than the limit says, and right ones wait for each other a moment
// instead of being refused. An attempt that waits holds nothing, and places are
// taken all or none, so that attempts cannot wait for each other in a circle.
//
// # Memory under attack
//
// No live count is ever dropped for a new one. A table that is full counts
// further unknown keys in a count-min sketch, which can only count too much:
// flooding never lowers a victim's count. Keys of accounts that are known to
// exist (an ID, a name that has signed in, a device) always have exact entries,
// in a second half of the table that made-up names do not get.
//
// By default it does not come to that. A caller that holds at most 72 attempts
// and answers failures after 300 ms lets through 72 / 0.3 s = 240 failures a
// second, so that 15 minutes hold at most 216,000, each with one name: fewer
// than the 262,144 entries of the table, at about 150 bytes each. Sources have
// a quarter of that; a flood from more than 65,536 of them meets the sketch, whose
// 131,072 cells a row read a random key as 20 failures with no probability
// worth writing down.
//
// Where limits, windows and floods are so large that random keys would read as
// blocked, the sketch's verdict is not used as long as that is so, and an error
// is logged once. That fails open, for names that never signed in and for sources
// without an entry of their own: blocking would lock everybody out, and behind
// it the directory's own lock-out still holds.
//
// # Restarts
//
// Counters are saved once a second, and loaded by New. A crash loses what the
// last second counted and the attempts under way; a restart also what is in the
// sketch. The wall clock is used, since counters outlive the process. If it
// jumps forward, failures expire early; if it is set back, failures that are
// then in the future count as of that moment, so that nobody is blocked for
// longer than a window (two, for what is in the sketch).
//
// # Several processes
//
// On a [Shared] backend all of this is counted there, and a restart loses
// nothing. While it fails nobody is admitted. An attempt whose outcome does not
// reach it counts as a failure. Keys that there is no room for are counted by
// each process alone, in memory: only in a flood, and for made-up names and
// sources, several processes let through several times the limit.
package throttle

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options of New. The zero value means the defaults.
type Options struct {
	// MaxEntries bounds the exact counters of unknown names; as many again are
	// kept for accounts that are known to exist, and a quarter for sources.
	// Default: 262144
	MaxEntries int

	// MaxWait is how long one call of Begin or Identify waits for attempts
	// under way. Default: 2 s
	MaxWait time.Duration

	// Now is the clock. Default: time.Now
	Now func() time.Time

	// Logger outlives configurations, as the Throttle does. Default: nowhere
	Logger *slog.Logger
}

const (
	defaultMaxEntries = 262_144
	defaultMaxWait    = 2 * time.Second
	minSecret         = 16
)

// Throttle counts failures. It is safe for concurrent use.
type Throttle struct {
	secret  []byte
	backend Backend
	maxWait time.Duration
	now     func() time.Time
	logger  *slog.Logger

	ledger   ledger
	accounts *table // names, IDs and devices
	sources  *table
	aliases  *aliases
	windows  windows

	// ctx ends at Close, and with it the flusher and whoever waits.
	ctx     context.Context
	cancel  context.CancelFunc
	flusher sync.WaitGroup
	outage  bool // the flusher's own: the last Save failed

	closed   atomic.Bool
	close    sync.Once
	closeErr error
}

// New returns a Throttle with the counters that backend kept; nil: they end
// with the process; a Shared: it counts there, for several processes that must
// have one secret. secret (at least 16 random bytes) makes keys and device
// cookies: with another one, all of them are forgotten. ctx bounds the loading.
func New(ctx context.Context, secret []byte, backend Backend, options Options) (*Throttle, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("starting throttle: the secret has %d bytes, at least %d are needed", len(secret), minSecret)
	}
	if options.MaxEntries <= 0 {
		options.MaxEntries = defaultMaxEntries
	}
	if options.MaxWait <= 0 {
		options.MaxWait = defaultMaxWait
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Throttle{
		secret:  slices.Clone(secret),
		backend: backend,
		maxWait: options.MaxWait,
		now:     options.Now,
		logger:  options.Logger,
		aliases: newAliases(options.MaxEntries),
	}
	t.accounts = newTable(options.MaxEntries, &t.windows, 0)
	t.sources = newTable(max(options.MaxEntries/4, 1), &t.windows, len(t.accounts.shards))
	t.ledger = memory{t}
	if shared, ok := backend.(Shared); ok {
		t.ledger = &sharedLedger{throttle: t, store: shared, room: options.MaxEntries}
		t.backend = nil // the tables have only what there is no room for there
	}
	if err := t.load(ctx); err != nil {
		return nil, fmt.Errorf("starting throttle: %w", err)
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.flusher.Go(func() { t.flushLoop(t.ctx) })
	return t, nil
}

// millis is the time in milliseconds since 1970, as are all times inside.
func (t *Throttle) millis() int64 { return max(t.now().UnixMilli(), 0) }

// tableOf returns the table that holds keys of k.
func (t *Throttle) tableOf(k kind) *table {
	if k == kindSource {
		return t.sources
	}
	return t.accounts
}

// Close stops counting on disk and saves what is not saved yet. Attempts that
// wait get ErrClosed, as do later ones; of those under way nothing is saved any
// more. The backend stays open: it is the caller's.
func (t *Throttle) Close() error {
	t.close.Do(func() { t.closeErr = t.shutDown() })
	return t.closeErr
}

func (t *Throttle) shutDown() error {
	t.closed.Store(true)
	t.cancel()
	t.flusher.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := t.flush(ctx); err != nil {
		return fmt.Errorf("closing throttle: %w", err)
	}
	return nil
}
