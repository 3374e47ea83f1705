package realserver

import (
	"slices"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

func TestDS389AccountStates(t *testing.T) {
	s := servers.DS389(t)
	const wrong = ldap.LDAPResultInvalidCredentials
	// Whoever was locked must not be told apart by the password.
	locked := answer{code: ldap.LDAPResultConstraintViolation, control: "locked"}
	inactive := answer{code: ldap.LDAPResultUnwillingToPerform, control: "locked"}
	tests := []struct {
		what         string
		account      Account
		right, wrong answer
	}{
		{"in good state", s.Nerea, answer{}, answer{code: wrong}},
		{"not yet locked", s.Clumsy, answer{}, answer{code: wrong}},
		{"locked", s.Locked, locked, locked},
		{"inactive", s.Inactive, inactive, inactive},
		{"must change", s.MustChange, answer{control: "must change"}, answer{code: wrong}},
		{"password expired", s.PasswordExpired, answer{code: wrong, control: "expired"}, answer{code: wrong}},
		{"grace left", s.Grace, answer{control: "grace"}, answer{code: wrong}},
		{"service account", s.Service, answer{}, answer{code: wrong}},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			expectAnswer(t, &s.server, test.account.DN, test.account.Password, test.right)
			expectAnswer(t, &s.server, test.account.DN, "wrong", test.wrong)
		})
	}
}

func TestDS389MemberOf(t *testing.T) {
	s := servers.DS389(t)
	got := s.Attributes(t, s.Nerea.DN, "memberOf").GetAttributeValues("memberOf")
	slices.Sort(got)
	if want := []string{s.Engineering, s.Staff}; !slices.Equal(got, want) {
		t.Errorf("memberOf = %q, want %q", got, want)
	}
}

func TestDS389ServiceAccountMayRead(t *testing.T) {
	s := servers.DS389(t)
	for _, test := range []struct {
		what         string
		dn, password string
		want         int
	}{
		{"service account", s.Service.DN, s.Service.Password, 1},
		{"anonymous", "", "", 0},
	} {
		t.Run(test.what, func(t *testing.T) {
			conn, err := dial(s.URL, s.CA.Pool())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if test.dn != "" {
				if err := conn.Bind(test.dn, test.password); err != nil {
					t.Fatal(err)
				}
			}
			result, err := conn.Search(&ldap.SearchRequest{
				BaseDN: s.BaseDN, Scope: ldap.ScopeWholeSubtree,
				Filter: "(uid=" + s.Nerea.Username + ")", Attributes: []string{"nsUniqueId"},
			})
			if err != nil || len(result.Entries) != test.want {
				t.Fatalf("found %d entries, %v; want %d", len(result.Entries), err, test.want)
			}
			for _, entry := range result.Entries {
				if entry.GetAttributeValue("nsUniqueId") == "" {
					t.Error("the entry has no nsUniqueId")
				}
			}
		})
	}
}

func TestDS389AccountsCanBeChanged(t *testing.T) {
	s := servers.DS389(t)
	t.Run("making", func(t *testing.T) {
		a := s.NewAccount(t, "cambiante")
		s.AddToGroup(t, s.Staff, a)
		s.RemoveFromGroup(t, s.Staff, a)
		s.Disable(t, a)
		expectAnswer(t, &s.server, a.DN, a.Password,
			answer{code: ldap.LDAPResultUnwillingToPerform, control: "locked"})
		s.Enable(t, a)
		expectAnswer(t, &s.server, a.DN, a.Password, answer{})
		s.SetPassword(t, a, "otra")
		expectAnswer(t, &s.server, a.DN, "otra", answer{})
		s.Delete(t, s.NewAccount(t, "cambiante"))
	})
	if left := find(t, &s.server, "(uid=cambiante*)"); len(left) > 0 {
		t.Errorf("still there: %q", left)
	}
}
