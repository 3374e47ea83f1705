package ldap

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// fakeTree answers searches from a list of entries. Attribute values are
// compared as DNs where they are some.
type fakeTree struct {
	entries  []*goldap.Entry
	limit    int // the server's own, 0 for none
	fail     error
	searches int
	filters  []string
	normal   map[string]string // values that were seen, as DNs where they are some
}

func (f *fakeTree) add(dn string, pairs ...string) {
	f.entries = append(f.entries, person(dn, pairs...))
}

func (f *fakeTree) search(base string, scope, limit int, filter string, attributes ...string) ([]*goldap.Entry, error) {
	f.searches++
	f.filters = append(f.filters, filter)
	if f.fail != nil {
		return nil, f.fail
	}
	if f.limit > 0 {
		limit = min(limit, f.limit)
	}
	packet, err := goldap.CompileFilter(filter)
	if err != nil {
		return nil, err
	}
	var found []*goldap.Entry
	for _, e := range f.entries {
		if !f.matches(packet, e) {
			continue
		}
		if len(found) == limit {
			return found, errTooMany
		}
		found = append(found, e)
	}
	return found, nil
}

func (f *fakeTree) matches(p *ber.Packet, e *goldap.Entry) bool {
	matches := func(child *ber.Packet) bool { return f.matches(child, e) }
	switch p.Tag {
	case goldap.FilterAnd:
		return !slices.ContainsFunc(p.Children, func(child *ber.Packet) bool { return !f.matches(child, e) })
	case goldap.FilterOr:
		return slices.ContainsFunc(p.Children, matches)
	case goldap.FilterEqualityMatch:
		want := p.Children[1].Data.String()
		return slices.ContainsFunc(e.GetEqualFoldAttributeValues(p.Children[0].Data.String()), func(v string) bool { return f.normalValue(v) == f.normalValue(want) })
	default:
		panic(fmt.Sprintf("filter choice %d", p.Tag))
	}
}

func (f *fakeTree) normalValue(v string) string {
	normal, ok := f.normal[v]
	if !ok {
		if f.normal == nil {
			f.normal = map[string]string{}
		}
		normal = v
		if dn, err := NormalizeDN(v); err == nil {
			normal = dn
		}
		f.normal[v] = normal
	}
	return normal
}

const walkBase = "dc=y"

func groupDN(name string) string { return "cn=" + goldap.EscapeDN(name) + "," + walkBase }

var walker = person("uid=juan,dc=y", "uid", "juan")

func namesOf(groups []Group) string {
	var names []string
	for _, g := range groups {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(g.ID, "cn="), ","+walkBase))
	}
	return strings.Join(names, " ")
}

func mustReadGroups(t *testing.T, config Config, kind Kind, f *fakeTree, e *goldap.Entry) string {
	t.Helper()
	groups, err := (&Directory{config: config}).memberships(f, kind, e, "juan", walkBase)
	if err != nil {
		t.Fatal(err)
	}
	return namesOf(groups)
}

func mustHaveTooManyGroups(t *testing.T, config Config, f *fakeTree, e *goldap.Entry) {
	t.Helper()
	groups, err := (&Directory{config: config}).memberships(f, KindGeneric, e, "juan", walkBase)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Reason != ReasonTooManyGroups || refused.Username != "juan" || groups != nil {
		t.Errorf("%d groups, %v, want refused: %s", len(groups), err, ReasonTooManyGroups)
	}
}

func TestGroupsAreWalkedUp(t *testing.T) {
	f := &fakeTree{}
	f.add(groupDN("direct"), "member", "UID=Juan, DC=y")
	f.add(groupDN("unique"), "uniqueMember", walker.DN)
	f.add(groupDN("posix"), "objectClass", "posixGroup", "memberUid", "juan")
	f.add(groupDN("not posix"), "memberUid", "juan")
	f.add(groupDN("another's"), "member", "uid=eva,dc=y")
	f.add(groupDN("over direct"), "member", "CN=direct,DC=y")
	f.add(groupDN("over unique"), "uniqueMember", groupDN("unique"))
	f.add(groupDN("over posix"), "member", groupDN("posix"))
	f.add(groupDN("over named"), "member", groupDN("named"))
	f.add(groupDN("top"), "member", groupDN("over direct"), "uniqueMember", groupDN("over named"))
	f.add(groupDN("over another's"), "member", groupDN("another's"))
	f.add(groupDN("a group called juan"), "objectClass", "posixGroup", "memberUid", "direct")
	e := person(walker.DN, "memberOf", groupDN("named"), "memberOf", "cn=DIRECT,dc=y", "memberOf", "no DN", "memberOf", "")
	want := "direct named over direct over named over posix over unique posix top unique"
	if got := mustReadGroups(t, Config{}, KindGeneric, f, e); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if f.searches != 4 {
		t.Errorf("%d searches, want one a level", f.searches)
	}
	for _, filter := range f.filters[1:] {
		if strings.Contains(filter, "memberUid") {
			t.Errorf("groups above groups are searched by %s", filter)
		}
	}
	config := Config{Attributes: Attributes{MemberOf: "-"}}
	if got := mustReadGroups(t, config, KindOpenLDAP, f, e); strings.Contains(got, "named") {
		t.Errorf("with member_of -: %s", got)
	}
	config.Attributes.MemberOf = "isMemberOf"
	if got := mustReadGroups(t, config, Kind389DS, f, person(walker.DN, "isMemberOf", groupDN("named"))); !strings.Contains(got, "over named") {
		t.Errorf("with member_of isMemberOf: %s", got)
	}
}

func TestSomebodyInNoGroup(t *testing.T) {
	f := &fakeTree{}
	if got := mustReadGroups(t, Config{}, KindGeneric, f, walker); got != "" || f.searches != 1 {
		t.Errorf("groups %q, %d searches", got, f.searches)
	}
}

func TestCycleOfGroupsEnds(t *testing.T) {
	f := &fakeTree{}
	f.add(groupDN("a"), "member", walker.DN, "member", groupDN("c"), "member", groupDN("a"))
	f.add(groupDN("b"), "member", groupDN("a"))
	f.add(groupDN("c"), "member", "cn=B,dc=Y")
	if got := mustReadGroups(t, Config{}, KindGeneric, f, walker); got != "a b c" || f.searches != 4 {
		t.Errorf("groups %q, %d searches", got, f.searches)
	}
}

// chain puts n groups into each other.
func chain(n int) *fakeTree {
	f := &fakeTree{}
	below := walker.DN
	for i := range n {
		f.add(groupDN(fmt.Sprintf("g%02d", i)), "member", below)
		below = groupDN(fmt.Sprintf("g%02d", i))
	}
	return f
}

func TestDepthOfGroups(t *testing.T) {
	if got := mustReadGroups(t, Config{}, KindGeneric, chain(maxGroupDepth), walker); len(strings.Fields(got)) != maxGroupDepth {
		t.Errorf("groups %s, want all %d", got, maxGroupDepth)
	}
	f := chain(maxGroupDepth + 1)
	mustHaveTooManyGroups(t, Config{}, f, walker)
	if f.searches > maxGroupDepth+1 {
		t.Errorf("%d searches", f.searches)
	}
	// A cycle at the last level is no further level.
	f = chain(maxGroupDepth)
	f.entries[0].Attributes[0].Values = append(f.entries[0].Attributes[0].Values, f.entries[maxGroupDepth-1].DN)
	if got := mustReadGroups(t, Config{}, KindGeneric, f, walker); len(strings.Fields(got)) != maxGroupDepth {
		t.Errorf("groups %s, want all %d", got, maxGroupDepth)
	}
}

func TestNumberOfGroups(t *testing.T) {
	for _, n := range []int{maxMemberships, maxMemberships + 1} {
		t.Run(fmt.Sprintf("%d at once", n), func(t *testing.T) {
			f := &fakeTree{}
			for i := range n {
				f.add(groupDN(fmt.Sprintf("g%04d", i)), "member", walker.DN)
			}
			if n > maxMemberships {
				mustHaveTooManyGroups(t, Config{}, f, walker)
				return
			}
			if got := mustReadGroups(t, Config{}, KindGeneric, f, walker); len(strings.Fields(got)) != n {
				t.Errorf("%d groups", len(strings.Fields(got)))
			}
			if want := 1 + n/groupBatch; f.searches != want {
				t.Errorf("%d searches, want %d", f.searches, want)
			}
		})
		t.Run(fmt.Sprintf("%d in memberOf", n), func(t *testing.T) {
			var pairs []string
			for i := range n {
				pairs = append(pairs, "memberOf", groupDN(fmt.Sprintf("g%04d", i)))
			}
			if n > maxMemberships {
				mustHaveTooManyGroups(t, Config{}, &fakeTree{}, person(walker.DN, pairs...))
				return
			}
			if got := mustReadGroups(t, Config{}, KindGeneric, &fakeTree{}, person(walker.DN, pairs...)); len(strings.Fields(got)) != n {
				t.Errorf("%d groups", len(strings.Fields(got)))
			}
		})
	}
	t.Run("by and by", func(t *testing.T) {
		f := &fakeTree{}
		for i := range maxMemberships/2 + 1 {
			f.add(groupDN(fmt.Sprintf("a%04d", i)), "member", walker.DN)
			f.add(groupDN(fmt.Sprintf("b%04d", i)), "member", groupDN(fmt.Sprintf("a%04d", i)))
		}
		mustHaveTooManyGroups(t, Config{}, f, walker)
	})
}

// slapd cuts answers at 500 entries unless told otherwise.
func TestServersLimitIsNoShortList(t *testing.T) {
	f := &fakeTree{limit: 2}
	for _, name := range []string{"a", "b", "c"} {
		f.add(groupDN(name), "member", walker.DN)
	}
	mustHaveTooManyGroups(t, Config{}, f, walker)
	f = &fakeTree{limit: 2}
	f.add(groupDN("a"), "member", walker.DN)
	for _, name := range []string{"b", "c", "d"} {
		f.add(groupDN(name), "member", groupDN("a"))
	}
	mustHaveTooManyGroups(t, Config{}, f, walker)
}

func TestGroupsThatCannotBeRead(t *testing.T) {
	for _, broken := range []error{
		&resultError{doing: "searching", code: 50},
		&transportError{doing: "searching", err: errors.New("gone")},
	} {
		groups, err := (&Directory{}).memberships(&fakeTree{fail: broken}, KindGeneric, walker, "juan", walkBase)
		var refused *RefusedError
		if !errors.Is(err, broken) || errors.As(err, &refused) || groups != nil {
			t.Errorf("%d groups, %v, want %v", len(groups), err, broken)
		}
	}
}

func TestNamesOfGroupsStayValues(t *testing.T) {
	names := []string{"a)(cn=*", "*", `back\slash`, "comma, and & more", "ñ", "#x", " y "}
	f := &fakeTree{}
	below := `uid=juan\2a)(|,dc=y`
	for _, name := range names {
		f.add(groupDN(name), "member", below)
		below = groupDN(name)
	}
	f.add(groupDN("another's"), "member", "uid=eva,dc=y")
	groups, err := (&Directory{}).memberships(f, KindGeneric, person(`uid=juan\2a)(|,dc=y`), "juan*)(", walkBase)
	if err != nil || len(groups) != len(names) {
		t.Errorf("groups %+v, %v, want %d", groups, err, len(names))
	}
}

func TestGroupFilterOption(t *testing.T) {
	f := &fakeTree{}
	f.add(groupDN("a"), "roleOccupant", walker.DN)
	f.add(groupDN("b"), "roleOccupant", groupDN("a"))
	f.add(groupDN("c"), "memberUid", "juan")
	f.add(groupDN("d"), "member", groupDN("c"))
	for filter, want := range map[string]string{
		"(roleOccupant={dn})":                         "a b",
		"(memberUid={user})":                          "c d",
		"(|(roleOccupant={dn})(memberUid={user}))":    "a b c",
		"(&(roleOccupant={dn})(description=nothing))": "",
	} {
		if got := mustReadGroups(t, Config{GroupFilter: filter}, KindGeneric, f, walker); got != want {
			t.Errorf("%s: groups %q, want %q", filter, got, want)
		}
	}
}

// ranges is a server that sends an attribute in parts.
type ranges struct {
	fakeTree
	parts map[string]*goldap.Entry // by the attribute asked for
}

func (r *ranges) search(base string, scope, limit int, filter string, attributes ...string) ([]*goldap.Entry, error) {
	if scope == goldap.ScopeBaseObject {
		r.searches++
		if e := r.parts[attributes[0]]; e != nil && base == walker.DN {
			return []*goldap.Entry{e}, nil
		}
		return nil, nil
	}
	return r.fakeTree.search(base, scope, limit, filter, attributes...)
}

func TestRangesOfValues(t *testing.T) {
	part := func(option string, values ...string) *goldap.Entry {
		return goldap.NewEntry(walker.DN, map[string][]string{"MemberOf;" + option: values})
	}
	tests := []struct {
		what  string
		first *goldap.Entry
		rest  map[string]*goldap.Entry
		want  string // "" is an error
	}{
		{"one part", part("range=0-*", "a", "b"), nil, "a b"},
		{"three parts", part("Range=0-1", "a", "b"), map[string]*goldap.Entry{
			"memberOf;range=2-*": part("range=2-2", "c"), "memberOf;range=3-*": part("range=3-*", "d"),
		}, "a b c d"},
		{"an end that is empty", part("range=0-0", "a"), map[string]*goldap.Entry{"memberOf;range=1-*": part("range=1-*")}, "a"},
		{"a part that is missing", part("range=0-0", "a"), nil, ""},
		{"a part without the attribute", part("range=0-0", "a"), map[string]*goldap.Entry{"memberOf;range=1-*": person(walker.DN)}, ""},
		{"a part that came before", part("range=0-0", "a"), map[string]*goldap.Entry{"memberOf;range=1-*": part("range=0-0", "a")}, ""},
		{"a gap", part("range=0-0", "a"), map[string]*goldap.Entry{"memberOf;range=1-*": part("range=2-*", "c")}, ""},
		{"fewer values than the range", part("range=0-9", "a"), map[string]*goldap.Entry{"memberOf;range=10-*": part("range=10-*", "b")}, ""},
		{"parts without values, for ever", part("range=0-0"), map[string]*goldap.Entry{"memberOf;range=1-*": part("range=1-1")}, ""},
		{"a last part that is not the first", part("range=5-*", "a"), nil, ""},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			got, err := allValues(&ranges{parts: test.rest}, test.first, "memberOf", 10)
			if (err != nil) != (test.want == "") || err == nil && strings.Join(got, " ") != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
	endless := &ranges{parts: map[string]*goldap.Entry{}}
	for i := 1; i < 100; i++ {
		endless.parts[fmt.Sprintf("memberOf;range=%d-*", i)] = part(fmt.Sprintf("range=%d-%[1]d", i), "x")
	}
	if _, err := allValues(endless, part("range=0-0", "x"), "memberOf", 10); !errors.Is(err, errTooManyGroups) || endless.searches != 10 {
		t.Errorf("%v after %d searches, want %v after 10", err, endless.searches, errTooManyGroups)
	}
}
