package caddyauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
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
// step is one second. What a busy machine does too late says nothing, and is done
// again.
func TestTimeouts(t *testing.T) {
	s := start(t, setup{sessions: "idle_timeout 2s\nabsolute_timeout 5s", site: "require_session {\npublic /public/*\nrequire /admin/* \"IT Admins\"\n}\nreverse_proxy UPSTREAM"})
	mark := logged.mark()
	var asked, used signedIn
	for attempt := 0; ; attempt++ {
		asked, used = s.signIn("ac12345"), s.signIn("ac12345")
		complaints, late := s.liveAndEnd(asked, used)
		if late && attempt < 5 {
			t.Logf("too late, once more (%q)", complaints)
			continue
		}
		for _, complaint := range complaints {
			t.Error(complaint)
		}
		break
	}
	wantAudit(t, mark, auditLine{"event": "session_end", "reason": "expired", "user": "ac12345"})
	// A longer setting revives nothing.
	s.setup.sessions = "idle_timeout 1h\nabsolute_timeout off"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", used.cookies), 401, bodyAuthenticationRequired)
	want(t, s.do("GET", "/x", asked.cookies), 401, bodyAuthenticationRequired)
}

// liveAndEnd takes two sessions, signed in just now, through their lives: asked is
// only asked about, used is used.
func (s *server) liveAndEnd(asked, used signedIn) (complaints []string, late bool) {
	began := time.Now()
	// A request between two times after the sign-in.
	do := func(from, to time.Duration, path string, c signedIn) reply {
		time.Sleep(time.Until(began.Add(from * time.Millisecond)))
		got := s.do("GET", path, c.cookies)
		late = late || time.Since(began) > to*time.Millisecond
		return got
	}
	expect := func(what string, got reply, status int, cookie string) {
		if all := got.Header["Set-Cookie"]; got.StatusCode != status || cookie == "" && len(all) != 0 || cookie != "" && !slices.Equal(all, []string{cookie}) {
			complaints = append(complaints, fmt.Sprintf("%s: %d %q, want %d %q", what, got.StatusCode, all, status, cookie))
		}
	}
	renewed := func(seconds int) string {
		return fmt.Sprintf("sessionid=%s; Max-Age=%d; Path=/; HttpOnly; SameSite=Lax", used.token, seconds)
	}
	expect("within the first step", do(0, 900, "/x", used), 200, "")
	expect("a public path", do(1200, 1900, "/public/x", used), 200, "")
	expect("the session route", do(1200, 1900, "/api/session/", asked), 200, "")
	expect("after a step, and a refusal renews too", do(1200, 1900, "/admin/x", used), 403, renewed(2))
	expect("twice in a step", do(1200, 2100, "/x", used), 200, "")
	expect("asking did not keep it alive", do(2300, 2900, "/x", asked), 401, goneCookie)
	expect("in use", do(2300, 2900, "/x", used), 200, renewed(2))
	expect("near the absolute limit", do(3500, 3900, "/x", used), 200, renewed(2))
	expect("nearer than the idle one", do(4600, 4900, "/x", used), 200, renewed(1))
	expect("after the absolute limit", do(5200, 60000, "/x", used), 401, goneCookie)
	return complaints, late
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
