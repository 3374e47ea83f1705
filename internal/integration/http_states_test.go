package integration

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// The bodies of what the directory says to the right password only.
const (
	bodyExpired    = `{"status":"error","message":"Contraseña caducada","code":"password_expired"}`
	bodyMustChange = `{"status":"error","message":"Se requiere cambiar la contraseña","code":"password_must_change"}`
	bodyRestricted = `{"status":"error","message":"Esta cuenta no puede iniciar sesión. Contacte con soporte","code":"account_restricted"}`
	bodyThrottled  = `{"status":"error","message":"Demasiados intentos","code":"too_many_attempts"}`
)

// stateTest is one account, and what its owner and a guesser get.
type stateTest struct {
	what, username, password string
	status                   int
	body                     string
	reason, user             string // in the audit log
}

func wrongPassword(what, username, reason, user string) stateTest {
	return stateTest{what, username, "una-clave-que-no-es", http.StatusUnauthorized, bodyRefused, reason, user}
}

// withPasswordURL adds the link that goes with what a new password cures.
func withPasswordURL(body, url string) string {
	return strings.TrimSuffix(body, "}") + `,"password_url":"` + url + `"}`
}

func (c *client) expectStates(t *testing.T, tests []stateTest) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			r, err := c.trySignIn(test.username, test.password)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, r, test.status, test.body)
			if r.took < 300*time.Millisecond {
				t.Errorf("answered after %v, before the floor", r.took)
			}
			if len(r.cookies) != 0 {
				t.Errorf("a refusal sets %v", r.header["Set-Cookie"])
			}
			c.expectAudit(t, auditLine{Event: "sign_in", Result: "refused", Reason: test.reason, User: test.user})
		})
	}
}

// expectAudit compares the last line of the audit log.
func (c *client) expectAudit(t testing.TB, want auditLine) {
	t.Helper()
	lines := c.caddy.audit(t)
	if len(lines) == 0 {
		t.Fatal("the audit log is empty")
	}
	if got := lines[len(lines)-1]; got != want {
		t.Errorf("the audit log says %+v, want %+v", got, want)
	}
}

// adStates are the accounts of the domain, with what is said by default.
func adStates(dc *realserver.Samba) []stateTest {
	const no, forbidden = http.StatusUnauthorized, http.StatusForbidden
	return []stateTest{
		wrongPassword("wrong password", "juan", "bad_credentials", "juan"),
		wrongPassword("unknown user", "nadie", "bad_credentials", "nadie"),
		{"disabled", dc.Disabled.Username, dc.Disabled.Password, forbidden, bodyRestricted, "account_disabled", "deshabilitada"},
		wrongPassword("disabled, wrong password", dc.Disabled.Username, "bad_credentials", "deshabilitada"),
		{"account expired", dc.AccountExpired.Username, dc.AccountExpired.Password, forbidden, bodyRestricted, "account_expired", "caducada"},
		wrongPassword("account expired, wrong password", dc.AccountExpired.Username, "bad_credentials", "caducada"),
		{"logon hours", dc.LogonHours.Username, dc.LogonHours.Password, forbidden, bodyRestricted, "logon_hours", "sinhoras"},
		wrongPassword("logon hours, wrong password", dc.LogonHours.Username, "bad_credentials", "sinhoras"),
		{"workstation", dc.Workstation.Username, dc.Workstation.Password, forbidden, bodyRestricted, "workstation", "otropuesto"},
		wrongPassword("workstation, wrong password", dc.Workstation.Username, "bad_credentials", "otropuesto"),
		{"password expired", dc.PasswordExpired.Username, dc.PasswordExpired.Password, forbidden, bodyExpired, "password_expired", "expirada"},
		wrongPassword("password expired, wrong password", dc.PasswordExpired.Username, "bad_credentials", "expirada"),
		{"older than its own policy allows", dc.WeeklyPassword.Username, dc.WeeklyPassword.Password, forbidden, bodyExpired, "password_expired", "semanal"},
		wrongPassword("older than its own policy allows, wrong password", dc.WeeklyPassword.Username, "bad_credentials", "semanal"),
		{"must change password", dc.MustChange.Username, dc.MustChange.Password, forbidden, bodyMustChange, "password_must_change", "debecambiar"},
		wrongPassword("must change password, wrong password", dc.MustChange.Username, "bad_credentials", "debecambiar"),
		// The directory says so to any password.
		{"locked", dc.Locked.Username, dc.Locked.Password, no, bodyRefused, "account_locked", "bloqueada"},
		wrongPassword("locked, wrong password", dc.Locked.Username, "account_locked", "bloqueada"),
		{"empty password", "juan", "", no, bodyRefused, "name_invalid", ""},
	}
}

// Rows 4 and 7 to 11.
func TestHTTPAccountStatesOnAD(t *testing.T) {
	dc := servers.Samba(t)
	startAD(t, "require_session", noThrottle).expectStates(t, adStates(dc))
}

// Rows 7 to 11: the audit log is as exact, the answers say as much as the
// option lets them, and a link is where a new password cures.
func TestHTTPLoginHintsOnAD(t *testing.T) {
	dc := servers.Samba(t)
	const link = "https://clave.corp.test/"
	for _, hints := range []string{"off", "password", "all"} {
		t.Run(hints, func(t *testing.T) {
			t.Parallel()
			site := startSite(t, adServiceDirectory(dc, dc.URL, "login_hints "+hints, "password_url "+link), "require_session", noThrottle)
			site.caddy.keepSecret(dc.Service.Password, true)
			tests := adStates(dc)
			for i := range tests {
				test := &tests[i]
				if test.username == "nadie" {
					// The service account has looked; what was typed may be a password.
					test.reason, test.user = "user_unknown", ""
				}
				switch {
				case hints == "off":
					test.status, test.body = http.StatusUnauthorized, bodyRefused
				case test.body == bodyExpired || test.body == bodyMustChange:
					test.body = withPasswordURL(test.body, link)
				case hints == "all" && test.body == bodyRestricted:
					test.body = strings.TrimSuffix(test.body, "}") + `,"detail":"` + test.reason + `"}`
				}
			}
			site.expectStates(t, tests)
		})
	}
}

// Rows 28, 29 and 31.
func TestHTTPAccountStatesOnOpenLDAP(t *testing.T) {
	s := realserver.NewSlapd(t, realserver.SlapdOptions{PasswordPolicy: true})
	site := startOpenLDAP(t, s, "require_session", noThrottle)
	const no, forbidden = http.StatusUnauthorized, http.StatusForbidden
	site.expectStates(t, []stateTest{
		wrongPassword("wrong password", "lucia", "bad_credentials", "lucia"),
		wrongPassword("unknown user", "nadie", "user_unknown", ""),
		{"must change password", s.MustChange.Username, s.MustChange.Password, forbidden, bodyMustChange, "password_must_change", "debecambiar"},
		wrongPassword("must change password, wrong password", s.MustChange.Username, "bad_credentials", "debecambiar"),
		{"password expired", s.PasswordExpired.Username, s.PasswordExpired.Password, forbidden, bodyExpired, "password_expired", "expirada"},
		wrongPassword("password expired, wrong password", s.PasswordExpired.Username, "bad_credentials", "expirada"),
		{"locked", s.Locked.Username, s.Locked.Password, no, bodyRefused, "account_locked", "bloqueada"},
		wrongPassword("locked, wrong password", s.Locked.Username, "account_locked", "bloqueada"),
		{"groups deeper in each other than are read", s.Deep.Username, s.Deep.Password, forbidden, bodyRestricted, "too_many_groups", "profunda"},
		wrongPassword("such groups, wrong password", s.Deep.Username, "bad_credentials", "profunda"),
		{"locked by an administrator", s.AdminLocked.Username, s.AdminLocked.Password, no, bodyRefused, "account_locked", "cerrada"},
	})
	t.Run("sign-ins left", func(t *testing.T) {
		for _, left := range []string{"2", "1", "0"} {
			r, err := site.trySignIn(s.Grace.Username, s.Grace.Password)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, r, http.StatusOK, `{"status":"ok","message":"Login exitoso","first_name":"Gloria","last_name":"Gracia",`+
				`"warning":"password_expires","grace_sign_ins":`+left+`}`)
			site.sessionOf(t, r).echo(t, "/")
		}
		r, err := site.trySignIn(s.Grace.Username, s.Grace.Password)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, r, forbidden, bodyExpired)
	})
	t.Run("password that will expire", func(t *testing.T) {
		r, err := site.trySignIn(s.Warned.Username, s.Warned.Password)
		if err != nil {
			t.Fatal(err)
		}
		const beginning = `{"status":"ok","message":"Login exitoso","first_name":"Ada","last_name":"Avisada","warning":"password_expires","expires_in":4`
		if r.status != http.StatusOK || !strings.HasPrefix(r.body, beginning) {
			t.Errorf("got %d %s, want 200 %s…", r.status, r.body, beginning)
		}
		site.sessionOf(t, r).echo(t, "/")
	})
}

func TestHTTPAccountStatesOn389DS(t *testing.T) {
	s := servers.DS389(t)
	directory := directoryBlock("fabrica.test", s.URL, s.CA.File, `bind "`+s.Service.DN+`" `+s.Service.Password)
	site := startSite(t, directory, "require_session", noThrottle)
	site.caddy.keepSecret(s.Service.Password, true)
	const no, forbidden = http.StatusUnauthorized, http.StatusForbidden
	site.expectStates(t, []stateTest{
		wrongPassword("wrong password", "nerea", "bad_credentials", "nerea"),
		wrongPassword("unknown user", "nadie", "user_unknown", ""),
		{"must change password", s.MustChange.Username, s.MustChange.Password, forbidden, bodyMustChange, "password_must_change", "debecambiar"},
		wrongPassword("must change password, wrong password", s.MustChange.Username, "bad_credentials", "debecambiar"),
		{"password expired", s.PasswordExpired.Username, s.PasswordExpired.Password, forbidden, bodyExpired, "password_expired", "expirada"},
		wrongPassword("password expired, wrong password", s.PasswordExpired.Username, "bad_credentials", "expirada"),
		{"locked", s.Locked.Username, s.Locked.Password, no, bodyRefused, "account_locked", "bloqueada"},
		wrongPassword("locked, wrong password", s.Locked.Username, "account_locked", "bloqueada"),
		// It looks at this lock before it looks at the password, too.
		{"inactive", s.Inactive.Username, s.Inactive.Password, no, bodyRefused, "account_locked", "inactiva"},
	})
	r, err := site.trySignIn(s.Grace.Username, s.Grace.Password)
	if err != nil {
		t.Fatal(err)
	}
	if r.status != http.StatusOK || !strings.Contains(r.body, `"warning":"password_expires","grace_sign_ins":`) {
		t.Errorf("with sign-ins left: %d %s", r.status, r.body)
	}
	site.signInAs(t, s.Nerea).echo(t, "/")
}
