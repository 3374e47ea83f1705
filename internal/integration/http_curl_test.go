package integration

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// visit is what a client program needs to know of a site: the demo's paths, and
// somebody who may use them.
type visit struct {
	caddy              *caddy
	username, password string
	user               string // as applications are told
}

// operacionesGate guards another site under the demo's paths.
func operacionesGate(group string) string {
	return fmt.Sprintf("require_session {\n\t\trequire /operaciones/* %s\n\t}", group)
}

// startDemo runs `caddy ldap-demo`, without any server of the system.
func startDemo(t testing.TB) visit {
	t.Helper()
	c := newCaddy(t)
	cmd := c.command(t, "ldap-demo", "--listen", "127.0.0.1:"+c.port, "--ldap-listen", "127.0.0.1:"+freePort(t))
	cmd.Env = append(cmd.Env, "TMPDIR="+c.dir)
	c.launch(t, cmd)
	return visit{c, "ac12345", "secreto", "ac12345"}
}

// visits runs test on the demo, on Samba and on slapd.
func visits(t *testing.T, test func(*testing.T, visit)) {
	t.Run("demo", func(t *testing.T) { test(t, startDemo(t)) })
	t.Run("Samba", func(t *testing.T) {
		dc := servers.Samba(t)
		test(t, visit{startAD(t, operacionesGate("nivel-10")).caddy, `CORP\juan`, dc.Juan.Password, "juan"})
	})
	t.Run("slapd", func(t *testing.T) {
		s := servers.Slapd(t)
		test(t, visit{startOpenLDAP(t, s, operacionesGate("ingenieria")).caddy, "lucia", s.Lucia.Password, "lucia"})
	})
}

// curl is the real program with one cookie jar.
type curl struct {
	path, jar string
	caddy     *caddy
}

func newCurl(t testing.TB, c *caddy) *curl {
	t.Helper()
	return &curl{path: realserver.Program(t, "curl"), jar: filepath.Join(t.TempDir(), "jar"), caddy: c}
}

// run returns status and body.
func (c *curl) run(t testing.TB, path string, args ...string) (int, string) {
	t.Helper()
	// -q: no settings of this machine; --noproxy: nor its proxy.
	args = append([]string{"-q", "-sS", "--noproxy", "*", "--max-time", "30", "-w", "\n%{http_code}"}, args...)
	out, err := exec.Command(c.path, append(args, c.caddy.url()+path)...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl %s: %v\n%s", path, err, out)
	}
	body, code, _ := cutLast(string(out), "\n")
	status, err := strconv.Atoi(code)
	if err != nil {
		t.Fatalf("curl %s printed %q", path, out)
	}
	return status, body
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// cookie reads the jar, whose lines have seven fields, the last two name and
// value; "#HttpOnly_" before a line is no comment.
func (c *curl) cookie(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(c.jar)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) == 7 && fields[5] == name {
			c.caddy.keepSecret(fields[6], name == "sessionid")
			return fields[6]
		}
	}
	return ""
}

func TestHTTPCurlStepByStep(t *testing.T) {
	realserver.Program(t, "curl")
	visits(t, func(t *testing.T, v visit) {
		for _, mode := range []struct {
			what  string
			after func(jar string) []string
		}{
			{"-c at sign-in, -b after", func(jar string) []string { return []string{"-b", jar} }},
			{"-b and -c always", func(jar string) []string { return []string{"-b", jar, "-c", jar} }},
		} {
			t.Run(mode.what, func(t *testing.T) { curlVisit(t, v, mode.after) })
		}
	})
}

func curlVisit(t *testing.T, v visit, jarArgs func(string) []string) {
	c := newCurl(t, v.caddy)
	v.caddy.keepSecret(v.password, true)
	step := func(what, path string, wantStatus int, wantInBody string, args ...string) {
		t.Helper()
		status, body := c.run(t, path, args...)
		if status != wantStatus || !strings.Contains(body, wantInBody) {
			t.Errorf("%s: got %d %s, want %d with %s", what, status, body, wantStatus, wantInBody)
		}
	}
	jsonBody := func(password string) []string {
		// The password's JSON form is the password: none has a quote.
		return []string{"-H", "Content-Type: application/json",
			"-d", fmt.Sprintf(`{"username":%q,"password":"%s"}`, v.username, password)}
	}
	with := func(args ...string) []string { return append(jarArgs(c.jar), args...) }
	user := fmt.Sprintf(`"usuario":%q`, v.user)

	step("without a session", "/api/equipos/", http.StatusUnauthorized, bodyUnauthenticated)
	step("wrong password", "/api/login-ldap/", http.StatusUnauthorized, bodyRefused,
		append(jsonBody("una-clave-que-no-es"), "-c", c.jar)...)
	step("sign-in", "/api/login-ldap/", http.StatusOK, `"message":"Login exitoso"`, append(jsonBody(v.password), "-c", c.jar)...)
	token, csrf := c.cookie(t, "sessionid"), c.cookie(t, "csrftoken")
	if len(token) != 43 || len(csrf) != 32 {
		t.Fatalf("the jar has sessionid %q and csrftoken %q", token, csrf)
	}
	step("GET", "/api/equipos/", http.StatusOK, user, with()...)
	step("GET, group", "/operaciones/api/estadisticas/", http.StatusOK, user, with()...)
	step("POST without the token", "/operaciones/api/ptes/", http.StatusForbidden, `"csrf_failed"`, with("-X", "POST")...)
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		step(method, "/operaciones/api/ptes/", http.StatusOK, user, with("-X", method, "-H", "X-CSRFToken: "+csrf)...)
	}
	step("POST with the token as a form field", "/operaciones/api/ptes/", http.StatusOK, user, with("-d", "csrfmiddlewaretoken="+csrf)...)
	step("POST from another origin", "/operaciones/api/ptes/", http.StatusForbidden, `"origin_not_trusted"`,
		with("-X", "POST", "-H", "X-CSRFToken: "+csrf, "-H", "Origin: https://evil.example")...)
	if c.cookie(t, "sessionid") != token || c.cookie(t, "csrftoken") != csrf {
		t.Error("the cookies changed within one session")
	}
	step("sign-out", "/api/logout/", http.StatusOK, bodySignedOut, with()...)
	step("after the sign-out", "/api/equipos/", http.StatusUnauthorized, bodyUnauthenticated, with()...)
	step("replayed by hand", "/api/equipos/", http.StatusUnauthorized, bodyUnauthenticated, "-H", "Cookie: sessionid="+token)

	// The form, as older scripts send it, without cookie and token.
	step("form sign-in", "/accounts/login/", http.StatusOK, `"message":"Login exitoso"`,
		"-L", "-c", c.jar, "--data-urlencode", "username="+v.username, "--data-urlencode", "password="+v.password)
	c.cookie(t, "sessionid")
	step("GET after the form", "/api/equipos/", http.StatusOK, user, with()...)
}
