package attack

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// cacheBehind is what Caddy is told where the shared cache of this file, which
// also ends the TLS of its clients, stands before it.
const cacheBehind = "trusted_proxies static 127.0.0.1/32\ntrusted_proxies_strict"

// cacheKinds are caches as somebody could set one up without telling it to
// disregard what answers say: what may be kept is kept, for every status.
func cacheKinds() map[string]string {
	return map[string]string{
		"usual":           "",
		"without Expires": "proxy_ignore_headers Expires;",
		"of every method": "proxy_cache_methods GET HEAD POST;",
		"served stale":    "proxy_cache_revalidate on; proxy_cache_lock on; proxy_cache_background_update on; proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504 http_403 http_404 http_429;",
		"of ranges":       "proxy_cache_key $request_uri$http_range; proxy_set_header Range $http_range; proxy_set_header If-None-Match $http_if_none_match; proxy_set_header If-Modified-Since $http_if_modified_since;",
		"by HTTP/1.1":     `proxy_http_version 1.1; proxy_set_header Connection ""; proxy_cache_convert_head off; proxy_cache_key $request_method$request_uri;`,
	}
}

// cached starts nginx, with a cache of each kind in front of the site, and
// returns the site as it is seen through each. How the cache came to an answer
// is in the answer's X-Cache-Status.
func (s *site) cached(t *testing.T) map[string]*site {
	t.Helper()
	nginx := realserver.Program(t, "nginx")
	dir := filepath.Join(s.dir, "nginx")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var paths, servers strings.Builder
	through := map[string]*site{}
	for kind, options := range cacheKinds() {
		view := *s
		view.port = freePort(t)
		through[kind] = &view
		zone := fmt.Sprint("zone", len(through))
		fmt.Fprintf(&paths, "proxy_cache_path %s/%s keys_zone=%s:1m inactive=1h use_temp_path=off;\n", dir, zone, zone)
		fmt.Fprintf(&servers, `
	server {
		listen 127.0.0.1:%s;
		location / {
			proxy_pass http://127.0.0.1:%s;
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_set_header X-Forwarded-Proto https;
			proxy_cache %s;
			proxy_cache_valid any 1h;
			add_header X-Cache-Status $upstream_cache_status always;
			%s
		}
	}`, view.port, s.port, zone, options)
	}
	// One process, which stays who started it: the folder is nobody else's.
	config := fmt.Sprintf(`
daemon off;
master_process off;
pid DIR/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	%s%s
}
`, paths.String(), servers.String())
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "printed.log")
	child := realserver.StartChild(t, log, exec.Command(nginx, "-e", "stderr", "-p", dir, "-c", file))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("nginx printed:\n%s", tail(s.read("nginx/printed.log")))
		}
	})
	for _, view := range through {
		if err := child.WaitUntil(30*time.Second, func() error {
			conn, err := net.Dial("tcp", "127.0.0.1:"+view.port)
			if err == nil {
				_ = conn.Close()
			}
			return err
		}); err != nil {
			t.Fatalf("starting nginx: %v", err)
		}
	}
	return through
}

// fromCache tells whether an answer is one that the cache had.
func (r reply) fromCache() bool {
	switch r.header.Get("X-Cache-Status") {
	case "HIT", "STALE", "UPDATING", "REVALIDATED":
		return true
	}
	return false
}

// cacheMayStore tells whether an answer leaves it to some shared cache to keep
// it: RFC 9111 section 3, and the headers that CDNs obey instead.
func cacheMayStore(h http.Header) bool {
	for name := range h {
		switch {
		case strings.HasSuffix(name, "-Cache-Control"), name == "Surrogate-Control", name == "Edge-Control", name == "X-Accel-Expires":
			return true
		}
	}
	for _, directive := range cacheDirectives(strings.Join(h["Cache-Control"], ",")) {
		switch strings.ToLower(directive) {
		case "private", "no-store": // with a field list, neither speaks of the whole answer
			return false
		}
	}
	return true
}

// cacheDirectives splits Cache-Control as RFC 9110 section 5.6 writes a list: a
// comma inside quotes is none, and a quote that nobody closes takes all the rest.
func cacheDirectives(value string) []string {
	var directives []string
	start, quoted := 0, false
	for i := 0; i <= len(value); i++ {
		switch {
		case i == len(value), value[i] == ',' && !quoted:
			directives = append(directives, strings.Trim(value[start:i], " \t"))
			start = i + 1
		case value[i] == '\\' && quoted:
			i++
		case value[i] == '"':
			quoted = !quoted
		}
	}
	return directives
}
