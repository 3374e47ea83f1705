package ldap

import (
	"context"
	"errors"
	"fmt"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// groupFinder looks references up on one kind of directory. No group, or
// several, are answers; an error means that there was none.
type groupFinder interface {
	find(r groupRef) (refState, Group, error)
}

// adGroups finds groups on AD below base, as whoever the connection is bound as.
type adGroups struct {
	c    *connection
	base string
}

func (f adGroups) find(r groupRef) (refState, Group, error) {
	var entries []*goldap.Entry
	var err error
	switch r.form {
	case bySID:
		entries, err = f.c.search("<SID="+r.value+">", goldap.ScopeBaseObject, 1, "(objectClass=*)", adGroupAttributes()...)
	case byDN:
		entries, err = f.c.search(r.value, goldap.ScopeBaseObject, 1, "(objectClass=group)", adGroupAttributes()...)
	default:
		filter := "(&(objectClass=group)(sAMAccountName=" + goldap.EscapeFilter(r.value) + "))"
		entries, err = f.c.search(f.base, goldap.ScopeWholeSubtree, 2, filter, adGroupAttributes()...)
	}
	state, e, err := answered(r, entries, err)
	if state != stateFound {
		return state, Group{}, err
	}
	g := Group{ID: sidOf(e), Name: value(e, "sAMAccountName"), DN: e.DN}
	if g.Name == "" {
		g.Name = value(e, "cn")
	}
	if g.ID == "" || !cleanLine(g.DN) {
		return stateNone, Group{}, nil
	}
	return stateFound, g, nil
}

func adGroupAttributes() []string { return []string{"objectSid", "sAMAccountName", "cn"} }

// plainGroups finds groups elsewhere: a name is the cn of a group directly
// below base.
type plainGroups struct {
	c    *connection
	base string
}

// groupClasses keeps people, whose cn many may choose themselves, from being
// taken for groups.
const groupClasses = "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup)(objectClass=groupOfMembers)(objectClass=groupOfEntries)(objectClass=groupOfURLs)(objectClass=group))"

func (f plainGroups) find(r groupRef) (refState, Group, error) {
	var entries []*goldap.Entry
	var err error
	switch r.form {
	case bySID:
		return stateNone, Group{}, nil
	case byDN:
		entries, err = f.c.search(r.value, goldap.ScopeBaseObject, 1, groupClasses, "cn")
	default:
		filter := "(&(cn=" + goldap.EscapeFilter(r.value) + ")" + groupClasses + ")"
		entries, err = f.c.search(f.base, goldap.ScopeSingleLevel, 2, filter, "cn")
	}
	state, e, err := answered(r, entries, err)
	if state != stateFound {
		return state, Group{}, err
	}
	id, err := NormalizeDN(e.DN)
	if err != nil || !cleanLine(e.DN) {
		return stateNone, Group{}, nil
	}
	return stateFound, Group{ID: id, Name: value(e, "cn"), DN: e.DN}, nil
}

// answered tells answers from failures: too many entries is an answer, however
// few of them came, and so is a missing one where the reference itself was the
// search's base.
func answered(r groupRef, entries []*goldap.Entry, err error) (refState, *goldap.Entry, error) {
	switch {
	case err == errTooMany || len(entries) > 1:
		return stateSeveral, nil, nil
	case err != nil && r.form != byName && searchReason(err) == ReasonBaseDN:
		return stateNone, nil, nil
	case err != nil:
		return stateUnread, nil, err
	case len(entries) == 0:
		return stateNone, nil, nil
	default:
		return stateFound, entries[0], nil
	}
}

// resolveGroups looks up the references that are due, on a connection that a
// sign-in has open anyway. It fails no sign-in, and takes little of its time.
func (d *Directory) resolveGroups(c *connection, f groupFinder) {
	oldest := time.Now().Add(-d.limits.fresh)
	refs, missing := d.groups.dueRefs(oldest)
	if len(refs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, d.limits.resolve)
	defer cancel()
	if missing {
		// Somebody else is reading them: without waiting, this person's first
		// request would be refused for a group that is known a moment later.
		select {
		case d.groups.flight <- struct{}{}:
		case <-ctx.Done():
			return
		}
		refs, _ = d.groups.dueRefs(oldest)
	} else {
		select {
		case d.groups.flight <- struct{}{}:
		default:
			return
		}
	}
	defer func() { <-d.groups.flight }()
	d.lookUp(ctx, c, f, refs)
}

// lookUp reads refs one after the other until ctx ends. The first failure ends
// it: the rest would fail the same way, only later.
func (d *Directory) lookUp(ctx context.Context, c *connection, f groupFinder, refs []groupRef) {
	operation := c.operation
	defer func() { c.operation = operation }()
	for _, r := range refs {
		deadline, _ := ctx.Deadline()
		if c.operation = min(operation, time.Until(deadline)); c.operation <= 0 {
			d.groups.failed(errors.New("the time for looking up groups is over"))
			return
		}
		state, group, err := f.find(r)
		if err != nil {
			if c.ctx.Err() == nil { // else it is the sign-in that ended
				d.groups.failed(fmt.Errorf("looking up group %q: %w", r.ref, err))
			}
			return
		}
		d.groups.settle(r.ref, state, group)
	}
	d.groups.worked()
}

// refreshGroups starts one background refresh as the service account, unless
// one runs or ran a moment ago.
func (d *Directory) refreshGroups() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.refreshing || !d.lastRefresh.IsZero() && time.Since(d.lastRefresh) < d.limits.refresh {
		return
	}
	d.refreshing, d.lastRefresh = true, time.Now()
	d.work.Add(1)
	go func() {
		defer d.work.Done()
		ctx, cancel := d.bounded(d.life)
		defer cancel()
		d.refreshNow(ctx)
		d.mu.Lock()
		d.refreshing = false
		d.mu.Unlock()
	}()
}

func (d *Directory) refreshNow(ctx context.Context) {
	select {
	case d.groups.flight <- struct{}{}:
		defer func() { <-d.groups.flight }()
	case <-ctx.Done():
		return
	}
	var err error
	for _, s := range d.servers {
		if err = d.refreshAt(ctx, s); err == nil || ctx.Err() != nil {
			break
		}
		var u *UnavailableError
		if errors.As(err, &u) && u.Reason == ReasonServiceAccountRejected {
			break
		}
	}
	if err != nil && d.life.Err() == nil {
		d.groups.failed(err)
	}
}

func (d *Directory) refreshAt(ctx context.Context, s server) error {
	c, err := d.dial(ctx, s)
	if err != nil {
		return err
	}
	defer c.close()
	kind, err := d.kindOf(c)
	if err != nil {
		return err
	}
	base, err := d.openService(c)
	if err != nil {
		return err
	}
	var f groupFinder = plainGroups{c, d.groupBase(base)}
	if kind == KindAD {
		f = adGroups{c, d.groupBase(base)}
	}
	refs, _ := d.groups.dueRefs(time.Now().Add(-d.limits.fresh))
	d.lookUp(ctx, c, f, refs)
	return nil
}
