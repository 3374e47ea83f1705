package redisstore

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// A server that wants a certificate of its clients gets the one of client_cert.
func TestAServerThatWantsCertificates(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{TLS: true, ClientCertificates: true})
	certificate := func(folder string) tls.Certificate {
		own, err := tls.LoadX509KeyPair(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return own
	}
	config := &tls.Config{RootCAs: server.CA.Pool()}
	options := Options{Addresses: []string{server.Addr}, TLS: config}
	if err := unavailable(t, open(t, options)); !documentedError(t, err, "client_cert") {
		t.Errorf("without a certificate: %v, which the page does not have", err)
	}

	strangers := t.TempDir()
	ca, err := realserver.NewCA(strangers)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ca.Issue(strangers, "caddy.empresa.test"); err != nil {
		t.Fatal(err)
	}
	config.Certificates = []tls.Certificate{certificate(strangers)}
	t.Log(unavailable(t, open(t, options)))

	config.Certificates = []tls.Certificate{certificate(server.Folder())}
	s := open(t, options)
	key := create(t, s)
	if ok, err := s.Delete(t.Context(), key); !ok || err != nil {
		t.Errorf("Delete: %v, %v", ok, err)
	}
	there(t, s, key, false)
}

// documentedError tells whether a row of the page's table of errors has what an
// error says, and in its cure a word.
func documentedError(t *testing.T, err error, cure string) bool {
	t.Helper()
	page, errPage := os.ReadFile("../../docs/cluster.md")
	if errPage != nil {
		t.Fatal(errPage)
	}
	_, table, ok := strings.Cut(string(page), "\n| error | cure |\n")
	if !ok {
		t.Fatal("docs/cluster.md has no table of errors")
	}
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) != 4 || !strings.Contains(cells[2], cure) {
			continue
		}
		for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
			var parts []string
			for part := range strings.SplitSeq(quoted[1], "…") {
				parts = append(parts, regexp.QuoteMeta(strings.TrimSpace(part)))
			}
			if regexp.MustCompile(strings.Join(parts, ".*")).MatchString(err.Error()) {
				return true
			}
		}
	}
	return false
}

// What the page says of TLS on one side only is what is logged.
func TestTLSOnOneSideOnly(t *testing.T) {
	plain := realserver.NewRedis(t, realserver.RedisOptions{})
	encrypted := realserver.NewRedis(t, realserver.RedisOptions{TLS: true})
	for name, options := range map[string]Options{
		"here":  {Addresses: []string{plain.Addr}, TLS: &tls.Config{RootCAs: encrypted.CA.Pool()}},
		"there": {Addresses: []string{encrypted.Addr}},
	} {
		for range 3 {
			err := unavailable(t, open(t, options))
			if !documentedError(t, err, "`tls`") {
				t.Errorf("TLS only %s: %v, which the page does not have", name, err)
			}
			t.Log(err)
		}
	}
}
