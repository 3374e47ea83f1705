package integration

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap"
)

// Row 32, with more levels. Groups of memberUid and uniqueMember are found too,
// and the cycle at the top ends the walk.
func TestOpenLDAPNestedGroups(t *testing.T) {
	s := servers.Slapd(t)
	config := openldapConfig(s)
	config.GroupBase = "ou=grupos," + s.BaseDN
	d := open(t, config)

	media := d.expectIdentity(t, s.Middle.Username, s.Middle.Password)
	want := append([]string{s.Unique}, s.Levels[4:]...)
	expectGroups(t, media, want...)
	expectGroups(t, d.expectIdentity(t, "lucia", s.Lucia.Password), s.Engineering, s.Staff, s.Posix)
	expectGroups(t, d.expectIdentity(t, "pedro", s.Pedro.Password), s.Staff)
	expectGroups(t, d.expectIdentity(t, "solo", s.Alone.Password))

	// Twelve levels are more than are walked: signing in with the first ten
	// would be a list without those that a rule may be about.
	d.expectRefused(t, s.Deep.Username, s.Deep.Password, ldap.ReasonTooManyGroups)
	d.expectRefused(t, s.Deep.Username, "wrong", ldap.ReasonBadCredentials)
}

// Row 27: what people's entries name and what names people is the same list.
func TestOpenLDAPGroupsFromMemberOfAndFromMemberAreEqual(t *testing.T) {
	s := servers.Slapd(t)
	config := openldapConfig(s)
	fromBoth := open(t, config)
	config.Attributes.MemberOf = "-"
	fromMember := open(t, config)
	for _, account := range []realserver.Account{s.Lucia, s.Pedro, s.Odd, s.Alone, s.Middle} {
		a := fromBoth.expectIdentity(t, account.Username, account.Password)
		b := fromMember.expectIdentity(t, account.Username, account.Password)
		if !ldap.SameGroups(a.Groups, b.Groups) {
			t.Errorf("%s is in %+v, and without memberOf in %+v", account.Username, a.Groups, b.Groups)
		}
	}
}

// Row 32: slapd finds nothing by AD's own matching rule, and says nothing.
func TestInChainFilterIsRefusedWithoutAD(t *testing.T) {
	s := servers.Slapd(t)
	config := openldapConfig(s)
	config.Kind, config.GroupFilter = ldap.KindOpenLDAP, "(member:1.2.840.113556.1.4.1941:={dn})"
	config.Logger = slog.New(slog.DiscardHandler)
	d, err := ldap.New(config)
	if err == nil {
		d.Close()
		t.Fatal("it is accepted")
	}
	if !strings.Contains(err.Error(), "AD only") {
		t.Errorf("the error %q does not say that it is for AD only", err)
	}
}

func TestOpenLDAPMoreGroupsThanAreReadRefuses(t *testing.T) {
	s := realserver.NewSlapd(t, realserver.SlapdOptions{})
	crowded := s.Crowded(t)
	config := openldapConfig(s)
	for _, memberOf := range []string{"", "-"} {
		config.Attributes.MemberOf = memberOf
		d := open(t, config)
		d.expectRefused(t, crowded.Username, crowded.Password, ldap.ReasonTooManyGroups)
		d.expectIdentity(t, "lucia", s.Lucia.Password)
	}
}

// From here on Samba is slower: 1,700 groups are there for all that follows.
func TestADPersonInSeventeenHundredGroups(t *testing.T) {
	dc := servers.Samba(t)
	crowded := dc.Crowded(t)
	for _, test := range []struct {
		what   string
		config ldap.Config
	}{
		{"without a service account", adConfig(dc)},
		{"with one", adServiceConfig(dc)},
	} {
		t.Run(test.what, func(t *testing.T) {
			test.config.Groups = []string{"muchos-0001", "muchos-1700", "staff"}
			d := open(t, test.config)
			start := time.Now()
			popular := d.expectIdentity(t, crowded.Username, crowded.Password)
			t.Logf("the sign-in took %v", time.Since(start))
			if len(popular.Groups) < 1700 {
				t.Errorf("%d groups, want 1700 and some", len(popular.Groups))
			}
			for ref, member := range map[string]bool{"muchos-0001": true, "muchos-1700": true, "staff": false} {
				group, ok := d.Group(ref)
				if !ok || hasGroup(popular, group.ID) != member {
					t.Errorf("Group(%q) = %+v, %v; membership should be %v", ref, group, ok, member)
				}
			}
		})
	}
}

// expectGroups compares an identity's groups with DNs, in any order.
func expectGroups(t *testing.T, identity *ldap.Identity, dns ...string) {
	t.Helper()
	want, got := []string{}, []string{}
	for _, dn := range dns {
		id, err := ldap.NormalizeDN(dn)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	for _, group := range identity.Groups {
		got = append(got, group.ID)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s is in\n%q\nwant\n%q", identity.Username, got, want)
	}
}
