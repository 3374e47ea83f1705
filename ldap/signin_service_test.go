package ldap

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

const (
	adService     = "svc@corp.test"
	adServicePass = "service-password"
)

// crossed is a domain with Eve, whose userPrincipalName is in front of the @
// what the victim's account is called.
func crossed() ldaptest.Directory {
	return ldaptest.Directory{
		Domain: "corp.test",
		Users: []ldaptest.User{
			{SAMAccountName: "pb_victim", UPN: "pb_eve@other.example", DisplayName: "Victim", Mail: "v.ictim@mail.example", Password: "victims-password"},
			{SAMAccountName: "pb_eve", UPN: "pb_victim@other.example", DisplayName: "Eve", Mail: "pb_victim@mail.example", Password: "eves-password"},
			// On Windows an explicit name comes before another account's implicit one.
			{SAMAccountName: "pb_mallory", UPN: "pb_third@corp.test", DisplayName: "Mallory", Password: "mallorys-password"},
			{SAMAccountName: "pb_third", UPN: "third@other.example", DisplayName: "Third", Password: "thirds-password"},
			{SAMAccountName: "svc", UPN: adService, Password: adServicePass},
		},
	}
}

func crossedConfig(servers ...*ldaptest.Server) Config {
	config := adConfig(servers...)
	config.Label, config.BindUser, config.BindPassword = "corp.test", adService, adServicePass
	return config
}

// Whoever's password it is, that person's entry or none, and one bind: with a
// service account that looks first as without.
func TestCrossedNamesWithAServiceAccount(t *testing.T) {
	s := serve(t, crossed())
	tests := []struct {
		what, filter, name, password, want string
	}{
		{"Eve types her UPN, which is the victim's name", "", "pb_victim@other.example", "eves-password", "pb_eve"},
		{"Eve types the victim's account name", "", "pb_victim", "eves-password", ""},
		{"Eve types the victim's domain name", "", `CORP\pb_victim`, "eves-password", ""},
		{"the victim types the own UPN, which is Eve's name", "", "pb_eve@other.example", "victims-password", "pb_victim"},
		{"the victim types the own account name", "", "pb_victim", "victims-password", "pb_victim"},
		{"a filter that finds the other one only, as Eve", "(sAMAccountName={user})", "pb_victim", "eves-password", ""},
		{"a filter by mail, as Eve", "(|(sAMAccountName={user})(mail={user}))", "pb_victim@mail.example", "eves-password", "pb_eve"},
		{"a filter by mail, as Eve with the victim's", "(|(sAMAccountName={user})(mail={user}))", "v.ictim@mail.example", "eves-password", ""},
		{"a name that stands for two, as the one whom it binds", "", "pb_third", "mallorys-password", "pb_mallory"},
		{"a name that stands for two, as the other one", "", "pb_third", "thirds-password", ""},
		{"a name that stands for two, by its domain", "", `CORP\pb_third`, "thirds-password", "pb_third"},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			config := crossedConfig(s)
			config.UserFilter = test.filter
			d, _ := open(t, config)
			w := tap(s, nil)
			id, err := d.SignIn(context.Background(), test.name, test.password)
			switch {
			case err != nil && test.want != "":
				t.Errorf("SignIn: %v, want %s", err, test.want)
			case err == nil && id.Username != test.want:
				t.Errorf("SignIn gave the identity of %s, want %q", id.Username, test.want)
			}
			if n := w.bindsBut(adService); n != 1 {
				t.Errorf("%d binds with the person's password", n)
			}
		})
	}
}

// What was found binds with its own DN: what the filter takes for a name may be
// none to the server.
func TestEMailAddressesSignInByTheEntrysDN(t *testing.T) {
	s := serve(t, crossed())
	w := tap(s, nil)
	config := crossedConfig(s)
	config.UserFilter = "(|(sAMAccountName={user})(mail={user}))"
	d, _ := open(t, config)
	if id := mustSignIn(t, d, "v.ictim@mail.example", "victims-password"); id.Username != "pb_victim" {
		t.Errorf("signed in as %q", id.Username)
	}
	if want := "CN=Victim,CN=Users,DC=corp,DC=test"; !slices.Contains(w.binds(), want) {
		t.Errorf("binds %q, want %q", w.binds(), want)
	}
	refused := mustRefuse(t, d, "v.ictim@mail.example", "wrong", ReasonBadCredentials)
	if refused.Username != "pb_victim" {
		t.Errorf("Username = %q", refused.Username)
	}
	config.BindUser, config.BindPassword = "", ""
	without, _ := open(t, config)
	mustRefuse(t, without, "v.ictim@mail.example", "victims-password", ReasonBadCredentials)
}

// On AD the service account is a help and no need.
func TestADSignsInWithoutTheServiceAccount(t *testing.T) {
	for _, test := range []struct {
		what  string
		fault func(r ldaptest.Request) ldaptest.Fault
	}{
		{"rejected", func(r ldaptest.Request) ldaptest.Fault {
			if r.Bind && r.Name == adService {
				return ldaptest.Fault{Code: goldap.LDAPResultInvalidCredentials}
			}
			return ldaptest.Fault{}
		}},
		{"may read nothing", func(r ldaptest.Request) ldaptest.Fault {
			if !r.Bind && r.Connection == 1 && r.Name != "" {
				return ldaptest.Fault{Code: goldap.LDAPResultInsufficientAccessRights}
			}
			return ldaptest.Fault{}
		}},
	} {
		for _, kind := range []Kind{KindAD, KindAuto} {
			t.Run(test.what+" kind "+string(kind), func(t *testing.T) {
				s := serve(t, crossed())
				w := tap(s, test.fault)
				config := crossedConfig(s)
				config.Kind = kind
				d, l := open(t, config)
				for range 3 {
					if id := mustSignIn(t, d, "pb_victim", "victims-password"); id.Username != "pb_victim" {
						t.Errorf("signed in as %q", id.Username)
					}
				}
				if n := w.bindsBut(adService); n != 3 {
					t.Errorf("%d binds of 3 sign-ins", n)
				}
				if n := l.count("signing in without it"); n != 1 {
					t.Errorf("said %d times: %s", n, l)
				}
				s.Observe(nil)
				d.limits.serviceRest = 0
				mustSignIn(t, d, "pb_victim", "victims-password")
				if l.count("look people up again") != 1 {
					t.Errorf("logs: %s", l)
				}
			})
		}
	}
}

// Every wrong bind counts against an account that locks, and everything that
// depends on it with it.
func TestARejectedServiceAccountIsTriedOnce(t *testing.T) {
	newPassword := func() ldaptest.Directory {
		dir := crossed()
		dir.Users[len(dir.Users)-1].Password = "new-password"
		return dir
	}
	crowd := func(t *testing.T, d *Directory) {
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := d.SignIn(context.Background(), "pb_victim", "victims-password"); err != nil {
					t.Errorf("SignIn: %v", err)
				}
			})
			all.Go(func() { d.probe(context.Background(), d.pool.hosts[0].server) })
		}
		all.Wait()
	}
	for _, test := range []struct {
		what   string
		before func(t *testing.T, d *Directory, s *ldaptest.Server)
	}{
		{"from the start", func(t *testing.T, d *Directory, s *ldaptest.Server) { s.Replace(newPassword()) }},
		{"after it was accepted", func(t *testing.T, d *Directory, s *ldaptest.Server) {
			mustSignIn(t, d, "pb_victim", "victims-password")
			s.Replace(newPassword())
			s.HangUp()
			eventually(t, "its connections are gone", func() bool { return s.Open() == 0 })
			rested(d)
		}},
	} {
		t.Run(test.what, func(t *testing.T) {
			s, other := serve(t, crossed()), serve(t, newPassword())
			d, _ := open(t, crossedConfig(s, other))
			d.limits = defaultLimits(defaultTimeout)
			d.limits.wait = 9 * time.Second
			test.before(t, d, s)
			s.Delay(2 * time.Millisecond) // so that many are on their way at once
			w, elsewhere := tap(s, nil), tap(other, nil)
			tries := func() int {
				return len(w.binds()) - w.bindsBut(adService) + len(elsewhere.binds()) - elsewhere.bindsBut(adService)
			}
			crowd(t, d)
			if n := tries(); n != 1 {
				t.Errorf("%d tries within one pause", n)
			}
			d.service.mu.Lock()
			d.service.rejected = time.Now().Add(-d.limits.serviceRest)
			d.service.mu.Unlock()
			crowd(t, d)
			if n := tries(); n != 2 {
				t.Errorf("%d tries within two pauses", n)
			}
			d.service.mu.Lock()
			d.service.rejected = time.Now().Add(-d.limits.serviceRest)
			d.service.mu.Unlock()
			s.Replace(crossed())
			mustSignIn(t, d, "pb_victim", "victims-password")
			if !d.service.wasAccepted() {
				t.Error("it does not work again")
			}
		})
	}
}

// One silent bind of the service account is no client's odd question.
func TestAServerThatIsSilentToTheServiceAccountIsOutOfUse(t *testing.T) {
	dead, alive := serve(t, crossed()), serve(t, crossed())
	d, _ := open(t, crossedConfig(dead, alive))
	d.limits.total, d.limits.operation = time.Minute, time.Minute // only the limit for a connection counts
	d.pool.probe = func(ctx context.Context, _ server) error { <-ctx.Done(); return ctx.Err() }
	dead.Observe(func(r ldaptest.Request) ldaptest.Fault { return ldaptest.Fault{Silent: r.Bind} })
	mustSignIn(t, d, "pb_victim", "victims-password")
	if !isDown(d, 0) || dead.Binds() != 1 {
		t.Errorf("%d binds at the silent server", dead.Binds())
	}
	for range 5 {
		mustSignIn(t, d, "pb_victim", "victims-password")
	}
	if dead.Binds() != 1 {
		t.Errorf("%d binds at the silent server", dead.Binds())
	}
}

// A bind that hangs at one server must not hold up those at others for long.
func TestTheServiceAccountsTurn(t *testing.T) {
	a := newServiceAccount("svc", "x")
	done, err := a.turn(context.Background(), 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.turn(ctx, 10*time.Millisecond); err == nil {
		t.Error("two bind at once as an account that was never accepted")
	}
	a.accepted = true
	late, err := a.turn(context.Background(), 10*time.Millisecond)
	if err != nil {
		t.Error("a bind that hangs holds up all others")
	}
	late()
	done()
	if done, err = a.turn(context.Background(), time.Minute); err != nil {
		t.Fatal(err)
	}
	done()
}

// The throttle counts by the person, whatever they are called: it must be asked
// before the password leaves.
func TestChecksComeBeforeThePassword(t *testing.T) {
	for _, test := range []struct {
		what    string
		dir     ldaptest.Directory
		config  func(s *ldaptest.Server) Config
		service string
		names   []string
	}{
		{"Active Directory", crossed(), func(s *ldaptest.Server) Config {
			config := crossedConfig(s)
			config.UserFilter = "(|(sAMAccountName={user})(mail={user})(userPrincipalName={user}))"
			return config
		}, adService, []string{"pb_victim", "PB_VICTIM@corp.test", "v.ictim@mail.example", "pb_eve@other.example"}},
		{"generic", plainDirectory(), func(s *ldaptest.Server) Config {
			config := plainConfig(s)
			config.UserFilter = "(|(uid={user})(mail={user}))"
			return config
		}, serviceDN, []string{"ac12345", "AC12345", "ac12345@empresa.local"}},
	} {
		t.Run(test.what, func(t *testing.T) {
			s := serve(t, test.dir)
			w := tap(s, nil)
			d, _ := open(t, test.config(s))
			no := errors.New("too many attempts")
			ids := map[string]bool{}
			for _, name := range test.names {
				var asked []string
				_, err := d.SignIn(context.Background(), name, "whatever",
					func(context.Context, string) error { return nil },
					func(_ context.Context, id string) error { asked = append(asked, id); return no })
				if err != no {
					t.Errorf("%q: SignIn returned %v, not the check's error as it is", name, err)
				}
				if len(asked) != 1 {
					t.Errorf("%q: asked about %q", name, asked)
				}
				for _, id := range asked {
					ids[id] = true
				}
			}
			if len(ids) != 1 {
				t.Errorf("one person has the ids %v", ids)
			}
			if n := w.bindsBut(test.service); n != 0 {
				t.Errorf("%d passwords were sent", n)
			}
		})
	}
	t.Run("a name that stands for two asks about both", func(t *testing.T) {
		s := serve(t, crossed())
		d, _ := open(t, crossedConfig(s))
		asked := map[string]bool{}
		id, err := d.SignIn(context.Background(), "pb_third", "mallorys-password", func(_ context.Context, id string) error {
			asked[id] = true
			return nil
		})
		if err != nil || len(asked) != 2 || !asked[id.ID] {
			t.Errorf("asked about %v for %+v, %v", asked, id, err)
		}
		w := tap(s, nil)
		no := errors.New("no")
		second := 0
		_, err = d.SignIn(context.Background(), "pb_third", "mallorys-password", func(context.Context, string) error {
			if second++; second == 2 {
				return no
			}
			return nil
		})
		if err != no || w.bindsBut(adService) != 0 {
			t.Errorf("%v, %d passwords were sent", err, w.bindsBut(adService))
		}
	})
	t.Run("an unknown name asks about nobody, and no password is sent", func(t *testing.T) {
		s := serve(t, crossed())
		w := tap(s, nil)
		d, _ := open(t, crossedConfig(s))
		_, err := d.SignIn(context.Background(), "nobody", "x", func(context.Context, string) error { return errors.New("asked") })
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Reason != ReasonUserUnknown || w.bindsBut(adService) != 0 {
			t.Errorf("%v, %d binds: nobody could look at such an account later", err, w.bindsBut(adService))
		}
	})
	t.Run("whoever waits in one holds no connection", func(t *testing.T) {
		s := serve(t, crossed())
		config := crossedConfig(s)
		config.Connections = 2
		d, _ := open(t, config)
		_, err := d.SignIn(context.Background(), "pb_victim", "victims-password", func(context.Context, string) error {
			mustSignIn(t, d, "pb_eve", "eves-password")
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// Servers of two kinds in one directory, or a hostile one among them: what one
// found must not be judged by the other.
func TestServersOfTwoKinds(t *testing.T) {
	plain := ldaptest.Directory{Domain: "corp.test", Plain: true, Users: []ldaptest.User{{SAMAccountName: "svc", Password: adServicePass}}}
	for _, name := range []string{"pb_third", "pb_victim"} {
		t.Run(name, func(t *testing.T) {
			ad, other := serve(t, crossed()), serve(t, plain)
			config := crossedConfig(ad, other)
			config.Kind = KindAuto
			d, _ := open(t, config)
			d.pool.probe = func(context.Context, server) error { return errDown }
			var mu sync.Mutex
			found := false
			ad.Observe(func(r ldaptest.Request) ldaptest.Fault {
				mu.Lock()
				defer mu.Unlock()
				cut := found
				found = found || !r.Bind && r.Name == "DC=corp,DC=test"
				return ldaptest.Fault{HangUp: cut}
			})
			u := mustBeUnavailable(t, d, name, "victims-password", ReasonDirectoryUnavailable)
			if u.Sent || other.Binds() != 0 {
				t.Errorf("%+v, %d binds at the other server", u, other.Binds())
			}
		})
	}
}

// A password whose answer nobody would wait for is not sent: the directory would
// count it, and nobody else.
func TestNoPasswordInTheLastMoment(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(s))
	mustSignIn(t, d, "ac12345", "secreto")
	d.limits.operation = 10 * time.Second // a fifth of it is more than the rest
	d.pool.dropIdle(d.pool.hosts[0])
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	_, err := d.SignIn(ctx, "ac12345", "wrong")
	var u *UnavailableError
	if !errors.As(err, &u) || u.Sent || u.Reason != ReasonBusy || s.Binds() != 1 {
		t.Errorf("%v, %d binds", err, s.Binds())
	}
}

func TestTheShortestTimeoutStillSignsIn(t *testing.T) {
	config := adConfig(serve(t, ldaptest.Demo()))
	config.Label, config.Timeout, config.Logger = "empresa.local", time.Second, new(logs).logger()
	d, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	mustSignIn(t, d, "ac12345", "secreto")
}
