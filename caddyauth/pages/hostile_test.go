package pages

import (
	"net/http"
	"strings"
	"testing"
)

func TestHostileNamesAreOnlyText(t *testing.T) {
	p := newPages(t)
	for name, hostile := range map[string]string{
		"script element":      `<script>alert(1)</script>`,
		"leaves an attribute": `" autofocus onfocus="alert(1)`,
		"leaves the title":    `</title><script>alert(1)</script>`,
		"leaves the style":    `</style><script>alert(1)</script>`,
		"template action":     `{{.CSRFToken}}`,
		"Caddy placeholder":   `{env.HOME} {http.request.header.Cookie}`,
		"comment":             `<!-- -->-->`,
		"character reference": `&lt;b&gt;`,
	} {
		t.Run(name, func(t *testing.T) {
			for _, kind := range kinds() {
				page := full(kind, hostile)
				page.Username, page.User, page.DisplayName = hostile, hostile, hostile+"!"
				page.CSRFToken, page.Next = hostile, "/"+hostile
				page.Needs, page.Reference = nil, hostile
				page.Sessions[1].ID, page.Sessions[1].ClientIP = hostile, hostile
				d := write(t, p, "en", http.StatusOK, page)
				checkBalanced(t, d.source)
				checkElements(t, d)
				if field := d.input("username"); field != nil && attr(field, "value") != hostile {
					t.Errorf("%s: the form keeps %q", kind, attr(field, "value"))
				}
				named := d.all("bdi")
				if len(named) == 2 && (text(named[0]) != hostile+"!" || text(named[1]) != hostile) {
					t.Errorf("%s: shows %q as %q", kind, text(named[0]), text(named[1]))
				}
				if (kind == Forbidden || kind == SignedIn || kind == Reauthenticate || kind == Sessions) && len(named) != 2 {
					t.Errorf("%s: %d isolated names, want 2", kind, len(named))
				}
				page.Needs = [][]string{{hostile, "wiki"}}
				d = write(t, p, "en", http.StatusOK, page)
				checkBalanced(t, d.source)
				checkElements(t, d)
				if named := d.all("bdi"); kind == Forbidden && (len(named) != 4 || text(named[0]) != hostile) {
					t.Errorf("the group is shown as %q", text(named[0]))
				}
			}
		})
	}
}

func TestNextNeverRunsScript(t *testing.T) {
	for _, next := range []string{"javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x"} {
		d := write(t, newPages(t), "es", http.StatusOK, Page{Kind: SignedIn, User: "juan", SignInPath: signInPath, Next: next})
		for _, link := range d.links() {
			if link == next || strings.Contains(strings.ToLower(link), "script:") || strings.HasPrefix(link, "data:") {
				t.Errorf("link to %q", link)
			}
		}
		if csp := d.header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self';") {
			t.Errorf("policy %q", csp)
		}
	}
}

func TestDirectoryNamesAreBounded(t *testing.T) {
	for _, c := range []struct{ name, given, want string }{
		{"plain", "Juan Pérez", "Juan Pérez"},
		{"direction marks of real names stay", "\u200fיוסי\u200e", "\u200fיוסי\u200e"},
		{"override", "juan\u202Eadmin", "juan\uFFFDadmin"},
		{"closes the isolate, then overrides", "\u2069\u202Enimda", "\uFFFD\uFFFDnimda"},
		{"controls", "a\x00b\r\nc\x7f", "a\uFFFDb\uFFFD\uFFFDc\uFFFD"},
		{"not UTF-8", "a\xff\xfeb", "a\uFFFD\uFFFDb"},
		{"longest", strings.Repeat("é", maxShown), strings.Repeat("é", maxShown)},
		{"64 KiB", strings.Repeat("é", 32<<10), strings.Repeat("é", maxShown) + "…"},
		{"64 KiB not UTF-8", strings.Repeat("\xff", 64<<10), strings.Repeat("\uFFFD", maxShown) + "…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := write(t, newPages(t), "es", http.StatusForbidden, Page{Kind: Forbidden, Code: "group_required", User: c.given})
			if got := text(d.one(t, "bdi")); got != c.want {
				t.Errorf("shows %q, want %q", got, c.want)
			}
			if len(d.source) >= 8<<10 {
				t.Errorf("%d bytes", len(d.source))
			}
		})
	}
}

func TestTypedNameIsKeptWholeOrNotAtAll(t *testing.T) {
	for _, c := range []struct{ name, given, want string }{
		{"plain", `CORP\ac12345`, `CORP\ac12345`},
		{"not ASCII", "josé.núñez@empresa.local", "josé.núñez@empresa.local"},
		{"longest", strings.Repeat("a", maxUsername), strings.Repeat("a", maxUsername)},
		{"too long", strings.Repeat("a", maxUsername+1), ""},
		{"64 KiB of quotes", strings.Repeat(`"`, 64<<10), ""},
		{"NUL", "juan\x00", ""},
		{"line break", "juan\nx", ""},
		{"not UTF-8", "juan\xff", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := write(t, newPages(t), "es", http.StatusUnauthorized, Page{
				Kind: SignIn, Code: "invalid_credentials", SignInPath: signInPath, Username: c.given,
			})
			if got := attr(d.input("username"), "value"); got != c.want {
				t.Errorf("keeps %q, want %q", got, c.want)
			}
		})
	}
}

func TestOverLongNextIsLeftOut(t *testing.T) {
	for _, c := range []struct {
		name string
		next string
		want bool
	}{
		{"longest", "/" + strings.Repeat("a", maxNext-1), true},
		{"too long", "/" + strings.Repeat("a", maxNext), false},
		{"64 KiB", "https://app.example.com/" + strings.Repeat("a", 64<<10), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := write(t, newPages(t), "es", http.StatusOK, Page{Kind: SignIn, SignInPath: signInPath, Next: c.next})
			if got := d.input("next") != nil; got != c.want {
				t.Errorf("carries next: %v, want %v", got, c.want)
			}
			if strings.Contains(d.header.Get("Content-Security-Policy"), "example.com") {
				t.Error("the policy names the origin of a next that the page does not carry")
			}
		})
	}
}
