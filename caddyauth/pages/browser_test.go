package pages

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/browser"
)

// signInPage opens the sign-in page in a browser, for a test beside others.
func signInPage(t *testing.T, code string) (*browser.Tab, *gallery) {
	t.Helper()
	chromium.Join(t)
	t.Parallel()
	tab, g := chromium.Tab(t), serveGallery(t, newPages(t))
	tab.Visit(g.address(SignIn, code, "es"))
	return tab, g
}

// waitForFocus waits until a field or button has the focus, by its id or type:
// browsers give it to the first one some time after the page is there.
func waitForFocus(t *testing.T, tab *browser.Tab, want string) {
	t.Helper()
	var got string
	for range 1000 {
		got = browser.Eval[string](tab, `document.activeElement.id || document.activeElement.type || document.activeElement.tagName`)
		if got == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the focus is on %q, want %q", got, want)
}

// Acceptance check L5.
func TestKeyboardGoesThroughTheForm(t *testing.T) {
	tab, g := signInPage(t, "")
	for _, want := range []string{"username", "password", "reveal", "submit"} {
		waitForFocus(t, tab, want)
		tab.Press(browser.KeyTab)
	}
	tab.Visit(g.address(SignIn, "invalid_credentials", "es"))
	waitForFocus(t, tab, "password")
	tab.PressShifted(browser.KeyTab)
	waitForFocus(t, tab, "username")
}

// Acceptance check L6.
func TestErrorIsSeenAndSaid(t *testing.T) {
	tab, _ := signInPage(t, "invalid_credentials")
	got := browser.Eval[struct {
		Seen            bool
		Role            string
		Name, Password  string
		Invalid, Points []string
	}](tab, `(() => {
		const fields = [username, password], shown = document.querySelector("#alert")
		return {
			Seen: shown.checkVisibility() && shown.getBoundingClientRect().top < innerHeight, Role: shown.role,
			Name: username.value, Password: password.value,
			Invalid: fields.map(field => field.ariaInvalid),
			Points: fields.map(field => field.getAttribute("aria-describedby").split(" ").map(id => document.getElementById(id).id)[0]),
		}
	})()`)
	if !got.Seen || got.Role != "alert" || got.Name != "ac12345" || got.Password != "" ||
		!slices.Equal(got.Invalid, []string{"true", "true"}) || !slices.Equal(got.Points, []string{"alert", "alert"}) {
		t.Errorf("the page has %+v", got)
	}
}

// Acceptance check L7: nothing is shown that needs scripts, and all is sent.
func TestFormWithoutScripts(t *testing.T) {
	tab, g := signInPage(t, "")
	tab.Scripts(false)
	tab.Visit(g.address(SignIn, "", "es"))
	if browser.Eval[bool](tab, `document.querySelector("#reveal").checkVisibility()`) {
		t.Error("a button is shown that does nothing")
	}
	waitForFocus(t, tab, "username")
	tab.Press(browser.KeyTab + "sEcret ñ" + browser.KeyEnter)
	want := url.Values{
		"csrfmiddlewaretoken": {csrfToken}, "next": {"/equipos/?orden=a&página=2#fila-7"},
		"username": {"ac12345"}, "password": {"sEcret ñ"},
	}
	if got := <-g.posts; got.Encode() != want.Encode() {
		t.Errorf("the form sends %v, want %v", got, want)
	}
}

// Acceptance check L8, and that the form is not sent with a readable password,
// which browsers would offer to complete another time.
func TestPasswordIsRevealed(t *testing.T) {
	tab, _ := signInPage(t, "")
	waitForFocus(t, tab, "username")
	browser.Eval[bool](tab, `document.forms[0].addEventListener("submit", event => event.preventDefault()), true`)
	tab.Press(browser.KeyTab + "pass" + browser.KeyTab)
	for i, step := range []struct{ press, want string }{
		{"", "password false true pass"},
		{" ", "text true true pass"},
		{browser.KeyEnter, "password false true pass"},
		{" ", "text true true pass"},
		{browser.KeyTab + browser.KeyEnter, "password false true pass"},
	} {
		tab.Press(step.press)
		got := browser.Eval[string](tab, `[password.type, reveal.ariaPressed, reveal.checkVisibility(), password.value].join(" ")`)
		if got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
}

// Acceptance check L8.
func TestCapsLockIsSaid(t *testing.T) {
	tab, _ := signInPage(t, "")
	hint := func() string {
		return browser.Eval[string](tab, `caps.role + ": " + caps.textContent`)
	}
	waitForFocus(t, tab, "username")
	tab.CapsLock(true)
	tab.Press("X" + browser.KeyTab)
	tab.Press("A")
	if got := hint(); len(got) < len("status: x") || !strings.HasPrefix(got, "status: ") {
		t.Errorf("with the lock on the page says %q", got)
	}
	tab.CapsLock(false)
	tab.Press("b")
	if got := hint(); got != "status: " {
		t.Errorf("with the lock off the page says %q", got)
	}
	tab.CapsLock(true)
	tab.Press("C")
	tab.PressShifted(browser.KeyTab)
	if got := hint(); got != "status: " {
		t.Errorf("away from the password the page says %q", got)
	}
}

// Acceptance check L8: servers never see what stands after the #.
func TestFragmentGoesOnWithNext(t *testing.T) {
	tab, g := signInPage(t, "")
	for _, c := range []struct{ name, next, fragment, want string }{
		{"kept", "/a?b=c", "#d", "/a?b=c#d"},
		{"with a query of its own", "/", "#/route?x=1&y=%20", "/#/route?x=1&y=%20"},
		{"next has one", "/a#b", "#c", "/a#b"},
		{"none", "/a", "", "/a"},
		{"empty", "/a", "#", "/a"},
		{"as text", "/a", `#"><b>`, "/a#%22%3E%3Cb%3E"},
	} {
		tab.Visit("about:blank") // another fragment alone would load nothing
		tab.Visit(g.address(SignIn, "", "es") + "&next=" + url.QueryEscape(c.next) + c.fragment)
		if got := browser.Eval[string](tab, `document.forms[0].elements.next.value`); got != c.want {
			t.Errorf("%s: next is %q, want %q", c.name, got, c.want)
		}
	}
}

// A directory may take its time; whoever presses again must not be counted as a
// second wrong attempt.
func TestFormIsSentOnce(t *testing.T) {
	tab, _ := signInPage(t, "")
	waitForFocus(t, tab, "username")
	browser.Eval[bool](tab, `{
		window.sent = 0
		document.forms[0].addEventListener("submit", event => {
			if (!event.defaultPrevented) sent++
			event.preventDefault()
		})
		const now = Date.now
		window.later = 0
		Date.now = () => now() + later
		true
	}`)
	tab.Press(browser.KeyTab + "pass")
	for _, step := range []struct {
		name, before, press string
		want                int
	}{
		{"Enter", "0", browser.KeyEnter, 1},
		{"Enter again", "0", browser.KeyEnter, 1},
		{"the button", "0", browser.KeyTab + browser.KeyTab + " ", 1},
		{"long after that there was no answer", "later = 8500", " ", 2},
		{"at once again", "0", " ", 2},
		{"back on this page", `dispatchEvent(new PageTransitionEvent("pageshow", {persisted: true})), 0`, " ", 3},
	} {
		browser.Eval[int](tab, step.before)
		tab.Press(step.press)
		if got := browser.Eval[int](tab, "sent"); got != step.want {
			t.Errorf("%s: sent %d times, want %d", step.name, got, step.want)
		}
	}
}
