package caddyauth

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// Whoever comes to the machine next has the Back button. Browsers keep the very
// pages that were left, and show them again without a request.
func TestBackAfterTheSignOutShowsNothingProtected(t *testing.T) {
	ways := []struct {
		name  string
		leave func(*visitor)
	}{
		{"on the sign-in page", func(v *visitor) {
			v.Visit(v.s.base + "/accounts/login/")
			v.Click(signOutButton)
		}},
		{"on the list of sessions", func(v *visitor) {
			v.Visit(v.s.base + listPath)
			v.Click(signOutButton)
		}},
		{"by a form of the application", func(v *visitor) { v.Click(signOutButton) }},
		{"by a link of the application", func(v *visitor) {
			v.Leave(`const a = document.createElement("a"); a.href = "/api/logout/"; document.body.append(a); a.click()`)
		}},
		{"by a script of the application", func(v *visitor) {
			v.Leave(`fetch("/api/logout/", {method: "POST", headers: {"X-CSRFToken": document.cookie.match(/csrftoken=(\w+)/)[1]}}).then(() => location = "/accounts/login/")`)
		}},
	}
	for _, world := range []string{"plain HTTP on this machine", "TLS"} {
		t.Run(world, func(t *testing.T) {
			s := startForBrowsers(t, setup{global: "servers {\nprotocols h1 h2\n}"})
			if world == "TLS" {
				s.overTLS("app.corp.test")
			}
			s.upstream.answers(func(w http.ResponseWriter, r *http.Request) {
				// As much as an application can say in favour of keeping it.
				w.Header().Set("Cache-Control", "max-age=600")
				w.Header().Set("ETag", `"1"`)
				application(w, r)
			})
			for _, way := range ways {
				t.Run(way.name, func(t *testing.T) {
					v := s.visitor(t)
					v.Visit(s.base + "/one")
					v.signIn("ac12345", ldaptest.DemoPassword)
					v.at("signed in", "/one", "Confidential, for ac12345")
					v.Click("#on")
					v.at("signed in", "/on", "Confidential, for ac12345")
					way.leave(v)
					for range 3 {
						status := v.Back()
						said := v.Text()
						if strings.Contains(said, "Confidential") || strings.Contains(said, "Juan") || strings.Contains(said, "ac12345") {
							t.Errorf("back at %s the status is %d and the page says %q", v.URL(), status, said)
						}
					}
					if status := v.Visit(s.base + "/one"); status != http.StatusOK || strings.Contains(v.Text(), "Confidential") {
						t.Errorf("asked for again: %d %s", status, v.Text())
					}
				})
			}
		})
	}
}

// overTLS makes the server one with a certificate, with which browsers take it
// for a secure context under any name.
func (s *server) overTLS(host string) {
	s.t.Helper()
	pair := httptest.NewUnstartedServer(nil)
	pair.StartTLS()
	pair.Close()
	key, err := x509.MarshalPKCS8PrivateKey(pair.TLS.Certificates[0].PrivateKey)
	if err != nil {
		s.t.Fatal(err)
	}
	files := filepath.Join(s.t.TempDir(), "pair.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.TLS.Certificates[0].Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(files, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	port := strconv.Itoa(s.port)
	caddyfile := strings.Replace(s.caddyfile(), "http://:"+port+" {\n", "https://:"+port+" {\n\ttls "+files+" "+files+"\n", 1)
	if err := s.load(caddyfile); err != nil {
		s.t.Fatal(err)
	}
	s.base = "https://" + host + ":" + port
}
