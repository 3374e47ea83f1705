package screenshots

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

const (
	user     = "jdoe"
	password = "a password of the pictures"
)

// company is the directory, with the names that the documentation has.
func company() ldaptest.Directory {
	return ldaptest.Directory{
		Domain: "corp.example.com", NetBIOS: "CORP",
		Groups: []ldaptest.Group{{Name: "Employees"}, {Name: "IT Admins"}},
		Users: []ldaptest.User{{
			SAMAccountName: user, UPN: user + "@corp.example.com", Password: password,
			GivenName: "Jane", Surname: "Doe", DisplayName: "Jane Doe", MemberOf: []string{"Employees"},
		}},
	}
}

const caddyfile = `{
	admin off
	persist_config off
	skip_install_trust
	servers {
		trusted_proxies static 127.0.0.1/32
		trusted_proxies_strict
	}
	ldap_auth {
		directory corp.example.com ad {
			servers %s
			password_url https://password.corp.example.com/
		}
		sessions {
			storage badger %s
		}
		default_language en
		%s
	}
}

http://127.0.0.1:%s {
	require_session {
		require /admin/* "IT Admins"
	}
	respond "<!doctype html><title>Intranet</title>"
}
`

// startSite runs the program until the test ends, and returns the site's
// address. branding stands in the ldap_auth block.
func startSite(t *testing.T, program *realserver.Caddy, branding string) string {
	t.Helper()
	directory, err := ldaptest.Start("127.0.0.1:0", company())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = directory.Close() })
	folder, port := t.TempDir(), freePort(t)
	config := filepath.Join(folder, "Caddyfile")
	text := fmt.Sprintf(caddyfile, directory.URL(), filepath.Join(folder, "sessions"), branding, port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program.Path(t), "run", "--config", config, "--adapter", "caddyfile")
	command.Env = append(os.Environ(), "HOME="+folder, "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder)
	log := filepath.Join(folder, "log")
	child := realserver.StartChild(t, log, command)
	t.Cleanup(func() {
		if err := child.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	if err := child.WaitUntil(60*time.Second, func() error {
		if printed, err := os.ReadFile(log); err != nil || !strings.Contains(string(printed), "serving initial configuration") {
			return errors.New("it still starts")
		}
		return nil
	}); err != nil {
		t.Fatalf("starting Caddy: %v", err)
	}
	return "http://127.0.0.1:" + port
}

// signInElsewhere begins a session of somebody at another address.
func signInElsewhere(t *testing.T, site, address string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"username": user, "password": password})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPost, site+"/api/login-ldap/", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Forwarded-For", address)
	request.Header.Set("X-Forwarded-Proto", "https")
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if answer, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("signing in: %d %s %v", response.StatusCode, answer, err)
	}
}

// exampleBranding is the options block of the recipe, with its logo.
func exampleBranding(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../examples/branding.caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile(`(?s)\t\tbranding \{\n.*?\n\t\t\}`).FindString(string(text))
	logo, err := filepath.Abs("../../examples/logo.svg")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(block, "/etc/caddy/logo.svg") {
		t.Fatalf("the example has no branding with /etc/caddy/logo.svg: %q", block)
	}
	return strings.ReplaceAll(block, "/etc/caddy/logo.svg", logo)
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
