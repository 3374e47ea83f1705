package ldap

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"
)

// maxMemberships bounds one person's groups on KindGeneric. Beyond it the
// sign-in fails: a shortened list could miss the group that a rule is about.
const maxMemberships = 1000

// memberships are the groups that the entry names itself, and those that name
// it. Servers have the one, the other, or both.
func (d *Directory) memberships(c *connection, e *goldap.Entry, uid, base string) ([]Group, error) {
	dns, err := c.allValues(e, "memberOf", maxMemberships)
	if err != nil {
		return nil, err
	}
	listing, err := c.search(base, goldap.ScopeWholeSubtree, maxMemberships, memberFilter(e.DN, uid), "1.1")
	if err == errTooMany {
		return nil, fmt.Errorf("searching groups below %q: the server ended at its limit, or there are more than %d of this user", base, maxMemberships)
	}
	if err != nil {
		return nil, fmt.Errorf("searching groups: %w", err)
	}
	for _, g := range listing {
		dns = append(dns, g.DN)
	}
	var groups []Group
	for _, dn := range dns {
		// What is no DN cannot be a group of the configuration either.
		if id, err := NormalizeDN(dn); err == nil {
			groups = append(groups, Group{ID: id})
		}
	}
	slices.SortFunc(groups, func(a, b Group) int { return cmp.Compare(a.ID, b.ID) })
	groups = slices.Compact(groups)
	if len(groups) > maxMemberships {
		return nil, fmt.Errorf("reading groups: the user is in more than %d", maxMemberships)
	}
	return groups, nil
}

// memberFilter finds the groups that list a person. DNs are escaped like any
// other value: unescaped, one with a parenthesis breaks the filter, and one
// with an asterisk silently finds nothing.
func memberFilter(dn, uid string) string {
	dn, uid = goldap.EscapeFilter(dn), goldap.EscapeFilter(uid)
	return "(|(member=" + dn + ")(uniqueMember=" + dn + ")(&(objectClass=posixGroup)(memberUid=" + uid + ")))"
}

// allValues returns an attribute's values, following ranges: a server that cuts
// long lists sends the attribute as name;range=0-1499 and nothing under its
// plain name (MS-ADTS 3.1.1.3.1.3.3).
func (c *connection) allValues(e *goldap.Entry, name string, limit int) ([]string, error) {
	values := e.GetEqualFoldAttributeValues(name)
	part, next, ranged := rangeOf(e, name)
	if !ranged {
		if len(values) > limit {
			return nil, fmt.Errorf("reading %s: it has more than %d values", name, limit)
		}
		return values, nil
	}
	for {
		values = append(values, part...)
		if len(values) > limit {
			return nil, fmt.Errorf("reading %s: it has more than %d values", name, limit)
		}
		if next == 0 {
			return values, nil
		}
		from := next
		more, err := c.search(e.DN, goldap.ScopeBaseObject, 1, "(objectClass=*)", fmt.Sprintf("%s;range=%d-*", name, from))
		if err != nil {
			return nil, fmt.Errorf("reading %s from %d on: %w", name, from, err)
		}
		if len(more) != 1 {
			return nil, fmt.Errorf("reading %s from %d on: the entry is gone", name, from)
		}
		if part, next, ranged = rangeOf(more[0], name); !ranged || next != 0 && next <= from {
			return nil, fmt.Errorf("reading %s from %d on: the server does not go on", name, from)
		}
	}
}

// rangeOf finds the part of an attribute that came as name;range=low-high. next
// is where the rest begins, 0 when there is none.
func rangeOf(e *goldap.Entry, name string) (values []string, next int, ok bool) {
	for _, a := range e.Attributes {
		base, option, found := strings.Cut(a.Name, ";")
		if !found || !strings.EqualFold(base, name) || len(option) < 6 || !strings.EqualFold(option[:6], "range=") {
			continue
		}
		_, high, _ := strings.Cut(option[6:], "-")
		if high == "*" {
			return a.Values, 0, true
		}
		if last, err := strconv.Atoi(high); err == nil && last >= 0 {
			return a.Values, last + 1, true
		}
	}
	return nil, 0, false
}
