package caddyauth

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// fakeGroups is a directory that knows some groups.
type fakeGroups map[string]struct {
	group ldap.Group
	state ldap.GroupState
}

func (f fakeGroups) GroupState(ref string) (ldap.Group, ldap.GroupState) {
	return f[ref].group, f[ref].state
}

// TestGroupStates is what a group of the configuration means, by what the
// directory said of it and what the session's record says.
func TestGroupStates(t *testing.T) {
	const admins, staff = "S-1-5-21-1-2-3-500", "S-1-5-21-1-2-3-600"
	adminsGroup := ldap.Group{ID: admins, Name: "IT Admins", DN: "CN=IT Admins,DC=corp,DC=test"}
	member := indexGroups([]sessionstore.Group{{ID: admins, Name: "IT Admins", DN: "CN=IT Admins,DC=corp,DC=test"}, {ID: staff}})
	bare := indexGroups([]sessionstore.Group{{ID: admins}})
	outsider := indexGroups([]sessionstore.Group{{ID: staff, Name: "Staff"}})
	for _, test := range []struct {
		name  string
		ref   string
		state ldap.GroupState
		group ldap.Group
		m     memberships
		want  bool
	}{
		{"resolved, member", "IT Admins", ldap.GroupResolved, adminsGroup, member, true},
		{"resolved, member without a name in the record", "IT Admins", ldap.GroupResolved, adminsGroup, bare, true},
		{"resolved, no member", "IT Admins", ldap.GroupResolved, adminsGroup, outsider, false},
		{"resolved to another group, whatever the record's names", "IT Admins", ldap.GroupResolved, ldap.Group{ID: "S-1-5-21-1-2-3-999", Name: "IT Admins"}, member, false},
		{"SID, not asked yet", admins, ldap.GroupResolved, ldap.Group{ID: admins}, bare, true},
		{"not resolved yet, named by the record", "IT Admins", ldap.GroupUnknown, ldap.Group{}, member, true},
		{"not resolved yet, in other case", "it admins", ldap.GroupUnknown, ldap.Group{}, member, true},
		{"not resolved yet, by DN", "cn=it admins, dc=CORP,dc=test", ldap.GroupUnknown, ldap.Group{}, member, true},
		{"not resolved yet, not named by the record", "IT Admins", ldap.GroupUnknown, ldap.Group{}, bare, false},
		{"not resolved yet, no member", "IT Admins", ldap.GroupUnknown, ldap.Group{}, outsider, false},
		{"gone or ambiguous, whatever the record says", "IT Admins", ldap.GroupAbsent, ldap.Group{}, member, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			core, lines := observer.New(zapcore.WarnLevel)
			directory := fakeGroups{}
			entry := directory[test.ref]
			entry.group, entry.state = test.group, test.state
			directory[test.ref] = entry
			g := newGroupResolver(directory, []string{test.ref}, zap.New(core))
			for range 3 {
				if got := g.meets(test.m, groupLine{test.ref}); got != test.want {
					t.Fatalf("meets = %v, want %v", got, test.want)
				}
			}
			wantLines := 0
			if !test.want && test.state == ldap.GroupUnknown { // of an absent one the directory layer warns
				wantLines = 1
			}
			if lines.Len() != wantLines {
				t.Errorf("%d lines were logged, want %d: %v", lines.Len(), wantLines, lines.All())
			}
			if g.meets(test.m, nil) {
				t.Error("an empty line is met")
			}
		})
	}
}

func TestGroupLineIsAlternatives(t *testing.T) {
	directory := fakeGroups{"a": {ldap.Group{ID: "1"}, ldap.GroupResolved}, "b": {ldap.Group{ID: "2"}, ldap.GroupResolved}}
	g := newGroupResolver(directory, []string{"a", "b"}, zap.NewNop())
	if !g.meets(indexGroups([]sessionstore.Group{{ID: "2"}}), groupLine{"a", "b"}) {
		t.Error("the second alternative does not count")
	}
	if g.meets(indexGroups([]sessionstore.Group{{ID: "3"}}), groupLine{"a", "b"}) {
		t.Error("somebody in neither passes")
	}
	if g.meets(indexGroups([]sessionstore.Group{{ID: ""}}), groupLine{"unknown"}) {
		t.Error("a group without an ID passes for an unresolved one")
	}
}

func TestGroupNamesInAHeader(t *testing.T) {
	directory := fakeGroups{
		"plain":  {ldap.Group{ID: "1", Name: "Plain"}, ldap.GroupResolved},
		"comma":  {ldap.Group{ID: "2", Name: "Sales, EMEA 100%"}, ldap.GroupResolved},
		"twice":  {ldap.Group{ID: "1", Name: "Plain"}, ldap.GroupResolved},
		"absent": {ldap.Group{}, ldap.GroupAbsent},
		"other":  {ldap.Group{ID: "9", Name: "Other"}, ldap.GroupResolved},
		"S-1-5":  {ldap.Group{ID: "S-1-5"}, ldap.GroupResolved},
	}
	refs := []string{"plain", "comma", "twice", "absent", "other", "S-1-5"}
	g := newGroupResolver(directory, refs, zap.NewNop())
	m := indexGroups([]sessionstore.Group{{ID: "1"}, {ID: "2"}, {ID: "3", Name: "Secret"}, {ID: "S-1-5"}})
	if got, want := g.names(m, refs), "Plain,Sales%2C EMEA 100%25,S-1-5"; got != want {
		t.Errorf("names = %q, want %q", got, want)
	}
	if got := g.names(m, nil); got != "" {
		t.Errorf("names of no references = %q", got)
	}
}

func TestGroupLinesThatAreRefused(t *testing.T) {
	for _, groups := range [][]string{{""}, {" "}, {"a", "\t"}} {
		if _, err := compileGroupLine(groups); err == nil {
			t.Errorf("the line %q is accepted", groups)
		}
	}
	if line, err := compileGroupLine([]string{" a "}); err != nil || line[0] != "a" {
		t.Errorf("compileGroupLine = %q, %v", line, err)
	}
}
