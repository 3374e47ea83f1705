package ldap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/caddyauth/caddy-ldap/internal/dnstest"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// checked is a run of Check.
type checked struct {
	CheckResult
	steps []CheckStep
}

// runCheck checks, and holds the steps against what every check keeps to.
func runCheck(t testing.TB, d *Directory, user, password string) checked {
	t.Helper()
	var c checked
	request := CheckRequest{Username: user}
	if password != "" {
		request.Password = func() string { return password }
	}
	c.CheckResult = d.Check(t.Context(), request, func(s CheckStep) { c.steps = append(c.steps, s) })
	failed := ""
	for _, s := range c.steps {
		switch {
		case s.OK && s.Skipped:
			t.Errorf("%s is both done and skipped", s.Name)
		case failed != "" && (!s.Skipped || s.Detail != "not reached: "+failed+" failed"):
			t.Errorf("%s comes after a failure: %+v", s.Name, s)
		case !s.OK && !s.Skipped:
			failed = s.Name
			if s.Cause == "" || s.Cure == "" {
				t.Errorf("%s failed without a cause or a cure: %+v", s.Name, s)
			}
		case s.Cause != "" || s.Cure != "":
			t.Errorf("%s did not fail, and has a cause: %+v", s.Name, s)
		}
	}
	if failed != c.Failed {
		t.Errorf("%q failed, and the result says %q", failed, c.Failed)
	}
	return c
}

func (c checked) names() string {
	names := make([]string, len(c.steps))
	for i, s := range c.steps {
		names[i] = s.Name
	}
	return strings.Join(names, " ")
}

func (c checked) step(t testing.TB, name string) CheckStep {
	t.Helper()
	for _, s := range c.steps {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("there is no step %s in %s", name, c.names())
	return CheckStep{}
}

func (c checked) String() string {
	var b strings.Builder
	for _, s := range c.steps {
		fmt.Fprintf(&b, "%+v\n", s)
	}
	return b.String()
}

// has fails unless a step says all texts somewhere.
func (c checked) has(t testing.TB, name string, texts ...string) {
	t.Helper()
	s := c.step(t, name)
	all := strings.Join(append([]string{s.Detail, s.Cause, s.Cure}, s.Warnings...), "\n")
	for _, text := range texts {
		if !strings.Contains(all, text) {
			t.Errorf("%s does not say %q:\n%s", name, text, all)
		}
	}
}

func withService(c Config) Config {
	c.BindUser, c.BindPassword = "mgarcia@empresa.local", "secreto"
	return c
}

func TestCheckOfSomebodyWhoCanSignIn(t *testing.T) {
	ad := serve(t, ldaptest.Demo())
	plain := serve(t, plainDirectory())
	const all = "dns connect certificate kind service_bind search account_state bind identity groups"
	groups := []string{"Ingenieria", "IT Admins", "Nobody"}
	for _, test := range []struct {
		what           string
		config         Config
		user, password string
		steps          string
		proven         bool
		skipped        []string
		binds          int
		says           map[string][]string
	}{
		{"AD, the way there", withService(adConfig(ad)), "", "", "dns connect certificate kind service_bind", false, nil, 1, map[string][]string{
			CheckDNS: {"no SRV records needed", "they are addresses"}, CheckCertificate: {"plain text"},
			CheckKind: {"ad (configured)", `base_dn "DC=empresa,DC=local"`, "1 naming contexts"}, CheckServiceBind: {"mgarcia@empresa.local"},
		}},
		{"AD, no service account", adConfig(ad), "", "", "dns connect certificate kind service_bind", false, []string{CheckServiceBind}, 0, map[string][]string{
			CheckServiceBind: {"none configured", "nobody looks at an account after its sign-in"},
		}},
		{"AD, no password", withService(adConfig(ad)), " AC12345 ", "", all, false, []string{CheckBind}, 1, map[string][]string{
			CheckSearch:       {"(sAMAccountName=AC12345)", "finds", "CN=Juan Pérez"},
			CheckAccountState: {"enabled (userAccountControl 512)"}, CheckBind: {"no password was given"},
			CheckIdentity: {`username "ac12345"`, "not proven without the password"},
			CheckGroups:   {"groups as the service account sees them", `in "Ingenieria"`, `not in "IT Admins"`, "403 group_required", `group "Nobody" of the configuration is not found`, "write its sAMAccountName"},
		}},
		{"AD, everything", withService(adConfig(ad)), "ac12345", "secreto", all, true, nil, 2, map[string][]string{
			CheckBind: {"the password is right"}, CheckIdentity: {"proven: objectSid S-1-5-21-", "is in the connection's token of"},
			CheckGroups: {"groups in the token", `in "Ingenieria"`, `not in "IT Admins"`},
		}},
		{"AD, everything, no service account", adConfig(ad), `EMPRESA\ac12345`, "secreto", all, true, []string{CheckServiceBind, CheckSearch, CheckAccountState}, 1, map[string][]string{
			CheckSearch: {"searched as the user, after the bind"}, CheckIdentity: {"proven"}, CheckGroups: {`in "Ingenieria"`},
		}},
		{"off AD, no password", plainConfig(plain), "ac12345", "", all, false, []string{CheckBind}, 1, map[string][]string{
			CheckSearch: {"(uid=ac12345) finds", "uid=ac12345,ou=people"}, CheckGroups: {"3 groups, nested ones included"},
		}},
		{"off AD, everything", plainConfig(plain), "ac12345@empresa.local", "secreto", all, true, nil, 2, map[string][]string{
			CheckSearch:   {"(uid=ac12345@empresa.local), then (uid=ac12345) finds"},
			CheckIdentity: {"proven: the bind was with the DN"}, CheckGroups: {`in "Ingenieria"`, `"Nobody"`, "directly under"},
		}},
	} {
		t.Run(test.what, func(t *testing.T) {
			config := test.config
			config.Groups = groups
			if config.Kind == KindGeneric {
				config.GroupBase = "ou=groups," + plainBase
			}
			before := ad.Binds() + plain.Binds()
			d, _ := open(t, config)
			c := runCheck(t, d, test.user, test.password)
			if c.Failed != "" || c.Reason != "" || c.Undecided || c.Proven != test.proven {
				t.Errorf("result %+v", c.CheckResult)
			}
			if c.names() != test.steps {
				t.Errorf("steps %q, want %q", c.names(), test.steps)
			}
			for _, s := range c.steps {
				if s.Skipped != slices.Contains(test.skipped, s.Name) {
					t.Errorf("%s: skipped %v: %s", s.Name, s.Skipped, s.Detail)
				}
			}
			for name, texts := range test.says {
				c.has(t, name, texts...)
			}
			if got := ad.Binds() + plain.Binds() - before; got != test.binds {
				t.Errorf("%d binds, want %d", got, test.binds)
			}
		})
	}
}

func TestCheckWithoutServiceAccountAndPasswordIsUndecided(t *testing.T) {
	d, _ := open(t, adConfig(serve(t, ldaptest.Demo())))
	if c := runCheck(t, d, "ac12345", ""); c.Failed != "" || !c.Undecided || c.Proven {
		t.Errorf("result %+v", c.CheckResult)
	}
}

// refusing is an address where nothing listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestCheckOfTheWayToTheDirectory(t *testing.T) {
	authority := newCA(t)
	secure := func(t *testing.T, c certificate) Config {
		s := serve(t, ldaptest.Demo(), ldaptest.WithTLS(authority.server(t, c)))
		return Config{Kind: KindAD, Servers: []string{s.URL()}, RootCAs: authority.pool}
	}
	stalled := func(t *testing.T, at ldaptest.Stage, options ...ldaptest.Option) *ldaptest.Server {
		s := serve(t, ldaptest.Demo(), options...)
		s.Stall(at)
		return s
	}
	for _, test := range []struct {
		what   string
		config func(t *testing.T) Config
		failed string
		says   []string
	}{
		{"connection refused", func(t *testing.T) Config { return Config{Kind: KindAD, Servers: []string{"ldap://" + refusing(t)}} },
			CheckConnect, []string{"connection refused", "whether the directory runs"}},
		{"host that DNS does not know", func(t *testing.T) Config { return Config{Kind: KindAD, Servers: []string{"ldaps://dc1.invalid"}} },
			CheckDNS, []string{"dc1.invalid", "write servers ldaps://<host>"}},
		{"certificate of an unknown authority", func(t *testing.T) Config {
			c := secure(t, certificate{})
			c.RootCAs = newCA(t).pool
			return c
		}, CheckCertificate, []string{"unknown authority", `issuer "CN=test CA"`, "127.0.0.1", "set ca_file"}},
		{"certificate without SAN", func(t *testing.T) Config {
			c := secure(t, certificate{noSAN: true})
			c.ServerName = "dc1.corp.test"
			return c
		}, CheckCertificate, []string{"no SAN", "reissue the certificate with the DNS name \"dc1.corp.test\""}},
		{"certificate of another name", func(t *testing.T) Config { return secure(t, certificate{names: []string{"dc9.corp.test"}}) },
			CheckCertificate, []string{"name mismatch", "dc9.corp.test", "server_name"}},
		{"certificate that has expired", func(t *testing.T) Config { return secure(t, certificate{expired: true}) },
			CheckCertificate, []string{"expired", "renew the certificate", "clock"}},
		{"certificate with a negative serial number", func(t *testing.T) Config { return secure(t, certificate{negativeSerial: true}) },
			CheckCertificate, []string{"negative serial", "GODEBUG=x509negativeserial=1"}},
		{"ldaps to the plain port", func(t *testing.T) Config {
			return Config{Kind: KindAD, Servers: []string{"ldaps://" + serve(t, ldaptest.Demo()).Addr()}}
		}, CheckCertificate, []string{"does not speak TLS", "wrong scheme for this port"}},
		{"start_tls that is not offered", func(t *testing.T) Config {
			c := adConfig(serve(t, ldaptest.Demo()))
			c.StartTLS = true
			return c
		}, CheckCertificate, []string{"refuses start_tls", "write ldaps://"}},
		{"start_tls and a handshake that never comes", func(t *testing.T) Config {
			c := adConfig(stalled(t, ldaptest.StallStartTLS, ldaptest.WithStartTLS(authority.server(t, certificate{}))))
			c.StartTLS = true
			return c
		}, CheckCertificate, []string{"says nothing when TLS begins", "look at scheme and port"}},
		{"ldap to the port of ldaps", func(t *testing.T) Config {
			s := serve(t, ldaptest.Demo(), ldaptest.WithTLS(authority.server(t, certificate{})))
			return Config{Kind: KindAD, Servers: []string{"ldap://" + s.Addr()}}
		}, CheckKind, []string{"answers no LDAP", "ldaps:// is mostly port 636"}},
		{"server that never answers", func(t *testing.T) Config { return adConfig(stalled(t, ldaptest.StallConnect)) },
			CheckKind, []string{"does not answer", "restart the directory"}},
		{"no base DN to be found", func(t *testing.T) Config {
			url := "ldap://" + listen(t, func(c net.Conn) {
				ber.ReadPacket(c)
				c.Write(searchDone(1))
				ber.ReadPacket(c)
			})
			return Config{Kind: KindAD, Servers: []string{url}}
		}, CheckKind, []string{"0 naming contexts", "set base_dn"}},
		{"no service account off AD", func(t *testing.T) Config { return Config{Servers: []string{serve(t, plainDirectory()).URL()}} },
			CheckServiceBind, []string{"without a service account nobody can be found", "add bind <dn> <password>"}},
		{"wrong password of the service account", func(t *testing.T) Config {
			c := plainConfig(serve(t, plainDirectory()))
			c.BindPassword = "wrong-secret"
			return c
		}, CheckServiceBind, []string{"result 49", "check user and password of bind"}},
		{"service account that is locked", func(t *testing.T) Config {
			c := adConfig(serve(t, ldaptest.Demo()))
			c.BindUser, c.BindPassword = "bloqueada@empresa.local", "secreto"
			return c
		}, CheckServiceBind, []string{"data 775", "the account is locked", "sign-ins go on without it"}},
		{"service account whose password has expired", func(t *testing.T) Config {
			c := adConfig(serve(t, ldaptest.Demo()))
			c.BindUser, c.BindPassword = "expirada@empresa.local", "secreto"
			return c
		}, CheckServiceBind, []string{"data 532", "must be renewed"}},
		{"TLS is required", func(t *testing.T) Config {
			dir := ldaptest.Demo()
			dir.RequireTLS = true
			return withService(adConfig(serve(t, dir)))
		}, CheckServiceBind, []string{"result 8", "the server demands TLS"}},
		{"bind that is never answered", func(t *testing.T) Config { return withService(adConfig(stalled(t, ldaptest.StallBind))) },
			CheckServiceBind, []string{"fell silent"}},
	} {
		t.Run(test.what, func(t *testing.T) {
			d, _ := open(t, test.config(t))
			c := runCheck(t, d, "", "")
			if c.Failed != test.failed {
				t.Fatalf("%q failed, want %q\n%s", c.Failed, test.failed, c)
			}
			c.has(t, test.failed, test.says...)
			if onAD := test.failed == CheckServiceBind && d.knownKind() == KindAD; c.Refused || (c.Reason == "") != onAD {
				t.Errorf("result %+v", c.CheckResult)
			}
		})
	}
}

func TestCheckGoesOnWithTheFirstServerThatWorks(t *testing.T) {
	authority := newCA(t)
	bad := serve(t, ldaptest.Demo(), ldaptest.WithTLS(newCA(t).server(t, certificate{})))
	silent := serve(t, ldaptest.Demo(), ldaptest.WithTLS(authority.server(t, certificate{})))
	silent.Stall(ldaptest.StallConnect)
	good := serve(t, ldaptest.Demo(), ldaptest.WithTLS(authority.server(t, certificate{})))
	down := "ldaps://" + refusing(t)
	d, _ := open(t, withService(Config{Kind: KindAD, Servers: []string{down, bad.URL(), silent.URL(), good.URL()}, RootCAs: authority.pool}))
	c := runCheck(t, d, "ac12345", "secreto")
	if c.Failed != "" || !c.Proven {
		t.Fatalf("%s", c)
	}
	c.has(t, CheckConnect, down+": connection refused", good.URL())
	c.has(t, CheckCertificate, bad.URL()+": unknown authority", silent.URL()+": the server accepts connections", good.URL()+": TLS 1.3",
		`subject "CN=dc1.corp.test"`, `issuer "CN=test CA"`, "for 127.0.0.1", "0 days left", "ends in 0 days", "renew it")
	c.has(t, CheckKind, "at "+good.URL())
	if bad.Binds()+silent.Binds() != 0 {
		t.Error("a server that is not proven got a password")
	}
}

func TestCheckFindsServersInDNS(t *testing.T) {
	dns := dnstest.New(t)
	dns.SetSRV(firstName, net.SRV{Target: "dc1.corp.test.", Port: 389}, net.SRV{Target: "dc1.evil.test.", Port: 389})
	d, _ := open(t, Config{Label: "corp.test", Kind: KindAD})
	d.discovery.resolver = dns.Resolver()
	d.limits.dial = 5 * time.Second // of DNS, on a slow machine

	c := runCheck(t, d, "", "")
	if c.Failed != CheckDNS || c.Reason != ReasonDirectoryUnavailable {
		t.Fatalf("a host without an address: %s", c)
	}
	c.has(t, CheckDNS, firstName+" names ldaps://dc1.corp.test:636", "dc1.evil.test: it is outside of the domain", `looking up host "dc1.corp.test"`, "write servers")

	dns.SetSRV(firstName)
	c = runCheck(t, d, "", "")
	if c.Failed != CheckDNS {
		t.Fatalf("no records: %s", c)
	}
	c.has(t, CheckDNS, "neither "+firstName+" nor "+secondName, "resolv.conf")
}

func TestCheckOfUsers(t *testing.T) {
	dir := ldaptest.Demo()
	never := strings.Repeat("\x00", 21)
	entry := func(name string, attributes map[string][]string) ldaptest.User {
		return ldaptest.User{SAMAccountName: name, Password: "secreto", ExtraAttributes: attributes}
	}
	const computed = "msDS-User-Account-Control-Computed"
	dir.Users = append(dir.Users,
		ldaptest.User{SAMAccountName: "debe", Password: "secreto", State: ldaptest.MustChange},
		ldaptest.User{SAMAccountName: "vencida", Password: "secreto", State: ldaptest.AccountExpired},
		ldaptest.User{SAMAccountName: "horas", Password: "secreto", State: ldaptest.LogonHours},
		ldaptest.User{SAMAccountName: "equipo", Password: "secreto", State: ldaptest.Workstation},
		entry("clocked", map[string][]string{computed: {"16"}, "lockoutTime": {"133000000000000000"}}),
		entry("cexpired", map[string][]string{computed: {"8388608"}, "pwdLastSet": {"133000000000000000"}}),
		entry("cmust", map[string][]string{computed: {"8388608"}, "pwdLastSet": {"0"}}),
		entry("cfresh", map[string][]string{computed: {"0"}, "pwdLastSet": {"0"}}),
		entry("cends", map[string][]string{"accountExpires": {"133000000000000000"}}),
		entry("chours", map[string][]string{"logonHours": {never}}),
		entry("cmachines", map[string][]string{"userWorkstations": {"PC-7"}, computed: {"0"}}),
		ldaptest.User{SAMAccountName: "noid", Password: "secreto", ExtraAttributes: map[string][]string{"objectGUID": {}}},
	)
	server := serve(t, dir)
	for _, test := range []struct {
		what, user, password string
		failed               string
		reason               Reason
		binds                int // of the user
		says                 []string
	}{
		{"unknown", "nobody", "", CheckSearch, ReasonUserUnknown, 0, []string{"(sAMAccountName=nobody)", "no entry", "user_filter"}},
		{"unknown, with a password", "nobody", "secreto", CheckSearch, ReasonUserUnknown, 0, []string{"(sAMAccountName=nobody)", "the service account finds no such user", "no entry", "base_dn", "user_filter", "rights of the service account"}},
		{"unknown, with a wrong password", "nobody", "falsch-1", CheckSearch, ReasonUserUnknown, 0, []string{"no entry"}},
		{"a name that no directory is shown", "a*b", "secreto", CheckSearch, ReasonNameInvalid, 0, []string{"never sent", `'*' cannot be in it`}},
		{"a password that no directory is shown", "ac12345", "sec\x00reto", CheckBind, ReasonNameInvalid, 0, []string{"it has a NUL"}},
		{"wrong password", "ac12345", "falsch-1", CheckBind, ReasonBadCredentials, 1, []string{"wrong password, or a name that the directory does not know", "data 52e", "counted in the directory", "option throttle", "too_many_attempts"}},
		{"disabled", "deshabilitada", "secreto", CheckAccountState, ReasonAccountDisabled, 0, []string{"userAccountControl 514", "data 533", "enable the account"}},
		{"locked", "bloqueada", "secreto", CheckBind, ReasonAccountLocked, 1, []string{"data 775", "unlock the account"}},
		{"password expired", "expirada", "secreto", CheckBind, ReasonPasswordExpired, 1, []string{"data 532", "the password is right", "password_url"}},
		{"must change", "debe", "secreto", CheckBind, ReasonPasswordMustChange, 1, []string{"data 773", "set a new password"}},
		{"account expired", "vencida", "secreto", CheckBind, ReasonAccountExpired, 1, []string{"data 701", "accountExpires"}},
		{"logon hours", "horas", "secreto", CheckBind, ReasonLogonHours, 1, []string{"data 530", "logonHours"}},
		{"workstation", "equipo", "secreto", CheckBind, ReasonWorkstation, 1, []string{"data 531", "userWorkstations"}},
		{"locked, as its entry shows", "clocked", "secreto", CheckAccountState, ReasonAccountLocked, 0, []string{"locked since 2022", "data 775"}},
		{"password expired, as its entry shows", "cexpired", "secreto", CheckAccountState, ReasonPasswordExpired, 0, []string{"data 532"}},
		{"must change, as its entry shows", "cmust", "", CheckAccountState, ReasonPasswordMustChange, 0, []string{"data 773"}},
		{"no change needed, though never set", "cfresh", "secreto", "", "", 1, nil},
		{"account expired, as its entry shows", "cends", "secreto", CheckAccountState, ReasonAccountExpired, 0, []string{"expired on 2022", "data 701"}},
		{"logon hours, as its entry shows", "chours", "secreto", CheckAccountState, ReasonLogonHours, 0, []string{"data 530"}},
		{"workstations in its entry", "cmachines", "secreto", "", "", 1, nil},
		{"entry without an ID", "noid", "secreto", CheckIdentity, ReasonDirectoryUnavailable, 1, []string{"objectGUID", "attributes"}},
	} {
		t.Run(test.what, func(t *testing.T) {
			d, _ := open(t, withService(adConfig(server)))
			before := server.Binds()
			c := runCheck(t, d, test.user, test.password)
			if c.Failed != test.failed || c.Reason != test.reason {
				t.Fatalf("%q failed for %q, want %q for %q\n%s", c.Failed, c.Reason, test.failed, test.reason, c)
			}
			if test.failed != "" {
				c.has(t, test.failed, test.says...)
			}
			if got := server.Binds() - before - 1; got != test.binds {
				t.Errorf("%d binds as the user, want %d", got, test.binds)
			}
			if test.user == "cmachines" {
				c.has(t, CheckAccountState, `userWorkstations allows "PC-7" only`, "data 531")
			}
		})
	}
}

// What a check says of a sign-in is what a sign-in does.
func TestCheckAgreesWithSignIn(t *testing.T) {
	ad, plain := serve(t, ldaptest.Demo()), serve(t, plainDirectory())
	narrow := withService(adConfig(ad))
	narrow.UserFilter = "(&(sAMAccountName={user})(title=Responsable de sistemas))"
	base := withService(adConfig(ad))
	base.BaseDN = "OU=gone,DC=empresa,DC=local"
	plainBase := plainConfig(plain)
	plainBase.BaseDN = "ou=gone,dc=empresa,dc=local"
	plainGroupBase := plainConfig(plain)
	plainGroupBase.GroupBase = "ou=gone,dc=empresa,dc=local"
	nested := plainDirectory()
	for i := range 12 {
		nested.Groups = append(nested.Groups, ldaptest.Group{Name: fmt.Sprintf("deep%d", i), MemberOf: []string{fmt.Sprintf("deep%d", i+1)}})
	}
	nested.Groups = append(nested.Groups, ldaptest.Group{Name: "deep12"})
	nested.Users[0].MemberOf = append(nested.Users[0].MemberOf, "deep0")
	deep := serve(t, nested)
	binds := func() int { return ad.Binds() + plain.Binds() + deep.Binds() }
	for what, config := range map[string]Config{
		"AD": withService(adConfig(ad)), "AD without a service account": adConfig(ad), "off AD": plainConfig(plain),
		"narrow filter": narrow, "no such base": base, "no such base off AD": plainBase,
		"no such group base off AD": plainGroupBase, "too many groups off AD": plainConfig(deep),
	} {
		for _, user := range []string{"ac12345", "mgarcia", "AC12345@EMPRESA.LOCAL", `EMPRESA\ac12345`, "nobody", "bloqueada", "expirada", "deshabilitada", "a*", " "} {
			for _, password := range []string{"secreto", "wrong"} {
				t.Run(fmt.Sprintf("%s, %q, %s", what, user, password), func(t *testing.T) {
					d, _ := open(t, config)
					before := binds()
					_, err := d.SignIn(context.Background(), user, password)
					signedIn := binds()
					var want Reason
					var refused *RefusedError
					var u *UnavailableError
					switch {
					case errors.As(err, &refused):
						want = refused.Reason
					case errors.As(err, &u):
						want = u.Reason
					}
					again, _ := open(t, config)
					c := runCheck(t, again, user, password)
					service := min(1, len(config.BindUser))
					if bySignIn, byCheck := max(signedIn-before-service, 0), binds()-signedIn-service; byCheck > bySignIn {
						t.Errorf("%d binds as the user, a sign-in has %d\n%s", byCheck, bySignIn, c)
					}
					if c.Failed == CheckAccountState && password == "wrong" || c.Reason == ReasonBaseDN && refused != nil {
						return // no password is sent: what is said is said of the right one
					}
					if c.Reason != want || c.Refused != (refused != nil) || (c.Failed == "") != (err == nil) || err == nil && !c.Proven {
						t.Errorf("check %+v, sign-in %v\n%s", c.CheckResult, err, c)
					}
				})
			}
		}
	}
}

// Finding 1 of the takeover: the name that binds is one person's, and what it
// finds is another's.
func TestCheckOfATakeover(t *testing.T) {
	dir := ldaptest.Demo()
	dir.Users = append(dir.Users,
		ldaptest.User{SAMAccountName: "victim", Password: "v-secret-1"},
		ldaptest.User{SAMAccountName: "eve", UPN: "victim@empresa.local", Password: "e-secret-1"})
	d, _ := open(t, withService(adConfig(serve(t, dir))))
	c := runCheck(t, d, "victim", "e-secret-1")
	if c.Failed != "" || !c.Proven {
		t.Fatalf("%s", c)
	}
	c.has(t, CheckSearch, "the name stands for several people")
	c.has(t, CheckIdentity, `username "eve"`)
}

func TestCheckOffAD(t *testing.T) {
	past, future := time.Now().Add(-time.Hour).UTC().Format("20060102150405Z"), time.Now().Add(time.Hour).UTC().Format("20060102150405Z")
	dir := plainDirectory()
	add := func(name string, attributes map[string][]string) {
		dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: name, Mail: "twin@empresa.local", Password: "secreto", ExtraAttributes: attributes})
	}
	add("reset", map[string][]string{"pwdReset": {"TRUE"}})
	add("admin", map[string][]string{"pwdAccountLockedTime": {"000001010000Z"}})
	add("inactive", map[string][]string{"nsAccountLock": {"true"}})
	add("ended", map[string][]string{"pwdEndTime": {past}})
	add("early", map[string][]string{"pwdStartTime": {future}})
	add("until", map[string][]string{"accountUnlockTime": {future}})
	add("maybe", map[string][]string{"pwdAccountLockedTime": {past}})
	add("noid", map[string][]string{"entryUUID": {}})
	server := serve(t, dir)
	for _, test := range []struct {
		what, user string
		edit       func(*Config)
		failed     string
		reason     Reason
		says       []string
	}{
		{"unknown", "nobody", nil, CheckSearch, ReasonUserUnknown, []string{"(uid=nobody)", "no entry"}},
		{"several", "twin@empresa.local", func(c *Config) { c.UserFilter = "(mail={user})" }, CheckSearch, ReasonAmbiguousUser, []string{"(mail=twin@empresa.local)", "several entries", "exactly one entry may match"}},
		{"no such base", "ac12345", func(c *Config) { c.BaseDN = "ou=gone," + plainBase }, CheckSearch, ReasonBaseDN, []string{"result 32", "check base_dn"}},
		{"reset", "reset", nil, CheckAccountState, ReasonPasswordMustChange, []string{"pwdReset"}},
		{"locked by an administrator", "admin", nil, CheckAccountState, ReasonAccountLocked, []string{"an administrator has locked"}},
		{"inactivated", "inactive", nil, CheckAccountState, ReasonAccountLocked, []string{"nsAccountLock"}},
		{"ended", "ended", nil, CheckAccountState, ReasonAccountLocked, []string{"pwdEndTime"}},
		{"not yet begun", "early", nil, CheckAccountState, ReasonAccountLocked, []string{"pwdStartTime"}},
		{"locked for a time", "until", nil, CheckAccountState, ReasonAccountLocked, []string{"accountUnlockTime"}},
		{"perhaps locked", "maybe", nil, "", "", nil},
		{"no ID", "noid", nil, CheckIdentity, ReasonDirectoryUnavailable, []string{"entryUUID", "attributes"}},
		{"too many groups", "ac12345", func(c *Config) { c.GroupFilter = "(|(member={dn})(objectClass=*))" }, "", "", nil},
	} {
		t.Run(test.what, func(t *testing.T) {
			config := plainConfig(server)
			if test.edit != nil {
				test.edit(&config)
			}
			d, _ := open(t, config)
			before := server.Binds()
			c := runCheck(t, d, test.user, "secreto")
			if c.Failed != test.failed || c.Reason != test.reason {
				t.Fatalf("%q failed for %q, want %q for %q\n%s", c.Failed, c.Reason, test.failed, test.reason, c)
			}
			if test.failed != "" {
				c.has(t, test.failed, test.says...)
				if got := server.Binds() - before; got != 1 {
					t.Errorf("%d binds, want the service account's only", got)
				}
			}
			if test.user == "maybe" {
				c.has(t, CheckAccountState, "the lock may be over")
			}
		})
	}
}

func TestCheckOfGroupsThatCannotBeRead(t *testing.T) {
	dir := plainDirectory()
	for i := range 12 {
		dir.Groups = append(dir.Groups, ldaptest.Group{Name: fmt.Sprintf("deep%d", i), MemberOf: []string{fmt.Sprintf("deep%d", i+1)}})
	}
	dir.Groups = append(dir.Groups, ldaptest.Group{Name: "deep12"})
	dir.Users[0].MemberOf = append(dir.Users[0].MemberOf, "deep0")
	d, _ := open(t, plainConfig(serve(t, dir)))
	c := runCheck(t, d, "ac12345", "secreto")
	if c.Failed != CheckGroups || c.Reason != ReasonTooManyGroups || !c.Refused {
		t.Fatalf("%s", c)
	}
	c.has(t, CheckGroups, "deeper nested ones", "set group_base or group_filter")
}

// A sign-in reads the groups before the bind, and tells of too many of them
// only after the right password.
func TestCheckOfGroupsAroundTheBind(t *testing.T) {
	dir := plainDirectory()
	for i := range 12 {
		dir.Groups = append(dir.Groups, ldaptest.Group{Name: fmt.Sprintf("deep%d", i), MemberOf: []string{fmt.Sprintf("deep%d", i+1)}})
	}
	dir.Groups = append(dir.Groups, ldaptest.Group{Name: "deep12"})
	dir.Users[0].MemberOf = append(dir.Users[0].MemberOf, "deep0")
	server := serve(t, dir)
	for _, test := range []struct {
		what, user, password, groupBase string
		failed                          string
		reason                          Reason
		binds                           int // of the user
		bindSays                        string
	}{
		{"too many, right password", "ac12345", "secreto", "", CheckGroups, ReasonTooManyGroups, 1, "the password is right"},
		{"too many, wrong password", "ac12345", "falsch-1", "", CheckBind, ReasonBadCredentials, 1, "wrong password"},
		{"too many, no password", "ac12345", "", "", CheckGroups, ReasonTooManyGroups, 0, "no password was given"},
		{"unreadable, right password", "mgarcia", "secreto", "ou=gone," + plainBase, CheckGroups, ReasonBaseDN, 0, "not sent: the groups cannot be read"},
		{"unreadable, wrong password", "mgarcia", "falsch-1", "ou=gone," + plainBase, CheckGroups, ReasonBaseDN, 0, "not sent: the groups cannot be read"},
		{"unreadable, no password", "mgarcia", "", "ou=gone," + plainBase, CheckGroups, ReasonBaseDN, 0, "no password was given"},
	} {
		t.Run(test.what, func(t *testing.T) {
			config := plainConfig(server)
			config.GroupBase = test.groupBase
			d, _ := open(t, config)
			before := server.Binds()
			c := runCheck(t, d, test.user, test.password)
			if c.Failed != test.failed || c.Reason != test.reason {
				t.Fatalf("%q failed for %q, want %q for %q\n%s", c.Failed, c.Reason, test.failed, test.reason, c)
			}
			c.has(t, CheckBind, test.bindSays)
			if got := server.Binds() - before - 1; got != test.binds {
				t.Errorf("%d binds as the user, want %d", got, test.binds)
			}
		})
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	s.Stall(ldaptest.StallBind)
	d, _ := open(t, withService(adConfig(s)))
	d.limits.operation, d.limits.total = time.Minute, time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	var last CheckStep
	result := d.Check(ctx, CheckRequest{Username: "ac12345"}, func(s CheckStep) {
		if s.Name == CheckKind {
			time.AfterFunc(50*time.Millisecond, cancel)
		}
		if !s.OK && !s.Skipped {
			last = s
		}
	})
	if result.Failed != CheckServiceBind || result.Reason != ReasonCancelled || !strings.Contains(last.Cure, "interrupted") {
		t.Errorf("%+v %+v", result, last)
	}

	d.limits.total = 100 * time.Millisecond
	c := runCheck(t, d, "ac12345", "")
	if c.Failed != CheckServiceBind {
		t.Fatalf("%s", c)
	}
	c.has(t, CheckServiceBind, "the time for one sign-in is over", "raise timeout")
}

// repeating is a directory that refuses every bind, and repeats the password in
// the form that spell gives it.
func repeating(t *testing.T, spell func(password string) string) string {
	t.Helper()
	return "ldap://" + listen(t, func(c net.Conn) {
		for {
			p, err := ber.ReadPacket(c)
			if err != nil || len(p.Children) < 2 {
				return
			}
			id, _ := p.Children[0].Value.(int64)
			if p.Children[1].Tag != 0 { // no bind
				c.Write(searchDone(int(id)))
				continue
			}
			sent := p.Children[1].Children
			done := ber.Encode(ber.ClassApplication, ber.TypeConstructed, 1, nil, "")
			done.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, 49, ""))
			done.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
			done.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, spell(sent[2].Data.String()), ""))
			answer := ber.NewSequence("")
			answer.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
			answer.AppendChild(done)
			c.Write(answer.Bytes())
		}
	})
}

func TestCheckPrintsNoPassword(t *testing.T) {
	const replaced = "[the server repeats the password]"
	for _, test := range []struct {
		what  string
		spell func(password string) string
		want  string // of the service account's
	}{
		{"as it is", func(p string) string { return "no " + p + " here" }, replaced},
		{"quoted, and cut off behind it", func(p string) string {
			return strings.Repeat(".", maxDiagnostic-40) + fmt.Sprintf("no %q, %s", p, p)
		}, replaced},
		{"cut off", func(p string) string { return strings.Repeat(".", maxDiagnostic-10) + p + p }, redacted},
		{"in capitals", func(p string) string { return "no " + strings.ToUpper(p) }, redacted},
		{"in hexadecimal", func(p string) string { return fmt.Sprintf("no %x", p) }, redacted},
	} {
		t.Run("a server that repeats it, "+test.what, func(t *testing.T) {
			config := Config{Kind: KindAD, BaseDN: "DC=empresa,DC=local", Servers: []string{repeating(t, test.spell)}}
			d, _ := open(t, config)
			user := runCheck(t, d, "ac12345", userSecret)
			if user.Failed != CheckBind {
				t.Errorf("%s", user)
			}
			config.BindUser, config.BindPassword = "svc", bindSecret
			d, _ = open(t, config)
			service := runCheck(t, d, "ac12345", userSecret)
			if service.Failed != CheckServiceBind {
				t.Errorf("%s", service)
			}
			service.has(t, CheckServiceBind, test.want)
			for _, c := range []checked{user, service} {
				clean(t, "check", c.String())
				clean(t, "check", strings.ToLower(c.String()))
				if strings.Contains(c.String(), bindSecret[:6]) {
					t.Errorf("the front of a password: %s", c)
				}
			}
		})
	}
	t.Run("an entry that holds it", func(t *testing.T) {
		dir := ldaptest.Demo()
		dir.Users[0].Password, dir.Users[0].DisplayName = userSecret, "Juan "+userSecret
		d, _ := open(t, withService(adConfig(serve(t, dir))))
		c := runCheck(t, d, "ac12345", userSecret)
		if !c.Proven {
			t.Errorf("%s", c)
		}
		clean(t, "check", c.String())
	})
}

func TestRedaction(t *testing.T) {
	for _, test := range []struct{ what, secret, text, want string }{
		{"as it is", "s3cr3t", "no s3cr3t here", "no [redacted] here"},
		{"twice", "s3cr3t", "s3cr3ts3cr3t", "[redacted][redacted]"},
		{"in another case", "S3cr3t", "no s3CR3T here", "no [redacted] here"},
		{"quoted", `pa"ss\word`, `no "pa\"ss\\word" here`, `no "[redacted]" here`},
		{"control characters taken out", "pass\tword", "no pass word here", "no [redacted] here"},
		{"in hexadecimal", "s3cr3t", "no 733363723374 here", "no [redacted] here"},
		{"in base64", "s3cr3t!", "no czNjcjN0IQ== here", "no [redacted] here"},
		{"cut off", "s3cr3t", "no s3cr…", "no [redacted]…"},
		{"cut off, and more", "s3cr3t", "a… no s3cr… b…", "a… no [redacted]… b…"},
		{"short, a word", "abc", "no abc, nor 'abc'", "no [redacted], nor '[redacted]'"},
		{"short, in a word", "a", "abracadabra a", "abracadabra [redacted]"},
		{"empty", "", "nothing", "nothing"},
		{"not there", "s3cr3t", "nothing…", "nothing…"},
	} {
		t.Run(test.what, func(t *testing.T) {
			var r Redaction
			r.Hide(test.secret)
			if got := r.Text(test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestKnows(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, withService(adConfig(s)))
	for name, want := range map[string]bool{"ac12345": true, "nobody": false, "a\x00": false} {
		if got, err := d.Knows(t.Context(), name); err != nil || got != want {
			t.Errorf("Knows(%q) = %v, %v", name, got, err)
		}
	}
	s.Close()
	d, _ = open(t, withService(adConfig(s)))
	if _, err := d.Knows(t.Context(), "ac12345"); err == nil {
		t.Error("a directory that is down knows who is not there")
	}
	blind, _ := open(t, adConfig(s))
	if got, err := blind.Knows(t.Context(), "ac12345"); err != nil || got {
		t.Errorf("without a service account: %v, %v", got, err)
	}
}
