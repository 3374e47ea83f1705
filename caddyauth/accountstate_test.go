package caddyauth

import (
	"fmt"
	"html"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

func TestAnswersToReasons(t *testing.T) {
	type answer struct {
		code   code
		detail string
	}
	plain := answer{codeInvalidCredentials, ""}
	restricted := answer{codeAccountRestricted, ""}
	rows := []struct {
		reason        ldap.Reason
		password, all answer
	}{
		{ldap.ReasonPasswordExpired, answer{codePasswordExpired, ""}, answer{codePasswordExpired, ""}},
		{ldap.ReasonPasswordMustChange, answer{codePasswordMustChange, ""}, answer{codePasswordMustChange, ""}},
		{ldap.ReasonAccountDisabled, restricted, answer{codeAccountRestricted, "account_disabled"}},
		{ldap.ReasonAccountExpired, restricted, answer{codeAccountRestricted, "account_expired"}},
		{ldap.ReasonLogonHours, restricted, answer{codeAccountRestricted, "logon_hours"}},
		{ldap.ReasonWorkstation, restricted, answer{codeAccountRestricted, "workstation"}},
		{ldap.ReasonTokenTooBig, restricted, answer{codeAccountRestricted, "token_too_big"}},
		{ldap.ReasonTooManyGroups, restricted, answer{codeAccountRestricted, "too_many_groups"}},
		{ldap.ReasonAccountLocked, plain, plain}, // said to any password
		{ldap.ReasonBadCredentials, plain, plain},
		{ldap.ReasonUserUnknown, plain, plain},
		{ldap.ReasonAmbiguousUser, plain, plain},
		{ldap.ReasonNameInvalid, plain, plain},
		{ldap.ReasonIdentityUnproven, plain, plain},
		{ldap.ReasonRefused, plain, plain},
		{"a reason of the future", plain, plain},
		{"", plain, plain},
	}
	known := make(map[ldap.Reason]bool)
	for _, row := range rows {
		known[row.reason] = true
	}
	// A reason that package ldap gets later is the plain 401 until somebody
	// decides otherwise, here.
	source, err := os.ReadFile("../ldap/errors.go")
	if err != nil {
		t.Fatal(err)
	}
	inSource := regexp.MustCompile(`(?m)^\tReason\w+ +Reason = "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	if len(inSource) < 14 {
		t.Fatalf("found %d reasons in package ldap", len(inSource))
	}
	for _, match := range inSource {
		if reason := ldap.Reason(match[1]); !known[reason] {
			rows = append(rows, struct {
				reason        ldap.Reason
				password, all answer
			}{reason, plain, plain})
		}
	}
	for _, row := range rows {
		for hints, want := range map[loginHints]answer{
			hintsOff: plain, hintsPassword: row.password, hintsAll: row.all, "": plain, "ALL": plain,
		} {
			var got answer
			if got.code, got.detail = hints.answer(row.reason); got != want {
				t.Errorf("login_hints %q, %q: %+v, want %+v", hints, row.reason, got, want)
			}
		}
	}
}

func TestLoginHintsOption(t *testing.T) {
	for _, row := range []struct {
		configured string
		want       loginHints
		refused    bool
	}{
		{"", hintsPassword, false},
		{"off", hintsOff, false},
		{"password", hintsPassword, false},
		{"all", hintsAll, false},
		{"All", hintsOff, true},
		{" all", hintsOff, true},
		{"true", hintsOff, true},
		{"all\x00", hintsOff, true},
	} {
		d := &Directory{LoginHints: row.configured}
		got, err := d.hints()
		if got != row.want || (err != nil) != row.refused {
			t.Errorf("%q: %q, %v", row.configured, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "login_hints: "+fmt.Sprintf("%q", row.configured)) {
			t.Errorf("%q: the error does not name the option and the value: %v", row.configured, err)
		}
	}
}

// everyState is the demo's directory with an account of each state.
func everyState() *ldaptest.Directory {
	dir := ldaptest.Demo()
	for name, state := range map[string]ldaptest.State{
		"debecambiar": ldaptest.MustChange, "caducada": ldaptest.AccountExpired,
		"horas": ldaptest.LogonHours, "estacion": ldaptest.Workstation,
	} {
		dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: name, Password: ldaptest.DemoPassword, State: state})
	}
	return &dir
}

// TestLoginHintsOnTheWire: what each value tells whoever has the password, and
// that none tells anything to whoever has not.
func TestLoginHintsOnTheWire(t *testing.T) {
	const (
		link       = "https://password.test/reset?a=b&c=d"
		expired    = `{"status":"error","message":"Contraseña caducada","code":"password_expired","password_url":"https://password.test/reset?a=b\u0026c=d"}`
		mustChange = `{"status":"error","message":"Se requiere cambiar la contraseña","code":"password_must_change","password_url":"https://password.test/reset?a=b\u0026c=d"}`
		restricted = `{"status":"error","message":"Esta cuenta no puede iniciar sesión. Contacte con soporte","code":"account_restricted"%s}`
	)
	neutral := fmt.Sprintf(restricted, "")
	detailed := func(reason string) string { return fmt.Sprintf(restricted, `,"detail":"`+reason+`"`) }
	rows := []struct{ user, reason, password, all string }{
		{"expirada", "password_expired", expired, expired},
		{"debecambiar", "password_must_change", mustChange, mustChange},
		{"deshabilitada", "account_disabled", neutral, detailed("account_disabled")},
		{"caducada", "account_expired", neutral, detailed("account_expired")},
		{"horas", "logon_hours", neutral, detailed("logon_hours")},
		{"estacion", "workstation", neutral, detailed("workstation")},
		{"bloqueada", "account_locked", bodyInvalidCredentials, bodyInvalidCredentials},
		{"nobody", "bad_credentials", bodyInvalidCredentials, bodyInvalidCredentials},
	}
	s := newServer(t, setup{directory: everyState(), auth: unthrottled})
	for _, hints := range []string{"off", "password", "all", ""} {
		s.setup.servers = "servers " + s.directory.URL() + "\npassword_url " + link
		if hints != "" {
			s.setup.servers += "\nlogin_hints " + hints
		}
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		mark := logged.mark()
		var group sync.WaitGroup
		for _, row := range rows {
			body := map[string]string{"off": bodyInvalidCredentials, "all": row.all}[hints]
			if body == "" {
				body = row.password
			}
			for password, want := range map[string]string{ldaptest.DemoPassword: body, "not-it-at-all": bodyInvalidCredentials} {
				group.Go(func() {
					name := fmt.Sprintf("login_hints %q, %s, the right password %v", hints, row.user, password == ldaptest.DemoPassword)
					began := time.Now()
					got, err := s.try("POST", "/api/login-ldap/", jsonBody(credentialsJSON(row.user, password)))
					if err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					if took := time.Since(began); took < refusalFloor {
						t.Errorf("%s: the answer left after %s, before the floor", name, took)
					}
					status := 403
					if want == bodyInvalidCredentials {
						status = 401
					}
					if got.StatusCode != status || got.body != want || len(got.Header["Set-Cookie"]) != 0 {
						t.Errorf("%s: got %d %s %q\nwant %d %s", name, got.StatusCode, got.body, got.Header["Set-Cookie"], status, want)
					}
				})
			}
		}
		group.Wait()
		for _, row := range rows {
			wantAudit(t, mark, auditLine{"event": "sign_in", "result": "refused", "reason": row.reason, "user": row.user})
		}
	}
}

// TestRefusedAccountOnThePage: the form comes back with the name, the reason in
// the reader's language, and the way to a new password.
func TestRefusedAccountOnThePage(t *testing.T) {
	const link = "https://password.test/reset?a=b&c=d"
	s := newServer(t, setup{directory: everyState()})
	s.setup.servers = "servers " + s.directory.URL() + "\nlogin_hints all\npassword_url " + link
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		user, language, text string
		inAlert              bool
	}{
		{"expirada", "es", "Su contraseña ha caducado.", true},
		{"expirada", "en", "Your password has expired.", true},
		{"expirada", "pt", "Sua senha expirou.", true},
		{"expirada", "fr", "Votre mot de passe a expiré.", true},
		{"expirada", "de", "Ihr Passwort ist abgelaufen.", true},
		{"debecambiar", "en", "You must set a new password", true},
		{"deshabilitada", "en", "This account is disabled.", false},
		{"caducada", "de", "Dieses Konto ist abgelaufen.", false},
		{"horas", "es", "en este horario", false},
		{"estacion", "fr", "certains ordinateurs", false},
		{"bloqueada", "en", "The username or the password is not correct.", false},
	}
	answers := make([]reply, len(rows))
	var group sync.WaitGroup
	for i, row := range rows {
		group.Go(func() {
			var err error
			if answers[i], err = s.try("POST", "/accounts/login/", navigation, header("Accept-Language", row.language),
				form("username="+row.user+"&password="+ldaptest.DemoPassword+"&next=/docs")); err != nil {
				t.Error(err)
			}
		})
	}
	if group.Wait(); t.Failed() {
		return
	}
	for i, row := range rows {
		t.Run(row.user+" "+row.language, func(t *testing.T) {
			got := answers[i]
			status := 403
			if row.user == "bloqueada" {
				status = 401
			}
			if got.StatusCode != status || got.Header.Get("Content-Language") != row.language {
				t.Fatalf("%d in %q: %s", got.StatusCode, got.Header.Get("Content-Language"), got.body)
			}
			ownAnswer(t, got)
			for _, want := range []string{`value="` + row.user + `"`, `value="/docs"`, row.text} {
				if !strings.Contains(got.body, want) {
					t.Errorf("the page does not have %s:\n%s", want, got.body)
				}
			}
			if strings.Contains(got.body, ldaptest.DemoPassword) || len(got.setCookies("sessionid")) != 0 {
				t.Errorf("it shows the password, or set %q", got.Header["Set-Cookie"])
			}
			_, alert, _ := strings.Cut(got.body, `role="alert"`)
			alert, _, _ = strings.Cut(alert, "</p>")
			if in := strings.Contains(alert, `href="`+html.EscapeString(link)+`"`); in != row.inAlert || strings.Count(got.body, html.EscapeString(link)) != 1 {
				t.Errorf("the link is in the alert: %v, want %v, and once on the page:\n%s", in, row.inAlert, got.body)
			}
		})
	}

	t.Run("without password_url and with the neutral text", func(t *testing.T) {
		s.setup.servers = "servers " + s.directory.URL()
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		expired := func() reply {
			return s.do("POST", "/accounts/login/", navigation, header("Accept-Language", "en"), form("username=expirada&password="+ldaptest.DemoPassword))
		}
		got := expired()
		for try := 0; try < 10 && strings.Contains(got.body, "password.test"); try++ {
			got = expired() // Caddy's server of before may take a connection while it closes
		}
		if got.StatusCode != 403 || !strings.Contains(got.body, "You need a new one") || strings.Contains(got.body, "Change the password") {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
		want(t, s.do("POST", "/api/login-ldap/", jsonBody(credentialsJSON("expirada", ldaptest.DemoPassword))), 403,
			`{"status":"error","message":"Contraseña caducada","code":"password_expired"}`)
		got = s.do("POST", "/accounts/login/", navigation, header("Accept-Language", "en"), form("username=deshabilitada&password="+ldaptest.DemoPassword))
		if got.StatusCode != 403 || !strings.Contains(got.body, "This account cannot sign in.") || strings.Contains(got.body, "disabled") {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
	})
	t.Run("an earlier session goes on", func(t *testing.T) {
		c := s.signIn("ac12345")
		got := s.do("POST", "/api/login-ldap/", jsonBody(credentialsJSON("expirada", ldaptest.DemoPassword)), c.cookies)
		if got.StatusCode != 403 || len(got.setCookies("sessionid")) != 0 {
			t.Errorf("%d %q", got.StatusCode, got.Header["Set-Cookie"])
		}
		want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	})
}
