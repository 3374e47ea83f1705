package realserver

import (
	"slices"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

func TestSlapdLevels(t *testing.T) {
	s := servers.Slapd(t)
	parents := func(t *testing.T, dn string) []string {
		t.Helper()
		name := ldap.EscapeFilter(dn)
		found := find(t, &s.server, "(|(member="+name+")(uniqueMember="+name+"))")
		slices.Sort(found)
		return found
	}
	last := len(s.Levels) - 1
	for i, dn := range s.Levels {
		var want []string
		switch i {
		case 4:
			want = []string{s.Levels[5], s.Unique}
		case last:
			want = []string{s.Levels[last-1]}
		default:
			want = []string{s.Levels[i+1]}
		}
		if got := parents(t, dn); !slices.Equal(got, want) {
			t.Errorf("level %d is in %q, want %q", i+1, got, want)
		}
	}
	if got := parents(t, s.Deep.DN); !slices.Equal(got, s.Levels[:1]) {
		t.Errorf("Deep is in %q", got)
	}
	if got := parents(t, s.Middle.DN); !slices.Equal(got, s.Levels[4:5]) {
		t.Errorf("Middle is in %q", got)
	}
	if got := parents(t, s.Engineering); !slices.Equal(got, []string{s.Staff}) {
		t.Errorf("Engineering is in %q, want Staff", got)
	}
}

func TestSlapdCrowded(t *testing.T) {
	s := servers.Slapd(t)
	start := time.Now()
	a := s.Crowded(t)
	t.Logf("making the groups took %v", time.Since(start))
	if again := s.Crowded(t); again != a {
		t.Errorf("the second call gave %+v", again)
	}
	if n := len(find(t, &s.server, "(member="+ldap.EscapeFilter(a.DN)+")")); n != slapdCrowdSize {
		t.Errorf("in %d groups, want %d", n, slapdCrowdSize)
	}
	if n := len(s.Attributes(t, a.DN, "memberOf").GetAttributeValues("memberOf")); n != slapdCrowdSize {
		t.Errorf("memberOf has %d values, want %d", n, slapdCrowdSize)
	}
}

func TestSlapdEntriesCanBeChanged(t *testing.T) {
	s := servers.Slapd(t)
	var username string
	t.Run("making", func(t *testing.T) {
		a, b := s.NewAccount(t, "cambiante"), s.NewAccount(t, "cambiante")
		username = a.Username
		group := s.NewGroup(t, "club", a)
		s.AddToGroup(t, group, b)
		s.RemoveFromGroup(t, group, a)
		if got := s.Attributes(t, group, "member").GetAttributeValues("member"); !slices.Equal(got, []string{b.DN}) {
			t.Errorf("members are %q, want only the second", got)
		}

		s.SetPassword(t, a.DN, "otra")
		expectAnswer(t, &s.server, a.DN, a.Password, answer{code: ldap.LDAPResultInvalidCredentials})
		expectAnswer(t, &s.server, a.DN, "otra", answer{})

		id := func() string { return s.Attributes(t, a.DN, "entryUUID").GetAttributeValue("entryUUID") }
		before := id()
		a = s.SetUsername(t, a, unique("casada"))
		if after := id(); after != before {
			t.Errorf("renamed, the entryUUID is %q, want still %q", after, before)
		}
		s.Delete(t, a)
		expectAnswer(t, &s.server, a.DN, "otra", answer{code: ldap.LDAPResultInvalidCredentials})
		s.Create(t, a)
		expectAnswer(t, &s.server, a.DN, a.Password, answer{})
		if after := id(); after == before {
			t.Errorf("made again, the entryUUID is still %q", after)
		}
	})
	for _, filter := range []string{"(uid=cambiante*)", "(uid=casada*)", "(cn=club-*)"} {
		if left := find(t, &s.server, filter); len(left) > 0 {
			t.Errorf("still there: %q", left)
		}
	}
	if username == "" {
		t.Error("the account has no name")
	}
}

func TestSlapdPasswordPolicy(t *testing.T) {
	s := NewSlapd(t, SlapdOptions{PasswordPolicy: true})
	const refused = ldap.LDAPResultInvalidCredentials
	tests := []struct {
		what         string
		account      Account
		right, wrong answer
	}{
		{"in good state", s.Lucia, answer{}, answer{code: refused}},
		{"must change", s.MustChange, answer{control: "must change"}, answer{code: refused}},
		{"password expired", s.PasswordExpired, answer{code: refused, control: "expired"}, answer{code: refused}},
		{"grace left", s.Grace, answer{control: "grace"}, answer{code: refused}},
		{"expires soon", s.Warned, answer{control: "warning"}, answer{code: refused}},
		{"not yet locked", s.Clumsy, answer{}, answer{code: refused}},
		{"locked", s.Locked, answer{code: refused, control: "locked"}, answer{code: refused, control: "locked"}},
		{"locked by an administrator", s.AdminLocked,
			answer{code: refused, control: "locked"}, answer{code: refused, control: "locked"}},
		{"service account", s.Service, answer{}, answer{code: refused}},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			expectAnswer(t, &s.server, test.account.DN, test.account.Password, test.right)
			expectAnswer(t, &s.server, test.account.DN, "wrong", test.wrong)
		})
	}
	t.Run("changed", func(t *testing.T) {
		a := s.NewAccount(t, "nueva")
		expectAnswer(t, &s.server, a.DN, a.Password, answer{})
		s.Lock(t, a)
		expectAnswer(t, &s.server, a.DN, a.Password, answer{code: refused, control: "locked"})
		s.Unlock(t, a)
		expectAnswer(t, &s.server, a.DN, a.Password, answer{})
		s.SetPassword(t, a.DN, "otra")
		expectAnswer(t, &s.server, a.DN, "otra", answer{})
		s.RequirePasswordChange(t, a)
		expectAnswer(t, &s.server, a.DN, "otra", answer{control: "must change"})
	})
}

// answer is what a server says to a bind.
type answer struct {
	code    uint16 // zero: success
	control string // what the password policy control says; empty: nothing
}

func expectAnswer(t *testing.T, s *server, dn, password string, want answer) {
	t.Helper()
	conn, err := dial(s.URL, s.CA.Pool())
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	defer conn.Close()
	request := ldap.NewSimpleBindRequest(dn, password, []ldap.Control{ldap.NewControlBeheraPasswordPolicy()})
	result, err := conn.SimpleBind(request)
	var got answer
	if err != nil {
		refusal, ok := err.(*ldap.Error)
		if !ok {
			t.Fatalf("binding as %q: %v", dn, err)
		}
		got.code = refusal.ResultCode
	}
	control, _ := ldap.FindControl(result.Controls, ldap.ControlTypeBeheraPasswordPolicy).(*ldap.ControlBeheraPasswordPolicy)
	switch {
	case control == nil:
	case control.Error == 0:
		got.control = "expired"
	case control.Error == 1:
		got.control = "locked"
	case control.Error == 2:
		got.control = "must change"
	case control.Error > 2:
		got.control = control.ErrorString
	case control.Grace >= 0:
		got.control = "grace"
	case control.Expire >= 0:
		got.control = "warning"
	}
	if got != want {
		t.Errorf("binding as %q: %+v, want %+v", dn, got, want)
	}
}
