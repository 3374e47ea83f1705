package ldap

import (
	"context"
	"errors"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// branch is one of several directories, and its server.
type branch struct {
	*Directory
	server *ldaptest.Server
	wire   *wire
}

// branches are the directories of a company: madrid and lima are AD, with and
// without a service account, old is an LDAP server. Everybody is called juan,
// with a password of their own.
func branches(t *testing.T) (madrid, lima, old branch, all []*Directory) {
	t.Helper()
	branchOf := func(dir ldaptest.Directory, config Config) branch {
		s := serve(t, dir)
		w := tap(s, nil)
		config.Servers = []string{s.URL()}
		d, _ := open(t, config)
		return branch{d, s, w}
	}
	madrid = branchOf(ldaptest.Directory{
		Domain: "madrid.test", NetBIOS: "CENTRAL", UPNSuffixes: []string{"empresa.example", "madrid.example"},
		Users: []ldaptest.User{
			{SAMAccountName: "juan", Password: "madrid", Mail: "juan@mail.example"},
			{SAMAccountName: "ana", UPN: "ana@empresa.example", Password: "madrid"},
			{SAMAccountName: "twin", Password: "madrid", Title: "same"}, {SAMAccountName: "twin2", UPN: "twin@madrid.test", Password: "madrid"},
			{SAMAccountName: "svc", UPN: "svc@madrid.test", Password: adServicePass},
		},
	}, Config{Kind: KindAD, Label: "madrid.test", BindUser: "svc@madrid.test", BindPassword: adServicePass})
	lima = branchOf(ldaptest.Directory{
		Domain: "lima.test", UPNSuffixes: []string{"empresa.example"},
		Users: []ldaptest.User{{SAMAccountName: "juan", Password: "lima"}, {SAMAccountName: "rosa", UPN: "rosa@empresa.example", Password: "lima"}},
	}, Config{Kind: KindAD, Label: "lima.test", Domains: []string{"PERU", "sucursal.example"}})
	dir := plainDirectory()
	dir.Domain = "old.test"
	dir.Users = []ldaptest.User{{SAMAccountName: "juan", Password: "old"}, {SAMAccountName: "eva", Password: "old"}, {SAMAccountName: "svc", Password: servicePass}}
	old = branchOf(dir, Config{Kind: KindGeneric, Label: "old.test", BindUser: "uid=svc,ou=people,dc=old,dc=test", BindPassword: servicePass})
	return madrid, lima, old, []*Directory{lima.Directory, madrid.Directory, old.Directory}
}

func TestChoose(t *testing.T) {
	madrid, lima, old, all := branches(t)
	seeing := []*Directory{madrid.Directory, old.Directory}
	tests := []struct {
		what        string
		directories []*Directory
		name        string
		want        *Directory // nil: refused
	}{
		{"its label", all, "juan@madrid.test", madrid.Directory},
		{"its label in another case", all, "juan @OLD.test", old.Directory},
		{"the front of its label", all, `lima\juan`, lima.Directory},
		{"a further name", all, `peru\juan`, lima.Directory},
		{"a further suffix", all, "nobody@sucursal.example", lima.Directory},
		{"what the domain calls itself", all, `central\juan`, madrid.Directory},
		{"no directory's prefix", all, `NADA\juan`, nil},
		{"a suffix that one knows", all, "ana@madrid.example", madrid.Directory},
		{"a suffix that several have, and who has the person", all, "ana@empresa.example", madrid.Directory},
		{"nobody's suffix: an e-mail address, for all we know", seeing, "juan@mail.example", madrid.Directory},
		{"a bare name: the first one that has it", []*Directory{old.Directory, madrid.Directory}, "juan", old.Directory},
		{"a bare name of the second", seeing, "eva", old.Directory},
		{"a bare name for two people of one directory", []*Directory{old.Directory, madrid.Directory}, "twin", madrid.Directory},
		{"a bare name that the one without a service account may have", all, "rosa", lima.Directory},
		{"a bare name that all can look up and none has", seeing, "nadie", madrid.Directory},
		{"a bare name that is found before the blind one counts", all, "eva", old.Directory},
		{"a name that no directory is shown", all, "ju\x00an", lima.Directory},
		{"a filter", seeing, "*)(uid=*", madrid.Directory},
		{"one directory only", []*Directory{old.Directory}, `NADA\juan`, old.Directory},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			got, err := Choose(context.Background(), test.directories, test.name)
			var refused *RefusedError
			switch {
			case test.want == nil:
				if !errors.As(err, &refused) || got != nil {
					t.Errorf("Choose(%q) = %v, %v, want a refusal", test.name, got, err)
				}
			case err != nil:
				t.Errorf("Choose(%q): %v", test.name, err)
			case got != test.want:
				t.Errorf("Choose(%q) = %s, want %s", test.name, got.Label(), test.want.Label())
			}
		})
	}
	if n := madrid.wire.bindsBut("svc@madrid.test") + old.wire.bindsBut("uid=svc,ou=people,dc=old,dc=test") + len(lima.wire.binds()); n != 0 {
		t.Errorf("%d binds of people: choosing needs no password", n)
	}
	if _, err := Choose(context.Background(), nil, "juan"); err == nil {
		t.Error("there is none to choose")
	}
}

// To go on to the next directory when one cannot be asked would send somebody's
// password to the wrong one.
func TestADirectoryThatCannotBeAskedIsNotPassedOver(t *testing.T) {
	for _, name := range []string{"juan", "eva", "juan@mail.example", `NADA\juan`} {
		t.Run(name, func(t *testing.T) {
			madrid, lima, old, _ := branches(t)
			madrid.server.Observe(func(r ldaptest.Request) ldaptest.Fault { return ldaptest.Fault{HangUp: true} })
			d, err := Choose(context.Background(), []*Directory{madrid.Directory, old.Directory, lima.Directory}, name)
			var u *UnavailableError
			if !errors.As(err, &u) || d != nil || u.Sent {
				t.Errorf("Choose = %v, %v, want unavailable", d, err)
			}
			if n := old.wire.bindsBut("uid=svc,ou=people,dc=old,dc=test") + len(lima.wire.binds()); n != 0 {
				t.Errorf("%d binds", n)
			}
		})
	}
	t.Run("a rejected service account", func(t *testing.T) {
		madrid, _, old, _ := branches(t)
		madrid.server.Observe(func(r ldaptest.Request) ldaptest.Fault {
			if r.Bind {
				return ldaptest.Fault{Code: goldap.LDAPResultInvalidCredentials}
			}
			return ldaptest.Fault{}
		})
		_, err := Choose(context.Background(), []*Directory{madrid.Directory, old.Directory}, "juan")
		var u *UnavailableError
		if !errors.As(err, &u) || u.Reason != ReasonServiceAccountRejected {
			t.Errorf("got %v", err)
		}
	})
	t.Run("names that name another one go on", func(t *testing.T) {
		madrid, lima, old, all := branches(t)
		madrid.server.Observe(func(r ldaptest.Request) ldaptest.Fault { return ldaptest.Fault{HangUp: true} })
		for name, want := range map[string]*Directory{"juan@old.test": old.Directory, `LIMA\juan`: lima.Directory} {
			if d, err := Choose(context.Background(), all, name); d != want {
				t.Errorf("Choose(%q) = %v, %v", name, d, err)
			}
		}
	})
	t.Run("the client that goes away", func(t *testing.T) {
		_, _, _, all := branches(t)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := Choose(ctx, all, "juan")
		var u *UnavailableError
		if !errors.As(err, &u) || u.Reason != ReasonCancelled {
			t.Errorf("got %v", err)
		}
	})
}

// Everybody has a juan with a password of their own: only one directory ever
// sees what was typed.
func TestAPasswordReachesOneDirectoryOnly(t *testing.T) {
	for _, name := range []string{"juan", "juan@lima.test", `CENTRAL\juan`, "juan@old.test", "rosa", "nadie", "juan@mail.example", "juan@nowhere.example"} {
		for _, password := range []string{"madrid", "lima", "old", "wrong"} {
			madrid, lima, old, all := branches(t)
			if d, err := Choose(context.Background(), all, name); err == nil {
				d.SignIn(context.Background(), name, password)
			}
			sent := []int{
				madrid.wire.bindsBut("svc@madrid.test"),
				old.wire.bindsBut("uid=svc,ou=people,dc=old,dc=test"),
				len(lima.wire.binds()),
			}
			if sent[0]+sent[1]+sent[2] > 1 {
				t.Errorf("%q: the password was sent %v times to the directories", name, sent)
			}
		}
	}
}

// The NetBIOS name is read where a service account can, before a name with it
// is refused: after a start nobody has signed in yet.
func TestUnknownPrefixesAreLookedUpOnce(t *testing.T) {
	madrid, _, _, all := branches(t)
	if _, err := Choose(context.Background(), all, `NADA\juan`); err == nil {
		t.Fatal("chosen")
	}
	searches := madrid.server.Searches()
	for range 10 {
		Choose(context.Background(), all, `NADA\juan`)
	}
	if n := madrid.server.Searches() - searches; n != 0 {
		t.Errorf("%d searches for names that are known not to be", n)
	}
	if d, err := Choose(context.Background(), all, `CENTRAL\juan`); d != madrid.Directory {
		t.Errorf("got %v, %v", d, err)
	}
}

func named(t *testing.T, label string, domains ...string) *Directory {
	t.Helper()
	d, _ := open(t, Config{Kind: KindAD, Label: label, Servers: []string{"ldaps://dc1." + label}, Domains: domains})
	return d
}

// What people type for one account is counted as one; what is another account
// is not.
func TestAccountName(t *testing.T) {
	d := named(t, "corp.test", "Filial.Example")
	for want, spellings := range map[string][]string{
		"munoz": {
			"muñoz", "MUÑOZ", "munoz", "mun\u0303oz", "ｍｕｎｏｚ", " muñoz ", "mu ñoz", "mu\u00a0ñoz", "mu\u200bñoz", "mu\u00adñoz", "\u202emuñoz",
			"muñoz@corp.test", "MUÑOZ @ Corp.TEST", `CORP\muñoz`, `corp\ Muñoz`, `corp.test\muñoz`, "muñoz@CORP", "muñoz@filial.example", `FILIAL.example\muñoz`,
			"𝐦𝐮𝐧𝐨𝐳", "ⓜⓤⓝⓞⓩ",
		},
		"かな":                   {"かな", "カナ", "ｶﾅ", "がな", "ｶﾞﾅ"},
		"strasse":              {"straße", "STRASSE", "STRAẞE"},
		"ii":                   {"Iİ"},
		"iı":                   {"iı"}, // a letter of its own
		"juan@other.test":      {"juan@other.test", "JUAN@Other.Test", "juan @ other.test", "ｊuan@other.test"},
		`other\juan`:           {`OTHER\juan`, `other\ JUAN`},
		"a@b@c":                {"a@b@c", "A@B@C"},
		"":                     {"", " ", "a\x00", "a\n", "\xff", strings.Repeat("a", 257)},
		"cn=juan,dc=corp":      {"cn=juan,dc=corp", "CN=Juan, DC=Corp"},
		"o'neill":              {"O'Neill@corp.test", "o'neill"},
		"juan@sub.corp.test":   {"juan@sub.corp.test"},
		"juan@corp.test.evil":  {"juan@corp.test.evil"},
		"juan.perez":           {"juan.perez"},
		"juan-perez":           {"Juan-Pérez"},
		"juan_perez":           {"juan_perez"},
		"juan1":                {"juan1", "juan¹"},
		"юра":                  {"Юра", "ЮРА"},
		"משה":                  {"משה"},
		"李":                    {"李"},
		"juan@xn--corp-x.test": {"juan@xn--corp-x.test"},
	} {
		for _, typed := range spellings {
			if got := d.AccountName(typed); got != want {
				t.Errorf("AccountName(%q) = %q, want %q", typed, got, want)
			}
		}
	}
	different := []string{
		"juan", "juana", "juan1", "juan2", "juan.perez", "juan-perez", "juanperez", "juan@other.test", `other\juan`, "juan@other.test2", "other@juan",
		"юра", "jura", "ı", "l", "o", "0", "かな", "かに", "李", "理", "a@b@c", "abc", "cn=juan,dc=corp",
	}
	seen := map[string]string{}
	for _, typed := range different {
		name := d.AccountName(typed)
		if before, ok := seen[name]; ok {
			t.Errorf("%q and %q are counted as one: %q", before, typed, name)
		}
		seen[name] = typed
	}
}

func TestOwns(t *testing.T) {
	d := named(t, "corp.test", "filial.example")
	for typed, want := range map[string]bool{
		"juan@corp.test": true, " Juan @ CORP.Test ": true, `CORP\juan`: true, `corp.test\juan`: true, "juan@corp": true, "juan@filial.example": true,
		"juan": false, "juan@other.test": false, `OTHER\juan`: false, "juan@sub.corp.test": false, "juan@corp.test.evil": false, "@corp.test": false,
		`CORP\`: false, "juan\x00@corp.test": false, "": false, "a@b@corp.test": false,
	} {
		if got := d.Owns(typed); got != want {
			t.Errorf("Owns(%q) = %v", typed, got)
		}
	}
}

func FuzzAccountName(f *testing.F) {
	for _, s := range []string{"muñoz", `CORP\ｊuan`, "STRAẞE@corp.test", "a@b@c", "\u0345\u200b", "ｶﾞ"} {
		f.Add(s)
	}
	d := &Directory{names: newDomainNames("corp.test", nil)}
	f.Fuzz(func(t *testing.T, typed string) {
		name := d.AccountName(typed)
		if name == "" {
			return
		}
		if strings.ContainsAny(name, " \x00\n") || name != strings.TrimSpace(name) {
			t.Errorf("AccountName(%q) = %q", typed, name)
		}
		for _, same := range []string{" " + typed, typed + " "} {
			if again := d.AccountName(same); again != name && again != "" {
				t.Errorf("AccountName(%q) = %q, of %q it is %q", same, again, typed, name)
			}
		}
	})
}

// Two domains, each of which looks like the other's NetBIOS name: what a server
// says of itself counts, and nobody's password goes to the wrong one.
func TestNetBIOSNamesThatLookLikeAnothersLabel(t *testing.T) {
	domain := func(label, netBIOS string) *Directory {
		dir := ldaptest.Demo()
		dir.Domain, dir.NetBIOS = label, netBIOS
		s := serve(t, dir)
		config := adConfig(s)
		config.Label, config.BindUser, config.BindPassword = label, "mgarcia@"+label, "secreto"
		d, _ := open(t, config)
		return d
	}
	acme, corp := domain("acme.test", "CORP"), domain("corp.test", "ACME")
	for name, want := range map[string]*Directory{`CORP\ac12345`: acme, `ACME\ac12345`: corp, "ac12345@corp.test": corp} {
		if d, err := Choose(context.Background(), []*Directory{corp, acme}, name); d != want {
			t.Errorf("Choose(%q) = %v, %v", name, d, err)
		}
	}
}
