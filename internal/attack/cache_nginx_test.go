package attack

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
)

// cacheSecret is what a protected file says.
const cacheSecret = "the file that is not for everybody"

// cacheFiles writes the static site of these tests.
func (s *site) cacheFiles(t *testing.T) {
	t.Helper()
	for name, text := range map[string]string{
		"files/secret.txt": cacheSecret, "files/inside/index.html": cacheSecret, "files/open/page.txt": "the file for everybody",
	} {
		file := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// cacheUpstream is an application that writes on each page whose it is, with
// the status and header lines of the page's address.
func cacheUpstream(pages map[string]string) func(rawecho.Request) string {
	return func(r rawecho.Request) string {
		path, _, _ := strings.Cut(r.Target(), "?")
		start, ok := pages[path]
		if !ok {
			return ""
		}
		body := "page of " + strings.Join(r.Values("Remote-User"), "+")
		length := fmt.Sprintf("Content-Length: %d\r\n", len(body))
		switch {
		case strings.HasPrefix(start, "204"), strings.HasPrefix(start, "304"):
			body, length = "", ""
		case r.Method() == "HEAD":
			body = ""
		}
		return "HTTP/1.1 " + strings.ReplaceAll(start, "\n", "\r\n") + length + "\r\n" + body
	}
}

// cacheVisits has nobody, juan and maria ask for the same address, in turn, and
// fails where somebody gets what is another's. status is what the two of them
// get; always are header lines of every request.
func cacheVisits(t *testing.T, s *site, target string, juan, maria session, status int, always ...string) {
	t.Helper()
	visit := func(who, cookie, method string, fields ...string) {
		t.Helper()
		if fields = append(fields, always...); cookie != "" {
			fields = append(fields, "Cookie", cookie)
		}
		r := s.do(t, method, target, "", fields...)
		for _, other := range []struct{ name, token, csrf string }{{"ac12345", juan.token, juan.csrf}, {"mgarcia", maria.token, maria.csrf}} {
			if other.name == who {
				continue
			}
			all := r.body + fmt.Sprint(r.header)
			if strings.Contains(all, other.name) || strings.Contains(all, other.token) || strings.Contains(all, other.csrf) {
				t.Errorf("%s %s by %q was answered with what is %s's: %d %v %q", method, target, who, other.name, r.status, r.header, r.body)
			}
		}
		want := status
		if who == "" {
			want = http.StatusUnauthorized
		}
		if r.status != want || r.fromCache() {
			t.Errorf("%s %s by %q: %d %s %q, want %d, and not from the cache", method, target, who, r.status, r.header.Get("X-Cache-Status"), r.body, want)
		}
		if who == "" && method != "HEAD" && r.body != unauthenticated {
			t.Errorf("%s %s by nobody: %q, want the refusal", method, target, r.body)
		}
		if who != "" && strings.HasPrefix(r.body, "page of ") && r.body != "page of "+who {
			t.Errorf("%s %s by %q: %q", method, target, who, r.body)
		}
		if who != "" && !strings.Contains(cookie, "csrftoken") && r.cookies["csrftoken"] == nil {
			t.Errorf("%s %s by %q without a csrftoken is not given one: %v", method, target, who, r.header)
		}
	}
	visit("", "", "GET")
	visit("ac12345", "sessionid="+juan.token, "GET") // the answer sets a cookie
	visit("", "", "GET")
	visit("ac12345", juan.cookie(), "GET")
	visit("", "", "GET")
	visit("", "", "HEAD")
	visit("mgarcia", maria.cookie(), "HEAD")
	visit("mgarcia", maria.cookie(), "GET")
	visit("ac12345", juan.cookie(), "GET")
	visit("", "sessionid="+strings.Repeat("A", 43), "GET")
	visit("", "", "GET", "Cache-Control", "only-if-cached, max-stale")
}

// An answer of a protected page leaves with whatever an application, made for
// everybody, says about caches.
func TestB32AnswersThatTheUpstreamCallsPublic(t *testing.T) {
	t.Parallel()
	const forAnHour = "Cache-Control: public, max-age=3600\n"
	pages := map[string]string{
		"/nothing":            "200 OK\n",
		"/public":             "200 OK\n" + forAnHour,
		"/capitals":           "200 OK\nCACHE-CONTROL: PUBLIC, MAX-AGE=3600\n",
		"/s-maxage":           "200 OK\nCache-Control: max-age=0, s-maxage=3600\n",
		"/s-maxage-quoted":    "200 OK\nCache-Control: s-maxage=\"3600\", public\n",
		"/immutable":          "200 OK\nCache-Control: public, max-age=3600, immutable, stale-while-revalidate=3600, stale-if-error=3600\n",
		"/two-lines":          "200 OK\nCache-Control: public\nCache-Control: max-age=3600\n",
		"/must-revalidate":    "200 OK\nCache-Control: max-age=3600, must-revalidate, proxy-revalidate\n",
		"/private-field":      "200 OK\nCache-Control: private=\"X-Mine\", max-age=3600\n",
		"/private-fields":     "200 OK\nCache-Control: max-age=3600, private=\"X-Mine, private, no-store\"\n",
		"/quoted-no-store":    "200 OK\nCache-Control: note=\"a, no-store, b\", max-age=3600\n",
		"/quoted-private":     "200 OK\nCache-Control: note=\"a\\\", private, \", max-age=3600\n",
		"/quote-left-open":    "200 OK\nCache-Control: max-age=3600, note=\"a\n",
		"/quote-left-open-2":  "200 OK\nCache-Control: max-age=3600, note=\"a, no-store\nCache-Control: private\n",
		"/no-store-of-fields": "200 OK\nCache-Control: max-age=3600, no-store=\"X-Mine\"\n",
		"/expires":            "200 OK\nExpires: Fri, 01 Jan 2100 00:00:00 GMT\n",
		"/x-accel-expires":    "200 OK\nX-Accel-Expires: 3600\n",
		"/x-accel-and-public": "200 OK\nX-Accel-Expires: 3600\n" + forAnHour,
		"/surrogate-control":  "200 OK\nSurrogate-Control: max-age=3600\n",
		"/cdn-cache-control":  "200 OK\nCDN-Cache-Control: max-age=3600\nCloudflare-CDN-Cache-Control: max-age=3600\n",
		"/vendors":            "200 OK\nAkamai-Cache-Control: max-age=3600\nX-LiteSpeed-Cache-Control: public,max-age=3600\nEdge-Control: !no-store, max-age=3600\n",
		"/vary-anything":      "200 OK\nVary: *\n" + forAnHour,
		"/vary-accept":        "200 OK\nVary: Accept\n" + forAnHour,
		"/validators":         "200 OK\nETag: \"1\"\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\n",
		"/cookie":             "200 OK\nSet-Cookie: theirs=1\n" + forAnHour,
		"/our-cookie":         "200 OK\nSet-Cookie: sessionid=forged; Path=/\n" + forAnHour,
		"/non-authoritative":  "203 Non-Authoritative Information\n" + forAnHour,
		"/no-content":         "204 No Content\n" + forAnHour,
		"/partial":            "206 Partial Content\nContent-Range: bytes 0-15/16\n" + forAnHour,
		"/moved":              "301 Moved Permanently\nLocation: /elsewhere\n" + forAnHour,
		"/found":              "302 Found\nLocation: /elsewhere\n" + forAnHour,
		"/permanent":          "308 Permanent Redirect\nLocation: /elsewhere\n",
		"/not-found":          "404 Not Found\n" + forAnHour,
		"/gone":               "410 Gone\n",
		"/broken":             "500 Internal Server Error\n" + forAnHour,
		"/busy":               "503 Service Unavailable\nRetry-After: 3600\nX-Accel-Expires: 3600\n",
		"/open/page":          "200 OK\n" + forAnHour,
		"/open/nothing":       "200 OK\n",
	}
	s := start(t, setup{server: cacheBehind, sessions: "idle_timeout 1m", site: "require_session {\npublic /open/*\n}\nreverse_proxy UPSTREAM"})
	s.echo.Answer(cacheUpstream(pages))
	through := s.cached(t)
	juan, maria := s.signIn(t, juan), s.signIn(t, maria)

	for path, start := range pages {
		if strings.HasPrefix(path, "/open/") {
			continue
		}
		var status int
		if _, err := fmt.Sscan(start, &status); err != nil {
			t.Fatal(err)
		}
		direct := juan.get(t, path)
		if cacheMayStore(direct.header) || !varies(direct.header, "Cookie") {
			t.Errorf("%s: shared caches may store it: %v", path, direct.header)
		}
		if cookies := strings.Join(direct.header["Set-Cookie"], "; "); strings.Contains(cookies, "forged") {
			t.Errorf("%s: the upstream's cookies came through: %s", path, cookies)
		}
		for kind, s := range through {
			t.Run(path[1:]+" through a cache "+kind, func(t *testing.T) { cacheVisits(t, s, path, juan, maria, status) })
		}
	}
	for kind, s := range through {
		for _, path := range []string{"/open/page", "/open/nothing"} {
			first := session{s, juan.token, juan.csrf}.get(t, path)
			again := s.do(t, "GET", path, "")
			if first.body != "page of " || again.body != first.body || again.header.Get("X-Cache-Status") != "HIT" {
				t.Errorf("through a cache %s %s is %q, then %s %q: want a page of nobody, then a hit", kind, path, first.body, again.header.Get("X-Cache-Status"), again.body)
			}
		}
	}

	t.Run("posts", func(t *testing.T) {
		s := through["of every method"]
		post := func(who, want string, status int, fields ...string) {
			t.Helper()
			if r := s.do(t, "POST", "/public?posted", "a=b", fields...); r.status != status || !strings.Contains(r.body, want) || r.fromCache() {
				t.Errorf("the POST of %s is answered with %d %s %q, want %d with %q", who, r.status, r.header.Get("X-Cache-Status"), r.body, status, want)
			}
		}
		for range 2 {
			post("juan", "page of ac12345", 200, "Cookie", juan.cookie(), "X-CSRFToken", juan.csrf)
			post("nobody", unauthenticated, 401)
			post("maria without her token", "csrf_failed", 403, "Cookie", maria.cookie())
			post("maria", "page of mgarcia", 200, "Cookie", maria.cookie(), "X-CSRFToken", maria.csrf)
			wantRefused(t, s.do(t, "GET", "/public?posted", ""))
		}
	})
	t.Run("all at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 24 {
			who, cookie, want := "juan", juan.cookie(), "page of ac12345"
			switch i % 3 {
			case 1:
				who, cookie, want = "maria", maria.cookie(), "page of mgarcia"
			case 2:
				who, cookie, want = "nobody", "", unauthenticated
			}
			wg.Go(func() {
				r, err := through["served stale"].send("GET", "/public?at-once", "", "Cookie", cookie)
				if err != nil || r.body != want {
					t.Errorf("%s got %d %q (%v), want %q", who, r.status, r.body, err, want)
				}
			})
		}
		wg.Wait()
	})
}

// Caddy's file server says nothing to caches, but when a file was changed:
// enough for them to keep it.
func TestB32FilesBehindTheGate(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{server: cacheBehind, site: "require_session {\npublic /open/*\n}\nroot * DIR/files\nfile_server"})
	s.cacheFiles(t)
	s.run(t, text)
	through := s.cached(t)
	juan, maria := s.signIn(t, juan), s.signIn(t, maria)
	direct := juan.get(t, "/secret.txt")
	tag, changed := direct.header.Get("Etag"), direct.header.Get("Last-Modified")
	if direct.body != cacheSecret || tag == "" || changed == "" {
		t.Fatalf("the file is answered with %d %v %q", direct.status, direct.header, direct.body)
	}
	for name, r := range map[string]reply{
		"the file":            direct,
		"a part":              juan.get(t, "/secret.txt", "Range", "bytes=0-7"),
		"an impossible part":  juan.get(t, "/secret.txt", "Range", "bytes=9999-"),
		"not modified by tag": juan.get(t, "/secret.txt", "If-None-Match", tag),
		"not modified since":  juan.get(t, "/secret.txt", "If-Modified-Since", changed),
		"a folder's redirect": juan.get(t, "/inside"),
		"no such file":        juan.get(t, "/nothing"),
		"HEAD":                juan.do(t, "HEAD", "/secret.txt", "", "Cookie", juan.cookie()),
	} {
		if cacheMayStore(r.header) || !varies(r.header, "Cookie") {
			t.Errorf("%s: %d, and shared caches may store it: %v", name, r.status, r.header)
		}
	}
	for kind, s := range through {
		t.Run("through a cache "+kind, func(t *testing.T) {
			for target, status := range map[string]int{"/secret.txt": 200, "/inside/": 200, "/inside": 308, "/nothing": 404, "/secret.txt?query": 200} {
				cacheVisits(t, s, target, juan, maria, status)
			}
			for _, fields := range [][]string{{"Range", "bytes=0-7"}, {"If-None-Match", tag}, {"If-Modified-Since", changed}, {"If-None-Match", tag, "Range", "bytes=0-7"}} {
				if r := (session{s, juan.token, juan.csrf}).get(t, "/secret.txt", fields...); r.status >= 400 || r.fromCache() {
					t.Errorf("with %q juan got %d %s", fields, r.status, r.header.Get("X-Cache-Status"))
				}
				if r := s.do(t, "GET", "/secret.txt", "", fields...); r.status != http.StatusUnauthorized || r.body != unauthenticated || r.header.Get("Etag") != "" {
					t.Errorf("with %q nobody got %d %v %q, want the refusal", fields, r.status, r.header, r.body)
				}
			}
			session{s, juan.token, juan.csrf}.get(t, "/open/page.txt")
			if r := s.do(t, "GET", "/open/page.txt", ""); r.body != "the file for everybody" || r.header.Get("X-Cache-Status") != "HIT" {
				t.Errorf("the public file comes with %d %s %q: want a hit, as of a cache that works", r.status, r.header.Get("X-Cache-Status"), r.body)
			}
		})
	}
}

// varies tells whether Vary names a header, or all of them.
func varies(h http.Header, name string) bool {
	for listed := range strings.SplitSeq(strings.Join(h["Vary"], ","), ",") {
		if listed = strings.TrimSpace(listed); listed == "*" || strings.EqualFold(listed, name) {
			return true
		}
	}
	return false
}
