package caddyauth

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/browser"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// focus is the id of the element that has it, or its type, or its tag.
func (v *visitor) focus() string {
	v.t.Helper()
	return browser.Eval[string](v.Tab, `(() => {
		const e = document.activeElement
		return e.id || e.getAttribute("type") || e.tagName
	})()`)
}

// has checks what a script comes to.
func (v *visitor) has(what, script, want string) {
	v.t.Helper()
	if got := browser.Eval[string](v.Tab, `String(`+script+`)`); got != want {
		v.t.Errorf("%s: %s is %q, want %q", what, script, got, want)
	}
}

func TestBrowserFormAfterAWrongPassword(t *testing.T) {
	s := startForBrowsers(t, setup{})
	for _, on := range []bool{true, false} {
		t.Run(scripts(on), func(t *testing.T) {
			v := s.visitor(t)
			v.Scripts(on)
			v.Visit(s.base + "/report?y=1#part")
			v.has("at first", `document.querySelectorAll("[role=alert], [aria-invalid]").length`, "0")
			if status := v.signIn("ac12345", "not the password"); status != http.StatusUnauthorized {
				t.Errorf("a wrong password: %d", status)
			}
			v.has("after it", `document.querySelector("[role=alert]").innerText`, "Error: The username or the password is not correct.")
			v.has("after it", `document.title`, "Error: Sign in")
			v.has("after it", `username.value`, "ac12345")
			v.has("after it", `password.value`, "")
			eventually(t, "the focus is on the password", func() bool { return v.focus() == "password" })
			for _, field := range []string{"username", "password"} {
				v.has("after it", field+`.getAttribute("aria-invalid")`, "true")
				// Each name is an element's, and the alert's is among them.
				v.has("after it", field+`.getAttribute("aria-describedby").split(" ").every(id => document.getElementById(id))`, "true")
				v.has("after it", field+`.getAttribute("aria-describedby").split(" ").some(id => document.getElementById(id).role === "alert")`, "true")
			}
			next := "/report?y=1"
			if on {
				next += "#part"
			}
			v.has("after it", `document.querySelector("[name=next]").value`, next)
			v.Type("#password", ldaptest.DemoPassword)
			v.Click(signInButton)
			v.at("the right one", next, "for ac12345")
		})
	}
}

func TestBrowserFocusGoesDownTheForm(t *testing.T) {
	s := startForBrowsers(t, setup{})
	for _, test := range []struct {
		scripts bool
		order   []string
	}{
		{true, []string{"username", "password", "reveal", "submit"}},
		{false, []string{"username", "password", "submit"}},
	} {
		t.Run(scripts(test.scripts), func(t *testing.T) {
			v := s.visitor(t)
			v.Scripts(test.scripts)
			v.Visit(s.base + "/accounts/login/")
			eventually(t, "the first field has the focus", func() bool { return v.focus() == test.order[0] })
			for i, want := range test.order {
				if got := v.focus(); got != want {
					t.Errorf("after %d presses of Tab the focus is on %s, want %s", i, got, want)
				}
				v.Press(browser.KeyTab)
			}
			// The whole of it without a mouse.
			v.Visit(s.base + "/accounts/login/?next=%2Fkeys")
			eventually(t, "the first field has the focus", func() bool { return v.focus() == test.order[0] })
			v.Press("ac12345" + browser.KeyTab + ldaptest.DemoPassword)
			if status := v.LeaveByPressing(browser.KeyEnter); status != http.StatusOK {
				t.Errorf("signing in by keys: %d", status)
			}
			v.at("signed in by keys", "/keys", "for ac12345")
		})
	}
}

func TestBrowserShowsThePassword(t *testing.T) {
	s := startForBrowsers(t, setup{})
	v := s.visitor(t)
	v.Visit(s.base + "/accounts/login/")
	looks := func(what, fieldType, pressed string) {
		t.Helper()
		v.has(what, `password.type`, fieldType)
		v.has(what, `reveal.getAttribute("aria-pressed")`, pressed)
		v.has(what, `password.value`, "typed")
	}
	press := func() { browser.Eval[string](v.Tab, `reveal.click(), ""`) }
	v.Type("#password", "typed")
	looks("at first", "password", "false")
	press()
	looks("pressed", "text", "true")
	press()
	looks("pressed again", "password", "false")
	press()
	// Browsers keep what stands in a field of text, for the next who types there.
	browser.Eval[string](v.Tab, `username.value = "ac12345", addEventListener("submit", e => e.preventDefault()), document.querySelector("form [type=submit]").click(), ""`)
	looks("sent", "password", "false")

	v.Scripts(false)
	v.Visit(s.base + "/accounts/login/")
	v.has("without scripts", `reveal.checkVisibility()`, "false")
}

func TestBrowserTellsOfCapsLock(t *testing.T) {
	s := startForBrowsers(t, setup{})
	v := s.visitor(t)
	v.Visit(s.base + "/accounts/login/")
	said := func(what, want string) {
		t.Helper()
		v.has(what, `document.querySelector("form [role=status]").innerText`, want)
	}
	v.CapsLock(true)
	v.Press("A")
	said("in the user name", "")
	v.Press(browser.KeyTab + "B")
	said("in the password", "Caps Lock is on.")
	v.has("in the password", `password.getAttribute("aria-describedby").split(" ").includes(document.querySelector("form [role=status]").id)`, "true")
	v.Press(browser.KeyTab)
	said("behind it", "")
	v.PressShifted(browser.KeyTab)
	v.Press("C")
	said("back in it", "Caps Lock is on.")
	v.CapsLock(false)
	v.Press("d")
	said("with the lock off", "")
}

// A directory may take its time, and people press again: that would be a second
// attempt, and with a wrong password a second one of those that lock an account.
func TestBrowserSendsTheFormOnce(t *testing.T) {
	s := startForBrowsers(t, setup{site: "@sent method POST\nroute {\nrequest_header @sent X-Held " + t.Name() + "\ntest_held\nrequire_session\nreverse_proxy UPSTREAM\n}"})
	held := hold(t, 3)
	v := s.visitor(t)
	v.Visit(s.base + "/accounts/login/?next=%2Fonce")
	v.Type("#username", "ac12345")
	v.Type("#password", ldaptest.DemoPassword)
	binds, record := s.directory.Binds(), v.Record()
	// Who looks at a page from outside waits for an answer that is under way, so
	// the page itself presses, and says so.
	browser.Eval[string](v.Tab, `(() => {
		const form = document.querySelector("form"), press = () => form.querySelector("[type=submit]").click()
		press()
		setTimeout(press, 200)
		setTimeout(() => { press(); console.error("busy: " + form.getAttribute("aria-busy")) }, 400)
		return ""
	})()`)
	eventually(t, "the page presses three times", func() bool { return len(record.Problems()) > 0 })
	held.release()
	eventually(t, "the tab goes on", func() bool { return v.URL() == s.base+"/once" })
	posts := 0
	for _, request := range record.Requests() {
		if request.Method == http.MethodPost {
			posts++
		}
	}
	if posts != 1 {
		t.Errorf("the form was sent %d times", posts)
	}
	if problems := record.Problems(); len(problems) != 1 || !strings.Contains(problems[0], "busy: true") {
		t.Errorf("the page says %q", problems)
	}
	if got := s.directory.Binds() - binds; got != 1 {
		t.Errorf("the directory was asked %d times", got)
	}
}

// A language that was picked goes with the next address, and for the pages after.
func TestBrowserPicksALanguage(t *testing.T) {
	s := startForBrowsers(t, setup{})
	for _, on := range []bool{true, false} {
		t.Run(scripts(on), func(t *testing.T) {
			v := s.visitor(t)
			v.Scripts(on)
			v.Visit(s.base + listPath + "?x=1#part")
			v.at("first", "/accounts/login/?next=%2Faccounts%2Fsessions%2F%3Fx%3D1#part", "Sign in")
			v.has("first", `document.documentElement.lang`, "en")
			v.has("first", `document.querySelector("nav [aria-current=true]").innerText`, "English")
			v.Click(`nav a[hreflang="de"]`)
			next := "/accounts/sessions/?x=1"
			if on {
				next += "#part"
			}
			v.has("picked", `document.documentElement.lang`, "de")
			v.has("picked", `document.querySelector("h1").innerText`, "Anmelden")
			v.has("picked", `document.querySelector("nav [aria-current=true]").innerText`, "Deutsch")
			v.has("picked", `document.querySelector("[name=next]").value`, next)
			if status := v.signIn("ac12345", "not the password"); status != http.StatusUnauthorized {
				t.Errorf("a wrong password: %d", status)
			}
			v.has("refused", `document.documentElement.lang`, "de")
			v.Type("#password", ldaptest.DemoPassword)
			v.Click(signInButton)
			v.at("signed in", next, "Juan Pérez (ac12345)")
			v.has("signed in", `document.documentElement.lang`, "de")
			v.Click(`nav a[hreflang="pt"]`)
			v.has("picked again", `document.documentElement.lang`, "pt")
			v.Visit(s.base + "/accounts/login/")
			v.has("elsewhere", `document.documentElement.lang`, "pt")
		})
	}
}

// Whoever goes back to the form that they sent finds one that sends.
func TestBrowserFormWorksAfterGoingBack(t *testing.T) {
	s := startForBrowsers(t, setup{})
	v := s.visitor(t)
	v.Visit(s.base + "/accounts/login/?next=%2Fagain")
	if status := v.signIn("ac12345", "not the password"); status != http.StatusUnauthorized {
		t.Fatalf("a wrong password: %d", status)
	}
	v.Back()
	v.at("back", "/accounts/login/?next=%2Fagain", "Sign in")
	v.has("back", `document.querySelector("form").hasAttribute("aria-busy")`, "false")
	script := `username.value = "ac12345", password.value = "` + ldaptest.DemoPassword + `", document.querySelector("form [type=submit]").click()`
	if status := v.Leave(script); status != http.StatusOK {
		t.Errorf("the second time: %d", status)
	}
	v.at("the second time", "/again", "for ac12345")
}

// A form that was sent too late is not lost: the session is had again in another
// tab, and what was typed is one step back in this one, and can be sent.
func TestBrowserLosesNoTextWithTheSession(t *testing.T) {
	s := startForBrowsers(t, setup{})
	v, other := s.visitor(t), s.visitor(t)
	v.Visit(s.base + "/edit")
	v.signIn("ac12345", ldaptest.DemoPassword)
	v.Type("textarea", "a long text")
	other.Visit(s.base + listPath)
	other.signIn("ac12345", ldaptest.DemoPassword)
	other.Click("button[value=others]")

	before := s.upstream.count()
	if status := v.Click("#save"); status != http.StatusUnauthorized {
		t.Errorf("sent without a session: %d", status)
	}
	v.at("sent without a session", "/save", "Your session has ended", "What you sent was not processed")
	if n := s.upstream.count(); n != before {
		t.Error("the form reached the application")
	}
	const link = `document.querySelector("main a")`
	v.has("the link", link+`.target`, "_blank")
	v.has("the link", link+`.relList.contains("noopener")`, "true")
	tab := &visitor{v.Another(), t, s}
	tab.Visit(browser.Eval[string](v.Tab, link+`.href`))
	tab.at("in another tab", "/accounts/login/", "Sign in")
	tab.signIn("ac12345", ldaptest.DemoPassword)
	tab.at("in another tab", "/", "for ac12345")

	v.Back()
	v.at("back", "/edit", "for ac12345")
	v.has("back", `document.querySelector("textarea").value`, "a long text")
	if status := v.Leave(`document.querySelector("#save").click()`); status != http.StatusOK {
		t.Errorf("sent again: %d %s", status, v.Text())
	}
	if got := s.upstream.last(t); got.method != http.MethodPost || !strings.Contains(got.body, "text=a+long+text") {
		t.Errorf("the application got %s %s", got.method, got.body)
	}
}
