package ldap

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// fileTimeOf spells a time as AD does.
func fileTimeOf(at time.Time) string {
	return strconv.FormatInt(at.UnixNano()/100+116444736000000000, 10)
}

// kinds are the two families with somebody in some groups, and a service account.
var kinds = []struct {
	what   string
	dir    func() ldaptest.Directory
	config func(s *ldaptest.Server) Config
	set    string // attribute with the time of the last change of the password
	time   func(at time.Time) string
	until  string // attribute with the end of an account
	group  string // what Ingenieria is called
}{
	{"Active Directory", ldaptest.Demo, func(s *ldaptest.Server) Config {
		c := adConfig(s)
		c.BindUser, c.BindPassword = "mgarcia@empresa.local", "secreto"
		return c
	}, "pwdLastSet", fileTimeOf, "accountExpires", ""},
	{"generic", plainDirectory, plainConfig, "pwdChangedTime",
		func(at time.Time) string { return at.UTC().Format("20060102150405Z") }, "pwdEndTime", engineersDN},
}

func mustRecheck(t *testing.T, d *Directory, ids ...string) []AccountState {
	t.Helper()
	states, err := d.Recheck(context.Background(), ids)
	if err != nil || len(states) != len(ids) {
		t.Fatalf("Recheck(%q) = %+v, %v", ids, states, err)
	}
	return states
}

func signedIn(id *Identity) SignedIn {
	return SignedIn{At: time.Now(), PasswordSet: id.PasswordSet, Groups: id.Groups}
}

// with changes the first user of a directory.
func with(dir ldaptest.Directory, change func(u *ldaptest.User)) ldaptest.Directory {
	change(&dir.Users[0])
	return dir
}

func TestWhatARecheckFinds(t *testing.T) {
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for _, kind := range kinds {
		withExtra := func(name string, values ...string) func(u *ldaptest.User) {
			return func(u *ldaptest.User) {
				if u.ExtraAttributes == nil {
					u.ExtraAttributes = map[string][]string{kind.set: {kind.time(past)}}
				}
				u.ExtraAttributes[name] = values
			}
		}
		ad := kind.group == ""
		type row struct {
			what   string
			filter string
			before func(u *ldaptest.User)
			after  func(u *ldaptest.User)
			at     time.Duration // of the sign-in, from now
			want   Reason
		}
		tests := []row{
			{what: "nothing"},
			{what: "gone", after: withExtra(map[bool]string{true: "objectGUID", false: "entryUUID"}[ad], "0123456789abcdef"), want: ReasonUserUnknown},
			{what: "has no id any more", after: withExtra(map[bool]string{true: "objectGUID", false: "entryUUID"}[ad]), want: ReasonUserUnknown},
			{what: "expired", after: withExtra(kind.until, kind.time(past)), want: ReasonAccountExpired},
			{what: "expires", after: withExtra(kind.until, kind.time(future))},
			{what: "an end that is no time", after: withExtra(kind.until, "never")},
			{what: "password changed", before: withExtra(kind.set, kind.time(past)), after: withExtra(kind.set, kind.time(past.Add(time.Second))), want: ReasonPasswordChanged},
			{what: "password as it was", before: withExtra(kind.set, kind.time(past))},
			{what: "password cannot be read any more", before: withExtra(kind.set, kind.time(past)), after: withExtra(kind.set)},
			{what: "no mark, changed after the sign-in", before: withExtra(kind.set), after: withExtra(kind.set, kind.time(past)), at: -2 * time.Hour, want: ReasonPasswordChanged},
			{what: "no mark, changed before the sign-in", before: withExtra(kind.set), after: withExtra(kind.set, kind.time(past)), at: -30 * time.Minute},
			{what: "no mark, and the clocks differ a little", before: withExtra(kind.set), after: withExtra(kind.set, kind.time(past)), at: -61 * time.Minute, want: ReasonPasswordChanged},
			{what: "no mark, set a moment before the sign-in", before: withExtra(kind.set), after: withExtra(kind.set, kind.time(past)), at: -59 * time.Minute, want: ReasonPasswordChanged},
			{what: "a mark that is no time", before: withExtra(kind.set), after: withExtra(kind.set, "yesterday"), at: -time.Hour, want: ReasonPasswordChanged},
			{what: "an older mark, of a server that is behind", before: withExtra(kind.set, kind.time(past)), after: withExtra(kind.set, kind.time(past.Add(-time.Hour)))},
			{what: "still meets the filter", filter: "(&(|(cn={user})(mail={user})(sAMAccountName={user})(uid={user}))(title=Ingeniero*))"},
			{what: "does not meet the filter any more", filter: "(&(|(cn={user})(mail={user})(sAMAccountName={user})(uid={user}))(title=Ingeniero*))",
				after: func(u *ldaptest.User) { u.Title = "Jefe" }, want: ReasonUserUnknown},
			{what: "temporarily locked", after: withExtra("pwdAccountLockedTime", "20240101000000Z")},
		}
		if ad {
			tests = append(tests,
				row{what: "disabled", after: withExtra("userAccountControl", "514"), want: ReasonAccountDisabled},
				row{what: "must change the password", before: withExtra(kind.set, kind.time(past)), after: withExtra(kind.set, "0"), want: ReasonPasswordChanged},
				row{what: "other bits of userAccountControl", after: withExtra("userAccountControl", "66048")}, // the password never expires
				row{what: "never expires", after: withExtra("accountExpires", "9223372036854775807")},
				row{what: "never expires, as 0", after: withExtra("accountExpires", "0")},
			)
		} else {
			tests = append(tests,
				row{what: "inactivated on 389-ds", after: withExtra("nsAccountLock", "TRUE"), want: ReasonAccountDisabled},
				row{what: "not inactivated", after: withExtra("nsAccountLock", "false")},
				row{what: "locked by an administrator", after: withExtra("pwdAccountLockedTime", "000001010000Z"), want: ReasonAccountDisabled},
			)
		}
		for _, test := range tests {
			t.Run(kind.what+"/"+test.what, func(t *testing.T) {
				if test.before == nil {
					test.before = func(*ldaptest.User) {}
				}
				s := serve(t, with(kind.dir(), test.before))
				config := kind.config(s)
				config.UserFilter = test.filter
				d, _ := open(t, config)
				id := mustSignIn(t, d, "ac12345", "secreto")
				if test.after != nil {
					if err := s.Replace(with(with(kind.dir(), test.before), test.after)); err != nil {
						t.Fatal(err)
					}
				}
				in := signedIn(id)
				in.At = in.At.Add(test.at)
				state := mustRecheck(t, d, id.ID)[0]
				if got := state.Reason(in); got != test.want {
					t.Fatalf("Reason = %q, want %q", got, test.want)
				}
				if test.want != "" {
					return
				}
				now := state.Update(in)
				if !SameGroups(now.Groups, in.Groups) {
					t.Errorf("groups %v became %v although nothing changed", in.Groups, now.Groups)
				}
				if in.PasswordSet != passwordMark(kind.set, "") && now.PasswordSet != in.PasswordSet {
					t.Errorf("PasswordSet %q became %q", in.PasswordSet, now.PasswordSet)
				}
				if in.PasswordSet == passwordMark(kind.set, "") && now.PasswordSet != state.passwordSet {
					t.Errorf("PasswordSet = %q, want the mark that is there now", now.PasswordSet)
				}
			})
		}
	}
}

func TestGroupsThatChanged(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.what, func(t *testing.T) {
			s := serve(t, kind.dir())
			config := kind.config(s)
			config.Groups = []string{"Ingenieria", "IT Admins"}
			config.GroupBase = map[bool]string{true: "", false: "ou=groups," + plainBase}[kind.group == ""]
			d, _ := open(t, config)
			id := mustSignIn(t, d, "ac12345", "secreto")
			in := signedIn(id)
			if err := s.Replace(with(kind.dir(), func(u *ldaptest.User) { u.MemberOf = []string{"IT Admins"} })); err != nil {
				t.Fatal(err)
			}
			state := mustRecheck(t, d, id.ID)[0]
			now := state.Update(in)
			engineers, admins := group(t, d, "Ingenieria"), group(t, d, "IT Admins")
			var was, is Identity
			was.Groups, is.Groups = in.Groups, now.Groups
			if state.Reason(in) != "" || SameGroups(in.Groups, now.Groups) || !inGroup(&was, engineers) || inGroup(&is, engineers) || !inGroup(&is, admins) {
				t.Errorf("groups %v became %v", in.Groups, now.Groups)
			}
			if !groupNamed(&is, "IT Admins") {
				t.Errorf("groups have no names: %v", now.Groups)
			}
			if kind.group == "" && (!inGroup(&is, "S-1-5-11") || !inGroup(&is, "S-1-1-0")) {
				t.Errorf("%v: what says how somebody came in must stay", now.Groups)
			}
			if kind.group == "" {
				return
			}
			if err := s.Replace(with(kind.dir(), func(u *ldaptest.User) { u.MemberOf = nil })); err != nil {
				t.Fatal(err)
			}
			if now := mustRecheck(t, d, id.ID)[0].Update(in); len(now.Groups) != 0 {
				t.Errorf("in no group any more: %v", now.Groups)
			}
		})
	}
}

func group(t *testing.T, d *Directory, name string) string {
	t.Helper()
	g, ok := d.Group(name)
	if !ok {
		t.Fatalf("group %q is not resolved", name)
	}
	return g.ID
}

func TestTooManyGroupsEndASession(t *testing.T) {
	few, all := many(maxMemberships+1), many(maxMemberships+1)
	few.Users[1].MemberOf = nil
	s := serve(t, few)
	d, _ := open(t, plainConfig(s))
	d.limits = defaultLimits(defaultTimeout)
	id := mustSignIn(t, d, "mgarcia", "secreto")
	if err := s.Replace(all); err != nil {
		t.Fatal(err)
	}
	states := mustRecheck(t, d, id.ID, mustSignIn(t, d, "ac12345", "secreto").ID)
	if states[0].Reason(signedIn(id)) != ReasonTooManyGroups || states[1].Reason(SignedIn{At: time.Now()}) != "" {
		t.Errorf("%+v", states)
	}
}

// A service account that is shown next to nothing knows next to nothing, which
// is no reason to end anybody's session.
func TestWhatCannotBeReadIsNotGone(t *testing.T) {
	hidden := func(u *ldaptest.User) {
		u.ExtraAttributes = map[string][]string{"userAccountControl": nil, "tokenGroups": nil, "pwdLastSet": nil, "accountExpires": nil}
	}
	s := serve(t, ldaptest.Demo())
	d, l := open(t, kinds[0].config(s))
	id := mustSignIn(t, d, "ac12345", "secreto")
	if err := s.Replace(with(ldaptest.Demo(), hidden)); err != nil {
		t.Fatal(err)
	}
	in := signedIn(id)
	for range 3 {
		state := mustRecheck(t, d, id.ID)[0]
		if now := state.Update(in); state.Reason(in) != "" || !SameGroups(now.Groups, in.Groups) {
			t.Errorf("%q, groups %v", state.Reason(in), now.Groups)
		}
	}
	if l.count("userAccountControl") != 1 || l.count("Windows Authorization Access Group") != 1 {
		t.Errorf("logs: %s", l)
	}
}

func TestAnErrorIsNeverGone(t *testing.T) {
	for _, kind := range kinds {
		for _, test := range []struct {
			what  string
			fault ldaptest.Fault
		}{
			{"hangs up", ldaptest.Fault{HangUp: true}},
			{"falls silent", ldaptest.Fault{Silent: true}},
			{"the base is gone", ldaptest.Fault{Code: goldap.LDAPResultNoSuchObject}},
			{"may not", ldaptest.Fault{Code: goldap.LDAPResultInsufficientAccessRights}},
			{"time limit", ldaptest.Fault{Code: goldap.LDAPResultTimeLimitExceeded}},
			{"size limit", ldaptest.Fault{Code: goldap.LDAPResultSizeLimitExceeded}},
			{"lost its identity", ldaptest.Fault{Code: goldap.LDAPResultOperationsError, Diagnostic: "000004DC: LdapErr"}},
			{"busy", ldaptest.Fault{Code: goldap.LDAPResultBusy}},
			{"referral", ldaptest.Fault{Code: goldap.LDAPResultReferral}},
		} {
			t.Run(kind.what+"/"+test.what, func(t *testing.T) {
				s := serve(t, kind.dir())
				d, _ := open(t, kind.config(s))
				d.limits.recheck = 2 * time.Second
				id := mustSignIn(t, d, "ac12345", "secreto")
				s.Observe(func(r ldaptest.Request) ldaptest.Fault {
					if !r.Bind && strings.EqualFold(r.Name, plainBase) {
						return test.fault
					}
					return ldaptest.Fault{}
				})
				states, err := d.Recheck(context.Background(), []string{id.ID})
				var u *UnavailableError
				if !errors.As(err, &u) || states != nil || u.Sent {
					t.Errorf("Recheck = %+v, %v, want unavailable", states, err)
				}
			})
		}
	}
	t.Run("the server is down", func(t *testing.T) {
		d, _ := open(t, Config{Kind: KindAD, Servers: []string{"ldap://" + closedPort(t)}, BindUser: "x@empresa.local", BindPassword: "x"})
		for range 2 {
			if states, err := d.Recheck(context.Background(), nil); err == nil || states != nil {
				t.Errorf("Recheck = %v, %v", states, err)
			}
		}
	})
	t.Run("no service account", func(t *testing.T) {
		d, _ := open(t, adConfig(serve(t, ldaptest.Demo())))
		if _, err := d.Recheck(context.Background(), nil); !errors.Is(err, errNoService) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the caller goes away", func(t *testing.T) {
		s := serve(t, ldaptest.Demo())
		d, _ := open(t, kinds[0].config(s))
		s.Stall(ldaptest.StallBind)
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(20*time.Millisecond, cancel)
		_, err := d.Recheck(ctx, nil)
		var u *UnavailableError
		if !errors.As(err, &u) || u.Reason != ReasonCancelled {
			t.Errorf("got %v", err)
		}
	})
}

func TestFiftyAccountsAtOnce(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.what, func(t *testing.T) {
			dir := kind.dir()
			for i := range MaxRecheck {
				dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: fmt.Sprintf("user%02d", i), Password: "x"})
			}
			s := serve(t, dir)
			d, _ := open(t, kind.config(s))
			d.limits.operation = 5 * time.Second
			var ids []string
			for i := range MaxRecheck {
				ids = append(ids, mustSignIn(t, d, fmt.Sprintf("user%02d", i), "x").ID)
			}
			ids[7] = "6e3de8c6-caf5-4fda-b111-44938a9b6b7e" // gone
			ids[8] = "*)(objectClass=*"                     // what no sign-in ever gave
			ids[9] = ids[10]                                // twice
			for i, state := range mustRecheck(t, d, ids...) {
				want := Reason("")
				if i == 7 || i == 8 {
					want = ReasonUserUnknown
				}
				if got := state.Reason(SignedIn{At: time.Now()}); got != want {
					t.Errorf("account %d: %q, want %q", i, got, want)
				}
			}
			if _, err := d.Recheck(context.Background(), append(ids, "one more")); err == nil {
				t.Error("one more is looked up")
			}
			states, err := d.Recheck(context.Background(), nil)
			if err != nil || len(states) != 0 {
				t.Errorf("nobody: %v, %v", states, err)
			}
		})
	}
}

// Far away or slow, it takes its time: a re-check that never ended in time
// would stop everybody's sessions after recheck_grace.
func TestARecheckHasMoreTimeThanASignIn(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, kinds[0].config(s))
	id := mustSignIn(t, d, "ac12345", "secreto")
	d.limits.total = 50 * time.Millisecond
	s.Delay(20 * time.Millisecond)
	ids := []string{id.ID, id.ID, id.ID, id.ID, id.ID}
	if states := mustRecheck(t, d, ids...); states[4].Reason(signedIn(id)) != "" {
		t.Error("somebody is gone")
	}
}

// An attribute that is no identifier gives two people one ID: both sessions
// end, and nobody else's re-check with them.
func TestTwoAccountsWithOneID(t *testing.T) {
	dir := plainDirectory()
	for i := range 2 {
		dir.Users[i].ExtraAttributes = map[string][]string{"employeeNumber": {"4711"}}
	}
	for i := range dir.Users[2:] {
		dir.Users[2+i].ExtraAttributes = map[string][]string{"employeeNumber": {fmt.Sprint(i)}}
	}
	s := serve(t, dir)
	config := plainConfig(s)
	config.Attributes.ID = "employeeNumber"
	d, _ := open(t, config)
	states := mustRecheck(t, d, "4711", "0")
	if got := states[0].Reason(SignedIn{}); got != ReasonAmbiguousUser {
		t.Errorf("two people: %q", got)
	}
	if got := states[1].Reason(SignedIn{}); got != "" {
		t.Errorf("somebody else: %q", got)
	}
}

// Nobody knows what was typed. What else the filter asks for must hold, and who
// only types another of the own names must not look gone.
func TestFilterWithoutName(t *testing.T) {
	tests := []struct {
		filter string
		staff  bool // what is asked of the entry beside the name: employeeType
	}{
		{"(uid={user})", false},
		{"(&(uid={user})(employeeType=staff))", true},
		{"(&(|(uid={user})(mail={user}))(employeeType=staff))", true},
		{"(&(mail={user}@empresa.local)(employeeType=staff))", true},
		{"(&(mail={user}*)(employeeType=staff))", true},
		{"(&(uid=*{user}*)(employeeType=staff))", true},
		{"(&(entryDN=uid={user},ou=people," + plainBase + ")(employeeType=staff))", true},
		{"(&(uid:={user})(employeeType=staff))", true},
		{"(&(employeeType=staff)(!(employeeType={user})))", true},
		{"(&(mail={upn})(employeeType=staff))", true},
	}
	for _, test := range tests {
		t.Run(test.filter, func(t *testing.T) {
			for _, staff := range []bool{true, false} {
				dir := plainDirectory()
				if staff {
					dir.Users[0].ExtraAttributes = map[string][]string{"employeeType": {"staff"}}
				}
				s := serve(t, dir)
				config := plainConfig(s)
				config.UserFilter = test.filter
				d, _ := open(t, config)
				id := accountID(t, d)
				want := Reason("")
				if test.staff && !staff {
					want = ReasonUserUnknown
				}
				if got := mustRecheck(t, d, id)[0].Reason(SignedIn{}); got != want {
					t.Errorf("staff %v: %q, want %q", staff, got, want)
				}
			}
		})
	}
	d := named(t, "corp.test")
	for filter, want := range map[string]string{
		"":                               "(objectClass=*)",
		"(uid={user})":                   `(|(uid=*)(uid=j\28))`,
		"(uid:dn:={user})":               `(|(uid=*)(uid:dn:=j\28))`,
		"(uid:caseExactMatch:=x{user}y)": `(|(uid=*)(uid:caseExactMatch:=xj\28y))`,
		"(:caseExactMatch:={user})":      `(|(objectClass=*)(:caseExactMatch:=j\28))`,
		"(upn={upn})":                    `(|(upn=*)(upn=j\28@corp.test))`,
	} {
		d.config.UserFilter = filter
		e := goldap.NewEntry("uid=j", map[string][]string{"uid": {"j("}})
		got := d.filterWithoutName(KindGeneric, e)
		if got != want {
			t.Errorf("%q became %q, want %q", filter, got, want)
		}
		if _, err := goldap.CompileFilter(got); err != nil {
			t.Errorf("%q: %v", got, err)
		}
	}
}

// accountID reads the ID of ac12345 as the service account.
func accountID(t *testing.T, d *Directory) string {
	t.Helper()
	var id string
	_, err := d.lookup(context.Background(), nil, func(c *connection, base string) error {
		entries, err := c.search(base, goldap.ScopeWholeSubtree, 2, "(uid=ac12345)", "entryUUID")
		if err == nil && len(entries) == 1 {
			id = value(entries[0], "entryUUID")
		}
		return err
	})
	if err != nil || id == "" {
		t.Fatalf("%q, %v", id, err)
	}
	return id
}

// IDs go out as they came in.
func TestGUIDsThereAndBack(t *testing.T) {
	raw, _ := hex.DecodeString("00112233445566778899aabbccddeeff")
	id, err := decodeGUID(raw)
	if err != nil || id != "33221100-5544-7766-8899-aabbccddeeff" {
		t.Fatalf("%q, %v", id, err)
	}
	back, err := encodeGUID(id)
	if err != nil || hex.EncodeToString(back) != hex.EncodeToString(raw) {
		t.Errorf("%x, %v", back, err)
	}
	for _, none := range []string{"", "x", "33221100-5544-7766-8899-aabbccddeef", "33221100-5544-7766-8899-aabbccddeeffx", "33221100-5544-7766-8899-aabbccddeegg", "33221100554477668899aabbccddeeff0000", "*)(objectClass=*)(cn=aaaaaaaaaaaaaaa"} {
		if raw, err := encodeGUID(none); err == nil {
			t.Errorf("%q became %x", none, raw)
		}
	}
}

func TestFileTimes(t *testing.T) {
	at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	if got, ok := fileTime(fileTimeOf(at)); !ok || !got.Equal(at) {
		t.Errorf("got %v, %v, want %v", got, ok, at)
	}
	for _, none := range []string{"", "0", "-1", "9223372036854775807", "9223372036854775808", "x"} {
		if got, ok := fileTime(none); ok {
			t.Errorf("%q is %v", none, got)
		}
	}
}

// One account that cannot be read, or whose entry gets no answer, is no reason
// to know nothing of all others: after recheck_grace they would be locked out.
func TestOneUnreadableAccountDoesNotStopTheRecheck(t *testing.T) {
	for _, kind := range kinds {
		s := serve(t, kind.dir())
		d, _ := open(t, kind.config(s))
		a, b := mustSignIn(t, d, "ac12345", "secreto"), mustSignIn(t, d, "mgarcia", "secreto")
		faults := map[string]ldaptest.Fault{"silence": {Silent: true}}
		for _, code := range []int{goldap.LDAPResultInsufficientAccessRights, goldap.LDAPResultInvalidDNSyntax, goldap.LDAPResultTimeLimitExceeded, goldap.LDAPResultOther} {
			faults[goldap.LDAPResultCodeMap[uint16(code)]] = ldaptest.Fault{Code: code}
		}
		for what, fault := range faults {
			t.Run(kind.what+"/"+what, func(t *testing.T) {
				s.Observe(func(r ldaptest.Request) ldaptest.Fault {
					if !r.Bind && r.Name == a.DN {
						return fault
					}
					return ldaptest.Fault{}
				})
				in := signedIn(b)
				in.Groups = nil
				for i, state := range mustRecheck(t, d, a.ID, b.ID) {
					if reason := state.Reason(in); reason != "" {
						t.Errorf("account %d: %s", i, reason)
					}
					if now := state.Update(in); (len(now.Groups) > 0) != (i == 1) {
						t.Errorf("account %d: groups %v", i, now.Groups)
					}
				}
			})
		}
	}
}

// On AD a token holds groups that no entry shows, because everybody who signs in
// is in them. They are no change.
func TestGroupsOfEverybodyAreNoChange(t *testing.T) {
	state := AccountState{kind: KindAD, token: []Group{{ID: "S-1-5-21-1-2-3-513"}, {ID: "S-1-5-32-545"}}}
	before := []Group{{ID: "S-1-5-21-1-2-3-513"}, {ID: "S-1-5-32-545"}, {ID: "S-1-5-32-554"}, {ID: "S-1-5-21-1-2-3-1200"}, {ID: "S-1-1-0"}, {ID: "S-1-5-11"}}
	state.common = []Group{{ID: "S-1-1-0"}, {ID: "S-1-5-11"}, {ID: "S-1-5-32-554"}, {ID: "S-1-5-21-1-2-3-1200"}}
	if now := state.Update(SignedIn{Groups: before}); !SameGroups(now.Groups, before) {
		t.Errorf("%v became %v", before, now.Groups)
	}
	// What the person alone was in and is not any more goes, built-in or not.
	more := append(slices.Clone(before), Group{ID: "S-1-5-32-544"}, Group{ID: "S-1-5-21-1-2-3-512"})
	if now := state.Update(SignedIn{Groups: more}); !SameGroups(now.Groups, before) {
		t.Errorf("%v became %v", more, now.Groups)
	}
	// Where it is not known what everybody has, the built-in groups stay.
	state.common = nil
	want := []Group{{ID: "S-1-5-21-1-2-3-513"}, {ID: "S-1-5-32-545"}, {ID: "S-1-5-32-554"}, {ID: "S-1-5-32-544"}, {ID: "S-1-1-0"}, {ID: "S-1-5-11"}}
	if now := state.Update(SignedIn{Groups: more}); !SameGroups(now.Groups, want) {
		t.Errorf("%v became %v", more, now.Groups)
	}
}

// A directory that goes while one account is read is down, and is not asked for
// the rest of the re-check's time.
func TestADirectoryThatGoesDuringARecheckIsAnError(t *testing.T) {
	s := serve(t, plainDirectory())
	d, _ := open(t, plainConfig(s))
	d.pool.probe = func(context.Context, server) error { return errDown }
	id := mustSignIn(t, d, "ac12345", "secreto")
	s.Observe(func(r ldaptest.Request) ldaptest.Fault {
		if r.Bind || r.Name != id.DN {
			return ldaptest.Fault{}
		}
		d.pool.fail(d.pool.hosts[0], errDown)
		return ldaptest.Fault{Silent: true}
	})
	began := time.Now()
	_, err := d.Recheck(context.Background(), []string{id.ID})
	var u *UnavailableError
	if !errors.As(err, &u) || time.Since(began) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}
