package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tableIDs are the ids of docs/security.md: what was found to have gone wrong in
// other products, to be required, or to be so in Caddy.
func tableIDs() []string {
	var ids []string
	for _, series := range []struct {
		letter string
		last   int
	}{{"R", 14}, {"P", 89}, {"S", 40}, {"B", 38}} {
		for n := 1; n <= series.last; n++ {
			ids = append(ids, fmt.Sprintf("%s%02d", series.letter, n))
		}
	}
	return ids
}

// tableRow is a row of the table: what shows that an id holds.
type tableRow struct {
	id    string
	shown string
	line  int
}

var (
	tableID = regexp.MustCompile(`^[A-Z]\d\d$`)

	// A test of another package than this one has that package's name before it.
	tableTest = regexp.MustCompile("`(?:([a-z0-9]+)\\.)?(Test\\w+)`")

	// Why there is no test, in a few words.
	tableReason = regexp.MustCompile(`^(does not apply|documented): \S+(\s+\S+){3,}`)

	testID = regexp.MustCompile(`^Test([RPSB]\d\d)`)
)

// parseTable reads the rows of all tables whose first cell is an id and whose
// last one says what shows it.
func parseTable(text string) []tableRow {
	var rows []tableRow
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || !strings.HasSuffix(line, "|") || len(line) < 2 {
			continue
		}
		cells := strings.Split(strings.ReplaceAll(line[1:len(line)-1], `\|`, "\x00"), "|")
		id := strings.Trim(strings.TrimSpace(cells[0]), "*`")
		if !tableID.MatchString(id) {
			continue
		}
		shown := strings.ReplaceAll(strings.TrimSpace(cells[len(cells)-1]), "\x00", "|")
		rows = append(rows, tableRow{id: id, shown: shown, line: number})
	}
	return rows
}

// checkTable returns what is wrong with the rows, for these tests of the module.
func checkTable(rows []tableRow, tests []testFunction) []string {
	var wrong []string
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	folders := map[string][]string{} // of the tests of a name
	for _, test := range tests {
		folders[test.name] = append(folders[test.name], test.folder)
	}
	lines := map[string]int{}
	named := map[string]bool{}
	for _, row := range rows {
		if before, ok := lines[row.id]; ok {
			complain("line %d: %s has a row already, in line %d", row.line, row.id, before)
		}
		if lines[row.id] = row.line; !slices.Contains(tableIDs(), row.id) {
			complain("line %d: there is no %s", row.line, row.id)
		}
		own := false
		for _, match := range tableTest.FindAllStringSubmatch(row.shown, -1) {
			folder, test := match[1], match[2]
			named[test] = true
			if folder == "" {
				folder = filepath.Base(thisFolder)
			}
			if !slices.ContainsFunc(folders[test], func(in string) bool { return in == folder || strings.HasSuffix(in, "/"+folder) }) {
				complain("line %d: %s: package %s has no test %s", row.line, row.id, folder, test)
				continue
			}
			own = own || strings.HasPrefix(test, "Test"+row.id)
		}
		if reason := tableReason.MatchString(row.shown); !own && !reason {
			complain("line %d: %s names no test of its own, and no reason of some words after \"does not apply:\" or \"documented:\": %q", row.line, row.id, row.shown)
		}
	}
	for _, id := range tableIDs() {
		if lines[id] == 0 {
			complain("%s has no row", id)
		}
	}
	for _, test := range tests {
		if test.folder == thisFolder && testID.MatchString(test.name) && !named[test.name] {
			complain("the table does not name %s", test.name)
		}
	}
	return wrong
}

// TestSecurityTable: docs/security.md says what shows each id, and it is so.
func TestSecurityTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range checkTable(parseTable(string(text)), testFunctions(t)) {
		t.Errorf("docs/security.md: %s", wrong)
	}
}

// TestSecurityTableIsRead: what the check above must not pass.
func TestSecurityTableIsRead(t *testing.T) {
	t.Parallel()
	tests := []testFunction{
		{thisFolder, "TestP17Copied"}, {thisFolder, "TestP17Again"}, {thisFolder, "TestB04Connection"}, {"caddyauth", "TestP10Truncated"},
		{"ldap", "TestSomething"}, {thisFolder, "TestP99Nothing"}, {thisFolder, "TestHarness"},
	}
	good := map[string]string{
		"P10": "`caddyauth.TestP10Truncated`", "P17": "`TestP17Copied`, `TestP17Again`; see also `TestB04Connection`", "B04": "`TestB04Connection`, `TestP99Nothing`",
	}
	table := func(change map[string]string) string {
		text := "# Security\n\n| id | attack | shown by |\n|---|---|---|\n"
		for _, id := range tableIDs() {
			shown := "does not apply: there is no such feature"
			for _, rows := range []map[string]string{good, change} {
				if row, ok := rows[id]; ok {
					shown = row
				}
			}
			if shown != "" {
				text += "| " + id + " | a `\\|` in it | " + shown + " |\n"
			}
		}
		return text
	}
	for _, test := range []struct {
		name   string
		change map[string]string
		more   string
		want   []string
	}{
		{name: "as it should be"},
		{name: "documented", change: map[string]string{"P40": "documented: the option that it is about has another name here"}},
		{name: "no row", change: map[string]string{"P40": ""}, want: []string{"P40 has no row"}},
		{name: "two rows", more: "| P40 | again | documented: in the page about operations, twice |\n", want: []string{"P40 has a row already"}},
		{name: "no such id", more: "| P90 | more | documented: in the page about operations |\n", want: []string{"there is no P90"}},
		{name: "no such test", change: map[string]string{"P17": "`TestP17Gone`, `TestP17Copied`, `TestP17Again`"}, want: []string{"no test TestP17Gone"}},
		{name: "a test of another package", change: map[string]string{"P10": "`TestP10Truncated`"}, want: []string{"package attack has no test", "names no test of its own"}},
		{name: "no test of its own", change: map[string]string{"P40": "`ldap.TestSomething`"}, want: []string{"P40 names no test of its own"}},
		{name: "nothing at all", change: map[string]string{"P40": "yes"}, want: []string{"P40 names no test of its own"}},
		{name: "hardly a reason", change: map[string]string{"P40": "does not apply: no"}, want: []string{"P40 names no test of its own"}},
		{name: "a test that is not named", change: map[string]string{"P17": "`TestP17Copied`"}, want: []string{"does not name TestP17Again"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			wrong := checkTable(parseTable(table(test.change)+test.more), tests)
			for i, want := range test.want {
				if i >= len(wrong) || !strings.Contains(wrong[i], want) {
					t.Fatalf("found %q, want %q", wrong, test.want)
				}
			}
			if len(wrong) != len(test.want) {
				t.Errorf("found %q, want %q", wrong, test.want)
			}
		})
	}
}
