package attack

import (
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/pathreaders"
)

// Caddy's own rewrites cut a decoded path at ? and #: what comes after the gate
// must not turn an open path into a closed one.
func TestP60RewriteAfterTheGateReadsThePathOtherwise(t *testing.T) {
	t.Parallel()
	v := startPathSite(t, setup{site: `
	require_session {
		public /api/static/*
		require /api/admin/* "IT Admins"
		require /api/hr/* Empleados
	}
	@all path_regexp all ^/(.*)$
	route {
		uri strip_prefix /api
		rewrite @all /backend/{re.all.1}
		reverse_proxy UPSTREAM
	}`})
	backend := pathreaders.Rules{Public: []string{"/backend/static/*"}, Require: []string{"/backend/admin/*"}}
	readers := pathreaders.All()
	for _, target := range pathTargets(t, 100) {
		target = "/api" + target
		for _, cookie := range []string{v.nobody, v.juan} {
			_, served, paths := v.ask(t, target, cookie)
			if !served {
				continue
			}
			reached := backend.Of(readers, paths[1])
			if cookie == "" && reached.Outside != "" || reached.Required["/backend/admin/*"] != "" {
				t.Errorf("%q (cookie %t) reached the upstream as %q", target, cookie != "", paths[1])
			}
		}
	}
	for target, want := range map[string]int{"/api/other": 200, "/api/admin/x": 403, "/%61pi/admin/x": 403, "/api/%61dmin": 403, "/api/admin%3fx": 403, "/api/admin%23": 403, "/api%2fadmin/x": 403} {
		if r, _, _ := v.ask(t, target, v.juan); r.status != want {
			t.Errorf("%s for Juan: %d %s, want %d", target, r.status, r.body, want)
		}
	}
}

// A pattern opens what it says and nothing that looks like it, also for what
// changes something: there is no list of paths without the CSRF check.
func TestP79NoPatternIsWiderThanWritten(t *testing.T) {
	t.Parallel()
	v := startPathSite(t, setup{site: pathRules})
	for _, target := range []string{"/staticx", "/static.css", "/Static/x", "/STATIC", "/x/static/y", "/health/", "/health/x", "/healthz", "/HEALTH", "/"} {
		if r, served, _ := v.ask(t, target, v.nobody); served || r.status != 401 {
			t.Errorf("%q for nobody: %d %s", target, r.status, r.body)
		}
		v.echo.Forget()
		r := v.raw(t, "POST "+target+" HTTP/1.1\nHost: HOST\nOrigin: https://evil.test\nContent-Length: 0\nCookie: "+v.juan+"\n\n")
		wantCode(t, r, 403, "origin_not_trusted")
		r = v.raw(t, "POST "+target+" HTTP/1.1\nHost: HOST\nContent-Length: 0\nCookie: "+v.juan+"\n\n")
		wantCode(t, r, 403, "csrf_failed")
		v.wantNothingUpstream(t)
	}
	for _, target := range []string{"/static", "/static/", "/static/x/y", "/health"} {
		if r, served, _ := v.ask(t, target, v.nobody); !served {
			t.Errorf("%q for nobody: %d %s", target, r.status, r.body)
		}
	}
}

// A Caddy path matcher with an escape once was case-sensitive.
func TestP20EscapedSlashAndCapitals(t *testing.T) {
	t.Parallel()
	v := startPathSite(t, setup{site: `
	require_session {
		require /admin/* "IT Admins"
		require /hr/* Empleados
	}
	handle /admin%2fx {
		reverse_proxy UPSTREAM
	}
	reverse_proxy UPSTREAM`})
	v.wantHidden(t, "/ADMIN%2fX", "/admin%2Fx", "/Admin%2fx", "/admin%2fx")
	for _, target := range []string{"/ADMIN/X", "/aDmIn", "/%41DMIN/x", "/ADM%C4%B0N/../admin", "/\u212Aadmin/../admin"} {
		if _, served, _ := v.ask(t, target, v.juan); served {
			t.Errorf("%q was served to Juan", target)
		}
	}
}

// TestP24: glob characters and backslashes, where matcher and file server once
// disagreed.
func TestP24GlobsAndBackslashesOfAFileServer(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{site: `
	require_session {
		public /static/*
		require /admin/* "IT Admins"
	}
	root * DIR/www
	try_files {path} {path}.html
	file_server`})
	pathFiles(t, s, map[string]string{"www/admin/secret.html": "the secret", "www/static/a.css": "a style", "www/other.html": "another page"})
	s.run(t, text)
	v := pathVisitors{s, "", s.signIn(t, juan).cookie(), s.signIn(t, maria).cookie()}
	for _, target := range []string{
		`/admin\secret`, "/admin%5csecret", "/[a]dmin/secret", "/a*/secret", "/admin/s?cret", "/{admin,x}/secret", "/admin/secret", "/ADMIN/secret", `/static/..\admin\secret`,
		"/static/..%5cadmin%5csecret.html", "/static/%2e%2e/admin/secret", "/static/*/../../admin/secret", "/admin/secret.html.", "/admin/secret.html::$DATA", "/static/../admin/secret",
		"//admin/secret", "/./admin/secret", "/other/../admin/secret", "/admin%2fsecret", "/%61dmin/secret", "/admin/./secret",
	} {
		for _, cookie := range []string{v.nobody, v.juan} {
			if r, _, _ := v.ask(t, target, cookie); strings.Contains(r.body, "the secret") || cookie == "" && r.status != 401 && r.status != 400 {
				t.Errorf("%q (cookie %t): %d %s", target, cookie != "", r.status, r.body)
			}
		}
	}
	for target, cookie := range map[string]string{"/static/a.css": v.nobody, "/other": v.juan, "/admin/secret": v.maria} {
		if r, _, _ := v.ask(t, target, cookie); r.status != 200 {
			t.Errorf("%s: %d %s", target, r.status, r.body)
		}
	}
}
