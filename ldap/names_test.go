package ldap

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

func TestNormalizeName(t *testing.T) {
	tests := []struct{ what, typed, want string }{
		{"plain", "juan", "juan"},
		{"spaces around", "  juan\u00a0", "juan"},
		{"spaces inside", "juan   perez", "juan perez"},
		{"decomposed", "mun\u0303oz", "muñoz"},
		{"empty", "", ""},
		{"only spaces", "   ", ""},
		{"NUL", "juan\x00", ""},
		{"tab", "juan\t", ""},
		{"newline", "juan\n", ""},
		{"escape", "ju\x1ban", ""},
		{"C1 control", "juan\u0085", ""},
		{"not UTF-8", "juan\xff", ""},
		{"256 bytes", strings.Repeat("x", 256), strings.Repeat("x", 256)},
		{"257 bytes", strings.Repeat("x", 257), ""},
		{"grows when composed", strings.Repeat("\u0958", 80), ""}, // to 6 bytes each
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			got, err := normalizeName(test.typed)
			if got != test.want || (err != nil) != (test.want == "") {
				t.Errorf("normalizeName(%q) = %q, %v, want %q", test.typed, got, err, test.want)
			}
		})
	}
}

func TestParseADName(t *testing.T) {
	tests := []struct{ name, bind, user string }{
		{"juan", "juan@corp.test", "juan"},
		{"juan@other.example", "juan@other.example", "juan@other.example"},
		{"juan @corp.test", "juan@corp.test", "juan"},
		{`CORP\juan`, `CORP\juan`, "juan"},
		{"o'neill", "o'neill@corp.test", "o'neill"},
		{"pb(x)", "pb(x)@corp.test", "pb(x)"},
		{"a@b@c", "", ""},
		{"@corp.test", "", ""},
		{"juan@", "", ""},
		{`\juan`, "", ""},
		{`CORP\`, "", ""},
		{`CORP\juan\x`, "", ""},
		{`CORP\juan@corp.test`, "", ""},
		{"CORP/juan", "", ""},
		{"ju*", "", ""},
		{"cn=juan,dc=x", "", ""},
		{"juan;x", "", ""}, {"juan|x", "", ""}, {"juan+x", "", ""}, {"juan?x", "", ""}, {"<juan>", "", ""},
		{`"juan"`, "", ""}, {"[juan]", "", ""}, {"ju:an", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := (&Directory{config: Config{Label: "corp.test"}, names: newDomainNames("corp.test", nil)}).parseADName(test.name)
			if got.bind != test.bind || got.user != test.user || got.upn != test.bind || (err != nil) != (test.bind == "") {
				t.Errorf("parseADName(%q) = %+v, %v, want %q, %q", test.name, got, err, test.bind, test.user)
			}
		})
	}
}

// What no directory may see stays here: not one packet is sent.
func TestInputThatNeverReachesADirectory(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(s))
	tests := []struct{ what, name, password string }{
		{"empty name", "", "secreto"},
		{"name of spaces", "   ", "secreto"},
		{"name with NUL", "ac12345\x00", "secreto"},
		{"name with newline", "ac12345\n", "secreto"},
		{"name not UTF-8", "ac\xff12345", "secreto"},
		{"name of 10 KB", strings.Repeat("a", 10<<10), "secreto"},
		{"filter", `*)(objectClass=*`, "secreto"},
		{"other filter", `a)(|(cn=*`, "secreto"},
		{"asterisk", "ac*", "secreto"},
		{"DN", "CN=Juan Pérez,CN=Users,DC=empresa,DC=local", "secreto"},
		{"two backslashes", `EMPRESA\\ac12345`, "secreto"},
		{"two at signs", "ac12345@empresa.local@x", "secreto"},
		{"empty password", "ac12345", ""},
		{"password of white space", "ac12345", " \t\u00a0"},
		{"right password and NUL", "ac12345", "secreto\x00"},
		{"NUL password", "ac12345", "\x00"},
		{"password not UTF-8", "ac12345", "secreto\xff"},
		{"password of 10 KB", "ac12345", strings.Repeat("s", 10<<10)},
		{"password of 1025 bytes", "ac12345", strings.Repeat("s", 1025)},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) { mustRefuse(t, d, test.name, test.password, ReasonNameInvalid) })
	}
	quiet(t, s)
}

func TestPasswordsAreSentAsTheyAre(t *testing.T) {
	for _, password := range []string{" leading", "trailing ", "dos  espacios", "cafe\u0301", "tab\there", strings.Repeat("x", 1024)} {
		s := serve(t, ldaptest.Directory{Domain: "empresa.local", Users: []ldaptest.User{{SAMAccountName: "u", Password: password}}})
		d, _ := open(t, adConfig(s))
		mustSignIn(t, d, "u", password)
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"juan", " Juan  Pérez ", `CORP\juan`, "juan@corp.test", "*)(objectClass=*", "a\x00", "\xff", "e\u0301", `\@`, "a@b@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		name, err := normalizeName(typed)
		if err != nil {
			return
		}
		if name == "" || len(name) > maxNameBytes || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) ||
			strings.TrimSpace(name) != name || strings.Contains(name, "  ") {
			t.Fatalf("normalizeName(%q) = %q", typed, name)
		}
		if again, err := normalizeName(name); err != nil || again != name {
			t.Fatalf("normalizeName is not stable: %q, then %q, %v", name, again, err)
		}
		d := &Directory{config: Config{Label: "corp.test"}, names: newDomainNames("corp.test", nil)}
		l, err := d.parseADName(name)
		if err != nil {
			return
		}
		if l.user == "" || l.user != l.bind && strings.ContainsAny(l.user, forbiddenInSAM) {
			t.Fatalf("parseADName(%q).user = %q", name, l.user)
		}
		if strings.Count(l.bind, "@")+strings.Count(l.bind, `\`) != 1 {
			t.Fatalf("parseADName(%q).bind = %q: bare names mean other things to Windows", name, l.bind)
		}
	})
}
