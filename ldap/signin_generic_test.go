package ldap

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

const (
	plainBase    = "dc=empresa,dc=local"
	serviceDN    = "uid=svc,ou=people," + plainBase
	servicePass  = "service-password"
	engineersDN  = "cn=ingenieria,ou=groups," + plainBase
	adminsDN     = "cn=it admins,ou=groups," + plainBase
	posixGroupDN = "cn=operadores,ou=groups," + plainBase
)

func plainDirectory() ldaptest.Directory {
	dir := ldaptest.Demo()
	dir.Plain = true
	dir.Groups = append(dir.Groups, ldaptest.Group{Name: "Operadores", Posix: true})
	dir.Users[0].MemberOf = append(dir.Users[0].MemberOf, "Operadores")
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "svc", Password: servicePass})
	return dir
}

func plainConfig(s *ldaptest.Server) Config {
	return Config{Kind: KindGeneric, Servers: []string{s.URL()}, BindUser: serviceDN, BindPassword: servicePass}
}

func TestGenericIdentity(t *testing.T) {
	for _, kind := range []Kind{KindGeneric, KindAuto} {
		t.Run("kind "+string(kind), func(t *testing.T) {
			s := serve(t, plainDirectory())
			config := plainConfig(s)
			config.Kind, config.GroupBase, config.Groups = kind, "ou=groups,"+plainBase, []string{"INGENIERIA", adminsDN}
			d, _ := open(t, config)
			id := mustSignIn(t, d, " AC12345 ", "secreto")
			if id.Username != "ac12345" || id.FirstName != "Juan" || id.LastName != "Pérez" || id.Email != "ac12345@empresa.local" ||
				id.Title != "Ingeniero de operaciones" || !strings.HasPrefix(id.Manager, "uid=mgarcia,") || len(id.ID) != 36 {
				t.Errorf("identity %+v", id)
			}
			if len(id.Groups) != 3 || !inGroup(id, engineersDN) || !inGroup(id, posixGroupDN) || !inGroup(id, "cn=empleados,ou=groups,"+plainBase) ||
				!groupNamed(id, "Ingenieria") {
				t.Errorf("Groups = %+v, want Ingenieria once, with its name, Empleados, which Ingenieria is in, and Operadores", id.Groups)
			}
			if g, ok := d.Group("INGENIERIA"); !ok || g.ID != engineersDN {
				t.Errorf("Group = %+v, %v", g, ok)
			}
		})
	}
}

func TestGenericRefusals(t *testing.T) {
	dir := plainDirectory()
	dir.Users = append(dir.Users,
		ldaptest.User{SAMAccountName: "twin1", Mail: "twin@empresa.local", Password: "x"},
		ldaptest.User{SAMAccountName: "twin2", Mail: "twin@empresa.local", Password: "x"},
		ldaptest.User{SAMAccountName: "many1", Mail: "many@empresa.local", Password: "x"},
		ldaptest.User{SAMAccountName: "many2", Mail: "many@empresa.local", Password: "x"},
		ldaptest.User{SAMAccountName: "many3", Mail: "many@empresa.local", Password: "x"})
	s := serve(t, dir)
	config := plainConfig(s)
	config.UserFilter = "(|(uid={user})(mail={user}))"
	d, _ := open(t, config)
	mustSignIn(t, d, "mgarcia", "secreto") // the service account has a connection now
	tests := []struct {
		what, name, password string
		reason               Reason
		binds                int
	}{
		{"wrong password", "ac12345", "wrong", ReasonBadCredentials, 1},
		{"wrong password in another case", "ac12345", "SECRETO", ReasonBadCredentials, 1},
		{"right password and a NUL", "ac12345", "secreto\x00", ReasonNameInvalid, 0},
		{"unknown", "nobody", "secreto", ReasonUserUnknown, 0},
		{"two entries", "twin@empresa.local", "x", ReasonAmbiguousUser, 0},
		{"more entries than the limit", "many@empresa.local", "x", ReasonAmbiguousUser, 0},
		{"disabled", "deshabilitada", "secreto", ReasonBadCredentials, 1},
		{"filter", `*)(objectClass=*`, "secreto", ReasonUserUnknown, 0},
		{"asterisk", "ac*", "secreto", ReasonUserUnknown, 0},
		{"DN", "uid=ac12345,ou=people," + plainBase, "secreto", ReasonUserUnknown, 0},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			before := s.Binds()
			refused := mustRefuse(t, d, test.name, test.password, test.reason)
			if got := s.Binds() - before; got != test.binds {
				t.Errorf("%d binds, want %d", got, test.binds)
			}
			if test.name == "ac12345" && test.reason == ReasonBadCredentials && refused.Username != "ac12345" {
				t.Errorf("Username = %q, want the entry's", refused.Username)
			}
		})
	}
}

func TestServiceAccountRejected(t *testing.T) {
	s := serve(t, plainDirectory())
	config := plainConfig(s)
	config.BindPassword = "old-password"
	d, _ := open(t, config)
	for range 3 {
		mustBeUnavailable(t, d, "ac12345", "secreto", ReasonServiceAccountRejected)
	}
	if s.Binds() != 1 {
		t.Errorf("%d binds: visitors must not lock the service account", s.Binds())
	}
	d.limits.serviceRest = time.Millisecond
	time.Sleep(2 * time.Millisecond)
	mustBeUnavailable(t, d, "ac12345", "secreto", ReasonServiceAccountRejected)
	if s.Binds() != 2 {
		t.Errorf("%d binds: it must be tried again after a while", s.Binds())
	}
}

func TestGenericServerWithoutAServiceAccount(t *testing.T) {
	s := serve(t, plainDirectory())
	d, _ := open(t, Config{Servers: []string{s.URL()}})
	u := mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
	if !strings.Contains(u.Error(), "bind <dn> <password>") || s.Binds() != 0 {
		t.Errorf("error %q, %d binds", u, s.Binds())
	}
}

func TestGenericEntriesThatCannotBecomeIdentities(t *testing.T) {
	for what, extra := range map[string]map[string][]string{
		"entryUUID": {"entryUUID": nil},
		"uid":       {"uid": {"ac12345\r\n"}, "mail": {"x@y"}},
	} {
		t.Run("without "+what, func(t *testing.T) {
			dir := plainDirectory()
			dir.Users[0].ExtraAttributes = extra
			s := serve(t, dir)
			config := plainConfig(s)
			config.UserFilter = "(|(uid={user})(mail={user}))"
			d, _ := open(t, config)
			name := "ac12345"
			if what == "uid" {
				name = "x@y"
			}
			u := mustBeUnavailable(t, d, name, "secreto", ReasonDirectoryUnavailable)
			if !strings.Contains(u.Error(), what) {
				t.Errorf("error %q does not name %s", u, what)
			}
			// Strangers learn nothing of it.
			mustRefuse(t, d, name, "wrong", ReasonBadCredentials)
		})
	}
}

func TestGenericBase(t *testing.T) {
	s := serve(t, plainDirectory())
	for base, reason := range map[string]Reason{"ou=nada," + plainBase: ReasonBaseDN, "ou=people," + plainBase: "", "ou=groups," + plainBase: ReasonUserUnknown} {
		config := plainConfig(s)
		config.BaseDN = base
		d, _ := open(t, config)
		switch reason {
		case "":
			mustSignIn(t, d, "ac12345", "secreto")
		case ReasonUserUnknown:
			mustRefuse(t, d, "ac12345", "secreto", reason)
		default:
			mustBeUnavailable(t, d, "ac12345", "secreto", reason)
		}
	}
	config := plainConfig(s)
	config.GroupBase = "ou=nada," + plainBase
	d, _ := open(t, config)
	mustBeUnavailable(t, d, "ac12345", "secreto", ReasonBaseDN)
}

// many puts a user into n groups.
func many(n int) ldaptest.Directory {
	dir := plainDirectory()
	for i := range n {
		name := fmt.Sprintf("g%04d (%d)*", i, i)
		dir.Groups = append(dir.Groups, ldaptest.Group{Name: name})
		dir.Users[1].MemberOf = append(dir.Users[1].MemberOf, name)
	}
	return dir
}

func TestRangesOfMemberOfAreFollowed(t *testing.T) {
	dir := many(25)
	dir.MaxValRange = 10
	s := serve(t, dir)
	config := plainConfig(s)
	config.GroupBase = "ou=people," + plainBase // so that only memberOf tells
	d, _ := open(t, config)
	id := mustSignIn(t, d, "mgarcia", "secreto")
	if len(id.Groups) != 26 || !inGroup(id, "cn=g0024 (24)*,ou=groups,"+plainBase) || !inGroup(id, adminsDN) {
		t.Errorf("%d groups, want 26", len(id.Groups))
	}
}

// A list of groups that was cut short could miss the one that a rule is about.
func TestTooManyGroupsIsNoSignIn(t *testing.T) {
	s := serve(t, many(maxMemberships+1))
	d, _ := open(t, plainConfig(s))
	d.limits = defaultLimits(defaultTimeout)
	mustRefuse(t, d, "mgarcia", "secreto", ReasonTooManyGroups)
	mustSignIn(t, d, "ac12345", "secreto")
}

// Samba sends all entries, whatever limit it is asked for.
func TestLimitsAreCountedByTheClient(t *testing.T) {
	s := serve(t, ldaptest.Directory{Domain: "empresa.local", IgnoreSizeLimit: true, Users: ldaptest.Demo().Users[1:2], Groups: ldaptest.Demo().Groups})
	d, _ := open(t, adConfig(s))
	c := dialed(t, d)
	if _, err := c.bind("mgarcia@empresa.local", "secreto", false); err != nil {
		t.Fatal(err)
	}
	entries, err := c.search("DC=empresa,DC=local", goldap.ScopeWholeSubtree, 2, "(cn=*)", "cn")
	if err != errTooMany || len(entries) != 2 {
		t.Errorf("%d entries, %v, want 2 and %v", len(entries), err, errTooMany)
	}
	// The rest was still under way; the connection goes on.
	if entries, err := c.search("<SID=S-1-5-32-545>", goldap.ScopeBaseObject, 1, "(cn=*)", "cn"); err != nil || len(entries) != 1 {
		t.Errorf("the next search: %d entries, %v", len(entries), err)
	}
}

func TestGenericStalls(t *testing.T) {
	for _, test := range []struct {
		what  string
		stage ldaptest.Stage
		binds int // at the dead server; a probe may come while it is looked at
	}{{"at the service account's bind", ldaptest.StallBind, 2}, {"at the search", ldaptest.StallSearch, 0}} {
		t.Run(test.what, func(t *testing.T) {
			dead, alive := serve(t, plainDirectory()), serve(t, plainDirectory())
			config := plainConfig(dead)
			config.Servers = append(config.Servers, alive.URL())
			d, _ := open(t, config)
			dead.Stall(test.stage)
			mustSignIn(t, d, "ac12345", "secreto") // no user's password had been sent
			if dead.Binds() > test.binds || alive.Binds() != 2 {
				t.Errorf("%d and %d binds, want at most %d and 2", dead.Binds(), alive.Binds(), test.binds)
			}
		})
	}
}

// While connections are taken, a name that does not exist waits, and is sent
// away, like one that does.
func TestABusyDirectoryTellsNoNames(t *testing.T) {
	s := serve(t, plainDirectory())
	config := plainConfig(s)
	config.Connections = 2
	d, _ := open(t, config)
	d.limits.operation, d.limits.total = 5*time.Second, 5*time.Second
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.Observe(func(r ldaptest.Request) ldaptest.Fault {
		if r.Bind && r.Name != serviceDN {
			once.Do(func() { close(held) })
			<-release
		}
		return ldaptest.Fault{}
	})
	var taken sync.WaitGroup
	taken.Go(func() { d.SignIn(context.Background(), "mgarcia", "wrong") })
	<-held
	mustBeUnavailable(t, d, "ac12345", "wrong", ReasonBusy)
	mustBeUnavailable(t, d, "nobody", "wrong", ReasonBusy)
	close(release)
	taken.Wait()
	mustRefuse(t, d, "nobody", "wrong", ReasonUserUnknown)
}
