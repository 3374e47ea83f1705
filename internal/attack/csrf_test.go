package attack

import (
	"fmt"
	"strings"
	"testing"
)

const (
	csrfForm     = "application/x-www-form-urlencoded"
	csrfAlphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
)

// csrfMasked masks a token as Django's templates do.
func csrfMasked(secret, mask string) string {
	masked := []byte(mask)
	for i := range secret {
		n := strings.IndexByte(csrfAlphabet, secret[i]) + strings.IndexByte(csrfAlphabet, mask[i])
		masked = append(masked, csrfAlphabet[n%len(csrfAlphabet)])
	}
	return string(masked)
}

// csrfRow is a POST to a protected path, with a session.
type csrfRow struct {
	name   string
	passes bool
	cookie string // beside the session's; "-": none
	fields []string
	body   string
	method string // default: POST
	path   string // default: /x
}

// csrfTry sends the rows with a session's cookie. What passes reaches the
// upstream byte for byte.
func csrfTry(t *testing.T, s session, rows []csrfRow) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			method, path, cookie := row.method, row.path, "sessionid="+s.token
			if method == "" {
				method = "POST"
			}
			if path == "" {
				path = "/x"
			}
			switch row.cookie {
			case "-":
			case "":
				cookie = s.cookie()
			default:
				cookie += "; " + row.cookie
			}
			s.echo.Forget()
			fields := append(append([]string(nil), row.fields...), "Cookie", cookie)
			r, err := s.send(method, path, row.body, fields...)
			if err != nil {
				t.Fatal(err)
			}
			if !row.passes {
				wantCode(t, r, 403, "csrf_failed")
				s.wantNothingUpstream(t)
				return
			}
			wantServed(t, r)
			if got := s.echo.Last(t); got.Body != row.body || got.Method() != method {
				t.Errorf("the upstream got %q with %d bytes, want %d", got.Line, len(got.Body), len(row.body))
			}
		})
	}
}

// The forms of the token that Django's clients send, and those that are none.
// Where Django looks at the cookie, the session's record decides here.
func TestS15TokenIsTakenInDjangosForms(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	juan, maria := s.signIn(t, juan), s.signIn(t, maria)
	token := juan.csrf
	mask := strings.Repeat("aZ9b", 8)
	// Django's own vectors, for the mask of this test.
	for vector, secret := range map[string]string{
		"1bcdefghij2bcdefghij3bcdefghij4bcdefghij5bcdefghij6bcdefghijABCD": "lcccccccX2kcccccccY2jcccccccssIC",
		"2JgchWvM1tpxT2lfz9aydoXW9yT1DN3NdLiejYxOOlzzV4nhBbYqmqZYbAV3V5Bf": "lcccccccX2kcccccccY2jcccccccssIC",
	} {
		if got := csrfMasked(secret, vector[:32]); got != vector {
			t.Fatalf("the test masks to %s, Django to %s", got, vector)
		}
	}
	masked := csrfMasked(token, mask)
	field := "csrfmiddlewaretoken="
	form := []string{"Content-Type", csrfForm}
	with := func(value string) []string { return []string{"X-CSRFToken", value} }
	both := func(value string) []string { return append(with(value), form...) }
	multipart := "--b\r\nContent-Disposition: form-data; name=\"csrfmiddlewaretoken\"\r\n\r\n" + token + "\r\n--b--\r\n"
	large := field + token + "&a=" + strings.Repeat("b", 1<<20)

	csrfTry(t, juan, []csrfRow{
		{name: "plain, in the header", passes: true, fields: with(token), body: "a"},
		{name: "masked, in the header", passes: true, fields: with(masked), body: "a"},
		{name: "masked with its own letters", passes: true, fields: with(csrfMasked(token, token))},
		{name: "header in lower case", passes: true, fields: []string{"x-csrftoken", token}},
		{name: "header in capitals", passes: true, fields: []string{"X-CSRFTOKEN", token}},
		{name: "plain, in the field", passes: true, fields: form, body: field + token + "&a=b"},
		{name: "masked, in the field", passes: true, fields: form, body: "a=b%20c&" + field + masked + "&d=%C3%A9;&&=&%zz"},
		{name: "in a field with a charset", passes: true, fields: []string{"Content-Type", csrfForm + "; charset=UTF-8"}, body: field + token},
		{name: "in a field whose name is encoded", passes: true, fields: form, body: "%63srfmiddlewaretoken=" + token},
		{name: "good field, bad header", passes: true, fields: both("x"), body: field + token},
		{name: "good field, empty header", passes: true, fields: both(""), body: field + token},
		// Django: 403, because the field wins; here either will do.
		{name: "bad field, good header", passes: true, fields: both(token), body: field + "x"},
		{name: "empty field, good header", passes: true, fields: both(token), body: field},
		{name: "good header over a large upload", passes: true, fields: append(with(token), "Content-Type", "application/octet-stream"), body: large},
		{name: "good header over a large form", passes: true, fields: both(token), body: large},
		{name: "good header over JSON", passes: true, fields: append(with(token), "Content-Type", "application/json"), body: `{"a":"b"}`},
		{name: "good header over multipart", passes: true, fields: append(with(token), "Content-Type", "multipart/form-data; boundary=b"), body: multipart},
		{name: "PUT", passes: true, method: "PUT", fields: with(token), body: "a"},
		{name: "PATCH", passes: true, method: "PATCH", fields: with(masked), body: "a"},
		{name: "DELETE", passes: true, method: "DELETE", fields: with(token)},
		{name: "unknown method", passes: true, method: "FOO", fields: with(token)},
		// Django: 403 without a well-formed cookie; nothing looks at it here.
		{name: "without the cookie", passes: true, cookie: "-", fields: with(token)},
		{name: "with an ill-formed cookie", passes: true, cookie: "csrftoken=x", fields: with(token)},
		{name: "with the cookie masked", passes: true, cookie: "csrftoken=" + masked, fields: with(token)},
		{name: "with another session's cookie", passes: true, cookie: "csrftoken=" + maria.csrf, fields: with(token)},
		{name: "again: it lasts as long as the session", passes: true, fields: with(token)},

		{name: "none", body: "a"},
		{name: "none, without the cookie", cookie: "-"},
		{name: "empty header", fields: with("")},
		{name: "empty field", fields: form, body: field},
		{name: "bad field and bad header", fields: both("x"), body: field + "y"},
		{name: "16 characters", fields: with(token[:16])},
		{name: "31 characters", fields: with(token[:31])},
		{name: "33 characters", fields: with(token + "a")},
		{name: "63 characters", fields: with(masked[:63])},
		{name: "65 characters", fields: with(masked + "a")},
		{name: "its last character changed", fields: with(csrfChanged(token))},
		{name: "masked, its last character changed", fields: with(csrfChanged(masked))},
		{name: "an exclamation mark", fields: with("!" + token[1:])},
		{name: "masked, an exclamation mark", fields: with("!" + masked[1:])},
		{name: "masked, an exclamation mark in the second half", fields: with(masked[:63] + "!")},
		{name: "twice in a row", fields: with(token + token)},
		{name: "the mask alone", fields: with(mask)},
		{name: "masked with another mask", fields: with(token + masked[32:])},
		{name: "64 times the first letter", fields: with(strings.Repeat("a", 64))},
		{name: "in other letters", fields: with(csrfSwapped(token))},
		{name: "quoted", fields: with(`"` + token + `"`)},
		{name: "encoded", fields: with(fmt.Sprintf("%%%02x", token[0]) + token[1:])},
		{name: "in a list", fields: with(token + ", " + token)},
		{name: "Django's first vector", fields: with("1bcdefghij2bcdefghij3bcdefghij4bcdefghij5bcdefghij6bcdefghijABCD"), cookie: "csrftoken=lcccccccX2kcccccccY2jcccccccssIC"},
		{name: "Django's second vector", fields: with("2JgchWvM1tpxT2lfz9aydoXW9yT1DN3NdLiejYxOOlzzV4nhBbYqmqZYbAV3V5Bf"), cookie: "csrftoken=lcccccccX2kcccccccY2jcccccccssIC"},
		{name: "another header", fields: []string{"X-CSRF-Token", token}},
		{name: "another framework's header", fields: []string{"X-XSRF-TOKEN", token}},
		{name: "as a credential", fields: []string{"Authorization", "Bearer " + token}},
		{name: "in the query", path: "/x?csrfmiddlewaretoken=" + token, fields: form, body: "a=b"},
		{name: "in the query under the header's name", path: "/x?X-CSRFToken=" + token},
		{name: "in JSON", fields: []string{"Content-Type", "application/json"}, body: `{"csrfmiddlewaretoken":"` + token + `"}`},
		{name: "in a form without a type", body: field + token},
		{name: "in a form of plain text", fields: []string{"Content-Type", "text/plain"}, body: field + token},
		{name: "in a form that poses as two types", fields: []string{"Content-Type", "text/plain, " + csrfForm}, body: field + token},
		{name: "in a field in capitals", fields: form, body: "CSRFMIDDLEWARETOKEN=" + token},
		{name: "in a list field", fields: form, body: "csrfmiddlewaretoken[]=" + token},
		{name: "in a field behind a semicolon", fields: form, body: "a=b;" + field + token},
		{name: "in the field of a PUT", method: "PUT", fields: form, body: field + token},
		{name: "in the field of a PATCH", method: "PATCH", fields: form, body: field + token},
		{name: "in the field of a DELETE", method: "DELETE", fields: form, body: field + token},
		// Django takes it; DESIGN reads urlencoded forms only.
		{name: "in a multipart field", fields: []string{"Content-Type", "multipart/form-data; boundary=b"}, body: multipart},
		{name: "in a form over the limit", fields: form, body: large},
	})
	// Django: 403 before 401; here who has no session is told so first.
	wantRefused(t, s.do(t, "POST", "/x", "", "X-CSRFToken", token, "Cookie", "csrftoken="+token))
}

// Django accepted any pair of cookie and header that agree, and a cookie
// parser's weakness let other sites plant the cookie. The record decides.
func TestP80CookiePairsOfAnAttackerProveNothing(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	juan := s.signIn(t, juan)
	made := strings.Repeat("e", 32)
	form := []string{"Content-Type", csrfForm}
	var rows []csrfRow
	for name, cookie := range map[string]string{
		"alone":                           "csrftoken=" + made,
		"before the real one":             "csrftoken=" + made + "; csrftoken=" + juan.csrf,
		"behind the real one":             "csrftoken=" + juan.csrf + "; csrftoken=" + made,
		"in another cookie's value":       "utm=x]csrftoken=" + made + "; csrftoken=" + juan.csrf,
		"quoted":                          `csrftoken="` + made + `"`,
		"masked":                          "csrftoken=" + csrfMasked(made, strings.Repeat("b", 32)),
		"under a prefix":                  "__Host-csrftoken=" + made,
		"twice":                           "csrftoken=" + made + "; csrftoken=" + made,
		"without a value beside the real": "csrftoken=; csrftoken=" + juan.csrf,
	} {
		for _, sent := range []string{made, csrfMasked(made, strings.Repeat("c", 32))} {
			rows = append(rows,
				csrfRow{name: name + ", in the header", cookie: cookie, fields: []string{"X-CSRFToken", sent}},
				csrfRow{name: name + ", in the field", cookie: cookie, fields: form, body: "csrfmiddlewaretoken=" + sent},
			)
		}
	}
	rows = append(rows,
		csrfRow{name: "two empty values", cookie: "csrftoken=", fields: []string{"X-CSRFToken", ""}},
		csrfRow{name: "a short pair", cookie: "csrftoken=x", fields: []string{"X-CSRFToken", "x"}},
		csrfRow{name: "the real one beside a planted one", passes: true, cookie: "csrftoken=" + made, fields: []string{"X-CSRFToken", juan.csrf}},
	)
	csrfTry(t, juan, rows)

	// Nor does a pair sign somebody out, or end sessions.
	planted := []string{"Cookie", "sessionid=" + juan.token + "; csrftoken=" + made, "X-CSRFToken", made}
	for _, path := range []string{"/api/logout/", "/accounts/sessions/"} {
		r := s.do(t, "POST", path, `{"end":"others"}`, append(planted, "Content-Type", "application/json")...)
		wantCode(t, r, 403, "csrf_failed")
		if cookie := r.cookies["sessionid"]; cookie != nil && cookie.MaxAge < 0 {
			t.Errorf("%s: the refusal deletes the cookie", path)
		}
	}
	wantServed(t, juan.get(t, "/x"))
	// A planted cookie is not adopted at the sign-in either.
	if again := s.signIn(t, maria, "Cookie", "csrftoken="+made); again.csrf == made {
		t.Error("the sign-in kept the planted token")
	}
}

// gofiber took a token that was made for any session.
func TestP89TokensOfAnotherSessionProveNothing(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	page := s.do(t, "GET", "/accounts/login/", "", "Accept", "text/html")
	anonymous := page.cookies["csrftoken"]
	if anonymous == nil {
		t.Fatalf("the page sets no csrftoken: %d %v", page.status, page.header)
	}
	before := s.signIn(t, juan)
	after := s.signIn(t, juan, "Cookie", before.cookie())
	other, stranger := s.signIn(t, juan), s.signIn(t, maria)
	var rows []csrfRow
	for name, token := range map[string]string{
		"of the visitor without a session": anonymous.Value,
		"of before the last sign-in":       before.csrf,
		"of another session":               other.csrf,
		"of somebody else":                 stranger.csrf,
		"of somebody else, masked":         csrfMasked(stranger.csrf, strings.Repeat("b", 32)),
	} {
		rows = append(rows,
			csrfRow{name: name, fields: []string{"X-CSRFToken", token}},
			csrfRow{name: name + ", with its cookie", cookie: "csrftoken=" + token, fields: []string{"X-CSRFToken", token}},
			csrfRow{name: name + ", in the field", cookie: "csrftoken=" + token, fields: []string{"Content-Type", csrfForm}, body: "csrfmiddlewaretoken=" + token},
		)
		wantCode(t, s.do(t, "POST", "/api/logout/", "", "Cookie", "sessionid="+after.token+"; csrftoken="+token, "X-CSRFToken", token), 403, "csrf_failed")
	}
	csrfTry(t, after, append(rows, csrfRow{name: "its own", passes: true, fields: []string{"X-CSRFToken", after.csrf}}))
	wantServed(t, stranger.get(t, "/x"))
}

// csrfChanged changes the last character.
func csrfChanged(token string) string {
	last := byte('a')
	if token[len(token)-1] == last {
		last = 'b'
	}
	return token[:len(token)-1] + string(last)
}

// csrfSwapped turns small letters into capitals and the other way round.
func csrfSwapped(token string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		case 'A' <= c && c <= 'Z':
			return c - 'A' + 'a'
		}
		return c
	}, token)
}
