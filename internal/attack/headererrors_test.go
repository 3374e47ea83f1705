package attack

import (
	"strings"
	"testing"
)

// Caddy refuses some requests before any handler of the site runs, and then
// starts the error routes with the client's own headers.
func TestR02ErrorsBeforeTheGate(t *testing.T) {
	t.Parallel()
	token := strings.Repeat("A", 43)
	for _, tls := range []bool{false, true} {
		s := start(t, setup{tls: tls, server: "strict_sni_host on", site: `
	require_session {
		public /open/*
	}
	reverse_proxy UPSTREAM
	handle_errors {
		rewrite * /error
		method GET
		reverse_proxy UPSTREAM
	}`})
		requests := map[string]string{
			"a long method":   strings.Repeat("X", 33) + " /inside HTTP/1.1\nHost: HOST\n",
			"a host of dots":  "GET /inside HTTP/1.1\nHost: ...\n",
			"no host":         "GET /inside HTTP/1.1\nHost:\n",
			"an invalid host": "GET /inside HTTP/1.1\nHost: a{b}\n",
		}
		if tls {
			requests = map[string]string{"another host than the handshake's": "GET /open/x HTTP/1.1\nHost: HOST\n"}
		}
		seen := 0
		for name, text := range requests {
			s.echo.Forget()
			_, _ = s.tryRaw(t, text+"Cookie: sessionid="+token+"\n"+headerLines("Remote-User", "remote_user", "Remote~Groups")+"Connection: close, Remote-Name\n\n")
			for _, r := range s.echo.Requests() {
				seen++
				headerWant(t, name, r, nil)
				cookieUpstreamHas(t, name, r, token, "")
			}
		}
		if seen == 0 {
			t.Errorf("TLS %v: no request reached the error route: the test shows nothing", tls)
		}
	}
}
