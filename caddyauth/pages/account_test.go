package pages

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// alertOf is the text of the page's alert, or of the warning in its place.
func alertOf(t *testing.T, d document) *html.Node {
	t.Helper()
	for _, n := range d.all("p") {
		if strings.Contains(attr(n, "class"), "alert") {
			return n
		}
	}
	t.Fatal("no alert")
	return nil
}

func linksIn(n *html.Node) []string {
	var found []string
	for c := range n.Descendants() {
		if c.Type == html.ElementNode && c.Data == "a" {
			found = append(found, attr(c, "href"))
		}
	}
	return found
}

func TestRestrictedAccountNamesItsStateOrNone(t *testing.T) {
	p := newPages(t)
	const neutral = "Error: This account cannot sign in. Please contact support."
	for _, c := range []struct{ name, code, detail, want string }{
		{"none", "account_restricted", "", neutral},
		{"disabled", "account_restricted", "account_disabled", "Error: This account is disabled."},
		{"expired", "account_restricted", "account_expired", "Error: This account has expired."},
		{"hours", "account_restricted", "logon_hours", "Error: This account may not sign in at this time"},
		{"workstation", "account_restricted", "workstation", "Error: This account may sign in on certain computers only"},
		{"groups", "account_restricted", "token_too_big", "Error: This account is in too many groups"},
		{"a state of the future", "account_restricted", "account_frozen", neutral},
		{"hostile", "account_restricted", "<script>alert(1)</script>", neutral},
		{"another code is not changed", "invalid_credentials", "account_disabled", "Error: The username or the password is not correct."},
	} {
		t.Run(c.name, func(t *testing.T) {
			page := full(SignIn, c.code)
			page.Detail = c.detail
			d := write(t, p, "en", http.StatusForbidden, page)
			if got := text(alertOf(t, d)); !strings.HasPrefix(got, c.want) || c.want == neutral && got != neutral {
				t.Errorf("says %q, want %q", got, c.want)
			}
			if c.detail != "" && strings.Contains(d.source, c.detail) {
				t.Error("the page shows the state's own name")
			}
			if got, want := attr(d.input("username"), "aria-invalid") == "true", c.code == "invalid_credentials"; got != want {
				t.Errorf("marks the fields as wrong: %v, want %v", got, want)
			}
			if got := attr(d.input("username"), "value"); got != page.Username {
				t.Errorf("keeps the name %q", got)
			}
		})
	}
}

func TestTheLinkToANewPasswordStandsOnce(t *testing.T) {
	const to = "https://password.example.com/"
	for _, c := range []struct {
		code, url string
		inAlert   bool
	}{
		{"password_expired", to, true},
		{"password_must_change", to, true},
		{"password_expired", "", false},
		{"invalid_credentials", to, false},
		{"account_restricted", to, false},
		{"too_many_attempts", to, false},
	} {
		for _, lang := range everyLanguage() {
			page := full(SignIn, c.code)
			page.PasswordURL = c.url
			d := write(t, newPages(t), lang, http.StatusForbidden, page)
			checkElements(t, d)
			want := []string{c.url}
			if c.url == "" {
				want = nil
			}
			if got := d.links(); !slices.Equal(got, want) {
				t.Errorf("%s in %s: links %q, want %q", c.code, lang, got, want)
			}
			if got := len(linksIn(alertOf(t, d))) == 1; got != c.inAlert {
				t.Errorf("%s in %s: the link is in the alert: %v, want %v", c.code, lang, got, c.inAlert)
			}
		}
	}
}

func TestPasswordURLNeverRunsScript(t *testing.T) {
	for _, hostile := range []string{"javascript:alert(1)", `https://a.example/"><script>alert(1)</script>`} {
		for _, page := range []Page{full(SignIn, "password_expired"), full(PasswordWarning, "")} {
			page.PasswordURL = hostile
			d := write(t, newPages(t), "en", http.StatusOK, page)
			checkBalanced(t, d.source)
			checkElements(t, d)
			for _, link := range d.links() {
				if strings.Contains(strings.ToLower(link), "javascript:") {
					t.Errorf("link to %q", link)
				}
			}
		}
	}
}

func TestPluralForms(t *testing.T) {
	p := newPages(t)
	for _, c := range []struct {
		lang    string
		n       int
		minutes string
		grace   string
	}{
		{"es", 1, "dentro de un minuto.", "Queda un inicio de sesión con ella."},
		{"es", 2, "dentro de 2 minutos.", "Quedan 2 inicios de sesión con ella."},
		{"en", 1, "in one minute.", "One sign-in with it is left."},
		{"en", 15, "in 15 minutes.", "15 sign-ins with it are left."},
		{"pt", 1, "em um minuto.", "Resta um início de sessão com ela."},
		{"pt", 3, "em 3 minutos.", "Restam 3 inícios de sessão com ela."},
		{"fr", 1, "dans une minute.", "Il permet encore une connexion."},
		{"fr", 21, "dans 21 minutes.", "Il permet encore 21 connexions."},
		{"de", 1, "in einer Minute erneut.", "Damit ist noch eine Anmeldung möglich."},
		{"de", 101, "in 101 Minuten erneut.", "Damit sind noch 101 Anmeldungen möglich."},
		{"es", 0, "dentro de un minuto.", "este ha sido el último inicio de sesión posible con ella. Cámbiela ahora."},
		{"en", 0, "in one minute.", "this was the last sign-in with it. Change it now."},
		{"pt", 0, "em um minuto.", "este foi o último início de sessão possível com ela. Altere-a agora."},
		{"fr", 0, "dans une minute.", "cette connexion était la dernière possible. Changez-le maintenant."},
		{"de", 0, "in einer Minute erneut.", "dies war die letzte Anmeldung damit. Ändern Sie es jetzt."},
		{"en", math.MinInt32, "in one minute.", "this was the last sign-in with it. Change it now."},
		{"en", math.MaxInt32, "in 2147483647 minutes.", "2147483647 sign-ins with it are left."},
	} {
		page := full(SignIn, "too_many_attempts")
		page.RetryMinutes = int64(c.n)
		if got := text(alertOf(t, write(t, p, c.lang, http.StatusTooManyRequests, page))); !strings.HasSuffix(got, " "+c.minutes) {
			t.Errorf("%d minutes in %s: %q, want it to end in %q", c.n, c.lang, got, c.minutes)
		}
		page = full(PasswordWarning, "")
		page.GraceSignIns = c.n
		if got := text(alertOf(t, write(t, p, c.lang, http.StatusOK, page))); !strings.HasSuffix(got, " "+c.grace) {
			t.Errorf("%d sign-ins in %s: %q, want it to end in %q", c.n, c.lang, got, c.grace)
		}
	}
}

func TestOnlyTooManyAttemptsSayWhenToTryAgain(t *testing.T) {
	for _, code := range []string{"invalid_credentials", "password_expired", "directory_unavailable"} {
		page := full(SignIn, code)
		page.RetryMinutes = 7
		if d := write(t, newPages(t), "en", http.StatusForbidden, page); strings.Contains(d.source, "7 minutes") {
			t.Errorf("%s says when to try again", code)
		}
	}
}

func TestPasswordWarning(t *testing.T) {
	const change, on = "https://password.example.com/", "/equipos/"
	for _, c := range []struct {
		name, passwordURL, next string
		links, classes          []string
	}{
		{"both ways", change, on, []string{change, on}, []string{"button", "button second"}},
		{"no address for passwords", "", on, []string{on}, []string{"button"}},
		{"nowhere to go on to", change, "", []string{change}, []string{"button"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			page := full(PasswordWarning, "")
			page.PasswordURL, page.Next, page.GraceSignIns = c.passwordURL, c.next, 2
			d := write(t, newPages(t), "en", http.StatusOK, page)
			if got := d.links(); !slices.Equal(got, c.links) {
				t.Errorf("links %q, want %q", got, c.links)
			}
			var classes []string
			for n := range d.one(t, "main").Descendants() {
				if n.Type == html.ElementNode && n.Data == "a" {
					classes = append(classes, attr(n, "class"))
				}
			}
			if !slices.Equal(classes, c.classes) {
				t.Errorf("classes %q, want %q", classes, c.classes)
			}
			if got := text(d.one(t, "title")); got != "Signed in" {
				t.Errorf("title %q: it is no error", got)
			}
			if len(d.all("form")) != 0 || !strings.Contains(text(d.one(t, "main")), "María García (mgarcia)") {
				t.Error("it has a form, or does not say who is signed in")
			}
		})
	}
}
