//go:build race

package realserver

// buildFlags make the program under test like the tests themselves.
var buildFlags = []string{"-race"}
