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
	"errors"
	"sync"
	"time"
)

// maxSignIns bounds the sign-ins of one directory that are under way: each
// costs a connection, and anybody can start one.
const maxSignIns = 32

var (
	errBudget = errors.New("the time for one sign-in is over")
	errBusy   = errors.New("too many sign-ins at once")
)

// limits are the times that things may take. Tests shorten them.
type limits struct {
	total       time.Duration // one sign-in, one background refresh
	slot        time.Duration // waiting for other sign-ins
	dial        time.Duration // connecting, TLS included
	operation   time.Duration // one request
	resolve     time.Duration // looking up groups at a sign-in
	fresh       time.Duration // how long a resolved group is taken as read
	refresh     time.Duration // between background refreshes
	serviceRest time.Duration // after the service account was rejected
}

func defaultLimits() limits {
	return limits{
		total:       9500 * time.Millisecond, // so that the answer leaves within 10 s
		slot:        2 * time.Second,
		dial:        3 * time.Second,
		operation:   5 * time.Second,
		resolve:     2 * time.Second,
		fresh:       10 * time.Minute,
		refresh:     30 * time.Second,
		serviceRest: time.Minute,
	}
}

// Directory is one configured directory. It dials nothing until it is asked,
// and is safe for concurrent use.
type Directory struct {
	config  Config // without the password
	service *serviceAccount
	servers []server
	limits  limits
	groups  *groupTable
	slots   chan struct{}

	life  context.Context // of background look-ups; ends with Close
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
	d := &Directory{
		servers: servers,
		limits:  defaultLimits(),
		slots:   make(chan struct{}, maxSignIns),
	}
	if config.BindUser != "" {
		d.service = newServiceAccount(config.BindUser, config.BindPassword)
	}
	config.BindPassword = ""
	d.config = config
	d.groups = newGroupTable(config.Label, config.Groups, config.Logger)
	d.life, d.close = context.WithCancel(context.Background())
	return d, nil
}

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
func (d *Directory) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.close()
	d.work.Wait()
	return nil
}

// bounded derives a context that also ends with the budget.
func (d *Directory) bounded(parent context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(parent, d.limits.total, errBudget)
}
