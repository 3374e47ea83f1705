package ldaptest

import (
	"slices"
	"strings"
)

type entry struct {
	dn         string
	key        string // dnKey(dn)
	attributes []attribute
	sid        sid
	user       *User    // nil for anything but accounts
	parents    []*entry // groups that it is directly in, the primary group left out

	// configuration is set for what is in the forest's configuration, which is
	// no part of the domain that it is named below.
	configuration bool
}

type attribute struct {
	name        string
	values      [][]byte
	operational bool
}

// ancestors are all groups that e is in, directly or through others.
func (e *entry) ancestors() []*entry {
	seen := map[*entry]bool{}
	var all []*entry
	queue := slices.Clone(e.parents)
	for len(queue) > 0 {
		g := queue[0]
		queue = queue[1:]
		if seen[g] {
			continue
		}
		seen[g] = true
		all = append(all, g)
		queue = append(queue, g.parents...)
	}
	return all
}

// set replaces an attribute; empty values remove it, since LDAP has none.
func (e *entry) set(name string, values ...string) {
	raw := make([][]byte, 0, len(values))
	for _, v := range values {
		if v != "" {
			raw = append(raw, []byte(v))
		}
	}
	i := slices.IndexFunc(e.attributes, func(a attribute) bool { return strings.EqualFold(a.name, name) })
	switch {
	case i >= 0 && len(raw) == 0:
		e.attributes = slices.Delete(e.attributes, i, i+1)
	case i >= 0:
		e.attributes[i].values = raw
	case len(raw) > 0:
		e.attributes = append(e.attributes, attribute{name: name, values: raw})
	}
}

func (e *entry) get(name string) *attribute {
	for i := range e.attributes {
		if strings.EqualFold(e.attributes[i].name, name) {
			return &e.attributes[i]
		}
	}
	return nil
}

func (e *entry) operational(name string) {
	if a := e.get(name); a != nil {
		a.operational = true
	}
}

func (e *entry) is(class string) bool {
	a := e.get("objectClass")
	return a != nil && slices.ContainsFunc(a.values, func(v []byte) bool { return strings.EqualFold(string(v), class) })
}
