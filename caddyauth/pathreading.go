package caddyauth

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// foldPath maps what file systems take for the same name to one spelling, for
// require lines: case (through upper case, which also reaches ſ), composed and
// decomposed letters, wide ones, characters that nobody sees. It goes further
// than any one of them does, because what it maps together needs a group.
func foldPath(path string) string {
	upper := false
	for i := range len(path) {
		c := path[i]
		if c >= 0x80 {
			return anyCase(plainPath(anyCase(path)))
		}
		upper = upper || 'A' <= c && c <= 'Z'
	}
	if upper {
		return strings.ToLower(path)
	}
	return path
}

func anyCase(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// plainPath is a path as a program sees it that knows a code page only: Windows
// hands it /．．∕ as /../ and, in Japan and Korea, ¥ and ₩ as backslashes. Some
// file systems drop invisible characters too.
func plainPath(path string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case strings.ContainsRune("¥₩∖\\⁄∕", c):
			return '/'
		case unicode.Is(unicode.Cf, c):
			return -1
		}
		return c
	}, norm.NFKD.String(path))
}

// hidesDots finds dot segments that only some see: in other letters, or before
// the name of a stream.
func hidesDots(path string) bool {
	for segment := range strings.SplitSeq(plainPath(path), "/") {
		segment, _, _ = strings.Cut(segment, ":")
		if segment != "" && strings.Trim(segment, ". ") == "" {
			return true
		}
	}
	return false
}

// windowsPath is a folded path as Windows opens it: the name of a stream, and
// dots and spaces at the end of a name, do not count, so that
// /admin::$INDEX_ALLOCATION/x is /admin/x. A canonical path can differ from it
// only by a colon, or by what folding brought out.
func windowsPath(folded string) string {
	var path strings.Builder
	for segment := range strings.SplitSeq(folded, "/") {
		segment, _, _ = strings.Cut(segment, ":")
		if segment = strings.TrimRight(segment, ". "); segment != "" {
			path.WriteByte('/')
			path.WriteString(segment)
		}
	}
	return path.String()
}
