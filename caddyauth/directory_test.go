package caddyauth

import (
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// TestServiceAccount: with one the configured groups are known without a
// sign-in, and a wrong password of it is the operator's business.
func TestServiceAccount(t *testing.T) {
	const bindPassword, wrongPassword = "Service-Account-1", "Service-Account-2"
	logged.keepSecret("bind password", bindPassword)
	logged.keepSecret("bind password", wrongPassword)
	dir := ldaptest.Demo()
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "svc", UPN: "svc@empresa.local", Password: bindPassword})
	s := newServer(t, setup{directory: &dir, site: "require_session Empleados\nreverse_proxy UPSTREAM"})
	s.setup.servers = "servers " + s.directory.URL() + "\nbind svc@empresa.local {env.TEST_BIND}"
	t.Setenv("TEST_BIND", bindPassword)
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", s.signIn("ac12345").cookies), 200, "upstream")
	want(t, s.do("GET", "/x", s.signIn("mgarcia").cookies), 403, bodyGroup)
	want(t, s.do("POST", "/api/login-ldap/", jsonBody(credentialsJSON("nobody", ldaptest.DemoPassword))), 401, bodyInvalidCredentials)

	t.Setenv("TEST_BIND", "")
	if err := s.load(s.caddyfile()); err == nil || !strings.Contains(err.Error(), "bind") {
		t.Errorf("a password whose placeholder is empty: %v", err)
	}
	t.Setenv("TEST_BIND", wrongPassword) // on Active Directory people bind themselves
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("POST", "/api/login-ldap/", jsonBody(goodJSON)), 200, bodySignedIn)
}

// TestPlainDirectory is search-then-bind, as with OpenLDAP, where a group is
// named by its cn or DN.
func TestPlainDirectory(t *testing.T) {
	dir := ldaptest.Demo()
	dir.Plain = true
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "svc", Surname: "Service", Password: "Service-Account-1"})
	logged.keepSecret("bind password", "Service-Account-1")
	s := newServer(t, setup{directory: &dir, site: "require_session {\nrequire /admin/* \"IT Admins\"\nrequire /eng/* \"cn=ingenieria, OU=groups,dc=empresa,DC=LOCAL\"\n}\nreverse_proxy UPSTREAM"})
	s.setup.servers = "servers " + s.directory.URL() + "\nbind uid=svc,ou=people,dc=empresa,dc=local Service-Account-1\ngroup_base ou=groups,dc=empresa,dc=local"
	if err := s.load(strings.Replace(s.caddyfile(), "directory empresa.local ad {", "directory empresa.local {", 1)); err != nil {
		t.Fatal(err)
	}
	juan, maria := s.signIn("ac12345"), s.signIn("mgarcia")
	want(t, s.do("GET", "/eng/x", juan.cookies), 200, "upstream")
	want(t, s.do("GET", "/eng/x", maria.cookies), 403, bodyGroup)
	want(t, s.do("GET", "/admin/x", maria.cookies), 200, "upstream")
	want(t, s.do("GET", "/admin/x", juan.cookies), 403, bodyGroup)
	want(t, s.do("POST", "/api/login-ldap/", jsonBody(credentialsJSON("ac12345", "not-it-at-all"))), 401, bodyInvalidCredentials)

	mark := logged.mark()
	logged.keepSecret("bind password", "Service-Account-2")
	s.setup.servers = strings.Replace(s.setup.servers, "Service-Account-1", "Service-Account-2", 1)
	if err := s.load(strings.Replace(s.caddyfile(), "directory empresa.local ad {", "directory empresa.local {", 1)); err != nil {
		t.Fatal(err)
	}
	want503(t, s.do("POST", "/api/login-ldap/", jsonBody(goodJSON)), signInDirectoryDown)
	wantAudit(t, mark, auditLine{"event": "sign_in", "result": "unavailable", "reason": "service_account_rejected"})
	want(t, s.do("GET", "/admin/x", maria.cookies), 200, "upstream")
}

// TestGroupThatNobodyIsIn: a group that the directory does not know lets
// nobody pass, and the log says so.
func TestGroupThatNobodyIsIn(t *testing.T) {
	s := start(t, setup{site: "require_session Inexistente\nreverse_proxy UPSTREAM"})
	mark := logged.mark()
	c := s.signIn("ac12345")
	want(t, s.do("GET", "/x", c.cookies), 403, bodyGroup)
	wantLog(t, mark, `"level":"warn"`, "Inexistente")
}
