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

// groupFinder finds groups on c, where people are below userBase.
func (d *Directory) groupFinder(c *connection, kind Kind, userBase string) groupFinder {
	base, name := d.groupBase(userBase), d.attributes(kind).GroupName
	if kind == KindAD {
		return adGroups{c, base, name}
	}
	return plainGroups{c, base, name}
}

// adGroups finds groups on AD below base, as whoever the connection is bound as.
type adGroups struct {
	c    *connection
	base string
	name string // attribute
}

func (f adGroups) find(r groupRef) (refState, Group, error) {
	var entries []*goldap.Entry
	var err error
	switch r.form {
	case bySID:
		entries, err = f.c.search("<SID="+r.value+">", goldap.ScopeBaseObject, 1, "(objectClass=*)", "objectSid", "cn", f.name)
	case byDN:
		entries, err = f.c.search(r.value, goldap.ScopeBaseObject, 1, "(objectClass=group)", "objectSid", "cn", f.name)
	default:
		filter := "(&(objectClass=group)(" + f.name + "=" + goldap.EscapeFilter(r.value) + "))"
		entries, err = f.c.search(f.base, goldap.ScopeWholeSubtree, 2, filter, "objectSid", "cn", f.name)
	}
	state, e, err := answered(r, entries, err)
	if state != stateFound {
		return state, Group{}, err
	}
	g := Group{ID: sidOf(e), Name: value(e, f.name), DN: e.DN}
	if g.Name == "" {
		g.Name = value(e, "cn")
	}
	if g.ID == "" || !cleanLine(g.DN) {
		return stateNone, Group{}, nil
	}
	return stateFound, g, nil
}

// plainGroups finds groups elsewhere: a name is that of a group directly
// below base.
type plainGroups struct {
	c    *connection
	base string
	name string // attribute
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
		entries, err = f.c.search(r.value, goldap.ScopeBaseObject, 1, groupClasses, f.name)
	default:
		filter := "(&(" + f.name + "=" + goldap.EscapeFilter(r.value) + ")" + groupClasses + ")"
		entries, err = f.c.search(f.base, goldap.ScopeSingleLevel, 2, filter, f.name)
	}
	state, e, err := answered(r, entries, err)
	if state != stateFound {
		return state, Group{}, err
	}
	id, err := NormalizeDN(e.DN)
	if err != nil || !cleanLine(e.DN) {
		return stateNone, Group{}, nil
	}
	return stateFound, Group{ID: id, Name: value(e, f.name), DN: e.DN}, nil
}

// answered tells answers from failures: too many entries is an answer, however
// few of them came, and so is a missing one where the reference itself was the
// search's base.
func answered(r groupRef, entries []*goldap.Entry, err error) (refState, *goldap.Entry, error) {
	switch {
	case err == errTooMany || len(entries) > 1:
		return stateSeveral, nil, nil
	case r.form != byName && isElsewhere(err):
		return stateNone, nil, nil
	case err != nil:
		return stateUnread, nil, err
	case len(entries) == 0:
		return stateNone, nil, nil
	default:
		return stateFound, entries[0], nil
	}
}

// isElsewhere tells that there is no entry of a DN here. That one may not be
// read is not the same: others may.
func isElsewhere(err error) bool {
	var result *resultError
	return isNoSuchObject(err) || errors.As(err, &result) &&
		(result.code == goldap.LDAPResultReferral || result.code == goldap.LDAPResultInvalidDNSyntax)
}

// resolveGroups looks up the references that are due, on a connection that a
// sign-in has open anyway: as the service account, or as whoever signs in. It
// fails no sign-in, and takes little of its time.
func (d *Directory) resolveGroups(c *connection, f groupFinder, asService bool) {
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
	d.lookUp(ctx, c, f, refs, asService)
}

// lookUp reads refs one after the other until ctx ends. The first failure ends
// it: the rest would fail the same way, only later. That a group is gone only
// the service account can say: of others, some may see it and some not.
func (d *Directory) lookUp(ctx context.Context, c *connection, f groupFinder, refs []groupRef, asService bool) {
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
		if state == stateNone && r.state == stateFound && !asService {
			state, group = stateFound, r.group
		}
		d.groups.settle(r.ref, state, group)
	}
	d.groups.worked()
}

// refreshGroups starts one background refresh as the service account, unless
// one runs or ran a moment ago.
func (d *Directory) refreshGroups() {
	d.mu.Lock()
	if d.refreshing || !d.lastRefresh.IsZero() && time.Since(d.lastRefresh) < d.limits.refresh {
		d.mu.Unlock()
		return
	}
	d.refreshing, d.lastRefresh = true, time.Now()
	d.mu.Unlock()
	d.spawn(func(life context.Context) {
		defer func() {
			d.mu.Lock()
			d.refreshing = false
			d.mu.Unlock()
		}()
		ctx, cancel := d.bounded(life)
		defer cancel()
		d.refreshNow(ctx)
	})
}

func (d *Directory) refreshNow(ctx context.Context) {
	select {
	case d.groups.flight <- struct{}{}:
		defer func() { <-d.groups.flight }()
	case <-ctx.Done():
		return
	}
	_, err := d.lookup(ctx, nil, func(c *connection, base string) error {
		kind := d.learnKind(c)
		refs, _ := d.groups.dueRefs(time.Now().Add(-d.limits.fresh))
		d.lookUp(ctx, c, d.groupFinder(c, kind, base), refs, true)
		return nil
	})
	if err != nil && d.life.Err() == nil {
		d.groups.failed(err)
	}
}
