package caddyauth

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// A neighbour on another host of the domain plants a second session cookie, so
// that the sign-out sees two values.
func TestSignOutWithAPlantedSecondCookieEndsTheSession(t *testing.T) {
	s := start(t, setup{})
	for name, planted := range map[string]string{
		"malformed":   "x",
		"well-formed": sessionstore.NewToken().Value(),
	} {
		t.Run(name, func(t *testing.T) {
			c := s.signIn("ac12345")
			both := header("Cookie", "sessionid="+c.token+"; sessionid="+planted)
			wantStatus(t, s.do("GET", "/x", both), http.StatusUnauthorized)
			wantStatus(t, s.do("GET", "/api/logout/", both), http.StatusOK)
			wantStatus(t, s.do("GET", "/x", c.cookies), http.StatusUnauthorized)
		})
	}
}

func TestSignInWithAPlantedSecondCookieEndsTheOldSession(t *testing.T) {
	s := start(t, setup{})
	c := s.signIn("ac12345")
	s.signIn("mgarcia", header("Cookie", "sessionid="+c.token+"; sessionid=x"))
	wantStatus(t, s.do("GET", "/x", c.cookies), http.StatusUnauthorized)
}

// Two cookies do not free a POST from showing the token.
func TestSignOutByPostWithTwoCookiesNeedsTheToken(t *testing.T) {
	s := start(t, setup{})
	c := s.signIn("ac12345")
	answer := s.do("POST", "/api/logout/", header("Cookie", "sessionid="+c.token+"; sessionid="+sessionstore.NewToken().Value()))
	wantStatus(t, answer, http.StatusForbidden)
	if len(answer.setCookies("sessionid")) != 0 {
		t.Error("a refused sign-out touched the cookie")
	}
	want(t, s.do("GET", "/x", c.cookies), http.StatusOK, "upstream")
}

// An Upgrade header on a form post once switched the CSRF check off.
func TestUpgradeHeaderDoesNotSwitchCSRFOff(t *testing.T) {
	s := start(t, setup{})
	c := s.signIn("ac12345")
	for _, changes := range [][]change{
		{header("Upgrade", "websocket")},
		{header("Upgrade", "websocket"), header("Connection", "Upgrade")},
		{header("Upgrade", "websocket"), header("Sec-Fetch-Site", "cross-site"), header("Referer", "https://evil.example/")},
	} {
		before := s.upstream.count()
		wantStatus(t, s.do("POST", "/x", append(changes, c.cookies)...), http.StatusForbidden)
		if s.upstream.count() != before {
			t.Error("the post reached the upstream")
		}
	}
}

// The JSON routes answer with JSON, whatever the client accepts.
func TestJSONRoutesNeverAnswerWithAPage(t *testing.T) {
	s := start(t, setup{})
	wrong := jsonBody(credentialsJSON("ac12345", "wrong"))
	for name, answer := range map[string]reply{
		"wrong password":         s.do("POST", "/api/login-ldap/", wrong, navigation),
		"opened in a browser":    s.do("GET", "/api/login-ldap/", navigation),
		"JSON to the page":       s.do("POST", "/accounts/login/", wrong, navigation),
		"session in a browser":   s.do("GET", "/api/session/", navigation),
		"session, other method":  s.do("PUT", "/api/session/", navigation),
		"not JSON to the API":    s.do("POST", "/api/login-ldap/", form("username=a"), navigation),
		"foreign origin, to API": s.do("POST", "/api/login-ldap/", wrong, navigation, header("Origin", "https://evil.example")),
	} {
		if got := answer.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: %d with %s", name, answer.StatusCode, got)
		}
	}
	want(t, s.do("GET", "/api/login-ldap/", navigation), http.StatusMethodNotAllowed,
		`{"status":"error","message":"Método no permitido. Se requiere POST.","code":"method_not_allowed"}`)
}

// Error routes run on the server's own writer, past the gate's.
func TestGateInsideErrorRoutesFiltersToo(t *testing.T) {
	s := start(t, setup{site: `
	require_session
	handle_errors {
		require_session
		reverse_proxy UPSTREAM
	}
	error /broken 502
	reverse_proxy UPSTREAM`})
	s.upstream.answers(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "sessionid=evil")
		w.Header().Add("Set-Cookie", "csrftoken=evil")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		_, _ = io.WriteString(w, "error page")
	})
	c := s.signIn("ac12345")
	answer := s.do("GET", "/broken", c.cookies)
	if cookies := answer.Header["Set-Cookie"]; len(cookies) != 0 {
		t.Errorf("cookies %q", cookies)
	}
	if got := answer.Header.Values("Cache-Control"); len(got) != 1 || !strings.Contains(got[0], "private") || strings.Contains(got[0], "public") {
		t.Errorf("Cache-Control %q", got)
	}
	if answer.Header.Get("Access-Control-Allow-Credentials") != "" || answer.Header.Get("Vary") != "Cookie" || answer.body != "error page" {
		t.Errorf("%d %v %s", answer.StatusCode, answer.Header, answer.body)
	}
	if got := s.upstream.last(t).header.Get("Remote-User"); got != "ac12345" {
		t.Errorf("Remote-User %q in the error route", got)
	}
	unknown := s.do("GET", "/broken", header("Cookie", "sessionid="+sessionstore.NewToken().Value()))
	if unknown.StatusCode != http.StatusUnauthorized || len(unknown.setCookies("sessionid")) != 1 {
		t.Errorf("unknown token: %d, cookies %q", unknown.StatusCode, unknown.Header["Set-Cookie"])
	}
}

// Browsers resolve dot segments: such a target would sign the user out at once.
func TestNextLeadsBackIntoNoSignInRoute(t *testing.T) {
	s := start(t, setup{auth: "trusted_origins https://app.example.com"})
	for _, next := range []string{
		"/api/logout/", "/api/logout", "/./api/logout/", "/x/../api/logout/", "/%2e/api/logout", "/x/%2E%2e/api/logout/",
		"/x/.%2e/api/logout/", "https://app.example.com/api/logout/", "https://app.example.com/x/../api/logout/", "/accounts/login/?next=/",
	} {
		answer := s.do("POST", "/accounts/login/", form("username=ac12345&password="+ldaptest.DemoPassword+"&next="+strings.ReplaceAll(next, "%", "%25")), navigation)
		if got := answer.Header.Get("Location"); answer.StatusCode != http.StatusSeeOther || got != "/" {
			t.Errorf("next=%s leads to %q", next, got)
		}
	}
}

// A password may hold a semicolon, at which net/url ends a field.
func TestFormWithASemicolon(t *testing.T) {
	dir := ldaptest.Demo()
	dir.Users[0].Password = "sec;re to&ñ"
	s := start(t, setup{directory: &dir})
	logged.keepSecret("password", dir.Users[0].Password)
	answer := s.do("POST", "/accounts/login/", form("username=ac12345&password=sec;re+to%26%C3%B1"))
	wantStatus(t, answer, http.StatusOK)
}

// A failed sign-in over a live session must not give out a token that the
// session does not know.
func TestFailedFormKeepsTheSessionsToken(t *testing.T) {
	s := start(t, setup{})
	c := s.signIn("ac12345")
	answer := s.do("POST", "/accounts/login/", form("username=ac12345&password=wrong"), navigation, header("Cookie", "sessionid="+c.token))
	if got := answer.cookie("csrftoken"); answer.StatusCode != http.StatusUnauthorized || got != c.csrf {
		t.Errorf("%d with csrftoken %q, want the session's", answer.StatusCode, got)
	}
	if !strings.Contains(answer.body, c.csrf) {
		t.Error("the form has another token")
	}
}

// What comes in TLS early data can be sent again by an attacker, from an
// address that nobody has proven (RFC 8470).
func TestEarlyDataIsTooEarlyWhereItMatters(t *testing.T) {
	app := &App{cookies: *cookiesOf(t, ""), stripper: newStripper(nil)}
	ranges := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, row := range []struct {
		name, method, path string
		ips                []netip.Prefix
		done, early        bool
	}{
		{"a page", "GET", "/x", nil, false, false},
		{"a page with an address rule", "GET", "/x", ranges, false, true},
		{"a post", "POST", "/x", nil, false, true},
		{"a sign-in", "POST", "/api/login-ldap/", nil, false, true},
		{"a sign-out by GET", "GET", "/api/logout/", nil, false, true},
		{"a post after the handshake", "POST", "/x", ranges, true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := &site{app: app, paths: defaultSignInPaths(), policy: policy{ips: row.ips}}
			r := httptest.NewRequest(row.method, row.path, nil)
			r.TLS = &tls.ConnectionState{HandshakeComplete: row.done}
			recorder := httptest.NewRecorder()
			w, q := s.begin(recorder, r)
			if got := s.tooEarly(w, r, q); got != row.early || got && recorder.Code != http.StatusTooEarly {
				t.Errorf("too early %v with status %d, want %v", got, recorder.Code, row.early)
			}
		})
	}
}

// One header of separators once cost seconds.
func TestCookieHeaderOfManySessionsIsReadInOnePass(t *testing.T) {
	cookies := cookiesOf(t, "")
	h := http.Header{"Cookie": {"a=1" + strings.Repeat(";sessionid", 100_000)}}
	start := time.Now()
	cookies.takeCookies(h, false)
	if took := time.Since(start); took > 2*time.Second || h.Get("Cookie") != "a=1" {
		t.Errorf("%v, left %q", took, h.Get("Cookie"))
	}
}

// What a directory has said of a group outlives a reload: one that is gone lets
// nobody pass, also those whose sessions still name it.
func TestGoneGroupStaysGoneAfterAReload(t *testing.T) {
	s := start(t, setup{site: "require_session Ingenieria\nreverse_proxy UPSTREAM"})
	old := s.signIn("ac12345")
	want(t, s.do("GET", "/x", old.cookies), http.StatusOK, "upstream")

	without := ldaptest.Demo()
	without.Groups = slices.DeleteFunc(without.Groups, func(g ldaptest.Group) bool { return g.Name == "Ingenieria" })
	without.Users[0].MemberOf = nil
	if err := s.directory.Replace(without); err != nil {
		t.Fatal(err)
	}
	// Another directory block, which knows nothing yet: the record counts.
	s.setup.servers = "servers " + s.directory.URL() + "\nemail_attribute mail"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", old.cookies), http.StatusOK, "upstream")
	s.signIn("mgarcia") // asks the directory
	wantStatus(t, s.do("GET", "/x", old.cookies), http.StatusForbidden)
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, s.do("GET", "/x", old.cookies), http.StatusForbidden)
}

func TestDirectoriesAreSharedByResource(t *testing.T) {
	certificate, key := testCertificate(t)
	otherCertificate, otherKey := testCertificate(t)
	userPrincipalName := ""
	configured := func(edit func(*Directory)) *Directory {
		d := &Directory{
			Label: "corp.test", Servers: []string{"ldap://127.0.0.1:1"}, BindUser: "cn=svc", BindPassword: "one", CAFile: certificate,
			ClientCert: &ClientCert{Certificate: certificate, Key: key},
		}
		edit(d)
		return d
	}
	first, firstKey, err := configured(func(*Directory) {}).acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = directories.Delete(firstKey) }()
	keys := map[string]string{firstKey: "the first"}
	for name, row := range map[string]struct {
		edit func(*Directory)
		same bool
	}{
		"unchanged":            {func(*Directory) {}, true},
		"another link":         {func(d *Directory) { d.PasswordURL = "https://password.test/" }, true},
		"other hints":          {func(d *Directory) { d.LoginHints = "all" }, true},
		"another recheck":      {func(d *Directory) { d.Recheck = caddy.Duration(time.Minute) }, true},
		"another grace":        {func(d *Directory) { d.RecheckGrace = caddy.Duration(time.Minute) }, true},
		"another label":        {func(d *Directory) { d.Label = "corp2.test" }, false},
		"another password":     {func(d *Directory) { d.BindPassword = "two" }, false},
		"another user":         {func(d *Directory) { d.BindUser = "cn=svc2" }, false},
		"another server":       {func(d *Directory) { d.Servers = append(d.Servers, "ldap://127.0.0.1:2") }, false},
		"servers by DNS":       {func(d *Directory) { d.Servers = nil }, false},
		"another domain":       {func(d *Directory) { d.Domains = []string{"OLD"} }, false},
		"two domains":          {func(d *Directory) { d.Domains = []string{"OLD", "OLDER"} }, false},
		"another kind":         {func(d *Directory) { d.Kind = "ad" }, false},
		"a kind of others":     {func(d *Directory) { d.Kind = "openldap" }, false},
		"another base":         {func(d *Directory) { d.BaseDN = "dc=corp,dc=test" }, false},
		"its group base":       {func(d *Directory) { d.GroupBase = "dc=corp,dc=test" }, false},
		"a user filter":        {func(d *Directory) { d.UserFilter = "(cn={user})" }, false},
		"a group filter":       {func(d *Directory) { d.GroupFilter = "(cn={user})" }, false},
		"no mail":              {func(d *Directory) { d.EmailAttribute = &userPrincipalName }, false},
		"another id":           {func(d *Directory) { d.Attributes.ID = "employeeNumber" }, false},
		"another username":     {func(d *Directory) { d.Attributes.Username = "employeeNumber" }, false},
		"another password_set": {func(d *Directory) { d.Attributes.PasswordSet = "employeeNumber" }, false},
		"another CA":           {func(d *Directory) { d.CAFile = otherCertificate }, false},
		"the system's CAs":     {func(d *Directory) { d.CAFile = "" }, false},
		"another server name":  {func(d *Directory) { d.ServerName = "dc.corp.test" }, false},
		"another certificate":  {func(d *Directory) { d.ClientCert = &ClientCert{otherCertificate, otherKey} }, false},
		"no certificate":       {func(d *Directory) { d.ClientCert = nil }, false},
		"StartTLS":             {func(d *Directory) { d.StartTLS = true }, false},
		"plaintext":            {func(d *Directory) { d.InsecurePlaintext = true }, false},
		"connections":          {func(d *Directory) { d.Connections = 3 }, false},
		"queue":                {func(d *Directory) { d.Queue = 3 }, false},
		"timeout":              {func(d *Directory) { d.Timeout = caddy.Duration(3 * time.Second) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			d, key, err := configured(row.edit).acquire()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = directories.Delete(key) }()
			if (d == first) != row.same {
				t.Errorf("shared %v, want %v", d == first, row.same)
			}
			if other, taken := keys[key]; taken && !row.same {
				t.Errorf("it has the key of %q", other)
			}
			keys[key] = name
			if strings.Contains(key, "one") || strings.Contains(key, "two") {
				t.Error("the key shows the password")
			}
		})
	}
	t.Run("files that hold something else now", func(t *testing.T) {
		for file, from := range map[string]string{certificate: otherCertificate, key: otherKey} {
			text, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d, key, err := configured(func(*Directory) {}).acquire()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = directories.Delete(key) }()
		if d == first || keys[key] != "" {
			t.Errorf("shared with %q", keys[key])
		}
	})
}

// Nine planted cookies once kept the tenth, the real one, out of the sign-out.
func TestSignOutWithManyPlantedCookiesEndsTheSession(t *testing.T) {
	s := start(t, setup{})
	c := s.signIn("ac12345")
	planted := ""
	for range 40 {
		planted += "sessionid=" + sessionstore.NewToken().Value() + "; sessionid=x" + sessionstore.NewCSRF() + "; "
	}
	wantStatus(t, s.do("GET", "/api/logout/", header("Cookie", planted+"sessionid="+c.token)), http.StatusOK)
	wantStatus(t, s.do("GET", "/x", c.cookies), http.StatusUnauthorized)
}

// A stranger who sends a body one byte at a time holds memory and a goroutine.
func TestDrippingBodyIsCutOff(t *testing.T) {
	s := start(t, setup{})
	conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(s.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	fmt.Fprintf(conn, "POST /api/login-ldap/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n", s.port)
	stop := make(chan struct{})
	var dripping sync.WaitGroup
	dripping.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
				if _, err := conn.Write([]byte(" ")); err != nil {
					return
				}
			}
		}
	})
	defer dripping.Wait()
	defer close(stop)
	if err := conn.SetReadDeadline(began.Add(credentialsTimeout + 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != http.StatusBadRequest {
		t.Errorf("%v, %v after %v, want 400", answer, err, time.Since(began))
	}
}

// Whoever switches user on a refused page comes back to it.
func TestForbiddenPageLeadsBack(t *testing.T) {
	s := start(t, setup{site: "require_session {\nrequire /admin/* \"IT Admins\"\n}\nreverse_proxy UPSTREAM"})
	c := s.signIn("ac12345")
	answer := s.do("GET", "/admin/x?a=b", c.cookies, navigation)
	if answer.StatusCode != http.StatusForbidden || !strings.Contains(answer.body, `href="/accounts/login/?next=%2Fadmin%2Fx%3Fa%3Db"`) {
		t.Errorf("%d %s", answer.StatusCode, answer.body)
	}
}

// A shared cache must not keep a public answer that a matcher chose by the
// session.
func TestPublicAnswerThatDependsOnTheSessionIsPrivate(t *testing.T) {
	s := start(t, setup{site: `require_session {
		public /pub/*
	}
	@staff session_group Empleados
	respond @staff "staff"
	respond "others"`})
	c := s.signIn("ac12345")
	answer := s.do("GET", "/pub/x", c.cookies)
	if answer.body != "staff" || answer.Header.Get("Cache-Control") != "private" || answer.Header.Get("Vary") != "Cookie" {
		t.Errorf("%s with %v", answer.body, answer.Header)
	}
	if cookies := answer.Header["Set-Cookie"]; len(cookies) != 0 {
		t.Errorf("a public answer sets %q", cookies)
	}
}

// What weakens safety is named at every start, once for each place that says
// it, and never while a configuration is only validated.
func TestWarningsOfWhatIsInsecure(t *testing.T) {
	mark := logged.mark()
	start(t, setup{auth: "insecure_http", site: "ldap_login\nrequire_session {\ncsrf insecure_off\n}\nrespond ok"})
	wantLog(t, mark, "insecure_http is set", `"in":"ldap_auth"`)
	wantLog(t, mark, "csrf insecure_off is set", `"in":"require_session"`)
	warnings := 0
	for _, line := range logged.since(mark) {
		if strings.Contains(line, "insecure_http is set") || strings.Contains(line, "insecure_off is set") {
			warnings++
		}
	}
	if warnings != 2 {
		t.Errorf("%d warnings, want 2", warnings)
	}
}

// wantStatus is want without the body.
func wantStatus(t *testing.T, got reply, status int) {
	t.Helper()
	if got.StatusCode != status {
		t.Fatalf("got %d %s, want %d", got.StatusCode, got.body, status)
	}
}

// Whoever hangs up after the password has left makes the directory count it;
// the audit log says whose account it was.
func TestHangingUpDoesNotHideTheAccount(t *testing.T) {
	s := start(t, setup{})
	s.directory.Stall(ldaptest.StallBind)
	mark := logged.mark()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := s.try("POST", "/api/login-ldap/", jsonBody(credentialsJSON("ac12345", "not-it-at-all")), func(r *http.Request) { *r = *r.WithContext(ctx) })
	if err == nil {
		t.Fatal("the stalled directory answered")
	}
	wantAudit(t, mark, auditLine{"event": "sign_in", "result": "unavailable", "reason": "cancelled", "user": "ac12345"})
}

// When as many bodies are being read as may be, the next sign-in is told to come
// back, and the places are free again afterwards.
func TestSignInsBeingReadAreBounded(t *testing.T) {
	app := &App{cookies: *cookiesOf(t, ""), stripper: newStripper(nil), reading: make(chan struct{}, 1), audit: auditor{zap.NewNop()}}
	s := &site{app: app, paths: defaultSignInPaths()}
	r := httptest.NewRequest("POST", "/api/login-ldap/", nil)
	w, q := s.begin(httptest.NewRecorder(), r)
	var inner code
	_, outer := s.read(w, r, q, func(w http.ResponseWriter, r *http.Request) (credentials, code) {
		_, inner = s.read(w, r, q, readJSONCredentials)
		return credentials{}, ""
	})
	if outer != "" || inner != codeDirectoryUnavailable {
		t.Errorf("the first got %q, the second %q", outer, inner)
	}
	func() {
		defer func() { _ = recover() }()
		s.read(w, r, q, func(http.ResponseWriter, *http.Request) (credentials, code) { panic("a reader failed") })
	}()
	if len(app.reading) != 0 {
		t.Error("a place was not given back")
	}
}

// A form whose end is held back until the sign-out was acknowledged must not
// reach the application after it.
func TestFormHeldBackOverASignOutDoesNotPass(t *testing.T) {
	s := start(t, setup{})
	c := s.signIn("ac12345")
	body := csrfField + "=" + c.csrf + "&a=b"
	conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(s.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nCookie: sessionid=%s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		s.port, c.token, len(body), body[:len(body)-1])
	time.Sleep(200 * time.Millisecond) // the gate has the session, and waits for the form
	wantStatus(t, s.do("GET", "/api/logout/", c.cookies), http.StatusOK)
	before := s.upstream.count()
	if _, err := conn.Write([]byte(body[len(body)-1:])); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("%v, %v, want 401", answer, err)
	}
	if s.upstream.count() != before {
		t.Error("the form reached the application")
	}
}
