package caddyauth

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// groupLine is one line of groups in the configuration: alternatives, any one
// of which is enough.
type groupLine []string

// compileGroupLine refuses blank names: an empty one is what remains of a
// placeholder that was not set, and must not become "no group needed".
func compileGroupLine(groups []string) (groupLine, error) {
	line := make(groupLine, 0, len(groups))
	for _, group := range groups {
		group = strings.TrimSpace(group)
		if group == "" {
			return nil, errors.New("a group name is empty")
		}
		line = append(line, group)
	}
	return line, nil
}

// shown are the groups as people know them: of a DN the name of the group alone.
// Where in the directory it lies is nobody's business.
func (line groupLine) shown() []string {
	names := make([]string, len(line))
	for i, ref := range line {
		names[i] = ref
		if strings.Contains(ref, "=") {
			if name, ok := ldap.LeadingValue(ref); ok {
				names[i] = name
			}
		}
	}
	return names
}

// memberships is what a session's record says of its user's groups, indexed
// once for as long as the session stays in memory. There are as many as there
// are sessions in use, so it is small: a map of twenty groups takes as much as
// the rest of the session.
type memberships struct {
	byID []sessionstore.Group // sorted by ID

	// recorded are the groups that were resolved at sign-in, by every way that
	// a configuration can spell them; mostly none.
	recorded map[string]sessionstore.Group
}

func indexGroups(groups []sessionstore.Group) memberships {
	var m memberships
	byID := func(a, b sessionstore.Group) int { return strings.Compare(a.ID, b.ID) }
	if m.byID = groups; !slices.IsSortedFunc(groups, byID) {
		m.byID = slices.SortedStableFunc(slices.Values(groups), byID)
	}
	for _, group := range groups {
		if group.Name != "" {
			m.record(foldRef(group.Name), group)
		}
		if group.DN == "" {
			continue
		}
		if dn, err := ldap.NormalizeDN(group.DN); err == nil {
			m.record(dn, group)
		}
	}
	return m
}

func (m *memberships) record(ref string, group sessionstore.Group) {
	if m.recorded == nil {
		m.recorded = make(map[string]sessionstore.Group)
	}
	m.recorded[ref] = group
}

// of returns the group with an ID, if the user is in it.
func (m memberships) of(id string) (sessionstore.Group, bool) {
	i, ok := slices.BinarySearchFunc(m.byID, id, func(group sessionstore.Group, id string) int { return strings.Compare(group.ID, id) })
	if !ok {
		return sessionstore.Group{}, false
	}
	return m.byID[i], true
}

// foldRef is the one spelling of a group reference: directories compare names
// and SIDs without case, DNs by their parts.
func foldRef(ref string) string {
	if strings.Contains(ref, "=") {
		if dn, err := ldap.NormalizeDN(ref); err == nil {
			return dn
		}
	}
	return anyCase(ref)
}

// groupResolver turns the groups that the configuration names into the IDs that
// sessions hold. It fails closed: a group that is not resolved has no members.
type groupResolver struct {
	directory groupDirectory
	logger    *zap.Logger
	warned    map[string]*atomic.Int64 // when each unresolved reference was last logged
}

// groupDirectory is the part of ldap.Directory that resolves groups.
type groupDirectory interface {
	GroupState(ref string) (ldap.Group, ldap.GroupState)
}

// unresolvedLogInterval bounds the log lines for a group nobody can pass.
const unresolvedLogInterval = 10 * time.Minute

func newGroupResolver(directory groupDirectory, refs []string, logger *zap.Logger) *groupResolver {
	resolver := &groupResolver{directory: directory, logger: logger, warned: make(map[string]*atomic.Int64, len(refs))}
	for _, ref := range refs {
		resolver.warned[ref] = new(atomic.Int64)
	}
	return resolver
}

// member returns the group that ref stands for, if the session's user is in
// it.
//
// Where this process has not resolved ref yet (a fresh start without a service
// account, another node), what the directory said at this session's own sign-in
// counts: the record holds the names of the configured groups that the user was
// in. Once the directory has answered here, its answer alone counts, so that a
// group that is gone or ambiguous lets nobody pass.
func (g *groupResolver) member(m memberships, ref string) (sessionstore.Group, bool) {
	group, state := g.directory.GroupState(ref)
	switch state {
	case ldap.GroupResolved:
		held, ok := m.of(group.ID)
		if ok && group.Name != "" {
			held.Name, held.DN = group.Name, group.DN
		}
		return held, ok
	case ldap.GroupUnknown:
		if held, ok := m.recorded[foldRef(ref)]; ok {
			return held, true
		}
		g.warnUnresolved(ref)
	}
	// The directory layer warns of a group that is absent.
	return sessionstore.Group{}, false
}

func (g *groupResolver) warnUnresolved(ref string) {
	last := g.warned[ref]
	if last == nil {
		return
	}
	now, then := time.Now().UnixNano(), last.Load()
	if then != 0 && now-then < int64(unresolvedLogInterval) || !last.CompareAndSwap(then, now) {
		return
	}
	g.logger.Warn("group is not resolved yet: until a sign-in or the service account resolves it, nobody passes who did not sign in since it was configured",
		zap.String("group", ref))
}

// meets tells whether the user is in one of the line's groups.
func (g *groupResolver) meets(m memberships, line groupLine) bool {
	for _, ref := range line {
		if _, ok := g.member(m, ref); ok {
			return true
		}
	}
	return false
}

// names returns the names of those of refs that the user is in, joined for a
// header: in the directory's spelling, commas percent-encoded so that no name
// can pass for two.
func (g *groupResolver) names(m memberships, refs []string) string {
	joined := make([]byte, 0, 256)
	seen := make([]string, 0, 8)
	for _, ref := range refs {
		group, ok := g.member(m, ref)
		if !ok || slices.Contains(seen, group.ID) {
			continue
		}
		seen = append(seen, group.ID)
		name := group.Name
		if name == "" {
			name = ref
		}
		if len(joined) > 0 {
			joined = append(joined, ',')
		}
		if strings.ContainsAny(name, "%,") {
			name = groupNameEscaper.Replace(name)
		}
		joined = append(joined, name...)
	}
	return string(joined)
}

// groupNameEscaper keeps a group's name one element of a comma-joined list.
// The percent sign is encoded too, so that decoding gives the name back.
var groupNameEscaper = strings.NewReplacer("%", "%25", ",", "%2C")
