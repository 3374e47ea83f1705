// Package axe looks for barriers in pages with axe-core, the checker behind most
// of the accessibility tools there are. It finds a part of what WCAG asks for;
// what it does find has to go.
//
// The file release names the release of axe-core and the npm registry's digest
// of it. scripts/setup-tests.sh reads both, fetches it and puts it where Load
// looks; it is not in this repository.
package axe
