package realserver

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// The tests of this file ask the controller itself: what other tests conclude
// holds only if accounts and groups are what their names say.

func TestSambaAccountStates(t *testing.T) {
	dc := servers.Samba(t)
	tests := []struct {
		what         string
		account      Account
		right, wrong string // in the diagnostic for that password; empty: success
	}{
		{"in good state", dc.Juan, "", "data 52e"},
		{"no mail", dc.NoUPN, "", "data 52e"},
		{"disabled", dc.Disabled, "data 533", "data 52e"},
		{"account expired", dc.AccountExpired, "data 701", "data 52e"},
		{"logon hours", dc.LogonHours, "data 530", "data 52e"},
		{"workstation", dc.Workstation, "data 531", "data 52e"},
		{"password expired by the domain's rule", dc.PasswordExpired, "data 532", "data 52e"},
		{"password expired by a settings object", dc.WeeklyPassword, "data 532", "data 52e"},
		{"must change", dc.MustChange, "data 773", "data 52e"},
		{"locked", dc.Locked, "data 775", "data 775"},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			name := test.account.Username + "@" + dc.Domain
			expectBind(t, dc, name, test.account.Password, test.right)
			expectBind(t, dc, name, "wrong", test.wrong)
		})
	}
}

func TestSambaTwinsShareTheirMail(t *testing.T) {
	dc := servers.Samba(t)
	if found := find(t, &dc.server, "(mail="+dc.TwinA.Email+")"); len(found) != 2 {
		t.Errorf("%d entries have the mail address %q, want 2", len(found), dc.TwinA.Email)
	}
}

func TestSambaNestingIsTenDeepWithACycle(t *testing.T) {
	dc := servers.Samba(t)
	token := dc.TokenSIDs(t, dc.Juan)
	for _, group := range slices.Concat([]string{dc.Engineering, dc.Staff}, dc.Levels[:]) {
		if !slices.Contains(token, dc.SID(t, group)) {
			t.Errorf("the token of Juan lacks %q", group)
		}
	}
	first := dc.Attributes(t, dc.Levels[0], "member").GetAttributeValues("member")
	if !slices.Contains(first, dc.Levels[len(dc.Levels)-1]) {
		t.Errorf("members of the first level are %q: no cycle", first)
	}
	if token[0] != dc.SID(t, dc.Juan.DN) {
		t.Errorf("the token begins with %q, want Juan's own SID", token[0])
	}
}

func TestSambaSpecialNames(t *testing.T) {
	dc := servers.Samba(t)
	last := len(dc.Special) - 1
	for i, a := range dc.Special {
		t.Run(a.Name, func(t *testing.T) {
			expectBind(t, dc, a.UPN, a.Password, "")
			if cn := dc.Attributes(t, a.DN, "cn").GetAttributeValue("cn"); cn != a.Name {
				t.Errorf("cn = %q, want %q", cn, a.Name)
			}
			token := dc.TokenSIDs(t, a)
			for _, group := range []string{dc.SpecialGroups[i], dc.SpecialGroups[last]} {
				if !slices.Contains(token, dc.SID(t, group)) {
					t.Errorf("the token lacks %q", group)
				}
			}
			// The way of a client that knows DNs: escaped once more for the filter.
			groups := find(t, &dc.server, "(member="+ldap.EscapeFilter(a.DN)+")")
			want := 2
			if i == last {
				want = 1
			}
			if len(groups) != want {
				t.Errorf("the groups found by member are %q, want %d", groups, want)
			}
		})
	}
}

func TestSambaCrowdedIsInAllGroups(t *testing.T) {
	dc := servers.Samba(t)
	start := time.Now()
	a := dc.Crowded(t)
	t.Logf("making the groups took %v", time.Since(start))
	if again := dc.Crowded(t); again != a {
		t.Errorf("the second call gave %+v", again)
	}
	direct := dc.Attributes(t, a.DN, "memberOf").GetAttributeValues("memberOf")
	if len(direct) != crowdSize {
		t.Errorf("memberOf has %d values, want %d", len(direct), crowdSize)
	}
	token := dc.TokenSIDs(t, a)
	if len(token) <= crowdSize || !slices.Contains(token, dc.SID(t, direct[crowdSize/2])) {
		t.Errorf("the token has %d SIDs, want all %d groups and more", len(token), crowdSize)
	}
}

func TestSambaAccountsCanBeChanged(t *testing.T) {
	dc := servers.Samba(t)
	a := dc.NewAccount(t, "cambiante")
	bind := func(t *testing.T, password, want string) {
		t.Helper()
		expectBind(t, dc, a.UPN, password, want)
	}
	bind(t, a.Password, "")

	dc.Disable(t, a)
	bind(t, a.Password, "data 533")
	dc.Enable(t, a)
	bind(t, a.Password, "")

	dc.ExpireAccount(t, a, time.Now().Add(-time.Hour))
	bind(t, a.Password, "data 701")
	dc.ExpireAccount(t, a, time.Now().Add(time.Hour))
	bind(t, a.Password, "")
	dc.ExpireAccount(t, a, time.Time{})
	bind(t, a.Password, "")

	dc.RequirePasswordChange(t, a)
	bind(t, a.Password, "data 773")
	before := dc.Attributes(t, a.DN, "pwdLastSet").GetAttributeValue("pwdLastSet")
	dc.SetPassword(t, a, "Otra-Clave-1")
	if after := dc.Attributes(t, a.DN, "pwdLastSet").GetAttributeValue("pwdLastSet"); after == before {
		t.Errorf("pwdLastSet is still %q after the password was set", after)
	}

	bind(t, "Otra-Clave-1", "")

	dc.AgePassword(t, a, time.Now().Add(-43*24*time.Hour))
	bind(t, "Otra-Clave-1", "data 532")
	dc.AgePassword(t, a, time.Now().Add(-41*24*time.Hour))
	bind(t, "Otra-Clave-1", "")
}

func TestSambaEntriesCanBeMovedAndRenamed(t *testing.T) {
	dc := servers.Samba(t)
	a := dc.NewAccount(t, "movida")
	sid := dc.SID(t, a.DN)
	for _, step := range []struct {
		what   string
		change func(Account) Account
	}{
		{"another CN", func(a Account) Account { return dc.Rename(t, a, a.Username+`, \ otra`) }},
		{"another OU", func(a Account) Account { return dc.Move(t, a, dc.OtherOU) }},
		{"another name", func(a Account) Account { return dc.SetUsername(t, a, unique("casada")) }},
	} {
		a = step.change(a)
		if got := dc.SID(t, a.DN); got != sid {
			t.Errorf("%s: the SID is %q, want still %q", step.what, got, sid)
		}
		expectBind(t, dc, a.UPN, a.Password, "")
	}
	if !strings.HasSuffix(a.DN, dc.OtherOU) {
		t.Errorf("DN = %q, want it below %q", a.DN, dc.OtherOU)
	}
}

func TestSambaGroupsCanBeChanged(t *testing.T) {
	dc := servers.Samba(t)
	a, b := dc.NewAccount(t, "socia"), dc.NewAccount(t, "socio")
	group := dc.NewGroup(t, "club", b)
	sid := dc.SID(t, group)
	has := func(a Account) bool { return slices.Contains(dc.TokenSIDs(t, a), sid) }
	if has(a) || !has(b) {
		t.Errorf("in the group at first: %v, %v; want only the second", has(a), has(b))
	}
	dc.AddToGroup(t, group, a)
	dc.RemoveFromGroup(t, group, b)
	if !has(a) || has(b) {
		t.Errorf("in the group then: %v, %v; want only the first", has(a), has(b))
	}
}

func TestSambaAccountMadeAgainIsAnother(t *testing.T) {
	dc := servers.Samba(t)
	a := dc.NewAccount(t, "repetida")
	before := dc.SID(t, a.DN)
	dc.Delete(t, a)
	expectBind(t, dc, a.UPN, a.Password, "data 52e")
	dc.Create(t, a)
	expectBind(t, dc, a.UPN, a.Password, "")
	if after := dc.SID(t, a.DN); after == before {
		t.Errorf("the SID is %q before and after", after)
	}
}

func TestSambaLeavesNothingBehind(t *testing.T) {
	dc := servers.Samba(t)
	names := make(map[string]bool)
	t.Run("making", func(t *testing.T) {
		a, b, c := dc.NewAccount(t, "pasajera"), dc.NewAccount(t, "pasajera"), dc.NewAccount(t, "pasajera")
		dc.Move(t, a, dc.OtherOU)
		dc.Delete(t, b)
		dc.NewGroup(t, "pasajeros", c)
		names[a.Username], names[b.Username], names[c.Username] = true, true, true
	})
	if len(names) != 3 {
		t.Errorf("the names are %v, want three different ones", names)
	}
	if left := find(t, &dc.server, "(sAMAccountName=pasajer*)"); len(left) > 0 {
		t.Errorf("still there: %q", left)
	}
}

func TestSambaLockoutThreshold(t *testing.T) {
	dc := servers.Samba(t)
	const attribute = "lockoutThreshold"
	threshold := func() string {
		return dc.Attributes(t, dc.BaseDN, attribute).GetAttributeValue(attribute)
	}
	before := threshold()
	t.Run("changed", func(t *testing.T) {
		dc.SetLockoutThreshold(t, 2)
		a := dc.NewAccount(t, "despistada")
		expectBind(t, dc, a.UPN, "wrong", "data 52e")
		if n := dc.BadPwdCount(t, a); n != 1 {
			t.Errorf("badPwdCount is %d, want 1", n)
		}
		expectBind(t, dc, a.UPN, "wrong", "data 52e")
		expectBind(t, dc, a.UPN, a.Password, "data 775")
		dc.Unlock(t, a)
		expectBind(t, dc, a.UPN, a.Password, "")
	})
	if after := threshold(); after != before || before != "0" {
		t.Errorf("the threshold was %q and is %q, want 0 before and after", before, after)
	}
}

// expectBind tells what the controller makes of a bind: want is in its
// diagnostic, or empty for success.
func expectBind(t *testing.T, dc *Samba, name, password, want string) {
	t.Helper()
	err := dc.TryBind(name, password)
	var refusal *ldap.Error
	switch {
	case want == "" && err != nil:
		t.Errorf("binding as %q: %v", name, err)
	case want != "" && (!errors.As(err, &refusal) || !strings.Contains(err.Error(), want+",")):
		t.Errorf("binding as %q: %v, want %q", name, err, want)
	}
}

// find returns the DNs of what a filter hits.
func find(t *testing.T, s *server, filter string) []string {
	t.Helper()
	result, err := s.Admin(t).Search(&ldap.SearchRequest{
		BaseDN: s.BaseDN, Scope: ldap.ScopeWholeSubtree, Filter: filter, Attributes: []string{"1.1"},
	})
	if err != nil {
		t.Fatalf("searching %q: %v", filter, err)
	}
	var dns []string
	for _, entry := range result.Entries {
		dns = append(dns, entry.DN)
	}
	return dns
}
