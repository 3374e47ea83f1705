package ldap

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// groupLookupError is a group of the configuration that could not be looked up.
type groupLookupError struct {
	ref string
	err error
}

func (e *groupLookupError) Error() string {
	return fmt.Sprintf("looking up group %q of the configuration: %v", e.ref, e.err)
}

func (e *groupLookupError) Unwrap() error { return e.err }

// groups reads the user's groups, and those that the configuration names.
func (k *check) groups(s *CheckStep) error {
	if k.identity == nil {
		s.Skipped = true
		s.Detail = "only the bind shows whose groups they are"
		return nil
	}
	c := k.service
	if k.kind == KindAD && k.proven {
		c = k.user
	}
	held, how, err := k.readGroups(c)
	if err != nil {
		return err
	}
	s.Detail = how
	if held != nil {
		s.Detail = fmt.Sprintf("%d %s", len(held), how)
	}
	finder := k.d.groupFinder(c, k.kind, k.base)
	var in, out []string
	for _, r := range k.d.groups.all() {
		state, group, err := finder.find(r)
		if err != nil {
			return &groupLookupError{ref: r.ref, err: err}
		}
		if k.kind == KindAD && r.form == bySID {
			// It stands for itself, with and without an entry.
			state, group.ID = stateFound, r.value
		}
		name := fmt.Sprintf("%q", printable(r.ref))
		switch {
		case state == stateSeveral:
			s.Warnings = append(s.Warnings, "group "+name+" of the configuration is ambiguous: nobody is in it: name it by DN or SID")
		case state != stateFound:
			s.Warnings = append(s.Warnings, "group "+name+" of the configuration is not found: nobody is in it: "+k.groupCure(r))
		case slices.ContainsFunc(held, func(g Group) bool { return g.ID == group.ID }):
			in = append(in, name)
		default:
			out = append(out, name)
		}
	}
	switch {
	case len(in)+len(out) == 0 && len(s.Warnings) == 0:
		s.Detail += "; the configuration names no group"
	case held != nil && len(in) > 0:
		s.Detail += "; in " + strings.Join(in, ", ")
	}
	if held != nil && len(out) > 0 {
		s.Detail += "; not in " + strings.Join(out, ", ") + ": where one is required, requests get 403 group_required"
	}
	return nil
}

// readGroups returns the user's groups, nil where they cannot be read, and how
// they were.
func (k *check) readGroups(c *connection) ([]Group, string, error) {
	if k.kind != KindAD {
		groups, err := k.plainGroups()
		return groups, "groups, nested ones included", err
	}
	if k.proven {
		groups := []Group{}
		for _, sid := range k.token {
			if sid != k.sid {
				groups = append(groups, Group{ID: sid})
			}
		}
		return groups, "groups in the token", nil
	}
	allowed, e, err := k.d.readAllowed(c, k.kind, k.entries[0])
	if err != nil {
		return nil, "", err
	}
	if !allowed {
		return nil, "", errors.New("the entry went away between two questions")
	}
	groups, err := k.d.tokenOfEntry(e)
	if err != nil {
		return nil, "", err
	}
	if groups == nil {
		return nil, "the service account may not read tokenGroups: they are known after the bind only; re-checks do not see changes of groups: put it into the group Windows Authorization Access Group", nil
	}
	return groups, "groups as the service account sees them, without those of the way of signing in (Everyone, Authenticated Users)", nil
}

// plainGroups are the groups off AD, read once: before the bind where there is
// one.
func (k *check) plainGroups() ([]Group, error) {
	if !k.groupsRead {
		e := k.entries[0]
		k.held, k.groupsErr = k.d.memberships(k.service, k.kind, e, value(e, k.d.attributes(k.kind).Username), k.d.groupBase(k.base))
		if k.groupsErr == nil && k.held == nil {
			k.held = []Group{}
		}
		k.groupsRead = true
	}
	return k.held, k.groupsErr
}

func (k *check) groupCure(r groupRef) string {
	switch {
	case r.form == bySID:
		return "only Active Directory has SIDs: write its DN, or its cn directly under group_base"
	case r.form == byDN:
		return "look at the DN, and whether it may be read"
	case k.kind == KindAD:
		return "write its sAMAccountName, its DN or its SID"
	}
	return fmt.Sprintf("write its DN, or a %s directly under %q (group_base)", k.d.attributes(k.kind).GroupName, printable(k.d.groupBase(k.base)))
}
