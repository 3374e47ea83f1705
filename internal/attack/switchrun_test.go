package attack

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// attackVariable says how long the tests of this package may take: "long" runs
// what make attack does and make test does not.
const attackVariable = "CADDY_LDAP_ATTACK"

// thisFolder is where this package is, from the tree's root.
const thisFolder = "internal/attack"

// TestSwitchesFitTheSource: a list of edits that nothing applies would go out
// of date with the next change of the product.
func TestSwitchesFitTheSource(t *testing.T) {
	t.Parallel()
	rules := map[string]bool{}
	for _, off := range switchesOff() {
		rules[off.rule] = true
		if _, err := off.apply(t.TempDir()); err != nil {
			t.Errorf("%s without %q: %v", off.rule, off.part, err)
		}
	}
	for n := 1; n <= 14; n++ {
		if rule := fmt.Sprintf("R%02d", n); !rules[rule] {
			t.Errorf("nothing switches %s off", rule)
		}
	}
}

// TestEveryRuleIsNeeded: for each rule of docs/security.md, the program without
// a part of it fails a test that is named after it, and the program as it is
// does not. What nobody would miss here is not tested.
func TestEveryRuleIsNeeded(t *testing.T) {
	if os.Getenv(attackVariable) != "long" {
		t.Skipf("builds the program for each rule and part of one, which takes a quarter of an hour: %s=long, as in make attack, does it", attackVariable)
	}
	compiler := realserver.Program(t, "go")
	whole := filepath.Join(t.TempDir(), "whole")
	if err := realserver.BuildCaddy(compiler, whole); err != nil {
		t.Fatal(err)
	}
	passed := map[string]bool{} // with the program as it is
	for _, off := range switchesOff() {
		t.Run(off.rule+" without "+off.part, func(t *testing.T) {
			tests := off.named(t)
			for _, named := range tests {
				if passed[named.String()] {
					continue
				}
				if out := named.run(t, compiler, whole, ""); !named.passes(out) {
					t.Fatalf("%s is not green with the program as it is:\n%s", named, tail(out))
				}
				passed[named.String()] = true
			}
			dir := t.TempDir()
			overlay, err := off.apply(dir)
			if err != nil {
				t.Fatal(err)
			}
			mutant := filepath.Join(dir, "mutant")
			if err := realserver.BuildCaddy(compiler, mutant, "-overlay", overlay); err != nil {
				t.Fatal(err)
			}
			var green []string
			for _, named := range tests {
				out := named.run(t, compiler, mutant, overlay)
				if named.fails(out) {
					t.Logf("%s: %s", named, assertion.FindString(out))
					return
				}
				green = append(green, fmt.Sprintf("%s:\n%s", named, tail(out)))
			}
			t.Errorf("no test misses it:\n%s", strings.Join(green, "\n"))
		})
	}
}

// apply writes the edited files into dir, with an overlay that puts them in the
// place of the tree's own, and returns the overlay's name.
func (off switchOff) apply(dir string) (string, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for _, e := range append([]edit{off.edit}, off.also...) {
		original := filepath.Join(root, filepath.FromSlash(e.file))
		edited, ok := replace[original]
		if !ok {
			edited = filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		}
		source := original
		if ok {
			source = edited
		}
		text, err := os.ReadFile(source)
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(text), e.old); n != 1 {
			return "", fmt.Errorf("%s has this %d times, not once: %q", e.file, n, e.old)
		}
		if err := os.WriteFile(edited, []byte(strings.Replace(string(text), e.old, e.new, 1)), 0o600); err != nil {
			return "", err
		}
		replace[original] = edited
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// namedTests are those of a package whose names begin alike.
type namedTests struct{ folder, prefix string }

func (n namedTests) String() string { return n.prefix + " of " + n.folder }

// named are the tests of which one must miss what is switched off. Those of this
// package come first: they are compiled already.
func (off switchOff) named(t *testing.T) []namedTests {
	t.Helper()
	var named []namedTests
	for _, prefix := range off.tests {
		named = append(named, namedTests{cmp.Or(off.folder, thisFolder), prefix})
	}
	if named != nil {
		return named
	}
	prefix := "Test" + off.rule
	for _, test := range testFunctions(t) {
		if in := (namedTests{test.folder, prefix}); strings.HasPrefix(test.name, prefix) && !slices.Contains(named, in) {
			named = append(named, in)
		}
	}
	slices.SortStableFunc(named, func(a, b namedTests) int {
		return strings.Compare(strings.TrimPrefix(a.folder, thisFolder), strings.TrimPrefix(b.folder, thisFolder))
	})
	if named == nil {
		t.Fatalf("no test is named %s", prefix)
	}
	return named
}

// run runs the tests: those of this package, which is compiled already, against
// a program, and those of others with the overlay.
func (n namedTests) run(t *testing.T, compiler, program, overlay string) string {
	t.Helper()
	name, sub, _ := strings.Cut(n.prefix, "/")
	pattern := "^" + name
	if sub != "" {
		pattern += "$/^" + sub + "$"
	}
	var cmd *exec.Cmd
	if n.folder == thisFolder {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd = exec.Command(self, "-test.run", pattern, "-test.v", "-test.count=1", "-test.timeout=5m")
	} else {
		cmd = exec.Command(compiler, "test", "-overlay="+overlay, "-run", pattern, "-v", "-count=1", "-timeout=5m", "./"+n.folder)
		cmd.Dir = filepath.Join("..", "..")
	}
	cmd.Env = append(os.Environ(), realserver.ProgramVariable+"="+program, attackVariable+"=")
	out, err := cmd.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "--- FAIL") {
		t.Fatalf("running %s: %v\n%s", n, err, tail(string(out)))
	}
	return string(out)
}

// passes tells whether any test ran, and none was red.
func (n namedTests) passes(out string) bool {
	return n.reports(out, "PASS") && !strings.Contains(out, "--- FAIL") && !strings.Contains(out, "--- SKIP")
}

// fails tells whether a test was red by what it asserts. A harness that
// panicked, ran out of time or could not start the program has found nothing.
func (n namedTests) fails(out string) bool {
	return n.reports(out, "FAIL") && !harnessFailed.MatchString(out)
}

func (n namedTests) reports(out, result string) bool {
	name, _, _ := strings.Cut(n.prefix, "/")
	return strings.Contains(out, "--- "+result+": "+name)
}

// harnessFailed finds what is nobody's assertion.
var harnessFailed = regexp.MustCompile(`(?m)^panic: |^fatal error: |starting Caddy: `)

// assertion finds the first line that a red test printed.
var assertion = regexp.MustCompile(`\w+\.go:\d+: .*`)

// testFunction is a test of some package of this module.
type testFunction struct {
	folder string // from the tree's root
	name   string
}

// testFunctions finds all tests, as the source has them: those of other systems
// too.
func testFunctions(t *testing.T) []testFunction {
	t.Helper()
	root := filepath.Join("..", "..")
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(\w+ \*testing\.T\)`)
	var tests []testFunction
	if err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, match := range declared.FindAllStringSubmatch(string(text), -1) {
			tests = append(tests, testFunction{filepath.ToSlash(folder), match[1]})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return tests
}
