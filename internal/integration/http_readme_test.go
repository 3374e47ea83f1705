package integration

import (
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// readmeBlock returns the first block of a language below a heading of the
// README, up to the next heading of any level.
func readmeBlock(t testing.TB, heading, language string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the README has no heading %q", heading)
	}
	// A heading stands after an empty line; a comment in a block does not.
	section, _, _ = strings.Cut(section, "\n\n#")
	_, block, ok := strings.Cut(section, "```"+language+"\n")
	if !ok {
		t.Fatalf("the README has no %s block below %q", language, heading)
	}
	block, _, _ = strings.Cut(block, "```")
	return block
}

// The README's Caddyfile for a real domain, on a real domain. What is replaced
// is what names another machine or folder: the domain and its server, with the
// CA of the test's own; where the site listens, with a certificate of that CA;
// its folder. Added are the options that keep the test's traces off the
// machine. All the rest is as users copy it, the place of the sessions
// included.
func TestHTTPCaddyfileOfREADMEOnAD(t *testing.T) {
	dc := servers.Samba(t)
	c := newCaddy(t)
	site := t.TempDir()
	if err := os.WriteFile(filepath.Join(site, "index.html"), []byte("intranet"), 0o600); err != nil {
		t.Fatal(err)
	}
	certFile, keyFile, err := dc.CA.Issue(t.TempDir(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	text := readmeBlock(t, "## A real Active Directory", "caddyfile")
	for _, change := range []struct{ old, new string }{
		{"{\n\tldap_auth {", "{\n" + c.global() + "\tauto_https disable_redirects\n\tldap_auth {"},
		{"directory corp.example.com {", "directory " + dc.Domain + " {"},
		{"servers ldaps://dc1.corp.example.com\n", "servers " + dc.URL + "\n\t\t\tca_file " + dc.CA.File + "\n"},
		{"\nintranet.corp.example.com {\n", "\nhttps://localhost:" + c.port + " {\n\tbind 127.0.0.1\n\ttls " + certFile + " " + keyFile + "\n"},
		{"/srv/intranet", site},
	} {
		if strings.Count(text, change.old) != 1 {
			t.Fatalf("the README's Caddyfile has not one %q:\n%s", change.old, text)
		}
		text = strings.Replace(text, change.old, change.new, 1)
	}
	if strings.Contains(text, "example.com") {
		t.Fatalf("something of the README's domain is left:\n%s", text)
	}
	c.run(t, text)

	intranet := newClient(t, c)
	intranet.base = "https://localhost:" + c.port
	intranet.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: dc.CA.Pool(), MinVersion: tls.VersionTLS12}
	navigation := []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}

	r := intranet.do(t, "GET", "/", "", navigation...)
	if r.status != http.StatusSeeOther || r.header.Get("Location") != "/accounts/login/?next=%2F" {
		t.Errorf("without a session: %d to %q", r.status, r.header.Get("Location"))
	}
	expect(t, intranet.do(t, "GET", "/", ""), http.StatusUnauthorized, bodyUnauthenticated)
	if r := intranet.do(t, "GET", "/accounts/login/", "", navigation...); r.status != http.StatusOK || !strings.Contains(r.body, "<form") {
		t.Errorf("the sign-in page: %d %s", r.status, r.body)
	}
	// The names that the README promises.
	for _, typed := range []string{"juan", "juan@corp.test", `CORP\juan`} {
		s := intranet.signIn(t, typed, dc.Juan.Password)
		expect(t, s.get(t, "/", navigation...), http.StatusOK, "intranet")
		s.signOut(t)
		s.expectRefused(t, "/")
	}
	signedIn, err := intranet.trySignIn("juan", dc.Juan.Password)
	if err != nil {
		t.Fatal(err)
	}
	if cookie := signedIn.cookies["sessionid"]; cookie == nil || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
		t.Errorf("the session cookie is %v", cookie)
	}
	// Where the sessions are when nothing is said, and who may look.
	if info, err := os.Stat(c.path("caddy/ldap_auth")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of the sessions: %v, %v", info, err)
	}
}

// inEmptyFolder prepares a program that finds no settings of this machine.
func inEmptyFolder(t testing.TB, path string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir, "NO_PROXY=*", "no_proxy=*", "PYTHONUTF8=1")
	return cmd
}

// expectInOrder looks for words in a program's output, one after the other.
func expectInOrder(t testing.TB, output string, words ...string) {
	t.Helper()
	rest := output
	for _, word := range words {
		_, after, ok := strings.Cut(rest, word)
		if !ok {
			t.Fatalf("no %q where it should be in:\n%s", word, output)
		}
		rest = after
	}
}

func TestHTTPClientsOfREADMEOnDemo(t *testing.T) {
	for _, test := range []struct {
		heading, language string
		program           func() []string
		want              []string
	}{
		{"### curl", "sh", func() []string {
			realserver.Program(t, "curl")
			return []string{realserver.Program(t, "bash"), "-e"}
		}, []string{"Login exitoso", `"usuario":"ac12345"`, `"metodo":"POST"`, "Sesión cerrada"}},
		{"### Python requests", "python", func() []string {
			return []string{realserver.PythonWith(t, "requests"), "-"}
		}, []string{"'usuario': 'ac12345'", "'metodo': 'POST'"}},
	} {
		t.Run(test.language, func(t *testing.T) {
			program := test.program()
			demo := startDemo(t).caddy
			const address = "http://127.0.0.1:8080"
			block := readmeBlock(t, test.heading, test.language)
			if !strings.Contains(block, address) {
				t.Fatalf("the block does not speak with the demo:\n%s", block)
			}
			cmd := inEmptyFolder(t, program[0], program[1:]...)
			cmd.Stdin = strings.NewReader(strings.ReplaceAll(block, address, demo.url()))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			expectInOrder(t, string(out), test.want...)
		})
	}
}

// The demo prints curl lines to be copied.
func TestHTTPCurlLinesOfDemo(t *testing.T) {
	realserver.Program(t, "curl")
	bash := realserver.Program(t, "bash")
	demo := startDemo(t).caddy
	lines := regexp.MustCompile(`(?m)^ +(curl .*)$`)
	waitFor(t, "the demo's curl lines", func() bool { return strings.Contains(demo.read("caddy.log"), "Ctrl-C") })
	var script strings.Builder
	for _, match := range lines.FindAllStringSubmatch(demo.read("caddy.log"), -1) {
		script.WriteString(match[1] + "\n")
	}
	cmd := inEmptyFolder(t, bash, "-e")
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var statuses []string
	for _, match := range regexp.MustCompile(`HTTP/1\.1 (\d+)`).FindAllStringSubmatch(string(out), -1) {
		statuses = append(statuses, match[1])
	}
	if got, want := strings.Join(statuses, " "), "401 200 200 200 200 401"; got != want {
		t.Errorf("the lines were answered %s, want %s:\n%s\n%s", got, want, script.String(), out)
	}
	if err := demo.child.Stop(); err != nil {
		t.Errorf("ending the demo: %v", err)
	}
	if left, _ := filepath.Glob(demo.path("ldap_auth_demo*")); len(left) > 0 {
		t.Errorf("the demo left %q", left)
	}
}
