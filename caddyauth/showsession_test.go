package caddyauth

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestShowSession(t *testing.T) {
	s := start(t, setup{})
	const path = "/api/session/"
	for _, changes := range [][]change{nil, {navigation}} {
		got := s.do("GET", path, changes...)
		want(t, got, 401, bodyAuthenticationRequired)
		ownAnswer(t, got)
	}
	got := s.do("GET", path, header("Cookie", "sessionid="+strings.Repeat("A", 43)))
	want(t, got, 401, bodyAuthenticationRequired)
	if cookies := got.Header["Set-Cookie"]; len(cookies) != 1 || cookies[0] != goneCookie {
		t.Errorf("it set %q", cookies)
	}
	c := s.signIn("ac12345")
	got = s.do("GET", path, c.cookies)
	ownAnswer(t, got)
	var info sessionInfo
	if err := json.Unmarshal([]byte(got.body), &info); err != nil || got.StatusCode != 200 {
		t.Fatalf("%d %s: %v", got.StatusCode, got.body, err)
	}
	if info.SecondsLeft < 3590 || info.SecondsLeft > 3600 || info.AbsoluteSecondsLeft == nil || *info.AbsoluteSecondsLeft < 43190 || *info.AbsoluteSecondsLeft > 43200 {
		t.Errorf("%s", got.body)
	}
	if want := `{"status":"ok","username":"ac12345","first_name":"Juan","last_name":"Pérez","display_name":"Juan Pérez","email":"ac12345@empresa.local","seconds_left":`; !strings.HasPrefix(got.body, want) {
		t.Errorf("%s", got.body)
	}
	if got := s.do("HEAD", path, c.cookies); got.StatusCode != 200 || got.body != "" {
		t.Errorf("HEAD: %d %q", got.StatusCode, got.body)
	}
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		got := s.do(method, path, c.shown)
		want(t, got, 405, `{"error":"Method not allowed","code":"method_not_allowed"}`)
		if allow := got.Header.Get("Allow"); allow != "GET, HEAD, OPTIONS" {
			t.Errorf("Allow: %s", allow)
		}
	}
	if s.upstream.count() != 0 {
		t.Error("the session route reached the upstream")
	}
}

// TestTimeouts runs on the wall clock, with the shortest limits: the renewal
// step is one second.
func TestTimeouts(t *testing.T) {
	s := start(t, setup{sessions: "idle_timeout 2s\nabsolute_timeout 5s", site: "require_session {\npublic /public/*\nrequire /admin/* \"IT Admins\"\n}\nreverse_proxy UPSTREAM"})
	asked, used := s.signIn("ac12345"), s.signIn("ac12345")
	began := time.Now()
	sleepUntil := func(d time.Duration) { time.Sleep(time.Until(began.Add(d))) }
	renewed := func(r reply) bool { return len(r.setCookies("sessionid")) == 1 }

	if got := s.do("GET", "/x", used.cookies); renewed(got) || len(got.Header["Set-Cookie"]) != 0 {
		t.Errorf("within the first step: %q", got.Header["Set-Cookie"])
	}
	sleepUntil(1200 * time.Millisecond)
	if got := s.do("GET", "/public/x", used.cookies); len(got.Header["Set-Cookie"]) != 0 {
		t.Errorf("a public path renews: %q", got.Header["Set-Cookie"])
	}
	if got := s.do("GET", "/api/session/", asked.cookies); got.StatusCode != 200 || len(got.Header["Set-Cookie"]) != 0 {
		t.Errorf("the session route: %d %q", got.StatusCode, got.Header["Set-Cookie"])
	}
	got := s.do("GET", "/admin/x", used.cookies) // a refusal renews too
	if cookies := got.setCookies("sessionid"); got.StatusCode != 403 || len(cookies) != 1 || cookies[0] != "sessionid="+used.token+"; Max-Age=2; Path=/; HttpOnly; SameSite=Lax" {
		t.Errorf("after a step: %d %q", got.StatusCode, got.Header["Set-Cookie"])
	}
	if got := s.do("GET", "/x", used.cookies); renewed(got) {
		t.Errorf("twice in a step: %q", got.Header["Set-Cookie"])
	}
	sleepUntil(2300 * time.Millisecond)
	mark := logged.mark()
	want(t, s.do("GET", "/x", asked.cookies), 401, bodyAuthenticationRequired) // asking did not keep it alive
	wantAudit(t, mark, auditLine{"event": "session_end", "reason": "expired", "user": "ac12345"})
	if got := s.do("GET", "/x", used.cookies); got.StatusCode != 200 || !renewed(got) {
		t.Errorf("a session in use: %d %q", got.StatusCode, got.Header["Set-Cookie"])
	}
	sleepUntil(3500 * time.Millisecond)
	if got := s.do("GET", "/x", used.cookies); got.StatusCode != 200 || !strings.Contains(strings.Join(got.setCookies("sessionid"), ""), "Max-Age=2;") {
		t.Errorf("near the absolute limit: %d %q", got.StatusCode, got.Header["Set-Cookie"])
	}
	sleepUntil(4600 * time.Millisecond)
	if got := s.do("GET", "/x", used.cookies); got.StatusCode != 200 || !strings.Contains(strings.Join(got.setCookies("sessionid"), ""), "Max-Age=1;") {
		t.Errorf("the rest of the absolute limit is less than the idle one: %d %q", got.StatusCode, got.Header["Set-Cookie"])
	}
	sleepUntil(5200 * time.Millisecond)
	got = s.do("GET", "/x", used.cookies)
	want(t, got, 401, bodyAuthenticationRequired)
	if cookies := got.setCookies("sessionid"); len(cookies) != 1 || cookies[0] != goneCookie {
		t.Errorf("after the absolute limit: %q", cookies)
	}
	// A longer setting revives nothing.
	s.setup.sessions = "idle_timeout 1h\nabsolute_timeout off"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", used.cookies), 401, bodyAuthenticationRequired)
	want(t, s.do("GET", "/x", asked.cookies), 401, bodyAuthenticationRequired)
}

func TestCSRFCookieIsSetAgain(t *testing.T) {
	s := start(t, setup{})
	c := s.signIn("ac12345")
	wantCookie := "csrftoken=" + c.csrf + "; Max-Age=43200; Path=/; SameSite=Lax"
	for name, cookies := range map[string]string{
		"lost":    "sessionid=" + c.token,
		"another": "sessionid=" + c.token + "; csrftoken=" + strings.Repeat("e", 32),
		"masked":  "sessionid=" + c.token + "; csrftoken=" + maskCSRF(c.csrf, strings.Repeat("x", 32)),
	} {
		for _, method := range []string{"GET", "POST"} {
			got := s.do(method, "/x", header("Cookie", cookies))
			if set := got.Header["Set-Cookie"]; len(set) != 1 || set[0] != wantCookie {
				t.Errorf("%s, %s: it set %q", name, method, set)
			}
		}
	}
	for name, cookies := range map[string]string{
		"nothing lost":                   "sessionid=" + c.token + "; csrftoken=" + c.csrf,
		"another one of a deeper path":   "sessionid=" + c.token + "; csrftoken=" + strings.Repeat("e", 32) + "; csrftoken=" + c.csrf,
		"another one of a parent domain": "sessionid=" + c.token + "; csrftoken=" + c.csrf + "; csrftoken=" + strings.Repeat("e", 32),
	} {
		if got := s.do("GET", "/x", header("Cookie", cookies)); len(got.Header["Set-Cookie"]) != 0 {
			t.Errorf("%s: it set %q", name, got.Header["Set-Cookie"])
		}
	}
}

func TestCookieOptionsOnTheWire(t *testing.T) {
	s := start(t, setup{sessions: "browser_close\ncookie_name portal\nsame_site strict\nabsolute_timeout off"})
	got := s.do("POST", "/api/login-ldap/", jsonBody(goodJSON))
	token := got.cookie("portal")
	logged.keepSecret("token", token)
	if set := strings.Join(got.Header["Set-Cookie"], "|"); set != "portal="+token+"; Path=/; HttpOnly; SameSite=Strict|csrftoken="+got.cookie("csrftoken")+"; Max-Age=31449600; Path=/; SameSite=Strict"+
		"|ldap_device="+got.cookie(deviceCookie)+"; Max-Age=15552000; Path=/; HttpOnly; SameSite=Strict" {
		t.Errorf("it set %s", set)
	}
	want(t, s.do("GET", "/x", header("Cookie", "portal="+token+"; sessionid=app's")), 200, "upstream")
	if cookies := s.upstream.last(t).header["Cookie"]; len(cookies) != 1 || cookies[0] != "sessionid=app's" {
		t.Errorf("the upstream saw %q", cookies)
	}
	if info := s.do("GET", "/api/session/", header("Cookie", "portal="+token)); !strings.Contains(info.body, `"absolute_seconds_left":null`) {
		t.Errorf("%s", info.body)
	}
}

// TestCookiesOfASessionThatEndsMeanwhile: cookies are decided when the header
// is written, and a request under way never brings those of an ended session
// back. A sign-out ends the answer as well, the idle limit does not.
func TestCookiesOfASessionThatEndsMeanwhile(t *testing.T) {
	s, clock := startByHand(t, setup{})
	c := s.signIn("ac12345")
	release, arrived := make(chan struct{}), make(chan struct{}, 2)
	s.upstream.answers(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		_, _ = w.Write([]byte("late"))
	})
	done := make(chan reply, 1)
	get := func() {
		got, err := s.once("GET", "/x", header("Cookie", "sessionid="+c.token)) // its csrftoken is lost
		if err != nil {
			got = reply{}
		}
		done <- got
	}

	go get()
	<-arrived
	want(t, s.do("GET", "/api/logout/", c.cookies), 200, bodySignedOut)
	// The client may have tried once more by itself.
	if got := <-done; got.Response != nil && got.StatusCode != 401 {
		t.Errorf("after the sign-out: %d %s", got.StatusCode, got.body)
	}

	c = s.signIn("ac12345")
	go get()
	<-arrived
	clock.pass(2 * time.Hour)
	want(t, s.do("GET", "/y", c.cookies), 401, bodyAuthenticationRequired)
	close(release)
	got := <-done
	if got.Response == nil {
		t.Fatal("no answer")
	}
	want(t, got, 200, "late")
	if set := got.Header["Set-Cookie"]; len(set) != 0 {
		t.Errorf("it set %q", set)
	}
	s.upstream.answers(nil)
	want(t, s.do("GET", "/x", c.cookies), 401, bodyAuthenticationRequired)
}
