package ldap

import (
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"
)

func TestCheckUserFilter(t *testing.T) {
	tests := []struct {
		filter string
		ok     bool
	}{
		{defaultADFilter, true},
		{defaultGenericFilter, true},
		{"(|(uid={user})(mail={user}))", true},
		{"(userPrincipalName={upn})", true},
		{"(uid=x{user}*)", true},
		{"(uid:caseExactMatch:={user})", true},
		{"(uid=juan)", false},
		{"uid={user}", false},
		{"(uid={user}", false},
		{"(uid={user}))", false},
		{"({user}=x)", false},
		{"({user})", false},
		{"(uid{user}=x)", false},
		{"(uid:{user}:=x)", false},
		{"(&{user})", false},
		{"", false},
	}
	for _, test := range tests {
		if err := checkUserFilter(test.filter); (err == nil) != test.ok {
			t.Errorf("checkUserFilter(%q) = %v, want ok %v", test.filter, err, test.ok)
		}
	}
}

func TestNamesStayValuesInFilters(t *testing.T) {
	names := []string{`*)(objectClass=*`, `a)(|(cn=*`, "a\x00b", `a\b`, `a\2a`, "{upn}", "{user}", "*", "(", ")", "muñoz", "\xff", strings.Repeat("x", 10<<10)}
	for _, name := range names {
		for _, filter := range []string{defaultADFilter, defaultGenericFilter, "(|(uid=a{user}b)(cn={upn}))"} {
			checkFilled(t, filter, name)
		}
	}
	if got := fillFilter("(uid={user})", login{user: "muñoz*"}); got != `(uid=mu\c3\b1oz\2a)` {
		t.Errorf("escaped once: %s", got)
	}
}

// checkFilled parses a filled filter back: the same shape, and the name itself
// as the value.
func checkFilled(t *testing.T, filter, name string) {
	t.Helper()
	want, err := filterShape(fillFilter(filter, login{user: "x", upn: "x"}))
	if err != nil {
		t.Fatal(err)
	}
	filled := fillFilter(filter, login{user: name, upn: name})
	got, err := filterShape(filled)
	if err != nil || got != want {
		t.Fatalf("fillFilter(%q) with %q has shape %s, %v, want %s", filter, name, got, err, want)
	}
	packet, err := goldap.CompileFilter(fillFilter(defaultGenericFilter, login{user: name, upn: name}))
	if err != nil {
		t.Fatal(err)
	}
	if value := packet.Children[1].Data.String(); value != name {
		t.Fatalf("name %q became the value %q", name, value)
	}
}

func TestMemberFilterEscapesOnce(t *testing.T) {
	dn := `cn=a\2cb (x)*\5c,dc=x`
	packet, err := goldap.CompileFilter(memberFilter(dn, "u)(x=*"))
	if err != nil {
		t.Fatal(err)
	}
	if got := packet.Children[0].Children[1].Data.String(); got != dn {
		t.Errorf("member=%q, want %q", got, dn)
	}
	if got := packet.Children[2].Children[1].Children[1].Data.String(); got != "u)(x=*" {
		t.Errorf("memberUid=%q", got)
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"juan", `*)(objectClass=*`, `a)(|(cn=*`, "\x00", `\`, "{upn}", "=", "~=", ":dn:="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" {
			return
		}
		checkFilled(t, defaultADFilter, name)
		checkFilled(t, "(&(a>={user})(!(b:={upn}))(c=*x{user}y*))", name)
	})
}
