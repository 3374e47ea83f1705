package caddyauth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// projectFile returns a file of the project's top folder.
func projectFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fencedBlocks returns the fenced blocks of a language in a page.
func fencedBlocks(t *testing.T, page, language string) []string {
	t.Helper()
	var blocks []string
	for _, match := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(projectFile(t, page), -1) {
		blocks = append(blocks, match[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no %s block", page, language)
	}
	return blocks
}

// testCA writes a certificate and returns its file.
func testCA(t *testing.T) string {
	t.Helper()
	certificate, _ := testCertificate(t)
	return certificate
}

// testCertificate writes a certificate and its key, and returns their files.
func testCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// here puts files of the test in the place of those that the documentation
// names, and nothing else: secrets, certificates, the logo and logs.
func here(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("service account's own\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sessionsKey := filepath.Join(dir, "sessions_key")
	if err := os.WriteFile(sessionsKey, []byte(strings.Repeat("0f", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config = strings.ReplaceAll(config, "/run/secrets/ldap_password", secret)
	config = strings.ReplaceAll(config, "/run/secrets/redis_password", secret)
	config = strings.ReplaceAll(config, "/run/secrets/sessions_key", sessionsKey)
	config = strings.ReplaceAll(config, "/var/log/caddy", dir)
	config = strings.ReplaceAll(config, "/var/lib/caddy/sessions", filepath.Join(dir, "sessions"))
	logo, err := filepath.Abs("../examples/logo.svg")
	if err != nil {
		t.Fatal(err)
	}
	config = strings.ReplaceAll(config, "/etc/caddy/logo.svg", logo)
	certificate, key := testCertificate(t)
	config = regexp.MustCompile(`/etc/caddy/[a-z-]+-key\.pem`).ReplaceAllLiteralString(config, key)
	return regexp.MustCompile(`/etc/caddy/[a-z-]+\.pem`).ReplaceAllLiteralString(config, certificate)
}

func TestEveryCaddyfileOfTheDocumentationLoads(t *testing.T) {
	files, err := filepath.Glob("../examples/*.caddyfile")
	if err != nil || len(files) < 9 {
		t.Fatalf("examples: %d files, %v", len(files), err)
	}
	configs := map[string]string{"Caddyfile.example": projectFile(t, "Caddyfile.example")}
	for _, file := range files {
		name := "examples/" + filepath.Base(file)
		configs[name] = projectFile(t, name)
	}
	for _, page := range []string{"README.md", "docs/operations.md", "docs/directories.md", "docs/branding.md", "docs/cluster.md"} {
		for _, block := range fencedBlocks(t, page, "caddyfile") {
			configs[page+": "+strings.Fields(block)[0]+" "+strings.Fields(block)[1]+" "+strings.Fields(block)[2]+" … "+block[len(block)/2:len(block)/2+10]] = block
		}
	}
	for name, text := range configs {
		t.Run(name, func(t *testing.T) {
			if formatted := string(caddyfile.Format([]byte(text))); formatted != text {
				t.Error("`caddy fmt` would change it")
			}
			config, err := adapt(here(t, text))
			if err != nil {
				t.Fatal(err)
			}
			if err := validate(t, config); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestTheJSONOfTheDocumentationLoads(t *testing.T) {
	for _, block := range fencedBlocks(t, "docs/json.md", "json") {
		if err := validate(t, []byte(here(t, block))); err != nil {
			t.Error(err)
		}
	}
}

// TestDocumentationHasEveryOption: what can be written is described in the
// table, and shown in the example.
func TestDocumentationHasEveryOption(t *testing.T) {
	readme, example := projectFile(t, "README.md"), projectFile(t, "Caddyfile.example")
	_, table, _ := strings.Cut(readme, "\n### Options\n")
	table, _, _ = strings.Cut(table, "\n## ")
	values := regexp.MustCompile(`[a-z0-9_]+(?:\|[a-z0-9_]+)+|__Host-\|__Secure-`)
	for _, block := range syntaxBlocks(t) {
		for i, line := range strings.Split(strings.TrimSpace(block), "\n") {
			option, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			if option == "}" {
				continue
			}
			if i > 0 && !strings.Contains(table, "`"+option+"`") {
				t.Errorf("README.md's table of options lacks %s", option)
			}
			if !regexp.MustCompile(`(?m)^[\t# @a-z]*\b` + option + `\b`).MatchString(example) {
				t.Errorf("Caddyfile.example does not show %s", option)
			}
			for _, alternatives := range values.FindAllString(rest, -1) {
				for value := range strings.SplitSeq(alternatives, "|") {
					if !regexp.MustCompile(`(?m)^[\t# ]*` + option + `\b.* ` + value + `( |$)`).MatchString(example) {
						t.Errorf("Caddyfile.example does not show %s %s", option, value)
					}
				}
			}
		}
	}
}

func TestDocumentationHasEveryCode(t *testing.T) {
	source, err := os.ReadFile("respond.go")
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, match := range regexp.MustCompile(`(?m)^\tcode\w+ +code = "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		codes = append(codes, match[1])
	}
	_, list, _ := strings.Cut(projectFile(t, "README.md"), "has a `code`, one of:")
	list, _, _ = strings.Cut(list, ".\n")
	var shown []string
	for _, match := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(list, -1) {
		shown = append(shown, match[1])
	}
	if !slices.Equal(codes, shown) {
		t.Errorf("README.md lists %v\nrespond.go has     %v", shown, codes)
	}
}

func TestDocumentationLinksLeadSomewhere(t *testing.T) {
	for _, page := range []string{"README.md", "docs/json.md", "docs/operations.md", "docs/directories.md", "docs/sessions.md", "docs/branding.md", "docs/cluster.md"} {
		for _, match := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(projectFile(t, page), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join("..", filepath.Dir(page), match[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// TestAccessLogShowsNoCSRFToken runs the log format of Caddyfile.example, and
// Caddy's own to see that the test would notice.
func TestAccessLogShowsNoCSRFToken(t *testing.T) {
	filter := regexp.MustCompile(`(?s)format filter \{.*?\n\t\t\}`).FindString(projectFile(t, "Caddyfile.example"))
	if filter == "" {
		t.Fatal("Caddyfile.example has no log filter")
	}
	short := regexp.MustCompile(`(?s)format filter \{.*?\n\t\t\}`).FindString(projectFile(t, "README.md"))
	if short == "" {
		t.Fatal("README.md has no log filter")
	}
	for _, row := range []struct {
		name, format string
		shown        bool
	}{
		{"Caddyfile.example", filter, false},
		{"README.md", short, false},
		{"without the filter", "format json", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "access.log")
			s := start(t, setup{site: "log {\noutput file " + file + " {\nroll_disabled\n}\n" + row.format + "\n}\nrequire_session\nrespond ok"})
			client := s.signIn("ac12345")
			for _, path := range []string{"/", "/api/logout/"} {
				if got := s.do("POST", path, client.shown); got.StatusCode != http.StatusOK {
					t.Fatalf("POST %s: %d %s", path, got.StatusCode, got.body)
				}
			}
			text := waitForLines(t, file, 3)
			if shown := strings.Contains(text, client.csrf); shown != row.shown {
				t.Errorf("the CSRF token is in the access log: %v\n%s", shown, text)
			}
			if strings.Contains(text, client.token) {
				t.Errorf("the session's token is in the access log:\n%s", text)
			}
			if n := strings.Count(text, `"user_id":"ac12345"`); n != 3 {
				t.Errorf("%d of 3 lines name the user:\n%s", n, text)
			}
		})
	}
}

// waitForLines waits until a log has its lines: they are written after the
// answers.
func waitForLines(t *testing.T, file string, lines int) string {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		text, err := os.ReadFile(file)
		if err == nil && strings.Count(string(text), "\n") >= lines {
			return string(text)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has not %d lines: %v\n%s", file, lines, err, text)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestHeaderBeforeTheGate is the README's cure for a site's HSTS header, which
// by default comes after the gate.
func TestHeaderBeforeTheGate(t *testing.T) {
	const site = "header Strict-Transport-Security max-age=31536000\nrequire_session\nreverse_proxy UPSTREAM"
	for _, row := range []struct{ name, global, want string }{
		{"by default", "", ""},
		{"with the order of the README", "order header before ldap_login", "max-age=31536000"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if !strings.Contains(projectFile(t, "README.md"), row.global) {
				t.Fatal("README.md says something else")
			}
			s := start(t, setup{global: row.global, site: site})
			for _, path := range []string{"/", "/accounts/login/"} {
				if got := s.do("GET", path).Header.Get("Strict-Transport-Security"); got != row.want {
					t.Errorf("GET %s: Strict-Transport-Security %q, want %q", path, got, row.want)
				}
			}
			if got := s.do("GET", "/", s.signIn("ac12345").cookies).Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
				t.Errorf("with a session: %q", got)
			}
		})
	}
}
