package caddyauth

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

const (
	defaultRecheck      = 5 * time.Minute
	defaultRecheckGrace = time.Hour

	// recheckRetry is how soon a re-check is tried again that failed.
	recheckRetry = 30 * time.Second

	// recheckPause is the least time between two batches of look-ups.
	recheckPause = 100 * time.Millisecond
)

// rechecks holds the re-checks of all configurations that live at one time, by
// directory and store.
var rechecks = caddy.NewUsagePool()

// recheck looks up, from time to time, what became of the accounts whose
// sessions are in use: one that is gone, disabled or expired, or whose password
// was changed, loses its sessions, and one whose groups changed gets the new
// ones. It holds nothing of a configuration that could go before it.
type recheck struct {
	directory *directoryHandle
	store     *storeHandle

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	apps    []*App // alive, the newest last: its options hold
	started bool
	wake    chan struct{}

	// failing is when the directory stopped to answer, in Unix nanoseconds; 0
	// while it does.
	failing atomic.Int64
}

// acquireRecheck takes a reference. Nothing is started.
func acquireRecheck(key string, directory *directoryHandle, store *storeHandle) (*recheck, error) {
	value, _, err := rechecks.LoadOrNew(key, func() (caddy.Destructor, error) {
		c := &recheck{directory: directory, store: store, wake: make(chan struct{}, 1)}
		c.ctx, c.cancel = context.WithCancel(context.Background())
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*recheck), nil
}

// Destruct implements caddy.Destructor: the last configuration is gone.
func (c *recheck) Destruct() error {
	c.cancel()
	c.running.Wait()
	return nil
}

// start lets the options of app hold, and begins with the first one.
func (c *recheck) start(app *App) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apps = append(c.apps, app)
	if !c.started {
		c.started = true
		c.running.Go(c.run)
		return
	}
	c.wakeUp()
}

// takeBack ends the turn of app: after a reload that failed, the options of the
// configuration that serves on hold again.
func (c *recheck) takeBack(app *App) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apps = slices.DeleteFunc(c.apps, func(a *App) bool { return a == app })
	c.wakeUp()
}

// wakeUp has the loop look at its options anew.
func (c *recheck) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// current is the app whose options hold, nil if none is alive. It is asked for
// anew at every use: what logs through an app that is gone is lost.
func (c *recheck) current() *App {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.apps) == 0 {
		return nil
	}
	return c.apps[len(c.apps)-1]
}

// configured is what app says of the directory.
func (c *recheck) configured(app *App) *configuredDirectory {
	return app.directoryOf(c.directory.Label())
}

// overdue tells whether a session has gone on for too long without anybody
// being able to say whether its account is still good. Its age and not the time
// of its sign-in: that is the sessions' own clock's, which may be ahead.
func (c *recheck) overdue(age, grace time.Duration) bool {
	failing := c.failing.Load()
	if failing == 0 {
		return false
	}
	return min(time.Since(time.Unix(0, failing)), age) > grace
}

func (c *recheck) run() {
	var last time.Time // when the last complete round began
	var again bool     // the last round left sessions as they were
	var advised *App
	// Not all nodes at once, and soon: what is wrong with the service account
	// shows before somebody needs it.
	due := time.Now().Add(rand.N(min(c.interval(), 10*time.Second)))
	for c.sleepUntil(due) {
		woken, before := time.Now().Before(due), due
		if app := c.current(); app != nil && !woken { // else it was woken for other options
			began, since := time.Now(), c.failing.Load()
			left, err := c.round(last)
			switch {
			case c.ctx.Err() != nil, errors.Is(err, errNoConfiguration):
				c.failing.Store(since) // nothing was found out of the rest
			case err != nil:
				c.failed(err, since)
			default:
				c.worked(since)
				if again = left > 0; !again {
					last = began
				}
				if advised != app && app.adviseThrottle(c.ctx, c.directory) {
					advised = app
				}
			}
		}
		due = c.due(last, again)
		if woken && before.Before(due) {
			// Or reloads that come often would put the round off for ever.
			due = before
		}
	}
}

// due is when the next round begins. There is always a pause before it: a slow
// directory is not asked without end, and one whose configuration comes or goes
// is not waited for in a circle. again: what the directory said has not taken
// hold of all sessions.
func (c *recheck) due(last time.Time, again bool) time.Time {
	interval, now := c.interval(), time.Now()
	if again || last.IsZero() || c.failing.Load() != 0 || c.current() == nil {
		return now.Add(min(interval, recheckRetry))
	}
	due := last.Add(interval)
	if earliest := now.Add(interval / 4); due.Before(earliest) {
		return earliest
	}
	return due
}

func (c *recheck) interval() time.Duration {
	app := c.current()
	if app == nil {
		return defaultRecheck
	}
	return c.configured(app).recheckInterval
}

// sleepUntil returns at a time, or sooner when the options change; false means
// the end.
func (c *recheck) sleepUntil(when time.Time) bool {
	timer := time.NewTimer(time.Until(when))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.wake:
	case <-c.ctx.Done():
		return false
	}
	return c.ctx.Err() == nil
}

// errNoConfiguration ends a round whose last configuration went.
var errNoConfiguration = errors.New("no configuration uses the directory")

// round looks at every account whose sessions were used since the last one.
// left is how many sessions could not be brought in line.
func (c *recheck) round(since time.Time) (left int, err error) {
	defer c.directory.caught("re-checking accounts", &err)
	sessions := c.store.sessions.Load()
	if sessions == nil {
		return 0, errStoreNotReady
	}
	inUse := make(map[string][]sessionstore.Handle)
	sessions.InUse(c.directory.Label(), since, func(h sessionstore.Handle) bool {
		inUse[h.User.ID] = append(inUse[h.User.ID], h)
		return true
	})
	ids := make([]string, 0, len(inUse))
	for id := range inUse {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		_, err := c.directory.Recheck(c.ctx, nil)
		return 0, err
	}
	// Spread over most of the interval, so that a large office costs the
	// directory a trickle and not a flood. After an outage people wait.
	batches := (len(ids) + ldap.MaxRecheck - 1) / ldap.MaxRecheck
	pause := min(max(c.interval()*3/4/time.Duration(batches), recheckPause), 10*time.Second)
	if c.failing.Load() != 0 {
		pause = recheckPause
	}
	for batch := range slices.Chunk(ids, ldap.MaxRecheck) {
		states, err := c.directory.Recheck(c.ctx, batch)
		if err != nil {
			return left, err
		}
		for i, id := range batch {
			for _, h := range inUse[id] {
				app := c.current()
				if app == nil {
					return left, errNoConfiguration
				}
				if !c.apply(app, sessions, h, states[i]) {
					left++
				}
			}
		}
		c.failing.Store(0) // people need not wait for the others' turn
		if batches--; batches > 0 && !c.pause(pause) {
			return left, c.ctx.Err()
		}
	}
	return left, nil
}

func (c *recheck) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// apply brings one session in line with its account. It is false if the store
// did not take it.
func (c *recheck) apply(app *App, sessions *sessionstore.Sessions, h sessionstore.Handle, state ldap.AccountState) bool {
	// Not h.Created: the sessions' clock may be ahead of the directory's.
	in := ldap.SignedIn{At: time.Now().Add(-h.Age()), PasswordSet: h.User.PasswordSet, Groups: make([]ldap.Group, len(h.User.Groups))}
	for i, group := range h.User.Groups {
		in.Groups[i] = ldap.Group(group)
	}
	if reason := state.Reason(in); reason != "" {
		ended, err := sessions.Revoke(c.ctx, h)
		if err != nil {
			app.logStoreError(nil, "ending a session", err)
		} else if ended {
			app.audit.sessionEnd(h.Session, string(reason))
		}
		return err == nil
	}
	now := state.Update(in)
	regrouped := !ldap.SameGroups(now.Groups, in.Groups)
	if !regrouped && now.PasswordSet == in.PasswordSet {
		return true
	}
	_, stored, err := sessions.Regroup(c.ctx, h, storedGroups(now.Groups), now.PasswordSet)
	if err != nil {
		app.logStoreError(nil, "changing a session's groups", err)
	} else if stored && regrouped {
		app.audit.sessionChange(h.Session, "groups_changed")
	}
	return err == nil
}

// failed and worked end a round, and log the start and the end of a time in
// which accounts cannot be looked up. since is when that time began before the
// round, 0 for not: batches of it that went well end nothing if a later one
// does not, or a directory that answers now and then would end no session.
func (c *recheck) failed(err error, since int64) {
	if since != 0 {
		c.failing.Store(since)
		return
	}
	c.failing.Store(time.Now().UnixNano())
	if app := c.current(); app != nil {
		app.logger.Error("accounts cannot be re-checked: sessions go on for recheck_grace, then requests are answered 503",
			zap.String("directory", c.directory.Label()), zap.Duration("recheck_grace", c.configured(app).recheckGrace), zap.Error(err))
	}
}

func (c *recheck) worked(since int64) {
	c.failing.Store(0)
	if app := c.current(); since != 0 && app != nil {
		app.logger.Info("accounts can be re-checked again", zap.String("directory", c.directory.Label()))
	}
}

// Interface guard
var _ caddy.Destructor = (*recheck)(nil)
