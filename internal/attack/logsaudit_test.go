package attack

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// logsSetup is a setup in which every decision can come about.
func logsSetup(c setup) setup {
	c.directory, c.block = directoryWithService(ldaptest.Demo()), directoryServiceLines
	c.site = `
	require_session {
		require /admin/* "IT Admins"
	}
	reverse_proxy UPSTREAM`
	return c
}

// logsWantAudited waits for a line of the audit log.
func logsWantAudited(t *testing.T, s *site, want auditLine) auditLine {
	t.Helper()
	var found auditLine
	s.eventually(t, "the audit line "+want.Event+" "+want.Reason, func() bool {
		for _, line := range s.audit(t) {
			if line.Event == want.Event && line.Result == want.Result && line.Reason == want.Reason && (want.User == "" || line.User == want.User) {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

// logsWantClosedKeys fails if an audit line has a key that none may have: what
// is not on the list cannot hold a secret either.
func logsWantClosedKeys(t *testing.T, s *site) {
	t.Helper()
	allowed := []string{"level", "ts", "logger", "msg", "event", "result", "reason", "user", "directory", "session", "client_ip", "host", "path", "ms"}
	for text := range strings.Lines(s.read("caddy.json")) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Errorf("a line of the log is no JSON: %q", text)
			continue
		}
		if line["logger"] != "ldap_auth.audit" {
			continue
		}
		for key := range line {
			if !slices.Contains(allowed, key) {
				t.Errorf("an audit line has the key %q: %s", key, text)
			}
		}
	}
}

// Everything that decides about somebody's access has its line, with a name
// where one is known, and nothing in it that would give access.
func TestS35EveryDecisionIsAudited(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, logsSetup(setup{sessions: "per_user 2"}))
	s.run(t, text)
	first := s.signIn(t, juan)
	logsWantAudited(t, s, auditLine{Event: "sign_in", Result: "ok", User: juan})
	for range 4 {
		s.trySignIn(t, "deshabilitada", signInWrongPassword)
	}
	logsWantAudited(t, s, auditLine{Event: "sign_in", Result: "refused", Reason: "bad_credentials", User: "deshabilitada"})
	logsWantAudited(t, s, auditLine{Event: "sign_in", Result: "refused", Reason: "throttled"})
	s.trySignIn(t, "nadie", signInWrongPassword)
	logsWantAudited(t, s, auditLine{Event: "sign_in", Result: "refused", Reason: "user_unknown"})
	s.trySignIn(t, "expirada", ldaptest.DemoPassword)
	logsWantAudited(t, s, auditLine{Event: "sign_in", Result: "refused", Reason: "password_expired", User: "expirada"})

	for code, answer := range map[string]reply{
		"csrf_failed":        s.do(t, "POST", "/", "x", "Cookie", first.cookie()),
		"group_required":     first.get(t, "/admin/x"),
		"path_ambiguous":     first.get(t, "/x//y"),
		"origin_not_trusted": s.trySignIn(t, juan, ldaptest.DemoPassword, "Origin", "https://evil.example"),
	} {
		wantCode(t, answer, 403, code)
		line := logsWantAudited(t, s, auditLine{Event: "forbidden", Result: "refused", Reason: code})
		if line.ClientIP != "127.0.0.1" || line.Path == "" || line.Host == "" {
			t.Errorf("the audit line does not say who and where: %+v", line)
		}
	}
	again := s.sessionOf(t, s.trySignIn(t, juan, ldaptest.DemoPassword, "Cookie", first.cookie()))
	logsWantAudited(t, s, auditLine{Event: "session_end", Result: "ok", Reason: "replaced", User: juan})
	if r := again.get(t, "/api/logout/"); r.body != signedOut {
		t.Errorf("signing out: %d %s", r.status, r.body)
	}
	logsWantAudited(t, s, auditLine{Event: "sign_out", Result: "ok", User: juan})
	for range 3 {
		s.signIn(t, maria)
	}
	logsWantAudited(t, s, auditLine{Event: "session_end", Result: "ok", Reason: "per_user", User: maria})
	s.endSessions(t, maria)
	logsWantAudited(t, s, auditLine{Event: "session_end", Result: "ok", Reason: "ended_by_operator", User: maria})
	if err := s.tell(t, strings.Replace(text, "per_user 2", "per_user 2\nidle_timeout 2s", 1), "reload"); err != nil {
		t.Fatal(err)
	}
	expires := s.signIn(t, juan)
	s.eventually(t, "the end of a session", func() bool {
		return expires.do(t, "GET", "/api/session/", "", "Cookie", expires.cookie()).status == 401
	})
	logsWantAudited(t, s, auditLine{Event: "session_end", Result: "ok", Reason: "expired", User: juan})
	if err := s.directory.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.trySignIn(t, juan, ldaptest.DemoPassword), 503, "directory_unavailable")
	logsWantAudited(t, s, auditLine{Event: "sign_in", Result: "unavailable", Reason: "directory_unavailable"})
	logsWantClosedKeys(t, s)
	for _, session := range []session{first, again, expires} {
		if files := s.hasWritten(t, session.token); len(files) > 0 {
			t.Errorf("a token is in %v", files)
		}
	}
}

// What strangers choose becomes part of a line and never a line: not the name,
// not the path, in no encoding. A name that the directory does not know may be a
// password, and is left out.
func TestS36LogLinesCannotBeForged(t *testing.T) {
	t.Parallel()
	s := start(t, logsSetup(setup{auth: "throttle insecure_off"}))
	const forged = `{"level":"info","logger":"ldap_auth.audit","msg":"sign_in","event":"sign_in","result":"ok","user":"forjada"}`
	names := []string{
		"x\n" + forged, "x\r\n" + forged, "x\u2028" + forged, "x\u2029" + forged, "x\u0085" + forged, `x","result":"ok","user":"forjada`,
		"x\x1b[2K\x1b[1A" + "forjada", "x\u202e" + "adajrof", "x\x00forjada", strings.Repeat("forjada", 36), strings.Repeat("n", 60<<10), "MiClave-forjada-1",
	}
	client := s.signIn(t, juan)
	before := len(s.audit(t))
	for _, name := range names {
		if r := s.trySignIn(t, name, "x"); r.status != 401 {
			t.Errorf("%.60q: %d %s", name, r.status, r.body)
		}
	}
	paths := []string{"/admin/%0a" + strings.ReplaceAll(forged, `"`, "%22"), "/admin/%0d%0aforjada", "/admin/%e2%80%a8x", "/admin/%1b[2Kx", "/admin/%ff%fe", "/admin/%22,%22user%22:%22forjada"}
	for _, path := range paths {
		if r := s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\nCookie: "+client.cookie()+"\nConnection: close\n\n"); r.status != 403 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	lines := s.audit(t)[before:]
	if len(lines) != len(names)+len(paths) {
		t.Errorf("%d attempts have %d audit lines", len(names)+len(paths), len(lines))
	}
	for _, line := range lines {
		if line.Result != "refused" || line.Event == "sign_in" && line.User != "" || line.Event == "forbidden" && line.User != juan {
			t.Errorf("the audit log has %+v", line)
		}
	}
	logsWantClosedKeys(t, s)
	if strings.Contains(s.read("caddy.json"), "MiClave-forjada-1") {
		t.Error("the log has a name that nobody has, which may be a password")
	}
	logsWantPlain(t, s)

	// Active Directory does not tell names that it does not know: without a
	// service account what was typed is audited.
	t.Run("without a service account", func(t *testing.T) {
		t.Parallel()
		s := start(t, setup{auth: "throttle insecure_off\ntrusted_ips 192.0.2.1", site: `
	ldap_login {
		trusted_ips 127.0.0.1
	}
	require_session
	reverse_proxy UPSTREAM`})
		for _, name := range []string{"x\u2028forjada ok", "x\u202eadajrof", "x\u2066forjada", "x\u200b\ufefforjada", "\U000e0041x"} {
			wantCode(t, s.trySignIn(t, name, "x"), 401, "invalid_credentials")
		}
		for _, path := range []string{"/%c2%9b2Jx", "/%e2%80%a8forjada", "/%e2%80%aeadajrof", "/%1b[2K%0aforjada", "/%00", "/%ff%c2%85"} {
			wantCode(t, s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\nConnection: close\n\n"), 403, "ip_not_allowed")
		}
		if n := len(s.audit(t)); n != 11 {
			t.Errorf("11 attempts have %d audit lines", n)
		}
		logsWantPlain(t, s)
	})
}

// logsWantPlain fails if a log has anything that a terminal, or a tool that
// splits it into lines, does something with.
func logsWantPlain(t *testing.T, s *site) {
	t.Helper()
	for line := range strings.Lines(s.read("caddy.json")) {
		if odd := strings.IndexFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !strconv.IsPrint(r) }); odd >= 0 {
			t.Errorf("a line of the log has a %q: %q", []rune(line[odd:])[0], line)
		}
	}
}
