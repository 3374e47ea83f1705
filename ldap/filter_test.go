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

func TestCheckGroupFilter(t *testing.T) {
	tests := []struct {
		filter string
		ok     bool
	}{
		{defaultGroupFilter, true},
		{nestedGroupFilter, true},
		{"(member={dn})", true},
		{"(memberUid={user})", true},
		{"(&(objectClass=group)(member:1.2.840.113556.1.4.1941:={dn}))", true},
		{"(member=*)", false},
		{"member={dn}", false},
		{"(member={dn}", false},
		{"(member={dn}))", false},
		{"({dn}=x)", false},
		{"({user})", false},
		{"(member:{dn}:=x)", false},
		{"(|{dn})", false},
		{"", false},
	}
	for _, test := range tests {
		if err := checkGroupFilter(test.filter); (err == nil) != test.ok {
			t.Errorf("checkGroupFilter(%q) = %v, want ok %v", test.filter, err, test.ok)
		}
	}
}

func TestGroupFilterEscapesOnce(t *testing.T) {
	dn := `cn=a\2cb (x)*\5c{user},dc=x`
	packet, err := goldap.CompileFilter(fillGroupFilter(defaultGroupFilter, dn, "u)(x=*{dn}"))
	if err != nil {
		t.Fatal(err)
	}
	if got := packet.Children[0].Children[1].Data.String(); got != dn {
		t.Errorf("member=%q, want %q", got, dn)
	}
	if got := packet.Children[2].Children[1].Children[1].Data.String(); got != "u)(x=*{dn}" {
		t.Errorf("memberUid=%q", got)
	}
}

func FuzzGroupFilter(f *testing.F) {
	f.Add("cn=x,dc=y", "juan")
	f.Add(`cn=a\2cb (x)*,dc=x`, `*)(objectClass=*`)
	f.Add("{user}", "{dn}")
	f.Add("\x00", ":dn:=")
	f.Add(")(|(cn=*", "~<>=")
	f.Fuzz(func(t *testing.T, dn, user string) {
		for _, filter := range []string{defaultGroupFilter, nestedGroupFilter, "(&(a:={dn})(!(b>={user}))(c=x{dn}*))"} {
			want, err := filterShape(fillGroupFilter(filter, "x", "x"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := filterShape(fillGroupFilter(filter, dn, user))
			if err != nil || got != want {
				t.Fatalf("%s with %q and %q has shape %s, %v, want %s", filter, dn, user, got, err, want)
			}
		}
		packet, err := goldap.CompileFilter(fillGroupFilter(nestedGroupFilter, dn, user))
		if err != nil {
			t.Fatal(err)
		}
		if got := packet.Children[0].Children[1].Data.String(); got != dn {
			t.Fatalf("DN %q became the value %q", dn, got)
		}
	})
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
