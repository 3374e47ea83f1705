package ldap

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"
)

func TestAttributeDefaults(t *testing.T) {
	common := Attributes{
		FirstName: "givenName", LastName: "sn", DisplayName: "displayName", Email: "mail", UPN: "userPrincipalName",
		Title: "title", Manager: "manager",
	}
	ad, plain := common, common
	ad.ID, ad.Username, ad.MemberOf, ad.GroupName, ad.PasswordSet = "objectGUID", "sAMAccountName", "-", "sAMAccountName", "pwdLastSet"
	plain.ID, plain.Username, plain.MemberOf, plain.GroupName, plain.PasswordSet = "entryUUID", "uid", "memberOf", "cn", "pwdChangedTime"
	ds389 := plain
	ds389.ID, ds389.PasswordSet = "nsUniqueId", "pwdUpdateTime"
	for kind, want := range map[Kind]Attributes{KindAD: ad, KindOpenLDAP: plain, KindGeneric: plain, KindAuto: plain, Kind389DS: ds389} {
		if got := (Attributes{}).with(kind); got != want {
			t.Errorf("kind %q: %+v, want %+v", kind, got, want)
		}
	}
	own := Attributes{ID: "ipaUniqueID", Title: "-"}
	if got := own.with(Kind389DS); got.ID != "ipaUniqueID" || got.Title != "-" || got.Username != "uid" {
		t.Errorf("configured ones are lost: %+v", got)
	}
	if own.Username != "" {
		t.Error("with changed its receiver")
	}
}

func TestCheckAttributes(t *testing.T) {
	tests := []struct {
		what string
		a    Attributes
		want string // "" is fine
	}{
		{"none", Attributes{}, ""},
		{"defaults", Attributes{}.with(KindAD), ""},
		{"an OID", Attributes{Email: "0.9.2342.19200300.100.1.3"}, ""},
		{"none read", Attributes{Email: "-", UPN: "-", MemberOf: "-", PasswordSet: "-", DisplayName: "-"}, ""},
		{"no ID", Attributes{ID: "-"}, "id cannot be left out"},
		{"no user name", Attributes{Username: "-"}, "username cannot be left out"},
		{"no group name", Attributes{GroupName: "-"}, "group_name cannot be left out"},
		{"a filter", Attributes{GroupName: "cn=*)(x"}, `group_name "cn=*)(x"`},
		{"an option", Attributes{MemberOf: "memberOf;range=0-1"}, "member_of"},
		{"everything", Attributes{FirstName: "*"}, "first_name"},
		{"a space", Attributes{PasswordSet: "pwd changed"}, "password_set"},
	}
	for _, test := range tests {
		err := test.a.check()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.what, err, test.want)
		}
	}
}

// person makes an entry of "name", "value" pairs; names may repeat.
func person(dn string, pairs ...string) *goldap.Entry {
	values := map[string][]string{}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = append(values[pairs[i]], pairs[i+1])
	}
	return goldap.NewEntry(dn, values)
}

func TestIdentityOfConfiguredAttributes(t *testing.T) {
	d := &Directory{config: Config{Label: "l", Attributes: Attributes{
		ID: "employeeNumber", Username: "mail", FirstName: "gn", Email: "-", UPN: "krbPrincipalName", Manager: "-", PasswordSet: "krbLastPwdChange",
	}}}
	e := person("uid=x,dc=y", "EMPLOYEENUMBER", "A-Ñ1", "mail", "X@y", "gn", "Juan", "sn", "Pérez", "cn", "Juan P",
		"krbPrincipalName", "x@Y", "manager", "uid=boss,dc=y", "krbLastPwdChange", "20250101000000Z", "-", "nobody reads this")
	id, err := d.identity(e, KindGeneric)
	if err != nil {
		t.Fatal(err)
	}
	want := Identity{
		Directory: "l", ID: "a-ñ1", Username: "X@y", DN: "uid=x,dc=y", FirstName: "Juan", LastName: "Pérez", DisplayName: "Juan P",
		Email: "x@Y", UPN: "x@Y", PasswordSet: "krbLastPwdChange=20250101000000Z",
	}
	if !reflect.DeepEqual(*id, want) {
		t.Errorf("got %+v, want %+v", *id, want)
	}
	hidden := &Directory{config: Config{Attributes: Attributes{DisplayName: "-"}}}
	if id, err := hidden.identity(person("uid=x", "entryUUID", "1", "uid", "x", "cn", "Juan"), KindGeneric); err != nil || id.DisplayName != "" {
		t.Errorf("with display_name -: %+v, %v", id, err)
	}
	asked := d.personAttributes(KindGeneric, "MAIL", "uidNumber")
	for _, name := range []string{"employeeNumber", "mail", "gn", "sn", "cn", "displayName", "krbPrincipalName", "title", "krbLastPwdChange", "memberOf", "objectClass", "uidNumber"} {
		if !slices.Contains(asked, name) {
			t.Errorf("%s is not asked for: %q", name, asked)
		}
	}
	for _, name := range []string{"-", "MAIL", "manager", "entryUUID"} {
		if slices.Contains(asked, name) {
			t.Errorf("%s is asked for: %q", name, asked)
		}
	}
}

// Whose entry it is on AD is proven by the SID, and user_filter is checked with
// the account's own names: both must be read whatever the identity is made of.
func TestADAttributesThatAreAlwaysRead(t *testing.T) {
	d := &Directory{config: Config{Attributes: Attributes{ID: "employeeID", Username: "mail", UPN: "-"}}}
	asked := d.personAttributes(KindAD)
	for _, name := range []string{"objectSid", "objectClass", "sAMAccountName", "userPrincipalName", "employeeID", "pwdLastSet"} {
		if !slices.Contains(asked, name) {
			t.Errorf("%s is not asked for: %q", name, asked)
		}
	}
	if slices.Contains(asked, "memberOf") || slices.Contains(asked, "-") {
		t.Errorf("asked for %q", asked)
	}
}

func TestIdentifiers(t *testing.T) {
	guid := "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
	tests := []struct {
		what, attribute string
		values          []string
		want            string // "" is an error
	}{
		{"entryUUID", "entryUUID", []string{"6E3DE8C6-CAF5-4FDA-B111-44938A9B6B7E"}, "6e3de8c6-caf5-4fda-b111-44938a9b6b7e"},
		{"nsUniqueId", "nsUniqueId", []string{"A0B1-C2"}, "a0b1-c2"},
		{"objectGUID", "objectguid", []string{guid}, "04030201-0605-0807-090a-0b0c0d0e0f10"},
		{"objectGUID of another length", "objectGUID", []string{guid[1:]}, ""},
		{"none", "entryUUID", nil, ""},
		{"several", "entryUUID", []string{"a", "b"}, ""},
		{"empty", "entryUUID", []string{""}, ""},
		{"blank", "employeeNumber", []string{"  "}, ""},
		{"binary", "GUID", []string{"\xff\xfe"}, ""},
		{"control characters", "entryUUID", []string{"a\nb"}, ""},
		{"long", "entryUUID", []string{strings.Repeat("a", maxNameBytes+1)}, ""},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			e := goldap.NewEntry("uid=x", map[string][]string{test.attribute: test.values})
			got, err := identifier(e, test.attribute)
			if got != test.want || (err != nil) != (test.want == "") {
				t.Errorf("identifier = %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestEntriesWithoutAUserName(t *testing.T) {
	d := &Directory{config: Config{Attributes: Attributes{Username: "login"}}}
	for what, name := range map[string]string{"none": "", "with a line break": "x\r\ny"} {
		if _, err := d.identity(person("uid=x", "entryUUID", "1", "login", name), KindGeneric); err == nil || !strings.Contains(err.Error(), "login") {
			t.Errorf("%s: %v, want an error that names login", what, err)
		}
	}
	if _, err := d.identity(person("uid=x", "login", "x"), KindGeneric); err == nil || !strings.Contains(err.Error(), "entryUUID") {
		t.Errorf("without an ID: %v", err)
	}
}
