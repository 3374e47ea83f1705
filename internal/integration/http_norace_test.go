//go:build !race

package integration

// buildFlags make the program under test like the tests themselves.
var buildFlags []string
