package ldap

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

const usersDN = "CN=Users,DC=empresa,DC=local"

func sidOfGroup(t *testing.T, s *ldaptest.Server, name string) string {
	t.Helper()
	config := adConfig(s)
	config.Groups = []string{name}
	d, _ := open(t, config)
	mustSignIn(t, d, "ac12345", "secreto")
	g, ok := d.Group(name)
	if !ok {
		t.Fatalf("group %q is not resolved", name)
	}
	return g.ID
}

func TestGroupReferences(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	sid := sidOfGroup(t, s, "Ingenieria")
	dn := "CN=Ingenieria," + usersDN
	refs := []string{"INGENIERIA", strings.ToLower(dn), strings.ToLower(sid), "S-1-5-11", "Nada", "CN=Nada," + usersDN, "CN=Juan Pérez," + usersDN, "CN=x,DC=elsewhere", "*", `Ingen)(cn=*`}
	config := adConfig(s)
	config.Groups = refs
	d, l := open(t, config)

	for _, ref := range refs {
		g, state := d.GroupState(ref)
		if _, err := ParseSID(ref); (state == GroupResolved) != (err == nil) || err == nil && g.ID == "" {
			t.Errorf("before anybody asked, GroupState(%q) = %+v, %v", ref, g, state)
		}
	}
	id := mustSignIn(t, d, "ac12345", "secreto")
	full := Group{ID: sid, Name: "Ingenieria", DN: dn}
	for ref, want := range map[string]Group{
		refs[0]: full, refs[1]: full, refs[2]: full, "S-1-5-11": {ID: "S-1-5-11"},
		refs[4]: {}, refs[5]: {}, refs[6]: {}, refs[7]: {}, refs[8]: {}, refs[9]: {},
	} {
		g, ok := d.Group(ref)
		if g != want || ok != (want != Group{}) {
			t.Errorf("Group(%q) = %+v, %v, want %+v", ref, g, ok, want)
		}
		if _, state := d.GroupState(ref); !ok && state != GroupAbsent {
			t.Errorf("GroupState(%q) = %v after the directory was asked", ref, state)
		}
	}
	if !groupNamed(id, "Ingenieria") {
		t.Errorf("Groups = %+v", id.Groups)
	}
	mustSignIn(t, d, "mgarcia", "secreto")
	if got := l.count("level=WARN"); got != 6 {
		t.Errorf("%d warnings, want one for each of 6 groups, once:\n%s", got, l)
	}
}

func TestGroupsThatTheConfigurationDoesNotName(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(s))
	if g, state := d.GroupState("Ingenieria"); state != GroupUnknown {
		t.Errorf("GroupState = %+v, %v", g, state)
	}
	if g, ok := d.Group("s-1-5-11"); !ok || g.ID != "S-1-5-11" {
		t.Errorf("Group of a SID = %+v, %v", g, ok)
	}
	if err := d.UseGroup("Ingenieria"); err != nil {
		t.Fatal(err)
	}
	mustSignIn(t, d, "mgarcia", "secreto")
	if _, ok := d.Group("Ingenieria"); !ok {
		t.Error("a group of UseGroup is not resolved")
	}
	if err := d.UseGroup(" "); err == nil {
		t.Error("UseGroup took an empty name")
	}
	for i := range 2 * maxGroupRefs {
		err := d.UseGroup(fmt.Sprint("x", i))
		if full := i+2 > 2*maxGroupRefs; (err != nil) != full {
			t.Fatalf("UseGroup number %d: %v", i+2, err)
		}
	}
	// A released one makes room, and is known until then.
	d.ReleaseGroup("Ingenieria")
	if _, state := d.GroupState("Ingenieria"); state != GroupResolved {
		t.Errorf("a released group is %v", state)
	}
	if err := d.UseGroup("one more"); err != nil {
		t.Error(err)
	}
	if _, state := d.GroupState("Ingenieria"); state != GroupUnknown {
		t.Errorf("a pruned group is %v", state)
	}
}

func TestSeveralGroupsOfOneName(t *testing.T) {
	dir := ldaptest.Demo()
	// A second group that answers to the name; directories have such by mistake.
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "fake", Password: "x", ExtraAttributes: map[string][]string{
		"objectClass": {"top", "group"}, "sAMAccountName": {"Ingenieria"},
	}})
	s := serve(t, dir)
	config := adConfig(s)
	config.Groups = []string{"Ingenieria"}
	d, l := open(t, config)
	id := mustSignIn(t, d, "ac12345", "secreto")
	if g, ok := d.Group("Ingenieria"); ok || groupNamed(id, "Ingenieria") {
		t.Errorf("Group = %+v, though two have that name", g)
	}
	if l.count("ambiguous") != 1 {
		t.Errorf("logs: %s", l)
	}
}

// One entry and "there are more" is several, not one.
func TestTooManyIsSeveralHoweverFewCame(t *testing.T) {
	if state, _, err := answered(groupRef{form: byName}, nil, errTooMany); state != stateSeveral || err != nil {
		t.Errorf("answered = %v, %v", state, err)
	}
}

func TestStaleGroups(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	config := adConfig(s)
	config.Groups = []string{"Ingenieria"}
	d, l := open(t, config)
	id := mustSignIn(t, d, "ac12345", "secreto")
	searches := s.Searches()
	mustSignIn(t, d, "ac12345", "secreto")
	if got := s.Searches() - searches; got != 2 {
		t.Errorf("%d searches at the second sign-in, want 2: the group is fresh", got)
	}

	d.limits.fresh = 0 // everything is stale
	s.Stall(ldaptest.StallBind)
	mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
	if _, ok := d.Group("Ingenieria"); !ok {
		t.Error("a stale group is gone although nobody could read it anew")
	}
	s.Stall(ldaptest.StallNever)

	renamed := ldaptest.Demo()
	renamed.Groups[1].Name, renamed.Users[0].MemberOf = "Ingenieros", []string{"Ingenieros"}
	if err := s.Replace(renamed); err != nil {
		t.Fatal(err)
	}
	// Somebody who does not see a group may not be allowed to.
	after := mustSignIn(t, d, "ac12345", "secreto")
	if _, ok := d.Group("Ingenieria"); !ok || l.count("not found") != 0 {
		t.Errorf("one person's view takes a group from everybody; logs: %s", l)
	}
	if after.ID != id.ID || len(after.Groups) != len(id.Groups) {
		t.Errorf("identity after the rename: %+v", after)
	}
}

func TestOnlyTheServiceAccountSaysThatAGroupIsGone(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	config := kinds[0].config(s)
	config.Groups = []string{"Ingenieria"}
	d, l := open(t, config)
	d.limits.refresh = 0
	mustSignIn(t, d, "ac12345", "secreto")
	d.limits.fresh = 0
	gone := ldaptest.Demo()
	gone.Groups[1].Name, gone.Users[0].MemberOf = "Ingenieros", []string{"Ingenieros"}
	if err := s.Replace(gone); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is gone", func() bool { _, ok := d.Group("Ingenieria"); return !ok })
	if err := s.Replace(ldaptest.Demo()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool { _, ok := d.Group("Ingenieria"); return ok })
	if l.count("found again") != 1 || l.count("not found") != 1 {
		t.Errorf("logs: %s", l)
	}
}

// The well-known SIDs have no entry. That is an answer like any other.
func TestSIDsWithoutAnEntryAreFreshToo(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	config := adConfig(s)
	config.Groups = []string{"S-1-5-11"}
	d, l := open(t, config)
	mustSignIn(t, d, "ac12345", "secreto")
	searches := s.Searches()
	mustSignIn(t, d, "ac12345", "secreto")
	if got := s.Searches() - searches; got != 2 || l.count("level=WARN") != 0 {
		t.Errorf("%d searches at the second sign-in, want 2; logs: %s", got, l)
	}
}

func TestFailingLookUpFailsNoSignIn(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	config := adConfig(s)
	config.GroupBase, config.Groups = "OU=Nada,DC=empresa,DC=local", []string{"Ingenieria"}
	d, l := open(t, config)
	for range 3 {
		mustSignIn(t, d, "ac12345", "secreto")
	}
	if _, state := d.GroupState("Ingenieria"); state != GroupUnknown {
		t.Errorf("GroupState = %v, want unknown: the directory did not answer", state)
	}
	if l.count("level=WARN") != 1 {
		t.Errorf("logs: %s, want one warning", l)
	}
}

func TestSlowLookUpTakesLittleOfASignIn(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	config := adConfig(s)
	for range 50 {
		config.Groups = append(config.Groups, "Nada"+strings.Repeat("x", len(config.Groups)))
	}
	d, _ := open(t, config)
	s.Delay(50 * time.Millisecond)
	start := time.Now()
	mustSignIn(t, d, "ac12345", "secreto")
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// People whose cn is a group's name are no group.
func TestGenericNamesAreOfGroupsOnly(t *testing.T) {
	dir := plainDirectory()
	dir.Users[0].DisplayName = "IT Admins"
	s := serve(t, dir)
	config := plainConfig(s)
	config.GroupBase, config.Groups = "ou=people,"+plainBase, []string{"IT Admins", "uid=ac12345,ou=people," + plainBase}
	d, _ := open(t, config)
	mustSignIn(t, d, "ac12345", "secreto")
	for _, ref := range config.Groups {
		if g, ok := d.Group(ref); ok {
			t.Errorf("Group(%q) = %+v, a person", ref, g)
		}
	}
}

func TestParseGroupRef(t *testing.T) {
	for ref, want := range map[string]refForm{
		"IT Admins": byName, "CN=a,DC=b": byDN, "S-1-5-32-544": bySID, "Sales": byName, "S-Team": byName, "a=b": byDN, "x,y": byName,
	} {
		if r, err := parseGroupRef(ref); err != nil || r.form != want {
			t.Errorf("parseGroupRef(%q) = %+v, %v, want form %d", ref, r, err, want)
		}
	}
	if _, err := parseGroupRef(strings.Repeat("x", maxValueBytes+1)); err == nil {
		t.Error("an over-long name was taken")
	}
}

func TestErrorsUnwrap(t *testing.T) {
	cause := errors.New("cause")
	if !errors.Is(&RefusedError{Reason: ReasonRefused, Err: cause}, cause) || !errors.Is(&UnavailableError{Err: cause}, cause) {
		t.Error("the cause is lost")
	}
}
