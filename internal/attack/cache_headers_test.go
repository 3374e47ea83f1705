package attack

import (
	"strings"
	"testing"
)

// A site's header directives, deferred ones too, cannot make shared caches keep
// what the gate lets through or refuses: it stands before them.
func TestB31HeaderDirectivesThatCallAnswersPublic(t *testing.T) {
	t.Parallel()
	const public = `"public, max-age=3600"`
	s := start(t, setup{server: cacheBehind, site: strings.ReplaceAll(`
	require_session {
		public /open/*
		require /group/* "IT Admins"
	}
	header /plain/* Cache-Control PUBLIC
	header /deferred/* >Cache-Control PUBLIC
	header /added/* +Cache-Control PUBLIC
	header /default/* ?Cache-Control PUBLIC
	header /replaced/* Cache-Control private PUBLIC
	header /removed/* {
		-Cache-Control
		-Vary
		defer
	}
	header /others/* {
		>X-Accel-Expires 3600
		>CDN-Cache-Control max-age=3600
		>Surrogate-Control max-age=3600
		>Cache-Control PUBLIC
	}
	header /open/* >Cache-Control PUBLIC
	header /group/* >Cache-Control PUBLIC
	header /api/* >Cache-Control PUBLIC
	header /accounts/* >Cache-Control PUBLIC
	handle /from-upstream/* {
		reverse_proxy UPSTREAM {
			header_down Cache-Control PUBLIC
			header_down -Vary
		}
	}
	handle /handled/* {
		reverse_proxy UPSTREAM {
			@any status 200
			handle_response @any {
				header >Cache-Control PUBLIC
				copy_response
			}
		}
	}
	handle /caught/* {
		intercept {
			@any status 200
			handle_response @any {
				header Cache-Control PUBLIC
				respond "page of {http.auth.user.id}"
			}
		}
		reverse_proxy UPSTREAM
	}
	handle /inner/* {
		header >Cache-Control PUBLIC
		respond "page of {http.auth.user.id}"
	}
	handle /compressed/* {
		encode gzip {
			minimum_length 1
		}
		header >Cache-Control PUBLIC
		respond "page of {http.auth.user.id}"
	}
	handle /failing/* {
		error 500
	}
	reverse_proxy UPSTREAM
	handle_errors {
		header Cache-Control PUBLIC
		respond "page of {http.auth.user.id}"
	}`, "PUBLIC", public), more: `
http://nested.test:PORT {
	bind 127.0.0.1
	header {
		Cache-Control ` + public + `
		X-Accel-Expires 3600
		CDN-Cache-Control max-age=3600
	}
	handle /inside/* {
		require_session
		reverse_proxy UPSTREAM
	}
	respond "a page for everybody"
}`})
	names := []string{
		"plain", "deferred", "added", "default", "replaced", "removed", "others", "from-upstream", "handled", "caught", "inner", "compressed",
	}
	pages := map[string]string{"/inside/page": "200 OK\n", "/open/page": "200 OK\n", "/group/page": "200 OK\n"}
	for _, name := range names {
		pages["/"+name+"/page"] = "200 OK\n"
	}
	s.echo.Answer(cacheUpstream(pages))
	through := s.cached(t)
	juan, maria := s.signIn(t, juan), s.signIn(t, maria)

	type own struct {
		name, method, target string
		status               int
		fields               []string
	}
	ofOurs := []own{
		{"a refusal", "GET", "/inside/page", 401, []string{"Host", "nested.test"}},
		{"a refusal of the group", "GET", "/group/page", 403, []string{"Cookie", juan.cookie()}},
		{"a refusal for want of the token", "POST", "/deferred/page", 403, []string{"Cookie", juan.cookie()}},
		{"the sign-in page", "GET", "/accounts/login/", 200, nil},
		{"the sign-in page with a session", "GET", "/accounts/login/", 200, []string{"Cookie", juan.cookie()}},
		{"who is signed in", "GET", "/api/session/", 200, []string{"Cookie", juan.cookie()}},
		{"nobody is signed in", "GET", "/api/session/", 401, nil},
		{"a sign-in by GET", "GET", "/api/login-ldap/", 405, nil},
		{"a list of sessions", "GET", "/accounts/sessions/", 200, []string{"Cookie", juan.cookie(), "Accept", "text/html"}},
	}
	for _, name := range names {
		ofOurs = append(ofOurs,
			own{"a refusal under " + name, "GET", "/" + name + "/page", 401, nil},
			own{"a redirect under " + name, "GET", "/" + name + "/page", 303, []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}},
		)
	}
	for _, row := range ofOurs {
		r := s.do(t, row.method, row.target, "", row.fields...)
		if r.status != row.status || cacheMayStore(r.header) || strings.Join(r.header["Cache-Control"], ", ") != "no-store" {
			t.Errorf("%s: %d with %v, want %d with no-store", row.name, r.status, r.header, row.status)
		}
	}

	for kind, s := range through {
		t.Run("through a cache "+kind, func(t *testing.T) {
			for _, name := range names {
				cacheVisits(t, s, "/"+name+"/page", juan, maria, 200)
			}
			cacheVisits(t, s, "/inside/page", juan, maria, 200, "Host", "nested.test")

			if r := (session{s, maria.token, maria.csrf}).get(t, "/group/page"); r.body != "page of mgarcia" {
				t.Errorf("maria got %d %q", r.status, r.body)
			}
			wantCode(t, session{s, juan.token, juan.csrf}.get(t, "/group/page"), 403, "group_required")

			// What an error route says of caches, the gate does not see, but for
			// whom an answer is has been said by then.
			for range 2 {
				for who, cookie := range map[string]string{"ac12345": juan.cookie(), "mgarcia": maria.cookie()} {
					if r := s.do(t, "GET", "/failing/page", "", "Cookie", cookie); r.status != 500 || r.body != "page of "+who {
						t.Errorf("the error page of %s is %d %q", who, r.status, r.body)
					}
				}
				wantRefused(t, s.do(t, "GET", "/failing/page", ""))
			}

			s.do(t, "GET", "/open/page", "", "Cookie", juan.cookie())
			if r := s.do(t, "GET", "/open/page", ""); r.header.Get("X-Cache-Status") != "HIT" || r.body != "page of " {
				t.Errorf("a public page comes with %s %q, want a hit", r.header.Get("X-Cache-Status"), r.body)
			}
		})
	}
}
