package ldaptest

import (
	"slices"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"
)

func find(t *testing.T, c *goldap.Conn, base string, scope int, filter string, attributes ...string) []*goldap.Entry {
	t.Helper()
	r, err := c.Search(goldap.NewSearchRequest(base, scope, 0, 0, 0, false, filter, attributes, nil))
	if err != nil {
		t.Fatalf("Search(%q, %s): %v", base, filter, err)
	}
	return r.Entries
}

func TestAnonymousSeesOnlyTheRootDSE(t *testing.T) {
	s := start(t, Demo())
	c := dial(t, s)
	root := find(t, c, "", 0, "(objectClass=*)", "*", "tokenGroups")
	if len(root) != 1 || root[0].GetAttributeValue("defaultNamingContext") != "DC=empresa,DC=local" || len(root[0].GetAttributeValues("tokenGroups")) != 0 ||
		!slices.Contains(root[0].GetAttributeValues("supportedCapabilities"), "1.2.840.113556.1.4.800") {
		t.Errorf("rootDSE %+v", root)
	}
	_, err := c.Search(goldap.NewSearchRequest("DC=empresa,DC=local", 2, 0, 0, 0, false, "(cn=*)", nil, nil))
	if code(err) != 1 || !strings.Contains(err.Error(), "000004DC") {
		t.Errorf("anonymous search: %v", err)
	}
}

func TestTokenGroups(t *testing.T) {
	dir := Demo()
	dir.Groups[0].MemberOf = []string{"Ingenieria"} // a cycle
	s := start(t, dir)
	c := bound(t, s, "ac12345@empresa.local", "secreto")
	root := find(t, c, "", 0, "(objectClass=*)", "tokenGroups")[0]
	sids := root.GetRawAttributeValues("tokenGroups")
	own := find(t, c, "DC=empresa,DC=local", 2, "(sAMAccountName=ac12345)", "objectSid")[0].GetRawAttributeValue("objectSid")
	if len(sids) != 7 || string(sids[0]) != string(own) {
		t.Errorf("%d SIDs, want 7, the account's own first", len(sids))
	}
	// A failed bind leaves the connection what it was.
	if err := c.Bind("mgarcia@empresa.local", "wrong"); code(err) != 49 {
		t.Fatal(err)
	}
	again := find(t, c, "", 0, "(objectClass=*)", "tokenGroups")[0].GetRawAttributeValues("tokenGroups")
	if len(again) != 7 || string(again[0]) != string(own) {
		t.Errorf("after a failed bind: %d SIDs", len(again))
	}
}

func TestSearches(t *testing.T) {
	s := start(t, Demo())
	c := bound(t, s, "ac12345@empresa.local", "secreto")
	base := "dc=EMPRESA,dc=local"
	own := find(t, c, base, 2, "(sAMAccountName=ac12345)", "objectSid", "objectGUID")[0]
	sidText := func() string {
		for _, f := range find(t, c, "<SID="+hexOf(own.GetRawAttributeValue("objectSid"))+">", 0, "(cn=*)", "cn") {
			return f.DN
		}
		return ""
	}()
	if sidText != own.DN {
		t.Errorf("<SID=hex> finds %q", sidText)
	}
	group := "CN=Empleados,CN=Users,DC=empresa,DC=local"
	for filter, want := range map[string]int{
		"(&(objectCategory=person)(objectClass=user))":                         5,
		"(objectCategory=CN=Person,CN=Schema,CN=Configuration," + base + ")":   5,
		"(SAMACCOUNTNAME=AC12345)":                                             1,
		"(sAMAccountName=ac12345\\00)":                                         1,
		"(|(sAMAccountName=ac12345)(sAMAccountName=mgarcia))":                  2,
		"(&(objectClass=user)(!(mail=*)))":                                     3,
		"(cn=ju*p*z)":                                                          1,
		"(cn=*garc\u00eda)":                                                    1,
		"(cn=juan*x)":                                                          0,
		"(&(objectClass=user)(sAMAccountName>=e))":                             2,
		"(&(objectClass=user)(sAMAccountName<=b))":                             1,
		"(primaryGroupID>=512)":                                                5,
		"(objectSid=" + escaped(own.GetRawAttributeValue("objectSid")) + ")":   1,
		"(objectGUID=" + escaped(own.GetRawAttributeValue("objectGUID")) + ")": 1,
		"(objectSid=S-1-5-32-545)":                                             1,
		"(memberOf=" + group + ")":                                             1,
		"(memberOf:1.2.840.113556.1.4.1941:=" + group + ")":                    2,
		"(member:1.2.840.113556.1.4.1941:=" + own.DN + ")":                     2,
		"(userAccountControl:1.2.840.113556.1.4.803:=2)":                       1,
		"(userAccountControl:1.2.840.113556.1.4.804:=514)":                     5,
		"(cn:caseExactMatch:=x)":                                               0,
		"(nothing=x)":                                                          0,
	} {
		if got := find(t, c, base, 2, filter, "1.1"); len(got) != want {
			t.Errorf("%s finds %d, want %d", filter, len(got), want)
		}
	}
	for _, test := range []struct {
		base  string
		scope int
		want  int
	}{
		{base, 0, 1}, {base, 1, 2}, {"CN=Builtin," + base, 2, 2}, {"<SID=S-1-5-32-545>", 0, 1},
		{"<GUID=" + guidText(own.GetRawAttributeValue("objectGUID")) + ">", 0, 1},
	} {
		if got := find(t, c, test.base, test.scope, "(objectClass=*)", "1.1"); len(got) != test.want {
			t.Errorf("base %q scope %d: %d entries, want %d", test.base, test.scope, len(got), test.want)
		}
	}
	for base, want := range map[string]int{"CN=Nada,DC=empresa,DC=local": 32, "DC=other": 10, "rubbish": 34, "<SID=S-1-5-99>": 32, "<SID=x>": 32, "<X=y>": 32} {
		if _, err := c.Search(goldap.NewSearchRequest(base, 0, 0, 0, 0, false, "(cn=*)", nil, nil)); code(err) != want {
			t.Errorf("base %q: %v, want code %d", base, err, want)
		}
	}
	if r, err := c.Search(goldap.NewSearchRequest(base, 2, 0, 2, 0, false, "(cn=*)", nil, nil)); code(err) != 4 || len(r.Entries) != 2 {
		t.Errorf("size limit 2: %v", err)
	}
	for _, test := range []struct{ ask, want string }{
		{"MAIL", "mail"}, {"1.1", ""}, {"cn,Title", "cn,title"}, {"memberOf;range=0-5", "memberOf;range=0-*"},
	} {
		e := find(t, c, own.DN, 0, "(cn=*)", strings.Split(test.ask, ",")...)[0]
		var names []string
		for _, a := range e.Attributes {
			names = append(names, a.Name)
		}
		if got := strings.Join(names, ","); got != test.want {
			t.Errorf("asked for %q, got %q", test.ask, got)
		}
	}
}

func hexOf(b []byte) string { return strings.ReplaceAll(escaped(b), `\`, "") }

func escaped(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteString(`\` + string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15]))
	}
	return s.String()
}

func TestPlainDirectory(t *testing.T) {
	dir := Demo()
	dir.Plain = true
	s := start(t, dir)
	dn := "uid=ac12345,ou=people,dc=empresa,dc=local"
	for name, want := range map[string]int{dn: -1, "ac12345@empresa.local": 34, "uid=nada": 49} {
		if got := code(dial(t, s).Bind(name, "secreto")); got != want {
			t.Errorf("Bind(%q): code %d, want %d", name, got, want)
		}
	}
	c := bound(t, s, dn, "secreto")
	for asked, want := range map[string]bool{"*": false, "+": true, "memberOf": true} {
		e := find(t, c, dn, 0, "(uid=*)", asked)[0]
		if got := len(e.GetAttributeValues("memberOf")) == 1; got != want {
			t.Errorf("asked for %q: memberOf shown %v, want %v", asked, got, want)
		}
	}
	if got := find(t, c, "dc=empresa,dc=local", 2, "(memberOf:1.2.840.113556.1.4.1941:=cn=Empleados,ou=groups,dc=empresa,dc=local)"); len(got) != 0 {
		t.Errorf("in-chain finds %d, want none and no error", len(got))
	}
	if err := c.Bind(dn, "wrong"); code(err) != 49 {
		t.Fatal(err)
	}
	if _, err := c.Search(goldap.NewSearchRequest(dn, 0, 0, 0, 0, false, "(uid=*)", nil, nil)); code(err) != 32 {
		t.Errorf("search after a failed bind: %v, want anonymous", err)
	}
}
