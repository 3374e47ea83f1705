package pages

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"
)

const (
	signInPath = "/accounts/login/"
	logoutPath = "/api/logout/"
	listPath   = "/accounts/sessions/"
	csrfToken  = "abcdefghijklmnopqrstuvwxyz012345"
)

// full is a page of that kind with everything on it.
func full(kind Kind, code string) Page {
	page := Page{
		Kind: kind, Code: code,
		SignInPath: signInPath, LogoutPath: logoutPath, CSRFToken: csrfToken,
		Next: "/equipos/?orden=a&página=2#fila-7", Username: "ac12345",
		PasswordURL: "https://password.example.com/",
		User:        "mgarcia", DisplayName: "María García",
		SessionsPath: listPath, Sessions: twoSessions(),
		LanguagePath: signInPath,
		Needs:        [][]string{{"wiki-lectores"}, {"Operaciones", "S-1-5-21-1-2-3-512"}},
	}
	if kind == Unavailable || strings.HasSuffix(code, "_unavailable") {
		page.Reference = "7F3K9XQ2"
	}
	return page
}

// fullBranding is all that a site can show of itself.
func fullBranding() Branding {
	return Branding{
		Title: "Intranet de Empresa", Accent: "#7a1fa2", PrivacyURL: "https://empresa.example/privacidad",
		Notice:   map[string]string{"": "Mantenimiento hasta las 14:00.", "en": "Maintenance until 14:00."},
		HelpText: map[string]string{"": "¿Problemas?\nLlame al 1234."},
	}
}

func twoSessions() []Session {
	noon := time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	return []Session{
		{ID: "one", Current: true, ClientIP: "192.0.2.7", Created: noon, LastSeen: noon.Add(90 * time.Second)},
		{ID: "two", ClientIP: "2001:db8::7", Created: noon.Add(-26 * time.Hour), LastSeen: noon.Add(-time.Hour)},
	}
}

func everyLanguage() []string { return []string{"es", "en", "pt", "fr", "de"} }

func TestEveryPageInEveryLanguageIsSoundHTML(t *testing.T) {
	p := newPages(t)
	for _, kind := range kinds() {
		for _, lang := range everyLanguage() {
			for _, code := range []string{"", "invalid_credentials", "group_required"} {
				t.Run(string(kind)+" "+lang+" "+code, func(t *testing.T) {
					d := write(t, p, lang, http.StatusOK, full(kind, code))
					if len(d.source) >= 8<<10 {
						t.Errorf("%d bytes, want under 8 kB", len(d.source))
					}
					checkBalanced(t, d.source)
					if got := attr(d.one(t, "html"), "lang"); got != lang {
						t.Errorf("lang %q, want %q", got, lang)
					}
					d.one(t, "main")
					if text(d.one(t, "h1")) == "" || text(d.one(t, "title")) == "" {
						t.Error("empty heading or title")
					}
					if !strings.Contains(d.source, `<meta name="viewport" content="width=device-width, initial-scale=1">`) {
						t.Error("no viewport, or one that forbids zoom")
					}
					if !strings.Contains(d.source, `<meta name="robots" content="noindex">`) {
						t.Error("no noindex")
					}
					checkElements(t, d)
				})
			}
		}
	}
}

// checkBalanced holds the source to closing what it opens; the HTML parser would
// mend it silently.
func checkBalanced(t *testing.T, source string) {
	t.Helper()
	var open []string
	z := html.NewTokenizer(strings.NewReader(source))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() != io.EOF || len(open) != 0 {
				t.Errorf("ends with %v open: %v", open, z.Err())
			}
			return
		case html.StartTagToken:
			name, _ := z.TagName()
			if !slices.Contains([]string{"meta", "input", "link", "img"}, string(name)) {
				open = append(open, string(name))
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			if len(open) == 0 || open[len(open)-1] != string(name) {
				t.Fatalf("</%s> closes %v", name, open)
			}
			open = open[:len(open)-1]
		}
	}
}

// checkElements holds every element to what the policy and a screen reader need.
func checkElements(t *testing.T, d document) {
	t.Helper()
	ids := make(map[string]bool)
	for _, n := range d.all("*") {
		if slices.Contains([]string{"iframe", "object", "base"}, n.Data) {
			t.Errorf("<%s> on a page that makes no further request", n.Data)
		}
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style":
				t.Errorf("<%s %s>: blocked by the policy", n.Data, a.Key)
			case a.Key == "src" && !(n.Data == "img" && strings.HasPrefix(a.Val, "data:image/")), a.Key == "href" && n.Data == "link" && a.Val != "data:,":
				t.Errorf("<%s %s=%q>: a further request", n.Data, a.Key, a.Val)
			case a.Key == "id" && ids[a.Val]:
				t.Errorf("id %q twice", a.Val)
			case a.Key == "id":
				ids[a.Val] = true
			case a.Key == "aria-describedby", a.Key == "aria-controls", a.Key == "for":
				for id := range strings.FieldsSeq(a.Val) {
					if d.byID(id) == nil {
						t.Errorf("%s=%q leads nowhere", a.Key, a.Val)
					}
				}
			}
		}
		switch n.Data {
		case "button", "a", "p", "label", "h2":
			if text(n) == "" && attr(n, "role") != "status" { // which scripts fill
				t.Errorf("empty <%s>", n.Data)
			}
		case "form":
			if attr(n, "method") != "post" {
				t.Errorf("form to %q by %q", attr(n, "action"), attr(n, "method"))
			}
		}
	}
}

func TestSignInForm(t *testing.T) {
	d := write(t, newPages(t), "es", http.StatusOK, Page{
		Kind: SignIn, SignInPath: signInPath, CSRFToken: csrfToken, Next: "/a?b=c&d=é#e",
	})
	if d.form(signInPath) == nil {
		t.Fatal("no form to the sign-in path")
	}
	for name, want := range map[string]string{"csrfmiddlewaretoken": csrfToken, "next": "/a?b=c&d=é#e", "username": "", "password": ""} {
		if field := d.input(name); field == nil || attr(field, "value") != want {
			t.Errorf("field %q: %v, want value %q", name, field, want)
		}
	}
	for name, autocomplete := range map[string]string{"username": "username", "password": "current-password"} {
		field := d.input(name)
		if attr(field, "autocomplete") != autocomplete || !hasAttr(field, "required") {
			t.Errorf("field %q: %v", name, field.Attr)
		}
		labelled := slices.ContainsFunc(d.all("label"), func(l *html.Node) bool { return attr(l, "for") == attr(field, "id") })
		if !labelled {
			t.Errorf("field %q has no label", name)
		}
		if hasAttr(field, "aria-invalid") || strings.Contains(attr(field, "aria-describedby"), "alert") {
			t.Errorf("field %q is marked wrong before anything was typed", name)
		}
	}
	if attr(d.input("password"), "type") != "password" {
		t.Error("the password is readable")
	}
	if !hasAttr(d.input("username"), "autofocus") || hasAttr(d.input("password"), "autofocus") {
		t.Error("the focus is not on the username")
	}
	if d.byID("alert") != nil {
		t.Error("an alert without an error")
	}
	if got := text(d.one(t, "title")); got != "Iniciar sesión" {
		t.Errorf("title %q", got)
	}
}

func TestSignInFormAfterAnError(t *testing.T) {
	for _, c := range []struct {
		name, code, username string
		wrong, focusPassword bool
	}{
		{"wrong password", "invalid_credentials", "ac12345", true, true},
		{"wrong password, name not kept", "invalid_credentials", "", true, false},
		{"directory down says nothing about the fields", "directory_unavailable", "ac12345", false, true},
		{"refused origin", "origin_not_trusted", "ac12345", false, true},
		{"unknown code", "no_such_code", "ac12345", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := write(t, newPages(t), "en", http.StatusUnauthorized, Page{
				Kind: SignIn, Code: c.code, SignInPath: signInPath, CSRFToken: csrfToken, Username: c.username,
			})
			alert := d.byID("alert")
			if alert == nil || attr(alert, "role") != "alert" || len(text(alert)) < len("Error: x") {
				t.Fatal("no alert with a text")
			}
			if !strings.HasPrefix(text(d.one(t, "title")), "Error: ") {
				t.Errorf("title %q", text(d.one(t, "title")))
			}
			if got := attr(d.input("username"), "value"); got != c.username {
				t.Errorf("username %q, want %q", got, c.username)
			}
			if hasAttr(d.input("password"), "value") {
				t.Error("the password field has a value")
			}
			for _, name := range []string{"username", "password"} {
				field := d.input(name)
				if !slices.Contains(strings.Fields(attr(field, "aria-describedby")), "alert") {
					t.Errorf("field %q does not point to the alert", name)
				}
				if got := attr(field, "aria-invalid") == "true"; got != c.wrong {
					t.Errorf("field %q: aria-invalid %v, want %v", name, got, c.wrong)
				}
				if got, want := hasAttr(field, "autofocus"), (name == "password") == c.focusPassword; got != want {
					t.Errorf("field %q: autofocus %v, want %v", name, got, want)
				}
			}
		})
	}
}

func TestWaysOn(t *testing.T) {
	const toSignIn = signInPath + "?next=%2Fequipos%2F%3Forden%3Da%26p%C3%A1gina%3D2%23fila-7"
	anonymous := func(kind Kind, code string) Page {
		page := full(kind, code)
		page.User, page.DisplayName = "", ""
		return page
	}
	for _, c := range []struct {
		name            string
		page            Page
		links           []string
		signIn, signOut bool
		who             bool
	}{
		{"sign in", anonymous(SignIn, ""), []string{"https://password.example.com/"}, true, false, false},
		{"already signed in", full(SignedIn, ""), []string{"/equipos/?orden=a&p%c3%a1gina=2#fila-7", listPath}, true, true, true},
		{"sign in again", full(Reauthenticate, "reauthentication_required"), nil, true, false, true},
		{"own sessions", full(Sessions, ""), []string{"/equipos/?orden=a&p%c3%a1gina=2#fila-7"}, false, true, true},
		{"signed out", anonymous(SignedOut, ""), []string{toSignIn}, false, false, false},
		{"group missing", full(Forbidden, "group_required"), []string{toSignIn}, false, true, true},
		{"ambiguous path", full(Forbidden, "path_ambiguous"), []string{toSignIn}, false, true, true},
		{"csrf without session", anonymous(Forbidden, "csrf_failed"), []string{toSignIn}, false, false, false},
		{"address refused, sign-in refused as well", anonymous(Forbidden, "ip_not_allowed"), nil, false, false, false},
		{"plain HTTP has nothing to type into", anonymous(HTTPSRequired, "https_required"), nil, false, false, false},
		{"store down", anonymous(Unavailable, "store_unavailable"), nil, false, false, false},
		{"form sent without a session", anonymous(SessionEnded, "authentication_required"), []string{toSignIn}, false, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := write(t, newPages(t), "es", http.StatusOK, c.page)
			if got := d.links(); !slices.Equal(got, c.links) {
				t.Errorf("links %q, want %q", got, c.links)
			}
			if got := d.form(signInPath) != nil; got != c.signIn {
				t.Errorf("sign-in form %v, want %v", got, c.signIn)
			}
			signOut := d.form(logoutPath)
			if got := signOut != nil; got != c.signOut {
				t.Fatalf("sign-out form %v, want %v", got, c.signOut)
			}
			if signOut != nil {
				var token string
				for n := range signOut.Descendants() {
					if n.Type == html.ElementNode && attr(n, "name") == "csrfmiddlewaretoken" {
						token = attr(n, "value")
					}
				}
				if token != csrfToken {
					t.Errorf("token %q in the sign-out form", token)
				}
			}
			if got := strings.Contains(text(d.one(t, "main")), "María García (mgarcia)"); got != c.who {
				t.Errorf("names the user: %v, want %v", got, c.who)
			}
		})
	}
}

func TestWithoutPathsThereAreNoFormsOrLinks(t *testing.T) {
	p := newPages(t)
	for _, kind := range kinds() {
		d := write(t, p, "es", http.StatusOK, Page{Kind: kind, User: "mgarcia", Next: "", Sessions: twoSessions()})
		if forms, links := d.all("form"), d.links(); len(forms) != 0 || len(links) != 0 {
			t.Errorf("%s: %d forms, links %q", kind, len(forms), links)
		}
	}
}

func TestHeadCarriesTheLengthAndNoBody(t *testing.T) {
	p := newPages(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := p.Write(w, Reader{AcceptLanguage: r.Header.Get("Accept-Language")}, http.StatusForbidden, full(Forbidden, "group_required")); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	answer, err := http.Head(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || len(body) != 0 || answer.ContentLength < 1000 || answer.StatusCode != http.StatusForbidden {
		t.Errorf("status %d, length %d, body of %d bytes, error %v", answer.StatusCode, answer.ContentLength, len(body), err)
	}
}

func TestPageThatCannotBeMadeLeavesTheAnswerUntouched(t *testing.T) {
	noTexts := newPages(t)
	noTexts.languages.spoken[0].texts = texts{"title.sign_in": "x"}
	for name, c := range map[string]struct {
		pages *Pages
		page  Page
	}{
		"unknown kind": {newPages(t), Page{Kind: "no_such_page"}},
		"text missing": {noTexts, full(SignIn, "")},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if err := c.pages.Write(w, Reader{}, http.StatusOK, c.page); err == nil {
				t.Error("no error")
			}
			if len(w.Header()) != 0 || w.Body.Len() != 0 {
				t.Errorf("wrote %v and %d bytes", w.Header(), w.Body.Len())
			}
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	p := newPages(t)
	var group sync.WaitGroup
	for _, lang := range everyLanguage() {
		for _, kind := range kinds() {
			group.Go(func() {
				w := httptest.NewRecorder()
				if err := p.Write(w, Reader{AcceptLanguage: lang}, http.StatusOK, full(kind, "")); err != nil {
					t.Error(err)
				}
				if got := w.Header().Get("Content-Language"); got != lang {
					t.Errorf("language %q, want %q", got, lang)
				}
			})
		}
	}
	group.Wait()
}
