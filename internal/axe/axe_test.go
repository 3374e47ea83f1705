package axe

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/browser"
)

const (
	sound = `data:text/html,<!doctype html><html lang="en"><title>sound</title><main><h1>A page</h1><p>Text</p><label>Name <input autocomplete="username"></label></main></html>`

	unsound = `data:text/html,<!doctype html><html lang="en"><title>unsound</title>
		<main><h1>A page</h1><p style="color:silver">pale</p><div style="background:linear-gradient(red,blue)"><p>who knows</p></div><input></main><p>outside</p></html>`
)

func TestCheck(t *testing.T) {
	var chromium browser.Shared
	chromium.Join(t)
	checker := Load(t)
	tab := chromium.Tab(t)
	rules := func(findings []Finding) (names []string) {
		for _, f := range findings {
			names = append(names, fmt.Sprintf("%s %s %v", f.Target, f.Rule, f.Unsure))
		}
		slices.Sort(names)
		return names
	}
	for _, c := range []struct {
		name, page   string
		scripts      bool
		all, noColor []string
	}{
		{"sound", sound, true, nil, nil},
		{"unsound", unsound, true,
			[]string{"body > p region false", "div > p color-contrast true", "input label false", "main > p color-contrast false"},
			[]string{"body > p region false", "input label false"}},
		{"unsound, loaded without scripts", unsound, false,
			[]string{"body > p region false", "div > p color-contrast true", "input label false", "main > p color-contrast false"},
			[]string{"body > p region false", "input label false"}},
		{"sound again", sound, true, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab.Scripts(c.scripts)
			tab.Visit(c.page)
			tab.Scripts(true)
			if got := rules(checker.Check(tab)); !slices.Equal(got, c.all) {
				t.Errorf("%q, want %q", got, c.all)
			}
			if got := rules(checker.CheckForcedColors(tab)); !slices.Equal(got, c.noColor) {
				t.Errorf("in forced colours %q, want %q", got, c.noColor)
			}
		})
	}
}

func TestFindingSaysWhatAndWhere(t *testing.T) {
	said := Finding{Rule: "label", Help: "Fields have labels", Target: "#name", HTML: `<input id="name">`, Summary: "Fix:\nlabel it"}.String()
	for _, part := range []string{"violation of label", "Fields have labels", "#name", `<input id="name">`, "Fix:\n  label it"} {
		if !strings.Contains(said, part) {
			t.Errorf("%q does not say %q", said, part)
		}
	}
	if said := (Finding{Rule: "color-contrast", Unsure: true}).String(); !strings.Contains(said, "not sure of color-contrast") {
		t.Errorf("%q", said)
	}
}

func TestLocation(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/cache")
	t.Setenv("HOME", "/home/x")
	version, _, _ := strings.Cut(release, " ")
	for _, c := range []struct{ name, cache, want string }{
		{"cache folder named", "/cache", "/cache/caddy-ldap/axe-core-" + version + "/axe.min.js"},
		{"none named", "", "/home/x/.cache/caddy-ldap/axe-core-" + version + "/axe.min.js"},
		{"a relative one counts as none", "cache", "/home/x/.cache/caddy-ldap/axe-core-" + version + "/axe.min.js"},
	} {
		t.Setenv("XDG_CACHE_HOME", c.cache)
		if got, err := location(); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}
