package ldap

import (
	"context"
	"errors"
	"fmt"

	goldap "github.com/go-ldap/ldap/v3"
)

// findAccount looks up, as the service account, whom a typed name stands for,
// and off AD also the groups where they are wanted. Off AD that is exactly one
// entry; on AD one name may fit two people, and the bind decides. Whom the
// service account does not find is refused: nobody could look at the account
// again later, either.
func (d *Directory) findAccount(ctx context.Context, typed string, withGroups bool) (*account, error) {
	var found account
	at, err := d.lookup(ctx, nil, func(c *connection, base string) error {
		found = account{kind: d.learnKind(c), base: base}
		if found.kind == KindAD {
			who, err := d.parseADName(typed)
			if err != nil {
				return &RefusedError{Reason: ReasonNameInvalid, Err: err}
			}
			found.entries, err = d.candidates(c, base, who)
			if err == nil && len(found.entries) == 0 {
				return &RefusedError{Reason: ReasonUserUnknown, Err: fmt.Errorf("searching user below %q: no entry", base)}
			}
			return err
		}
		e, err := d.findEntry(c, found.kind, base, d.parseGenericName(typed))
		if err != nil {
			return err
		}
		found.entries = []*goldap.Entry{e}
		if !withGroups {
			return nil
		}
		found.groups, err = d.memberships(c, found.kind, e, value(e, d.attributes(found.kind).Username), d.groupBase(base))
		var refused *RefusedError
		if errors.As(err, &refused) {
			found.groupsErr, err = err, nil // only whose password is right hears of it
		}
		if err == nil {
			d.resolveGroups(c, d.groupFinder(c, found.kind, base), true)
			d.groups.name(found.groups)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	found.at = at
	return &found, nil
}

// judge has the password judged, on a connection that is used for nothing but
// its binds: after a refused one slapd may leave it signed in (an expired
// password), so that only the result counts. The lease ends here.
func (d *Directory) judge(l *lease, a *attempt, found *account) (policyAnswer, error) {
	e := found.entries[0]
	policy, err := a.bindUser(l.connection, e.DN, value(e, d.attributes(found.kind).Username), true)
	err = atServer(l.server, err)
	l.end(err)
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Reason == ReasonNameForm {
		d.warnOnce("the server does not take the DN of an entry that it showed itself for a name: nobody may be able to sign in: check base_dn and the kind of the directory")
	}
	return policy, err
}

// describe makes the identity of somebody whose password was right.
func (d *Directory) describe(found *account, policy policyAnswer) (*Identity, error) {
	id, err := d.identity(found.entries[0], found.kind)
	if err != nil {
		return nil, err
	}
	if found.groupsErr != nil {
		return nil, found.groupsErr
	}
	id.Warning, id.Groups = policy.warning(), found.groups
	return id, nil
}

// findEntry returns the one entry that the filter finds, for the first of the
// names that finds any.
func (d *Directory) findEntry(c *connection, kind Kind, base string, names []login) (*goldap.Entry, error) {
	filter := d.config.UserFilter
	if filter == "" {
		filter = "(" + d.attributes(kind).Username + "={user})"
	}
	var entries []*goldap.Entry
	var err error
	for _, who := range names {
		entries, err = c.search(base, goldap.ScopeWholeSubtree, 2, fillFilter(filter, who), d.personAttributes(kind)...)
		if err != nil || len(entries) > 0 {
			break
		}
	}
	switch {
	case err == errTooMany || len(entries) > 1:
		return nil, &RefusedError{Reason: ReasonAmbiguousUser, Err: fmt.Errorf("searching user below %q: several entries", base)}
	case err != nil:
		return nil, err
	case len(entries) == 0:
		return nil, &RefusedError{Reason: ReasonUserUnknown, Err: fmt.Errorf("searching user below %q: no entry", base)}
	case !isDN(entries[0].DN):
		// A bind with an empty DN is anonymous: success with any password.
		return nil, fmt.Errorf("searching user below %q: the entry has no usable DN", base)
	default:
		return entries[0], nil
	}
}
