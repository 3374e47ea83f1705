package axe

import (
	_ "embed"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/browser"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

//go:embed release
var release string

// Axe checks pages in a browser.
type Axe struct {
	source string
	tabs   sync.Map // those whose documents come with axe-core
}

// Load ends the test where axe-core is missing: skipped, or failed where it
// should have been there. One Axe serves any number of tests.
func Load(t testing.TB) *Axe {
	t.Helper()
	path, err := location()
	if err != nil {
		t.Fatalf("looking for axe-core: %v", err)
	}
	return &Axe{source: string(realserver.File(t, path))}
}

// location is where scripts/setup-tests.sh puts axe-core.
func location() (string, error) {
	version, _, ok := strings.Cut(release, " ")
	if !ok {
		return "", fmt.Errorf("reading the release of axe-core: %q is no version and digest", release)
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if !filepath.IsAbs(cache) {
		home := os.Getenv("HOME")
		if home == "" {
			account, err := user.Current()
			if err != nil {
				return "", fmt.Errorf("finding the home folder: %w", err)
			}
			home = account.HomeDir
		}
		cache = filepath.Join(home, ".cache")
	}
	return filepath.Join(cache, "caddy-ldap", "axe-core-"+version, "axe.min.js"), nil
}

// Finding is one element that breaks a rule, or that axe-core could not judge.
type Finding struct {
	// Rule is axe-core's name of the rule, and Help what it asks for.
	Rule, Help string

	// Unsure marks what axe-core calls incomplete: somebody has to look.
	Unsure bool

	// Target is a CSS selector of the element, HTML its source and Summary what
	// is wrong with it.
	Target, HTML, Summary string
}

func (f Finding) String() string {
	verdict := "violation of"
	if f.Unsure {
		verdict = "not sure of"
	}
	return fmt.Sprintf("%s %s (%s)\n  at %s: %s\n  %s", verdict, f.Rule, f.Help, f.Target, f.HTML, strings.ReplaceAll(f.Summary, "\n", "\n  "))
}

// Check returns what breaks WCAG 2.2 A and AA or the best practices in the page
// that the tab shows, as it looks now.
func (a *Axe) Check(tab *browser.Tab) []Finding {
	return a.check(tab, "{}")
}

// CheckForcedColors is Check for a page in the colours that its reader forces on
// it: contrast is theirs then, and axe-core would judge by some colours that the
// page asked for and does not get.
func (a *Axe) CheckForcedColors(tab *browser.Tab) []Finding {
	return a.check(tab, `{"color-contrast": {enabled: false}}`)
}

func (a *Axe) check(tab *browser.Tab, rules string) []Finding {
	if _, ready := a.tabs.LoadOrStore(tab, true); !ready {
		tab.Prepend(a.source)
	}
	// It is not there in the document that came before, nor where the document's
	// scripts were off.
	if !browser.Eval[bool](tab, `"axe" in window`) {
		browser.Eval[bool](tab, a.source+"\ntrue")
	}
	return browser.Eval[[]Finding](tab, `axe.run(document, {
		resultTypes: ["violations", "incomplete"],
		runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"],
		rules: `+rules+`,
	}).then(result => {
		const findings = (rules, Unsure) => rules.flatMap(rule => rule.nodes.map(node => ({
			Rule: rule.id, Help: rule.help, Unsure,
			Target: node.target.flat().join(" "), HTML: node.html, Summary: node.failureSummary,
		})))
		return [...findings(result.violations, false), ...findings(result.incomplete, true)]
	})`)
}
