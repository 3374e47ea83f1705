// Package ldap proves who somebody is by asking an LDAP or Active Directory
// server. It knows nothing of HTTP.
//
// One sign-in sends at most one bind with the user's password, to one server.
// On AD the entry that becomes the identity is the one whose objectSid the
// bound connection carries in its token, never the one that the typed name
// happens to find (MS-ADTS 5.1.1.1.1 lets one name bind as one account and
// find another).
package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Config.
const (
	defaultConnections = 8
	defaultQueue       = 64
	defaultTimeout     = 10 * time.Second
)

var errBudget = errors.New("the time for one sign-in is over")

// limits are the times that things may take. Tests shorten them.
type limits struct {
	total       time.Duration // one sign-in, one background look-up
	wait        time.Duration // for a connection
	dial        time.Duration // until a connection can be used: connecting, TLS, the first answer
	operation   time.Duration // one request
	idle        time.Duration // how long connections are kept without use
	age         time.Duration // how long they are kept at all
	resolve     time.Duration // looking up groups at a sign-in
	fresh       time.Duration // how long a resolved group is taken as read
	refresh     time.Duration // between background refreshes
	serviceRest time.Duration // after the service account was rejected
	recheck     time.Duration // of MaxRecheck accounts
}

func defaultLimits(timeout time.Duration) limits {
	total := timeout - timeout/20 // so that the answer leaves in time
	return limits{
		total:       total,
		wait:        2 * time.Second,
		dial:        3 * time.Second,
		operation:   min(5*time.Second, total),
		idle:        time.Minute,
		age:         10 * time.Minute,
		resolve:     2 * time.Second,
		fresh:       10 * time.Minute,
		refresh:     30 * time.Second,
		serviceRest: time.Minute,
		recheck:     2 * time.Minute, // nobody waits for it, and a far or slow server takes a second for one account
	}
}

// Directory is one configured directory. It dials nothing until it is asked,
// and is safe for concurrent use.
type Directory struct {
	config       Config // without the password
	certificates []tls.Certificate
	service      *serviceAccount
	limits       limits
	groups       *groupTable
	names        *domainNames
	pool         *pool
	discovery    *discovery // nil: the servers are configured
	places       atomic.Int64
	warned       sync.Map    // texts of warnOnce
	blind        atomic.Bool // the service account cannot look people up

	life  context.Context // of background work; ends with Close
	close context.CancelFunc
	work  sync.WaitGroup

	mu          sync.Mutex
	closed      bool
	detected    Kind
	lastRefresh time.Time
	refreshing  bool
}

// New checks config and returns the directory. It reads no file and opens no
// connection.
func New(config Config) (*Directory, error) {
	servers, err := validate(config)
	if err != nil {
		return nil, err
	}
	if config.Connections == 0 {
		config.Connections = defaultConnections
	}
	if config.Queue == 0 {
		config.Queue = defaultQueue
	}
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	d := &Directory{limits: defaultLimits(config.Timeout)}
	if config.BindUser != "" {
		d.service = newServiceAccount(config.BindUser, config.BindPassword)
	}
	if config.Certificate != nil {
		d.certificates = []tls.Certificate{*config.Certificate}
	}
	config.BindPassword, config.Certificate = "", nil
	d.config = config
	d.groups = newGroupTable(config.Label, config.Groups, config.Logger)
	d.names = newDomainNames(config.Label, config.Domains)
	d.life, d.close = context.WithCancel(context.Background())
	d.pool = &pool{
		limits:   &d.limits,
		capacity: capacities(config.Connections, d.service != nil),
		queue:    config.Queue,
		label:    config.Label,
		logger:   config.Logger,
		probe:    d.probe,
		spawn:    d.spawn,
	}
	if len(config.Servers) == 0 {
		d.discovery = newDiscovery(config.Label, machineDNS(), config.serverAt, config.Logger, d.spawn)
	} else {
		d.pool.setServers(servers)
	}
	return d, nil
}

// Label is the directory's name in the configuration.
func (d *Directory) Label() string { return d.config.Label }

// HasService tells whether there is a service account.
func (d *Directory) HasService() bool { return d.service != nil }

// Group returns what a reference of the configuration (Config.Groups) stands
// for. ok is false while it is not resolved, or when it names no group or
// several: then nobody is in it. Results are kept for 10 minutes, and past that
// until they could be read anew. A SID stands for itself at once.
//
// Where a service account exists a missing or stale reference is looked up in
// the background; otherwise the next sign-in does it on its own connection.
func (d *Directory) Group(ref string) (group Group, ok bool) {
	group, state := d.GroupState(ref)
	return group, state == GroupResolved
}

// GroupState is Group for callers that must tell a reference that nobody has
// looked up yet from one that the directory has denied.
func (d *Directory) GroupState(ref string) (Group, GroupState) {
	group, state, due := d.groups.get(ref, time.Now().Add(-d.limits.fresh))
	if due && d.service != nil {
		d.refreshGroups()
	}
	return group, state
}

// UseGroup adds a reference to those of Config.Groups, for callers that learn
// of them after New. It refuses what New would refuse. Several may use one
// reference; it is kept fresh until each has released it.
func (d *Directory) UseGroup(ref string) error { return d.groups.use(ref) }

// ReleaseGroup takes back one UseGroup.
func (d *Directory) ReleaseGroup(ref string) { d.groups.release(ref) }

// Close ends background look-ups and returns when they have ended. Sign-ins
// that are under way, or come later, are not cut off: requests outlive the
// configuration that they came in with, and each ends within its own budget.
// Their connections are not kept.
func (d *Directory) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.close()
	d.pool.close()
	d.work.Wait()
	return nil
}

// spawn runs background work, unless the directory is closed.
func (d *Directory) spawn(work func(ctx context.Context)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.work.Go(func() {
		// Servers choose what is read there, and nobody above would catch a panic
		// over it: it would end the process.
		defer func() {
			if p := recover(); p != nil {
				d.config.Logger.Error("work in the background panicked: it is done again when it is due", "directory", d.config.Label, "panic", fmt.Sprint(p))
			}
		}()
		work(d.life)
	})
}

// bounded derives a context that also ends with the budget.
func (d *Directory) bounded(parent context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(parent, d.limits.total, errBudget)
}

// probe finds out whether a server can be used again: one that answers
// strangers and nobody else cannot.
func (d *Directory) probe(ctx context.Context, s server) (err error) {
	defer func() {
		if p := recover(); p != nil { // else nobody would ever ask it again
			err = fmt.Errorf("reading what %s said panicked: %v", s.url, p)
		}
	}()
	c, err := d.dial(ctx, s)
	if err != nil {
		return err
	}
	defer c.close()
	if d.service == nil {
		return nil
	}
	c.lend(ctx)
	defer c.stop()
	if err := d.bindService(c); serverFault(err) {
		return err
	}
	return nil
}

// Reserve takes a place among the sign-ins that are under way, waiting ones and
// refused ones whose answer is still held back included: all together are
// bounded, so that strangers cannot fill the memory with them. leave gives the
// place back. The error is an *UnavailableError with ReasonBusy.
func (d *Directory) Reserve() (leave func(), err error) {
	bound := int64(d.config.Queue + d.config.Connections*max(d.pool.size(), 1))
	if d.places.Add(1) > bound {
		d.places.Add(-1)
		return nil, &UnavailableError{Reason: ReasonBusy, Err: errBusy}
	}
	return sync.OnceFunc(func() { d.places.Add(-1) }), nil
}

// warnOnce logs what an operator should know, once a directory.
func (d *Directory) warnOnce(text string) {
	if _, before := d.warned.LoadOrStore(text, true); !before {
		d.config.Logger.Warn(text, "directory", d.config.Label)
	}
}
