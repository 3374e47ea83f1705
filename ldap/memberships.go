package ldap

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"
)

// maxMemberships bounds one person's groups off AD.
const maxMemberships = 1000

// errTooManyGroups ends a sign-in. Signing in with the groups read so far would
// be a list without the one that a rule is about, and nobody would know why.
var errTooManyGroups = errors.New("more groups than are read")

// searcher is what reading groups needs of a connection: see connection.search.
type searcher interface {
	search(base string, scope, limit int, filter string, attributes ...string) ([]*goldap.Entry, error)
}

// memberships are the groups that a person's entry names itself, those that
// name it, and all groups above these. Servers have the one, the other, or both.
func (d *Directory) memberships(s searcher, kind Kind, e *goldap.Entry, username, base string) ([]Group, error) {
	groups, err := d.readMemberships(s, kind, e, username, base)
	if errors.Is(err, errTooManyGroups) || errors.Is(err, errTooMany) {
		return nil, &RefusedError{Reason: ReasonTooManyGroups, Username: username, Err: err}
	}
	return groups, err
}

func (d *Directory) readMemberships(s searcher, kind Kind, e *goldap.Entry, username, base string) ([]Group, error) {
	var named []string
	if name := d.attributes(kind).MemberOf; name != noAttribute {
		var err error
		if named, err = allValues(s, e, name, maxMemberships); err != nil {
			return nil, err
		}
	}
	w := newWalk(s, base, d.config.GroupFilter, username)
	if err := w.up(e.DN, named); err != nil {
		return nil, err
	}
	groups := make([]Group, 0, len(w.seen))
	for id, nameable := range w.seen {
		if nameable {
			groups = append(groups, Group{ID: id})
		}
	}
	slices.SortFunc(groups, func(a, b Group) int { return cmp.Compare(a.ID, b.ID) })
	return groups, nil
}

// allValues returns an attribute's values, following ranges: a server that cuts
// long lists sends the attribute as name;range=0-1499 and nothing under its
// plain name (MS-ADTS 3.1.1.3.1.3.3).
func allValues(s searcher, e *goldap.Entry, name string, limit int) ([]string, error) {
	values := slices.Clone(e.GetEqualFoldAttributeValues(name))
	part, ranged := rangeOf(e, name)
	for from := 0; ranged; {
		// Each answer must begin where the last one ended: else the server
		// leaves gaps, or keeps this running.
		if part.from != from || part.next != 0 && part.next != from+len(part.values) {
			return nil, fmt.Errorf("reading %s from %d on: the server does not go on there", name, from)
		}
		values = append(values, part.values...)
		if part.next == 0 || len(values) > limit {
			break
		}
		from = part.next
		more, err := s.search(e.DN, goldap.ScopeBaseObject, 1, "(objectClass=*)", fmt.Sprintf("%s;range=%d-*", name, from))
		if err != nil {
			return nil, fmt.Errorf("reading %s from %d on: %w", name, from, err)
		}
		if len(more) != 1 {
			return nil, fmt.Errorf("reading %s from %d on: the entry is gone", name, from)
		}
		if part, ranged = rangeOf(more[0], name); !ranged {
			return nil, fmt.Errorf("reading %s from %d on: the server does not go on there", name, from)
		}
	}
	if len(values) > limit {
		return nil, fmt.Errorf("reading %s: it has more than %d values: %w", name, limit, errTooManyGroups)
	}
	return values, nil
}

// valueRange is a part of an attribute's values.
type valueRange struct {
	values []string
	from   int
	next   int // where the rest begins, 0 when there is none
}

// rangeOf finds the part of an attribute that came as name;range=low-high.
func rangeOf(e *goldap.Entry, name string) (part valueRange, ok bool) {
	for _, a := range e.Attributes {
		base, option, found := strings.Cut(a.Name, ";")
		if !found || !strings.EqualFold(base, name) || len(option) < 6 || !strings.EqualFold(option[:6], "range=") {
			continue
		}
		low, high, _ := strings.Cut(option[6:], "-")
		from, err := strconv.Atoi(low)
		if err != nil {
			continue
		}
		part = valueRange{values: a.Values, from: from}
		if high == "*" {
			return part, true
		}
		if last, err := strconv.Atoi(high); err == nil && last >= from {
			part.next = last + 1
			return part, true
		}
	}
	return valueRange{}, false
}
