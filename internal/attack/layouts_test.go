package attack

import (
	"strings"
	"testing"
)

// layoutFiles are what a site of files has: one page that everybody may know of
// after they signed in, one of admins.
func layoutFiles() map[string]string {
	return map[string]string{"www/index.html": "the secret index", "www/page.html": "the secret page", "www/admin/x.html": "the secret of admins", "www/index.php": "the secret script"}
}

// startLayout starts a site with files.
func startLayout(t *testing.T, setup setup) pathVisitors {
	t.Helper()
	s, text := prepare(t, setup)
	pathFiles(t, s, layoutFiles())
	s.run(t, text)
	return pathVisitors{s, "", s.signIn(t, juan).cookie(), s.signIn(t, maria).cookie()}
}

// wantClosed fails unless strangers get nothing at all of any spelling.
func (v pathVisitors) wantClosed(t testing.TB, targets ...string) {
	t.Helper()
	for _, target := range targets {
		r, served, _ := v.ask(t, target, v.nobody)
		if served || r.status != 401 && r.status != 400 || strings.Contains(r.body, "the secret") {
			t.Errorf("%q for nobody: %d %s", target, r.status, r.body)
		}
	}
}

// layoutTargets are spellings of what lies below a folder.
func layoutTargets(folder string) []string {
	var targets []string
	for _, rest := range []string{
		"", "/", "/x", "/x.html", "//x", "/./x", "/../x", "/%2e%2e/x", "/..;/x", ";/x", "%2fx", "%5cx", `\x`, "/x%00", "/x.", "/x%20", "/x;a=b", "/%252e%252e/x", "/x/..", "#x", "%23x", "%3fx", "?x",
	} {
		targets = append(targets, folder+rest)
	}
	return targets
}

// Nothing that other directives do shows in the answer to a stranger: no header,
// no redirect, no rewrite, no file probe, wherever they stand in the Caddyfile.
func TestR01GateRunsBeforeEverythingElse(t *testing.T) {
	t.Parallel()
	for name, gate := range map[string]string{"require_session alone": "require_session", "with ldap_login": "require_session\n\tldap_login"} {
		t.Run(name, func(t *testing.T) {
			v := startLayout(t, setup{site: `
	root * DIR/www
	header X-Leak "a header"
	header >X-Leak-Late "a late header"
	header -Cache-Control
	header >Cache-Control "public, max-age=3600"
	redir /old /new
	method /method POST
	rewrite /accounts/login/ /page.html
	rewrite /to-admin /admin/x.html
	uri replace /page /admin
	try_files {path} {path}.html =404
	basic_auth /basic {
		admin $2a$04$KPmfB5HHJpbTIqhJLFAqmeNLlWlpGyTcPSvbhhGz0RAFSzGF4bbpO
	}
	request_header X-Seen yes
	encode gzip
	templates
	respond /respond "a secret answer"
	handle /handled {
		respond "a secret answer"
	}
	file_server browse
	` + gate})
			for _, target := range []string{"/", "/old", "/new", "/method", "/to-admin", "/page", "/page.html", "/missing", "/basic", "/respond", "/handled", "/admin/"} {
				r, _, _ := v.ask(t, target, v.nobody)
				wantRefused(t, r)
				for header := range r.header {
					if strings.HasPrefix(header, "X-Leak") || header == "Location" || header == "Www-Authenticate" || header == "Etag" || header == "Last-Modified" || header == "Content-Encoding" {
						t.Errorf("%s: a stranger gets %s: %q", target, header, r.header[header])
					}
				}
				if got := r.header.Get("Cache-Control"); got != "no-store" {
					t.Errorf("%s: Cache-Control %q", target, got)
				}
			}
			if r := v.do(t, "GET", "/accounts/login/", ""); !strings.Contains(r.body, "<form") || r.header.Get("X-Leak") != "" {
				t.Errorf("the sign-in page: %d %v", r.status, r.header)
			}
			if r, _, _ := v.ask(t, "/old", v.juan); r.status != 302 || r.header.Get("X-Leak") != "a header" {
				t.Errorf("the redirect for Juan: %d %v", r.status, r.header)
			}
		})
	}
}

// A prefix that is cut off before an inner matcher opens nothing; the Caddyfile
// takes no path matcher on the gate itself.
func TestB12PrefixThatIsStripped(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{})
	for _, matcher := range []string{"/admin/*", "/*", "@admin", "@not", "@expression", "@file", "@header", "@method", "@query"} {
		changed := strings.Replace(text, "require_session\n", `require_session `+matcher+`
	@admin path /admin/*
	@not not path /open/*
	@expression `+"`path('/admin/*')`"+`
	@file file
	@header header X-Admin *
	@method method GET
	@query query admin=*
`, 1)
		if err := s.tell(t, changed, "adapt"); err == nil || !strings.Contains(err.Error(), "public and require") {
			t.Errorf("require_session %s: %v", matcher, err)
		}
	}

	v := startLayout(t, setup{site: `
	uri strip_prefix /app
	require_session {
		require /app/admin/* "IT Admins"
		require /admin/* "IT Admins"
	}
	handle /admin/* {
		reverse_proxy UPSTREAM
	}
	reverse_proxy UPSTREAM`})
	v.wantClosed(t, layoutTargets("/app/admin")...)
	v.wantClosed(t, layoutTargets("/admin")...)
	for _, target := range append(layoutTargets("/app/admin"), layoutTargets("/app/%61dmin")...) {
		if _, served, paths := v.ask(t, target, v.juan); served {
			t.Errorf("%q reached the upstream for Juan as %q", target, paths)
		}
	}
	if _, served, paths := v.ask(t, "/app/admin/x", v.maria); !served || paths[1] != "/admin/x" {
		t.Errorf("for María: served %t as %q", served, paths)
	}
}

// Named routes, handle_path, snippets and what else leads on inside a site leads
// no stranger past the gate, and nobody past a require line.
func TestB26RoutesAndSnippetsLeadThroughTheGate(t *testing.T) {
	t.Parallel()
	const gate = `require_session {
	public /open/*
	require /app/admin/* "IT Admins"
	require /app/hr/* Empleados
}
`
	for name, layout := range map[string]struct{ before, site string }{
		"a named route":                   {"&(app) {\nreverse_proxy UPSTREAM\n}", gate + "invoke app"},
		"a named route with the gate":     {"&(app) {\nroute {\n" + gate + "reverse_proxy UPSTREAM\n}\n}", "ldap_login\ninvoke app"},
		"handle_path":                     {"", gate + "handle_path /app/* {\nreverse_proxy UPSTREAM\n}\nreverse_proxy UPSTREAM"},
		"handle_path with the gate in it": {"", "ldap_login\nhandle_path /app/* {\n" + gate + "reverse_proxy UPSTREAM\n}\nrespond 401"},
		"a snippet":                       {"(gated) {\n" + gate + "reverse_proxy {args[0]}\n}", "import gated UPSTREAM"},
		"a prefix stripped before":        {"", "ldap_login\nroute {\nuri strip_prefix /app\n" + gate + "reverse_proxy UPSTREAM\n}"},
		"a rewrite to a public path":      {"", "ldap_login\nroute {\nrewrite * /open/x\n" + gate + "reverse_proxy UPSTREAM\n}"},
		"intercept":                       {"", gate + "intercept {\n@refused status 401 403\nhandle_response @refused {\nreverse_proxy UPSTREAM\n}\n}\nreverse_proxy UPSTREAM"},
		"PHP":                             {"", "root * DIR/www\n" + gate + "php_fastcgi 127.0.0.1:1\nfile_server"},
	} {
		t.Run(name, func(t *testing.T) {
			s, text := prepare(t, setup{site: layout.site})
			pathFiles(t, s, layoutFiles())
			s.run(t, strings.Replace(text, "\n}\nhttp://", "\n}\n"+s.fill(layout.before)+"\nhttp://", 1))
			v := pathVisitors{s, "", s.signIn(t, juan).cookie(), s.signIn(t, maria).cookie()}
			v.wantClosed(t, layoutTargets("/app/admin")...)
			v.wantClosed(t, "/app", "/app/x", "/x", "/index.php/open/x", "/app/open/x", "/app/../open/x", "/open/../app/x", "/open%2fx")
			for _, target := range append(layoutTargets("/app/admin"), layoutTargets("/APP/%61dmin")...) {
				r, served, paths := v.ask(t, target, v.juan)
				if served || strings.Contains(r.body, "the secret of admins") || r.status < 400 {
					t.Errorf("%q for Juan: %d %s, at the upstream %q", target, r.status, r.body, paths[1:])
				}
			}
			if r, served, _ := v.ask(t, "/app/admin/x", v.maria); !served && name != "PHP" {
				t.Errorf("for María: %d %s", r.status, r.body)
			}
		})
	}
}
