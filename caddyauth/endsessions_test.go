package caddyauth

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	bodyNothingEnded   = `{"status":"ok","ended":0}`
	bodyOneEnded       = `{"status":"ok","ended":1}`
	bodyReauthenticate = `{"error":"Reauthentication required","redirect":"/accounts/login/","code":"reauthentication_required"}`
)

func end(which string) change { return jsonBody(`{"end":"` + which + `"}`) }

func TestEndOneOfMySessions(t *testing.T) {
	s := start(t, setup{})
	for _, test := range []struct {
		name    string
		changes func(c signedIn, id string) []change
		page    bool
	}{
		{name: "as JSON", changes: func(c signedIn, id string) []change { return []change{c.shown, end(id)} }},
		{name: "as JSON with further members", changes: func(c signedIn, id string) []change {
			return []change{c.shown, jsonBody(`{"a":[1,{"end":2}],"end":"` + id + `"}`)}
		}},
		{name: "a form with the header", changes: func(c signedIn, id string) []change { return []change{c.shown, form("end=" + id)} }},
		{name: "a form of a program", changes: func(c signedIn, id string) []change {
			return []change{c.cookies, form("end=" + id + "&csrfmiddlewaretoken=" + c.csrf)}
		}},
		{name: "a form of a browser", page: true, changes: func(c signedIn, id string) []change {
			return []change{navigation, c.cookies, header("Origin", s.base), form("csrfmiddlewaretoken=" + c.csrf + "&end=" + id)}
		}},
		{name: "a form of a browser with a masked token", page: true, changes: func(c signedIn, id string) []change {
			return []change{navigation, c.cookies, form("csrfmiddlewaretoken=" + maskCSRF(c.csrf, strings.Repeat("x", 32)) + "&end=" + id)}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, lost, kept := s.signIn("ac12345"), s.signIn("ac12345"), s.signIn("ac12345")
			id, mark := s.idOf(lost), logged.mark()
			got := s.do("POST", listPath, test.changes(c, id)...)
			if test.page {
				if got.StatusCode != 303 || got.Header.Get("Location") != listPath {
					t.Errorf("%d to %q: %s", got.StatusCode, got.Header.Get("Location"), got.body)
				}
			} else {
				want(t, got, 200, bodyOneEnded)
				ownAnswer(t, got)
			}
			if len(got.setCookies("sessionid")) != 0 {
				t.Errorf("it set %q", got.Header["Set-Cookie"])
			}
			wantAudit(t, mark, auditLine{
				"event": "session_end", "result": "ok", "reason": "ended_by_user", "user": "ac12345", "directory": "empresa.local",
				"session": id, "client_ip": "127.0.0.1", "host": "127.0.0.1", "path": listPath,
			})
			want(t, s.do("GET", "/x", lost.cookies), 401, bodyAuthenticationRequired)
			want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
			want(t, s.do("GET", "/x", kept.cookies), 200, "upstream")
			want(t, s.do("POST", listPath, c.shown, end(id)), 200, bodyNothingEnded)
		})
	}
}

func TestEndAllMyOtherSessions(t *testing.T) {
	s := start(t, setup{})
	mine := []signedIn{s.signIn("ac12345"), s.signIn("ac12345"), s.signIn("ac12345")}
	theirs := s.signIn("mgarcia")
	ids := []string{s.idOf(mine[0]), s.idOf(mine[2])}
	mark := logged.mark()
	want(t, s.do("POST", listPath, mine[1].shown, end("others")), 200, `{"status":"ok","ended":2}`)
	for _, id := range ids {
		wantAudit(t, mark, auditLine{"event": "session_end", "reason": "ended_by_user", "session": id, "user": "ac12345", "path": listPath})
	}
	for i, c := range mine {
		if got := s.do("GET", "/x", c.cookies); (got.StatusCode == 200) != (i == 1) {
			t.Errorf("session %d: %d", i, got.StatusCode)
		}
	}
	want(t, s.do("GET", "/x", theirs.cookies), 200, "upstream")
	want(t, s.do("POST", listPath, mine[1].shown, end("others")), 200, bodyNothingEnded)
	if list := s.sessionsOf(mine[1]); len(list) != 1 || !list[0].Current {
		t.Errorf("%+v", list)
	}
}

// TestEndingMyOwnSessionSignsOut, as the button for that does.
func TestEndingMyOwnSessionSignsOut(t *testing.T) {
	s := start(t, setup{})
	for _, page := range []bool{false, true} {
		c, other := s.signIn("ac12345"), s.signIn("ac12345")
		id, mark := s.idOf(c), logged.mark()
		changes := []change{c.shown, end(id)}
		if page {
			changes = []change{navigation, c.cookies, form("end=" + id + "&csrfmiddlewaretoken=" + c.csrf)}
		}
		got := s.do("POST", listPath, changes...)
		if page {
			if got.StatusCode != 200 || !strings.Contains(got.body, "<h1>Sesión cerrada</h1>") || strings.Contains(got.body, "Juan") {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		} else {
			want(t, got, 200, bodyOneEnded)
		}
		if cookies := got.Header["Set-Cookie"]; len(cookies) != 1 || cookies[0] != goneCookie {
			t.Errorf("it set %q", cookies)
		}
		wantAudit(t, mark, auditLine{"event": "session_end", "reason": "ended_by_user", "session": id})
		want(t, s.do("GET", "/x", c.cookies), 401, bodyAuthenticationRequired)
		want(t, s.do("GET", "/x", other.cookies), 200, "upstream")
	}
}

// TestSessionsOfOthersCannotBeEnded: an id of somebody else's ends nothing, and
// looks like one that does not exist.
func TestSessionsOfOthersCannotBeEnded(t *testing.T) {
	s := start(t, setup{})
	c, victim := s.signIn("ac12345"), s.signIn("mgarcia")
	id := s.idOf(victim)
	mark := logged.mark()
	var answers []string
	for _, which := range []string{id, strings.ToLower(id) + "x", "AAAAAAAA", victim.token, "*", "../" + id, "Others", strings.Repeat("a", 60_000)} {
		got := s.do("POST", listPath, c.shown, end(which))
		answers = append(answers, got.body)
		want(t, got, 200, bodyNothingEnded)
	}
	for _, answer := range answers[1:] {
		if answer != answers[0] {
			t.Errorf("%q tells that a session exists", answers[0])
		}
	}
	want(t, s.do("GET", "/x", victim.cookies), 200, "upstream")
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	for _, line := range auditSince(t, mark) {
		t.Errorf("an audit line of nothing: %v", line)
	}
}

func TestRefusedEndingEndsNothing(t *testing.T) {
	s := start(t, setup{})
	c, other, stranger := s.signIn("ac12345"), s.signIn("ac12345"), s.signIn("mgarcia")
	id := s.idOf(other)
	for _, test := range []struct {
		name    string
		changes []change
		status  int
		body    string
		audited string
	}{
		{"no token", []change{c.cookies, end(id)}, 403, bodyCSRF, "csrf_failed"},
		{"wrong token", []change{c.cookies, header("X-CSRFToken", strings.Repeat("a", 32)), end(id)}, 403, bodyCSRF, "csrf_failed"},
		{"another user's token", []change{c.cookies, header("X-CSRFToken", stranger.csrf), end(id)}, 403, bodyCSRF, "csrf_failed"},
		{"another session's token", []change{c.cookies, header("X-CSRFToken", other.csrf), end(id)}, 403, bodyCSRF, "csrf_failed"},
		{"attacker-made pair", []change{header("Cookie", "sessionid="+c.token+"; csrftoken="+strings.Repeat("e", 32)), header("X-CSRFToken", strings.Repeat("e", 32)), end(id)}, 403, bodyCSRF, "csrf_failed"},
		{"token in JSON", []change{c.cookies, jsonBody(`{"end":"` + id + `","csrfmiddlewaretoken":"` + c.csrf + `"}`)}, 403, bodyCSRF, "csrf_failed"},
		{"no token and no body", []change{c.cookies}, 403, bodyCSRF, "csrf_failed"},
		{"form without a token", []change{c.cookies, form("end=" + id)}, 403, bodyCSRF, "csrf_failed"},
		{"form too large to look for the token", []change{c.cookies, form("end=" + id + "&csrfmiddlewaretoken=" + c.csrf + "&x=" + strings.Repeat("y", 64<<10))}, 403, bodyCSRF, "csrf_failed"},
		{"foreign origin", []change{c.shown, header("Origin", "https://evil.test"), end(id)}, 403, bodyOrigin, "origin_not_trusted"},
		{"null origin", []change{c.shown, header("Origin", "null"), end(id)}, 403, bodyOrigin, "origin_not_trusted"},
		{"cross-site form", []change{c.cookies, header("Sec-Fetch-Site", "cross-site"), form("end=" + id + "&csrfmiddlewaretoken=" + c.csrf)}, 403, bodyOrigin, "origin_not_trusted"},
		{"foreign referer", []change{c.shown, header("Referer", "https://evil.test/"), end(id)}, 403, bodyOrigin, "origin_not_trusted"},
		{"no type", []change{c.shown, body("", `{"end":"`+id+`"}`)}, 415, `{"error":"Unsupported media type","code":"unsupported_media_type"}`, ""},
		{"plain text", []change{c.shown, body("text/plain", `{"end":"`+id+`"}`)}, 415, `{"error":"Unsupported media type","code":"unsupported_media_type"}`, ""},
		{"multipart", []change{c.shown, body("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"end\"\r\n\r\n"+id+"\r\n--x--\r\n")}, 415, `{"error":"Unsupported media type","code":"unsupported_media_type"}`, ""},
		{"two types", []change{c.shown, form("end=" + id), header("Content-Type", "application/json")}, 415, `{"error":"Unsupported media type","code":"unsupported_media_type"}`, ""},
		{"too large", []change{c.shown, jsonBody(`{"x":"` + strings.Repeat("y", 64<<10) + `","end":"` + id + `"}`)}, 413, `{"error":"Body too large","code":"body_too_large"}`, ""},
		{"too large, in pieces", []change{c.shown, jsonBody(`{"x":"` + strings.Repeat("y", 64<<10) + `","end":"` + id + `"}`), func(r *http.Request) { r.ContentLength = -1 }}, 413, `{"error":"Body too large","code":"body_too_large"}`, ""},
		{"form too large", []change{c.shown, form("end=" + id + "&x=" + strings.Repeat("y", 64<<10))}, 413, `{"error":"Body too large","code":"body_too_large"}`, ""},
		{"no body", []change{c.shown, jsonBody("")}, 400, `{"error":"Invalid JSON","code":"invalid_json"}`, ""},
		{"not JSON", []change{c.shown, jsonBody("end=" + id)}, 400, `{"error":"Invalid JSON","code":"invalid_json"}`, ""},
		{"a list", []change{c.shown, jsonBody(`["` + id + `"]`)}, 400, `{"error":"Invalid JSON","code":"invalid_json"}`, ""},
		{"field missing", []change{c.shown, jsonBody(`{"End":"` + id + `"}`)}, 400, `{"error":"Invalid JSON","code":"invalid_json"}`, ""},
		{"field twice", []change{c.shown, jsonBody(`{"end":"x","end":"` + id + `"}`)}, 400, `{"error":"Invalid JSON","code":"invalid_json"}`, ""},
		{"not a string", []change{c.shown, jsonBody(`{"end":["` + id + `"]}`)}, 400, `{"error":"Invalid JSON","code":"invalid_json"}`, ""},
		{"null", []change{c.shown, jsonBody(`{"end":null}`)}, 400, `{"error":"Invalid JSON","code":"invalid_json"}`, ""},
		{"empty", []change{c.shown, jsonBody(`{"end":""}`)}, 400, `{"error":"Invalid JSON","code":"invalid_json"}`, ""},
		{"something after it", []change{c.shown, jsonBody(`{"end":"` + id + `"} {}`)}, 400, `{"error":"Invalid JSON","code":"invalid_json"}`, ""},
		{"form without the field", []change{c.shown, form("fin=" + id)}, 400, `{"error":"Invalid JSON","code":"invalid_json"}`, ""},
		{"form with two", []change{c.shown, form("end=others&end=" + id)}, 400, `{"error":"Invalid JSON","code":"invalid_json"}`, ""},
		{"the query counts for nothing", []change{c.shown, func(r *http.Request) { r.URL.Opaque += "?end=" + id }, jsonBody("{}")}, 400, `{"error":"Invalid JSON","code":"invalid_json"}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			mark := logged.mark()
			got := s.do("POST", listPath, test.changes...)
			want(t, got, test.status, test.body)
			ownAnswer(t, got)
			if len(got.setCookies("sessionid")) != 0 {
				t.Errorf("it set %q", got.Header["Set-Cookie"])
			}
			if test.audited != "" {
				wantAudit(t, mark, auditLine{"event": "forbidden", "reason": test.audited, "user": "ac12345", "path": listPath})
			}
			want(t, s.do("GET", "/x", other.cookies), 200, "upstream")
			want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
		})
	}
	t.Run("a GET ends nothing, whatever it says", func(t *testing.T) {
		for _, changes := range [][]change{
			{c.shown, func(r *http.Request) { r.URL.Opaque += "?end=" + id }},
			{c.shown, header("X-HTTP-Method-Override", "POST"), end(id)},
		} {
			if got := s.do("GET", listPath, changes...); got.StatusCode != 200 {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
			want(t, s.do("GET", "/x", other.cookies), 200, "upstream")
		}
	})
	t.Run("a navigation gets a page", func(t *testing.T) {
		got := s.do("POST", listPath, navigation, c.cookies, form("end="+id))
		if got.StatusCode != 403 || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
		want(t, s.do("GET", "/x", other.cookies), 200, "upstream")
	})
}

// TestEndingUnderCSRFOrigin: without tokens the origin decides, and it does even
// where csrf is off, as for a sign-out.
func TestEndingUnderCSRFOrigin(t *testing.T) {
	for _, csrf := range []string{"origin", "insecure_off"} {
		s := start(t, setup{auth: "csrf " + csrf})
		c := s.signIn("ac12345")
		s.signIn("ac12345")
		want(t, s.do("POST", listPath, c.shown, header("Origin", "https://evil.test"), end("others")), 403, bodyOrigin)
		want(t, s.do("POST", listPath, c.cookies, end("others")), 200, bodyOneEnded)
	}
}

func TestEndingSessionsNeedsARecentSignIn(t *testing.T) {
	s, clock := startByHand(t, setup{})
	c, other := s.signIn("ac12345"), s.signIn("ac12345")
	id := s.idOf(other)
	clock.pass(15 * time.Minute)
	want(t, s.do("POST", listPath, c.shown, end("AAAA")), 200, bodyNothingEnded)
	clock.pass(time.Nanosecond)

	mark := logged.mark()
	want(t, s.do("POST", listPath, c.shown, end(id)), 403, bodyReauthenticate)
	wantAudit(t, mark, auditLine{"event": "forbidden", "reason": "reauthentication_required", "user": "ac12345", "path": listPath})
	want(t, s.do("POST", listPath, c.shown, end("others")), 403, bodyReauthenticate)
	want(t, s.do("POST", listPath, c.shown, jsonBody("not JSON")), 403, bodyReauthenticate) // before the body
	want(t, s.do("POST", listPath, c.cookies, end(id)), 403, bodyCSRF)                      // after the token
	if got := s.do("GET", listPath, c.cookies); got.StatusCode != 200 {
		t.Errorf("looking needs it too: %d %s", got.StatusCode, got.body)
	}
	want(t, s.do("GET", "/x", other.cookies), 200, "upstream")

	got := s.do("POST", listPath, navigation, c.cookies, form("end="+id+"&csrfmiddlewaretoken="+c.csrf))
	for _, part := range []string{`value="ac12345"`, `name="next" value="` + listPath + `"`, `name="password"`, "Juan Pérez", `name="csrfmiddlewaretoken" value="` + c.csrf + `"`} {
		if got.StatusCode != 403 || !strings.Contains(got.body, part) {
			t.Errorf("%d, the page lacks %s: %s", got.StatusCode, part, got.body)
		}
	}
	if strings.Contains(got.body, id) {
		t.Error("the page carries what was to end")
	}

	again := s.signIn("ac12345", c.cookies)
	want(t, s.do("POST", listPath, again.shown, end(id)), 200, bodyOneEnded)
	want(t, s.do("GET", "/x", other.cookies), 401, bodyAuthenticationRequired)
}

// TestASlowBodyEndsNothingOfASessionThatIsGone: the session is looked at again
// when the body has come in.
func TestASlowBodyEndsNothingOfASessionThatIsGone(t *testing.T) {
	s := start(t, setup{})
	for _, asForm := range []bool{false, true} {
		c, other := s.signIn("ac12345"), s.signIn("ac12345")
		id := s.idOf(other)
		text, kind := `{"end":"`+id+`"}`, jsonBody("")
		if asForm {
			text, kind = "csrfmiddlewaretoken="+c.csrf+"&end="+id, form("")
		}
		reader, writer := io.Pipe()
		var got reply
		var running sync.WaitGroup
		running.Go(func() {
			var err error
			got, err = s.once("POST", listPath, c.shown, kind, func(r *http.Request) { r.Body, r.ContentLength = reader, -1 })
			if err != nil {
				t.Error(err)
			}
		})
		if _, err := io.WriteString(writer, text[:5]); err != nil {
			t.Fatal(err)
		}
		// Time for the server to find the session. On a machine that is slower
		// it finds none, which must come to the same.
		time.Sleep(200 * time.Millisecond)
		want(t, s.do("GET", "/api/logout/", c.cookies), 200, bodySignedOut)
		_, _ = io.WriteString(writer, text[5:])
		_ = writer.Close()
		running.Wait()
		if got.Response == nil {
			t.Fatal("no answer")
		}
		want(t, got, 401, bodyAuthenticationRequired)
		want(t, s.do("GET", "/x", other.cookies), 200, "upstream")
	}
}

// TestTwoSessionsThatEndEachOther at once leave one or none, and never an error.
func TestTwoSessionsThatEndEachOther(t *testing.T) {
	s := start(t, setup{})
	for range 10 {
		one, two := s.signIn("ac12345"), s.signIn("ac12345")
		var running sync.WaitGroup
		for _, c := range []signedIn{one, two} {
			running.Go(func() {
				got, err := s.try("POST", listPath, c.shown, end("others"))
				if err != nil || got.StatusCode != 200 && got.StatusCode != 401 {
					t.Errorf("%v: %v %s", err, got.Response, got.body)
				}
			})
		}
		running.Wait()
		alive := 0
		for _, c := range []signedIn{one, two} {
			if s.do("GET", "/x", c.cookies).StatusCode == 200 {
				alive++
			}
		}
		if alive > 1 {
			t.Fatal("both live on")
		}
	}
}
