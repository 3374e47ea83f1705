package ldap

import (
	"fmt"
	"slices"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"
)

// Bounds of a walk. With maxMemberships they keep it to a few dozen searches,
// which the sign-in's own time bounds as well.
const (
	maxGroupDepth = 10 // levels of groups in groups, the person's own included
	groupBatch    = 50 // groups asked about in one search
)

// walk finds the groups above a person, level by level. Every group is asked
// about once, so that a cycle ends it like any other end.
type walk struct {
	s        searcher
	base     string
	direct   string // filter of the groups that list a person
	nested   string // filter of the groups that list a group
	username string
	seen     map[string]bool // by normalised DN: whether a configuration can name it
}

// newWalk takes filter, which may be empty, for people, and for groups as well
// if it asks for their DN. One that asks for the name only says nothing about
// groups.
func newWalk(s searcher, base, filter, username string) *walk {
	w := &walk{s: s, base: base, direct: filter, nested: filter, username: username, seen: map[string]bool{}}
	if filter == "" {
		w.direct = defaultGroupFilter
	}
	if !strings.Contains(filter, dnPlaceholder) {
		w.nested = nestedGroupFilter
	}
	return w
}

// up collects the groups that list the person with this DN, those that the
// person's entry names, and all groups above these. Past a bound it ends with
// errTooManyGroups, or errTooMany where it is the server's.
func (w *walk) up(person string, named []string) error {
	level := w.add(named)
	listing, err := w.listing(w.direct, person)
	if err != nil {
		return err
	}
	level = append(level, w.add(listing)...)
	for depth := 1; len(level) > 0; depth++ {
		if len(w.seen) > maxMemberships {
			return fmt.Errorf("reading groups: the user is in more than %d: %w", maxMemberships, errTooManyGroups)
		}
		var above []string
		for batch := range slices.Chunk(level, groupBatch) {
			listing, err := w.listing(w.nested, batch...)
			if err != nil {
				return err
			}
			above = append(above, w.add(listing)...)
		}
		if depth == maxGroupDepth && len(above) > 0 {
			return fmt.Errorf("reading groups: they are in each other more than %d deep, like %q: %w", maxGroupDepth, printable(above[0]), errTooManyGroups)
		}
		level = above
	}
	return nil
}

// listing returns the DNs of the groups that list any of members. Groups that
// were seen before count against the limit too: they are the person's as well.
func (w *walk) listing(filter string, members ...string) ([]string, error) {
	var filled strings.Builder
	filled.WriteString("(|")
	for _, dn := range members {
		filled.WriteString(fillGroupFilter(filter, dn, w.username))
	}
	filled.WriteString(")")
	groups, err := w.s.search(w.base, goldap.ScopeWholeSubtree, maxMemberships, filled.String(), "1.1")
	if err == errTooMany {
		return nil, fmt.Errorf("searching groups below %q: the server ended at its limit, or there are more than %d: %w", w.base, maxMemberships, err)
	}
	if err != nil {
		return nil, fmt.Errorf("searching groups: %w", err)
	}
	dns := make([]string, len(groups))
	for i, g := range groups {
		dns[i] = g.DN
	}
	return dns, nil
}

// add returns those of dns that are new. What is no DN, or longer than one that
// the configuration could name, gives nobody access by itself; the groups above
// it may.
func (w *walk) add(dns []string) []string {
	var added []string
	for _, dn := range dns {
		id, err := NormalizeDN(dn)
		nameable := err == nil && len(dn) <= maxValueBytes
		if !nameable {
			id = dn
		}
		if _, before := w.seen[id]; before {
			continue
		}
		w.seen[id] = nameable
		added = append(added, dn)
	}
	return added
}
