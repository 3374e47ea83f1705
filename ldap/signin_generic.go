package ldap

import (
	"context"
	"fmt"

	goldap "github.com/go-ldap/ldap/v3"
)

// signInGeneric finds the entry as the service account on c, proves the
// password on a second connection, and reads the groups on the first one. The
// second is used for nothing but its one bind: after a refused bind slapd may
// leave it signed in (an expired password), so that only the result counts.
func (d *Directory) signInGeneric(ctx context.Context, c *connection, a *attempt) (*Identity, error) {
	base, err := d.openService(c)
	if err != nil {
		return nil, err
	}
	entry, err := d.findEntry(c, base, parseGenericName(a.typed))
	if err != nil {
		return nil, err
	}
	// Before the password is asked for: an entry that cannot become an identity
	// is a matter for the operator, whoever knocks.
	id, err := d.genericIdentity(entry)
	if err != nil {
		return nil, err
	}
	if err := d.proveByBind(ctx, c.server, a, entry.DN, id.Username); err != nil {
		return nil, err
	}
	if id.Groups, err = d.memberships(c, entry, id.Username, d.groupBase(base)); err != nil {
		return nil, err
	}
	d.resolveGroups(c, plainGroups{c, d.groupBase(base)})
	d.groups.name(id.Groups)
	return id, nil
}

// openService binds c as the service account and returns the users' base.
func (d *Directory) openService(c *connection) (string, error) {
	if err := d.bindService(c); err != nil {
		return "", err
	}
	if d.config.BaseDN != "" {
		return d.config.BaseDN, nil
	}
	root, err := c.rootDSE(baseAttributes()...)
	if err != nil {
		return "", err
	}
	base, err := d.userBase(root)
	if err != nil {
		return "", &UnavailableError{Reason: ReasonBaseDN, Err: err}
	}
	return base, nil
}

// findEntry returns the one entry that the filter finds.
func (d *Directory) findEntry(c *connection, base string, who login) (*goldap.Entry, error) {
	filter := d.config.UserFilter
	if filter == "" {
		filter = defaultGenericFilter
	}
	entries, err := c.search(base, goldap.ScopeWholeSubtree, 2, fillFilter(filter, who),
		d.profileAttributes("uid", "entryUUID", "memberOf")...)
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

// proveByBind sends the user's password on a connection of its own, to the
// server that the entry was read from.
func (d *Directory) proveByBind(ctx context.Context, s server, a *attempt, dn, username string) error {
	c, err := d.dial(ctx, s)
	if err != nil {
		return err
	}
	defer c.close()
	return a.bindUser(c, dn, username)
}

func (d *Directory) genericIdentity(e *goldap.Entry) (*Identity, error) {
	uuid, err := single(e, "entryUUID")
	if err != nil {
		return nil, fmt.Errorf("%w, and nothing else tells people apart for ever; if the server has it, let the service account read it; if it is Active Directory, set the kind to ad", err)
	}
	id := d.profile(e)
	if id.ID = string(uuid); !cleanLine(id.ID) || len(id.ID) > maxNameBytes {
		return nil, fmt.Errorf("reading entry %q: its entryUUID is not readable", printable(e.DN))
	}
	id.ID = foldCase(id.ID)
	if id.Username = value(e, "uid"); id.Username == "" {
		return nil, fmt.Errorf("reading entry %q: it shows no uid, which becomes the user name", printable(e.DN))
	}
	return id, nil
}
