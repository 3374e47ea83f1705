package pages

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/axe"
	"github.com/caddyauth/caddy-ldap/internal/browser"
)

// chromium is shared by the tests that look at pages in a browser.
var chromium browser.Shared

// everyLook is how pages are seen: as wide as a desk and as small as a telephone,
// light and dark, in the colours that Windows forces for high contrast, and
// magnified to 400 % in a window 1280 px wide.
func everyLook() []browser.Look {
	return append(extremeLooks(),
		browser.Look{Width: 320}, browser.Look{Width: 1280, Dark: true},
		browser.Look{Width: 320, ForcedColors: true}, browser.Look{Width: 320, Height: 200, Scale: 4})
}

// extremeLooks has both widths and both schemes.
func extremeLooks() []browser.Look {
	return []browser.Look{{Width: 1280}, {Width: 320, Dark: true}}
}

// Acceptance checks L1, L2 and L4: with every text, as everybody sees it. Colours
// know nothing of languages: what has every look in one language has the extreme
// ones in the others, except for the form, which people see most.
func TestEveryPageIsForEverybody(t *testing.T) {
	chromium.Join(t)
	checker := axe.Load(t)
	p := newPagesWith(t, Options{Branding: wholeBranding()})
	for i, language := range everyLanguage() {
		t.Run(language, func(t *testing.T) {
			chromium.Join(t)
			t.Parallel()
			tab := chromium.Tab(t)
			g := serveGallery(t, p)
			record := tab.Record()
			for j, kind := range kinds() {
				for k, code := range codesOf(kind) {
					looks := extremeLooks()
					if (j+k)%len(everyLanguage()) == i || kind == SignIn && (code == "" || code == "invalid_credentials") {
						looks = everyLook()
					}
					name := strings.TrimSpace(string(kind) + " " + code)
					record.Clear()
					tab.Visit(g.address(kind, code, language))
					for _, look := range looks {
						checkLook(t, checker, tab, name, look)
					}
					if asked := g.requests(); len(asked) != 1 || len(record.Requests()) != 1 {
						t.Errorf("%s: the page makes these requests: %q %v", name, asked, record.Requests())
					}
					if problems := record.Problems(); len(problems) != 0 {
						t.Errorf("%s: the browser complains: %q", name, problems)
					}
				}
			}
		})
	}
}

// L1 without scripts and branding: what scripts would show or take away is as the
// server wrote it.
func TestEveryPageWithoutScriptsIsForEverybody(t *testing.T) {
	chromium.Join(t)
	t.Parallel()
	checker := axe.Load(t)
	tab := chromium.Tab(t)
	g := serveGallery(t, newPages(t))
	for i, kind := range kinds() {
		for j, code := range codesOf(kind) {
			language := everyLanguage()[(i+j)%len(everyLanguage())]
			tab.Scripts(false)
			tab.Visit(g.address(kind, code, language))
			tab.Scripts(true) // for the checker
			for _, look := range extremeLooks() {
				checkLook(t, checker, tab, strings.TrimSpace(string(kind)+" "+code+" "+language), look)
			}
		}
	}
}

// Acceptance check L10: whatever accent a configuration names, pages stay readable.
func TestEveryAccentIsForEverybody(t *testing.T) {
	chromium.Join(t)
	t.Parallel()
	checker := axe.Load(t)
	tab := chromium.Tab(t)
	for _, accent := range []string{"#0a58ca", "#ffd400", "#000000", "#ffffff", "#808080", "#e4002b", "#00a651", "#7fd8ff"} {
		g := serveGallery(t, newPagesWith(t, Options{Branding: Branding{Accent: accent}}))
		for _, kind := range []Kind{SignIn, SignedIn, Sessions} {
			code := codesOf(kind)[len(codesOf(kind))-1]
			tab.Visit(g.address(kind, code, "es"))
			for _, look := range []browser.Look{{Width: 320}, {Width: 320, Dark: true}} {
				checkLook(t, checker, tab, accent+" "+string(kind), look)
			}
		}
	}
}

// checkLook holds the page that the tab shows to what everybody needs of it.
func checkLook(t *testing.T, checker *axe.Axe, tab *browser.Tab, name string, look browser.Look) {
	t.Helper()
	tab.Look(look)
	name = fmt.Sprintf("%s, %+v", name, look)
	check := checker.Check
	if look.ForcedColors {
		check = checker.CheckForcedColors
	}
	for _, finding := range check(tab) {
		t.Errorf("%s: %v", name, finding)
	}
	layout := browser.Eval[struct {
		Page, Window   int
		Outside, Small []string
		Painted        []string
	}](tab, layoutScript)
	if layout.Page > layout.Window || len(layout.Outside) != 0 {
		t.Errorf("%s: one has to scroll sideways: %d px in a window of %d px, %q", name, layout.Page, layout.Window, layout.Outside)
	}
	if len(layout.Small) != 0 {
		t.Errorf("%s: too small to hit: %q", name, layout.Small)
	}
	if len(layout.Painted) != 0 {
		t.Errorf("%s: these keep colours of their own where others are forced: %q", name, layout.Painted)
	}
}

// layoutScript measures the page: what sticks out of the window, and what can be
// clicked and is smaller than 24 px either way (WCAG 2.5.8, without its
// exception for small targets far from others). Links within a sentence are as
// high as its lines; the label of a field can be clicked as well.
const layoutScript = `(() => {
	const root = document.documentElement, small = [], outside = [], painted = []
	const boxOf = element => element.getBoundingClientRect()
	const say = element => element.outerHTML.slice(0, 120) + " " + Math.round(boxOf(element).width * 10) / 10 + "×" + Math.round(boxOf(element).height * 10) / 10
	for (const element of document.body.querySelectorAll("*")) {
		if (!element.checkVisibility()) continue
		if (boxOf(element).right > root.clientWidth + 0.5 || boxOf(element).left < -0.5) outside.push(say(element))
		if (!element.matches("img") && getComputedStyle(element).forcedColorAdjust !== "auto") painted.push(say(element))
		if (!element.matches("a[href],button,summary,select,textarea,input:not([type=hidden])")) continue
		const inSentence = element.matches("a") && [...element.parentNode.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim() !== "")
		const big = [element, ...(element.labels ?? [])].map(boxOf).some(box => box.width >= 24 && box.height >= 24)
		if (!inSentence && !big) small.push(say(element))
	}
	return {Page: root.scrollWidth, Window: root.clientWidth, Outside: outside, Small: small, Painted: painted}
})()`
