package attack

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// secretsMask hides what Caddy itself writes of requests: the line is that of
// the documentation.
func secretsMask(t *testing.T) string {
	t.Helper()
	example, err := os.ReadFile("../../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	filter := regexp.MustCompile(`(?s)format filter \{.*?\n\t\t\}`).Find(example)
	if filter == nil {
		t.Fatal("Caddyfile.example has no log filter")
	}
	return string(filter)
}

// secretsTraffic is what people and attackers do, with all their secrets, which
// are returned by name.
func secretsTraffic(t *testing.T, s *site) map[string]string {
	t.Helper()
	const wrong, typo = "Equivocada-44-clave", "Tecleada-en-usuario-91"
	answer := s.trySignIn(t, juan, ldaptest.DemoPassword+"-larga")
	client := s.sessionOf(t, answer)
	device := answer.cookies["ldap_device"].Value
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	page := s.do(t, "GET", "/accounts/login/?next=/x", "")
	anonymous := page.cookies["csrftoken"].Value
	s.do(t, "POST", "/accounts/login/", "username=ac12345&password="+wrong+"&csrfmiddlewaretoken="+anonymous, append(form, "Cookie", "csrftoken="+anonymous)...)
	for range 5 { // the last are throttled
		s.trySignIn(t, juan, wrong, "Cookie", client.cookie())
	}
	s.trySignIn(t, typo, "x")
	s.do(t, "POST", "/api/login-ldap/", `{"username":"ac12345","password":"`+wrong+`",}`, "Content-Type", "application/json")
	s.do(t, "POST", "/api/login-ldap/", `{"username":"ac12345","password":["`+wrong+`"]}`, "Content-Type", "application/json")
	s.do(t, "POST", "/api/login-ldap/", `password=`+wrong, "Content-Type", "text/plain")

	wantServed(t, client.get(t, "/x", "X-Csrftoken", client.csrf))
	wantServed(t, s.do(t, "POST", "/x", "a=b", append(form, "Cookie", client.cookie()+"; ldap_device="+device, "X-Csrftoken", client.csrf)...))
	wantServed(t, s.do(t, "POST", "/x", "a=b&csrfmiddlewaretoken="+client.csrf, append(form, "Cookie", client.cookie())...))
	wantCode(t, s.do(t, "POST", "/x", "a=b", append(form, "Cookie", client.cookie(), "X-Csrftoken", strings.ToUpper(client.csrf)+"x")...), 403, "csrf_failed")
	client.get(t, "/x//y")
	client.get(t, "/api/session/")
	s.do(t, "GET", "/x", "", "Cookie", client.cookie()+"; sessionid="+client.token[1:]+"A")
	s.h2Session(t, client)
	admin := s.admin(t, "GET", "/ldap_auth/sessions", "").body + s.admin(t, "GET", "/ldap_auth/users", "").body + s.admin(t, "GET", "/metrics", "").body
	secrets := map[string]string{
		"password": ldaptest.DemoPassword + "-larga", "wrong password": wrong, "password typed as a name": typo, "bind password": directoryServicePassword,
		"token": client.token, "CSRF secret": client.csrf, "CSRF token of nobody": anonymous, "device cookie": device,
	}
	for name, secret := range secrets {
		if strings.Contains(admin, secret) {
			t.Errorf("the admin endpoint shows the %s", name)
		}
	}
	s.directory.Stall(ldaptest.StallBind)
	s.directory.HangUp()
	if err := s.directory.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.trySignIn(t, maria, wrong), 503, "directory_unavailable")
	if r := client.get(t, "/api/logout/"); r.body != signedOut {
		t.Errorf("signing out: %d %s", r.status, r.body)
	}
	return secrets
}

// h2Session uses a session by HTTP/2, whose header is logged in another way.
func (s *site) h2Session(t *testing.T, client session) {
	t.Helper()
	answer, err := s.h2(t, h2Request{fields: [][2]string{{":path", "/x"}, {"cookie", "sessionid=" + client.token}, {"cookie", "csrftoken=" + client.csrf}, {"x-csrftoken", client.csrf}}})
	if err != nil {
		t.Fatal(err)
	}
	wantServed(t, answer)
}

// secretsSite is a site with everything switched on that writes.
func secretsSite(t *testing.T) (s *site, text string) {
	t.Helper()
	dir := directoryWithService(ldaptest.Demo())
	dir.Users[0].Password = ldaptest.DemoPassword + "-larga"
	s, text = prepare(t, setup{directory: dir, block: directoryServiceLines, global: "metrics"})
	text = strings.Replace(text, "format filter {\n\t\t\trequest>headers>X-Csrftoken delete\n\t\t}", secretsMask(t), 1)
	return s, text
}

// Nothing that lets anybody in is in any file: neither in the logs, at their
// most talkative, nor in the store.
func TestP76NoFileHoldsASecret(t *testing.T) {
	t.Parallel()
	s, text := secretsSite(t)
	// What Caddy's proxy says of requests at this level needs the documented
	// filter as the access log does.
	text = strings.Replace(text, "level DEBUG", "level DEBUG\n"+secretsMask(t), 1)
	// A session's record has its CSRF secret, which is of no use without the
	// token. With an encryption key not even that can be read.
	text = configKeyed(text, configFile(t, "key", configKey(), 0o600))
	s.run(t, text)
	secrets := secretsTraffic(t, s)
	s.child.Stop()
	for name, secret := range secrets {
		if files := s.hasWritten(t, secret); len(files) > 0 {
			t.Errorf("the %s is in %v", name, files)
		}
	}
	if !strings.Contains(s.read("caddy.json"), `"level":"debug"`) || strings.Count(s.read("access.json"), "\n") < 15 {
		t.Error("the logs were not written")
	}
}

// Caddy's own logs hide cookies by themselves, and the CSRF token with the filter
// of the documentation, which is needed for that; our own lines have none of
// either without help.
func TestS37AccessLogsHideWhatTheFilterNames(t *testing.T) {
	t.Parallel()
	s, text := secretsSite(t)
	text = strings.Replace(text, secretsMask(t), "format json", 1)
	s.run(t, text)
	secrets := secretsTraffic(t, s)
	s.child.Stop()
	access := s.read("access.json")
	if !strings.Contains(access, secrets["CSRF secret"]) {
		t.Error("the access log hides the CSRF token by itself: the documentation's filter is needed no more")
	}
	for name, secret := range secrets {
		if name == "CSRF secret" {
			continue
		}
		if files := s.hasWritten(t, secret); len(files) > 0 {
			t.Errorf("the %s is in %v", name, files)
		}
	}
	for line := range strings.Lines(s.read("caddy.json")) {
		for name, secret := range secrets {
			if strings.Contains(line, secret) && !(name == "CSRF secret" && strings.Contains(line, `"logger":"http.handlers.reverse_proxy"`)) {
				t.Errorf("the %s is in %.200s", name, line)
			}
		}
	}
	if !strings.Contains(access, `"user_id":"ac12345"`) {
		t.Error("the access log names nobody")
	}
}
