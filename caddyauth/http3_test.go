//go:build !race

package caddyauth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// certificateFiles are a certificate of the test's own for 127.0.0.1.
func certificateFiles(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// Not under the race detector: Caddy writes a field when its TLS app starts, and
// reads it in QUIC handshakes, with nothing between that orders the two.
//
// Over HTTP/3 a deadline cancels no request, so that the answer ends another
// way there.
func TestOpenAnswersEndOverHTTP3(t *testing.T) {
	u := newLongUpstream(t)
	s := newServer(t, setup{site: "require_session\nreverse_proxy " + u.Listener.Addr().String() + " {\n\t\tflush_interval -1\n\t}"})
	certificate, key := certificateFiles(t)
	port := strconv.Itoa(s.port)
	caddyfile := strings.Replace(s.caddyfile(), "http://:"+port+" {\n", "https://127.0.0.1:"+port+" {\n\ttls "+certificate+" "+key+"\n", 1)
	// The server of HTTP/3 goes when its grace is over.
	caddyfile = strings.Replace(caddyfile, "grace_period 3s", "grace_period 100ms", 1)
	if err := s.load(caddyfile); err != nil {
		t.Fatal(err)
	}
	transport := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(func() { _ = transport.Close() })
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	url := "https://127.0.0.1:" + port
	response, err := client.Post(url+"/api/login-ldap/", "application/json", strings.NewReader(credentialsJSON("ac12345", ldaptest.DemoPassword)))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusOK || response.ProtoMajor != 3 {
		t.Fatalf("signing in over %s: %d %s", response.Proto, response.StatusCode, text)
	}
	var c signedIn
	for _, cookie := range response.Cookies() {
		switch cookie.Name {
		case "sessionid":
			c.token = cookie.Value
		case "csrftoken":
			c.csrf = cookie.Value
		}
	}
	logged.keepSecret("token", c.token)
	logged.keepSecret("csrf secret", c.csrf)

	ended := make(map[string]chan error)
	for _, path := range []string{"/events", "/silent", "/trickle"} {
		ended[path] = make(chan error, 1)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.cookies(request)
		go func() {
			response, err := client.Do(request)
			if err == nil {
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
			ended[path] <- err
		}()
		waitFor(t, u.begun, path, "reached")
	}
	request, err := http.NewRequest(http.MethodPost, url+"/api/logout/", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.shown(request)
	if response, err = client.Do(request); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("signing out: %v, %v", response, err)
	}
	response.Body.Close()
	done := map[string]bool{}
	for timeout := time.After(endsWithin); len(done) < len(ended); {
		select {
		case path := <-u.done:
			done[path] = true
		case <-timeout:
			t.Fatalf("at the upstream only %v have ended", done)
		}
	}
	for path, ended := range ended {
		select {
		case err := <-ended:
			t.Logf("%s: %v", path, err)
		case <-time.After(endsWithin):
			t.Errorf("%s is still open at the client", path)
		}
	}
}
