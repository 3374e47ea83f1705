package integration

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/exchange"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// balancer runs a Caddy without the plugin's options that ends TLS and passes
// each request to the next node.
func balancer(t testing.TB, nodes ...*node) *client {
	t.Helper()
	c := newCaddy(t)
	var upstreams []string
	for _, n := range nodes {
		upstreams = append(upstreams, strings.TrimPrefix(n.base, "http://"))
	}
	c.run(t, fmt.Sprintf(`{
	admin %s
	persist_config off
	skip_install_trust
	auto_https disable_redirects
}
https://localhost:%s {
	bind 127.0.0.1
	tls internal
	reverse_proxy %s {
		lb_policy round_robin
		lb_try_duration 5s
	}
}
`, c.adminAddress(), c.port, strings.Join(upstreams, " ")))
	// Its authority is of this run, and who it is is not what is tested here.
	transport := &http.Transport{TLSClientConfig: &tls.Config{ServerName: "localhost", InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	site := &client{c, "https://localhost:" + c.port, exchange.Client(transport)}
	waitFor(t, "the balancer's certificate", func() bool {
		_, err := site.send("GET", "/", "")
		return err == nil
	})
	return site
}

// TestClusterBehindALoadBalancer has a browser's whole visit, each request of
// which reaches another node than the one before.
func TestClusterBehindALoadBalancer(t *testing.T) {
	cl := newCluster(t)
	var nodes []*node
	for range 2 {
		n := cl.node(t, cl.redis.Addr)
		n.text = strings.Replace(n.text, "\tldap_auth {", "\tservers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t\ttrusted_proxies_strict\n\t}\n\tldap_auth {\n\t\ttrusted_ips 127.0.0.0/8", 1)
		nodes = append(nodes, n.start(t))
	}
	site := balancer(t, nodes...)
	origin := []string{"Origin", site.base, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}
	site.caddy.keepSecret(ldaptest.DemoPassword, true)

	for visit := range 4 { // begins at either node
		r := site.do(t, "GET", "/privado?a=b", "", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html")
		if r.status != http.StatusSeeOther || r.header.Get("Location") != "/accounts/login/?next="+url.QueryEscape("/privado?a=b") {
			t.Fatalf("without a session: %d %v", r.status, r.header)
		}
		page := site.do(t, "GET", r.header.Get("Location"), "", "Accept", "text/html")
		first := page.cookies["csrftoken"]
		if page.status != http.StatusOK || first == nil || !first.Secure {
			t.Fatalf("the page: %d %v", page.status, page.header)
		}
		form := url.Values{"username": {"ac12345"}, "password": {ldaptest.DemoPassword}, "next": {"/privado?a=b"}, "csrfmiddlewaretoken": {first.Value}}
		signIn := site.do(t, "POST", "/accounts/login/", form.Encode(), append(origin, "Content-Type", "application/x-www-form-urlencoded", "Cookie", "csrftoken="+first.Value)...)
		token, csrf := signIn.cookies["sessionid"], signIn.cookies["csrftoken"]
		if signIn.status != http.StatusSeeOther || signIn.header.Get("Location") != "/privado?a=b" || token == nil || csrf == nil {
			t.Fatalf("signing in: %d %v %s", signIn.status, signIn.header, signIn.body)
		}
		if !token.Secure || !token.HttpOnly || !csrf.Secure {
			t.Errorf("the cookies are %v", signIn.header["Set-Cookie"])
		}
		s := session{site, token.Value, csrf.Value}
		for _, n := range nodes {
			s.at(n)
		}
		site.caddy.keepSecret(s.token, true)

		for i := range 4 {
			if got := s.echo(t, "/privado").Header; got.Get("Remote-User") != "ac12345" || got.Get("X-Forwarded-For") == "" {
				t.Errorf("visit %d, request %d: the application got %v", visit, i, got)
			}
			posted := decodeEcho(t, s.do(t, "POST", "/privado", "dato="+fmt.Sprint(i), append(origin, "Content-Type", "application/x-www-form-urlencoded", "Cookie", s.cookies(), "X-CSRFToken", s.csrf)...))
			if posted.Body != "dato="+fmt.Sprint(i) {
				t.Errorf("the application got %q", posted.Body)
			}
			if r := s.do(t, "POST", "/privado", "dato=1", append(origin, "Content-Type", "application/x-www-form-urlencoded", "Cookie", s.cookies())...); r.status != http.StatusForbidden {
				t.Errorf("POST without the token: %d", r.status)
			}
		}
		if r := s.do(t, "POST", "/privado", "", "Origin", "https://otro.example", "Cookie", s.cookies(), "X-CSRFToken", s.csrf); r.status != http.StatusForbidden {
			t.Errorf("POST from another origin: %d", r.status)
		}
		if r := s.do(t, "POST", "/api/logout/", "csrfmiddlewaretoken="+s.csrf, append(origin, "Content-Type", "application/x-www-form-urlencoded", "Cookie", s.cookies())...); r.status != http.StatusOK {
			t.Errorf("signing out: %d %s", r.status, r.body)
		}
		// Which node answers is the balancer's choice: within a second all know.
		waitFor(t, "the end of the session", func() bool {
			refused := true
			for range nodes {
				refused = s.get(t, "/privado").status == http.StatusUnauthorized && refused
			}
			return refused
		})
		for range nodes {
			s.expectRefused(t, "/privado")
		}
	}

	// One node goes, and nobody notices.
	s := site.signIn(t, "ac12345", ldaptest.DemoPassword)
	for _, n := range nodes {
		s.at(n)
	}
	nodes[0].caddy.child.Kill()
	for range 6 {
		s.echo(t, "/privado")
	}
	for i, n := range nodes {
		if lines := strings.Count(n.caddy.read("access.log"), "\n"); lines < 10 {
			t.Errorf("node %d answered %d requests only: the other one did the work", i, lines)
		}
	}
}
