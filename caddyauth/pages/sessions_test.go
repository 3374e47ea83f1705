package pages

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

func TestListOfSessions(t *testing.T) {
	d := write(t, newPages(t), "de", http.StatusOK, full(Sessions, ""))
	rows := d.all("li")
	if len(rows) != 2 {
		t.Fatalf("%d rows", len(rows))
	}
	for i, want := range []struct {
		current    bool
		ip         string
		times      []string
		machine    []string
		endsItself bool
	}{
		{true, "192.0.2.7", []string{"2026-11-05 12:00 UTC", "2026-11-05 12:01 UTC"}, []string{"2026-11-05T12:00:00Z", "2026-11-05T12:01:30Z"}, false},
		{false, "2001:db8::7", []string{"2026-11-04 10:00 UTC", "2026-11-05 11:00 UTC"}, []string{"2026-11-04T10:00:00Z", "2026-11-05T11:00:00Z"}, true},
	} {
		shown := text(rows[i])
		if got := strings.Contains(shown, german()["session.current"]); got != want.current {
			t.Errorf("row %d is marked as this one: %v", i, got)
		}
		if !strings.Contains(shown, want.ip) {
			t.Errorf("row %d lacks the address: %s", i, shown)
		}
		var times, machine []string
		var button *html.Node
		for n := range rows[i].Descendants() {
			switch n.Data {
			case "time":
				times, machine = append(times, text(n)), append(machine, attr(n, "datetime"))
			case "button":
				button = n
			}
		}
		if !slices.Equal(times, want.times) || !slices.Equal(machine, want.machine) {
			t.Errorf("row %d has the times %q for %q", i, times, machine)
		}
		if (button != nil) != want.endsItself {
			t.Fatalf("row %d has a button: %v", i, button != nil)
		}
		if button == nil {
			continue
		}
		if attr(button, "name") != "end" || attr(button, "value") != "two" || attr(button, "type") != "submit" {
			t.Errorf("the button sends %v", button.Attr)
		}
		// Buttons of several rows read alike but for what describes them.
		if described := d.byID(attr(button, "aria-describedby")); described == nil || !strings.Contains(text(described), want.ip) {
			t.Error("the button does not say which session it ends")
		}
	}
	form := d.form(listPath)
	if form == nil {
		t.Fatal("no form to the list")
	}
	var token string
	var buttons []string
	for n := range form.Descendants() {
		switch {
		case n.Data == "button":
			buttons = append(buttons, attr(n, "value"))
		case attr(n, "name") == "csrfmiddlewaretoken":
			token = attr(n, "value")
		}
	}
	if token != csrfToken || !slices.Equal(buttons, []string{"two", "others"}) {
		t.Errorf("the form has the token %q and the buttons %q", token, buttons)
	}
}

func TestOneSessionHasNoOthersToEnd(t *testing.T) {
	page := full(Sessions, "")
	page.Sessions = page.Sessions[:1]
	d := write(t, newPages(t), "en", http.StatusOK, page)
	form := d.form(listPath)
	if form == nil {
		t.Fatal("no form")
	}
	for n := range form.Descendants() {
		if n.Data == "button" {
			t.Errorf("a button that ends %q", attr(n, "value"))
		}
	}
}

func TestTimesAreInUTCWhateverTheirZone(t *testing.T) {
	page := full(Sessions, "")
	page.Sessions[0].Created = time.Date(2026, 1, 1, 1, 30, 0, 5, time.FixedZone("", 2*60*60))
	d := write(t, newPages(t), "en", http.StatusOK, page)
	if first := d.all("time")[0]; text(first) != "2025-12-31 23:30 UTC" || attr(first, "datetime") != "2025-12-31T23:30:00Z" {
		t.Errorf("%q for %q", text(first), attr(first, "datetime"))
	}
}

func TestTheLongestListOfSessions(t *testing.T) {
	page := full(Sessions, "")
	for i := range 998 {
		page.Sessions = append(page.Sessions, Session{ID: fmt.Sprint(i), ClientIP: strings.Repeat("\u202e", 200)})
	}
	d := write(t, newPages(t), "fr", http.StatusOK, page)
	checkBalanced(t, d.source)
	checkElements(t, d)
	if strings.ContainsRune(d.source, '\u202e') {
		t.Error("an address can turn the text around")
	}
	if page.Sessions[5].ClientIP != strings.Repeat("\u202e", 200) {
		t.Error("writing a page changed the caller's list")
	}
	if n := len(d.all("li")); n != 1000 {
		t.Errorf("%d rows", n)
	}
}

func TestSignInAgain(t *testing.T) {
	page := full(Reauthenticate, "reauthentication_required")
	d := write(t, newPages(t), "es", http.StatusForbidden, page)
	if d.form(signInPath) == nil {
		t.Fatal("no form")
	}
	for name, want := range map[string]string{"csrfmiddlewaretoken": csrfToken, "next": page.Next, "username": page.Username, "password": ""} {
		if field := d.input(name); field == nil || attr(field, "value") != want {
			t.Errorf("field %q: %v, want value %q", name, field, want)
		}
	}
	if !hasAttr(d.input("password"), "autofocus") || hasAttr(d.input("username"), "autofocus") {
		t.Error("the focus is not on the password")
	}
	if !strings.Contains(text(d.one(t, "main")), spanish()["code.reauthentication_required"]) {
		t.Error("it does not say why")
	}
	if hasAttr(d.input("password"), "aria-invalid") {
		t.Error("the password is marked wrong before it was typed")
	}
}
