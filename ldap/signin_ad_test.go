package ldap

import (
	"context"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

func TestADIdentityIsTheDirectorysEntry(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, Config{Servers: []string{s.URL()}, Groups: []string{"ingenieria", "Empleados", "IT Admins"}})
	id := mustSignIn(t, d, "  AC12345 ", "secreto")
	for _, field := range []struct{ what, got, want string }{
		{"Directory", id.Directory, "empresa.local"},
		{"Username", id.Username, "ac12345"},
		{"DN", id.DN, "CN=Juan Pérez,CN=Users,DC=empresa,DC=local"},
		{"FirstName", id.FirstName, "Juan"},
		{"LastName", id.LastName, "Pérez"},
		{"DisplayName", id.DisplayName, "Juan Pérez"},
		{"Email", id.Email, "ac12345@empresa.local"},
		{"UPN", id.UPN, "ac12345@empresa.local"},
		{"Title", id.Title, "Ingeniero de operaciones"},
		{"Manager", id.Manager, "CN=María García,CN=Users,DC=empresa,DC=local"},
	} {
		if field.got != field.want {
			t.Errorf("%s = %q, want %q", field.what, field.got, field.want)
		}
	}
	if len(id.ID) != 36 || strings.Count(id.ID, "-") != 4 {
		t.Errorf("ID = %q, want a GUID", id.ID)
	}
	if !groupNamed(id, "Ingenieria") || !groupNamed(id, "Empleados") || groupNamed(id, "IT Admins") {
		t.Errorf("Groups = %+v, want Ingenieria and, through it, Empleados", id.Groups)
	}
	for _, sid := range []string{"S-1-5-32-545", "S-1-1-0", "S-1-5-11"} {
		if !inGroup(id, sid) {
			t.Errorf("Groups lack %s of the token", sid)
		}
	}
	if len(id.Groups) != 6 {
		t.Errorf("%d groups: %+v, want 6, without the user's own SID", len(id.Groups), id.Groups)
	}
	again := mustSignIn(t, d, "ac12345@EMPRESA.LOCAL", "secreto")
	if again.ID != id.ID {
		t.Errorf("IDs %q and %q for one person", id.ID, again.ID)
	}
}

func TestADNameForms(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(s))
	for _, name := range []string{"ac12345", "AC12345@empresa.local", "ac12345 @empresa.local", `EMPRESA\ac12345`, `empresa\ AC12345`, "ac12345@EMPRESA"} {
		if id := mustSignIn(t, d, name, "secreto"); id.Username != "ac12345" {
			t.Errorf("%q signed in as %q", name, id.Username)
		}
	}
	for _, name := range []string{"ac12345@wrong.local", `NOPE\ac12345`, "Juan Pérez"} {
		mustRefuse(t, d, name, "secreto", ReasonBadCredentials)
	}
}

// Two accounts whose names cross: the name that binds as one finds the other.
// Whoever searches by the name that was typed hands out the wrong identity.
func TestAccountTakeoverByCrossedNames(t *testing.T) {
	dir := ldaptest.Directory{
		Domain: "corp.test",
		Users: []ldaptest.User{
			{SAMAccountName: "pb_victim", UPN: "pb_eve@other.example", DisplayName: "Victim", Password: "victims-password"},
			{SAMAccountName: "pb_eve", UPN: "pb_victim@other.example", DisplayName: "Eve", Password: "eves-password"},
		},
	}
	s := serve(t, dir)
	tests := []struct {
		what, filter, name, password, want string
	}{
		{"Eve types her UPN, which is the victim's name", "", "pb_victim@other.example", "eves-password", "pb_eve"},
		{"Eve types the victim's account name", "", "pb_victim", "eves-password", ""},
		{"Eve types the victim's domain name", "", `CORP\pb_victim`, "eves-password", ""},
		{"the victim types the own UPN, which is Eve's name", "", "pb_eve@other.example", "victims-password", "pb_victim"},
		{"the victim types the own account name", "", "pb_victim", "victims-password", "pb_victim"},
		{"a filter that finds the other one only, as Eve", "(sAMAccountName={user})", "pb_victim@other.example", "eves-password", "pb_eve"},
		{"a filter that finds the other one only, as the victim", "(sAMAccountName={user})", "pb_eve@other.example", "victims-password", "pb_victim"},
		{"a filter that finds the other one only, by UPN", "(userPrincipalName={user}@other.example)", "pb_eve@corp.test", "eves-password", ""},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			config := adConfig(s)
			config.Label, config.UserFilter = "corp.test", test.filter
			d, _ := open(t, config)
			id, err := d.SignIn(context.Background(), test.name, test.password)
			switch {
			case err != nil && test.want != "":
				t.Errorf("SignIn: %v, want %s", err, test.want)
			case err == nil && id.Username != test.want:
				t.Errorf("SignIn gave the identity of %s, want %q", id.Username, test.want)
			}
		})
	}
}

// A group is in the token too: an entry must not pass for being in it.
func TestGroupEntryIsNeverAnIdentity(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	config := adConfig(s)
	config.UserFilter = "(|(cn=Ingenieria)(title={user}))"
	d, _ := open(t, config)
	mustRefuse(t, d, "ac12345", "secreto", ReasonUserUnknown)
}

func TestUnprovenIdentityIsRefusedWithAnAlert(t *testing.T) {
	dir := ldaptest.Demo()
	dir.Users[0].ExtraAttributes = map[string][]string{"objectSid": {"\x01\x01\x00\x00\x00\x00\x00\x05\x07\x00\x00\x00"}}
	s := serve(t, dir)
	d, l := open(t, adConfig(s))
	mustRefuse(t, d, "ac12345", "secreto", ReasonIdentityUnproven)
	if l.count("level=ERROR") != 1 {
		t.Errorf("logs: %s, want one error", l)
	}
}

// base_dn and user_filter leave people out, also those that are found by SID.
func TestADRestrictionsHoldForEntriesFoundBySID(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	tests := []struct {
		what, base, filter, user string
		ok                       bool
	}{
		{"everybody", "", "", "ac12345", true},
		{"below the base", "cn=users,dc=EMPRESA,dc=local", "", "ac12345", true},
		{"outside of the base", "CN=Builtin,DC=empresa,DC=local", "", "ac12345", false},
		{"in the filter's group", "", "(&(sAMAccountName={user})(memberOf=CN=Ingenieria,CN=Users,DC=empresa,DC=local))", "ac12345", true},
		{"not in the filter's group", "", "(&(sAMAccountName={user})(memberOf=CN=Ingenieria,CN=Users,DC=empresa,DC=local))", "mgarcia", false},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			config := adConfig(s)
			config.BaseDN, config.UserFilter = test.base, test.filter
			d, _ := open(t, config)
			if test.ok {
				mustSignIn(t, d, test.user, "secreto")
				return
			}
			mustRefuse(t, d, test.user, "secreto", ReasonUserUnknown)
		})
	}
}

func TestADAccountStates(t *testing.T) {
	states := []struct {
		state  ldaptest.State
		reason Reason
	}{
		{ldaptest.Expired, ReasonPasswordExpired},
		{ldaptest.MustChange, ReasonPasswordMustChange},
		{ldaptest.Disabled, ReasonAccountDisabled},
		{ldaptest.AccountExpired, ReasonAccountExpired},
		{ldaptest.LogonHours, ReasonLogonHours},
		{ldaptest.Workstation, ReasonWorkstation},
		{ldaptest.Locked, ReasonAccountLocked},
	}
	for _, test := range states {
		t.Run(string(test.reason), func(t *testing.T) {
			s := serve(t, ldaptest.Directory{Domain: "empresa.local", Users: []ldaptest.User{{SAMAccountName: "u", Password: "right", State: test.state}}})
			d, _ := open(t, adConfig(s))
			mustRefuse(t, d, "u", "right", test.reason)
			wrong := ReasonBadCredentials
			if test.state == ldaptest.Locked {
				wrong = ReasonAccountLocked
			}
			mustRefuse(t, d, "u", "wrong", wrong)
			if s.Binds() != 2 {
				t.Errorf("%d binds for 2 attempts", s.Binds())
			}
		})
	}
}

func TestADUserWithHardlyAnyAttributes(t *testing.T) {
	s := serve(t, ldaptest.Directory{Domain: "empresa.local", Users: []ldaptest.User{{
		SAMAccountName: "bare", Password: "secreto",
		ExtraAttributes: map[string][]string{
			"title":     {"a\r\nSet-Cookie: x", "\xff\xfe", strings.Repeat("x", 1025), "Jefe"},
			"givenName": {"\x00"},
			"sn":        {strings.Repeat("x", 1025)},
		},
	}}})
	d, _ := open(t, adConfig(s))
	id := mustSignIn(t, d, "bare", "secreto")
	if id.Title != "Jefe" || id.FirstName != "" || id.LastName != "" || id.Email != "" || id.UPN != "" {
		t.Errorf("identity %+v: values that are not presentable must be left out", id)
	}
	if id.DisplayName != "bare" {
		t.Errorf("DisplayName = %q, want the cn", id.DisplayName)
	}
}

func TestEmailAttribute(t *testing.T) {
	dir := ldaptest.Demo()
	dir.Users[0].UPN = "juan@empresa.local"
	dir.Users[0].ExtraAttributes = map[string][]string{"otherMailbox": {"otro@empresa.local"}}
	s := serve(t, dir)
	for _, test := range []struct{ option, want string }{
		{"", "ac12345@empresa.local"}, {"OTHERMAILBOX", "otro@empresa.local"}, {"-", "juan@empresa.local"},
	} {
		config := adConfig(s)
		config.Attributes.Email = test.option
		d, _ := open(t, config)
		if id := mustSignIn(t, d, "ac12345", "secreto"); id.Email != test.want {
			t.Errorf("Attributes.Email %q: Email = %q, want %q", test.option, id.Email, test.want)
		}
	}
}

func TestADEntriesThatCannotBecomeIdentities(t *testing.T) {
	for _, attribute := range []string{"objectGUID", "sAMAccountName"} {
		t.Run("without "+attribute, func(t *testing.T) {
			dir := ldaptest.Demo()
			dir.Users[0].ExtraAttributes = map[string][]string{attribute: nil}
			s := serve(t, dir)
			d, _ := open(t, adConfig(s))
			if err := mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable); !strings.Contains(err.Error(), attribute) {
				t.Errorf("error %q does not name %s", err, attribute)
			}
		})
	}
}

func TestKindIsFoundOutOnceAndBeforeTheBind(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, Config{Servers: []string{s.URL()}})
	mustRefuse(t, d, "ac12345", "wrong", ReasonBadCredentials)
	if s.Searches() != 1 {
		t.Errorf("%d searches before the first bind, want 1", s.Searches())
	}
	if d.knownKind() != KindAD {
		t.Errorf("the kind is %q", d.knownKind())
	}
	// A connection whose bind failed is not used again; every new one is asked.
	mustRefuse(t, d, "ac12345", "wrong", ReasonBadCredentials)
	if s.Searches() != 2 || s.Binds() != 2 || s.Connections() != 2 {
		t.Errorf("%d searches, %d binds, %d connections after two attempts, want 2 of each", s.Searches(), s.Binds(), s.Connections())
	}
}

func TestBaseThatDoesNotExist(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	for _, base := range []string{"OU=Nada,DC=empresa,DC=local", "DC=elsewhere,DC=test"} { // the latter is a referral
		config := adConfig(s)
		config.BaseDN = base
		d, _ := open(t, config)
		mustBeUnavailable(t, d, "ac12345", "secreto", ReasonBaseDN)
	}
}

// By default everybody of a domain may create computer accounts, which are users
// of a kind, too.
func TestComputersAreNobody(t *testing.T) {
	dir := ldaptest.Demo()
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "PC1$", Password: "machine", ExtraAttributes: map[string][]string{
		"objectCategory": {"CN=Computer,CN=Schema,CN=Configuration,DC=empresa,DC=local"},
		"objectClass":    {"top", "person", "organizationalPerson", "user", "computer"}}})
	s := serve(t, dir)
	for _, config := range []Config{adConfig(s), kinds[0].config(s)} {
		d, _ := open(t, config)
		mustRefuse(t, d, "pc1$", "machine", ReasonUserUnknown)
	}
}
