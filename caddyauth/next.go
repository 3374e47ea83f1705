package caddyauth

import (
	"net/url"
	"strings"
)

// maxNext bounds the length of a redirect target.
const maxNext = 2048

// nextTarget returns where to go after sign-in: next if it is a path of this
// site or a URL on an exactly listed trusted origin, else "". Wildcards do not
// count here: whoever gets hold of one name below a domain must not receive
// people who just signed in.
func (p *policy) nextTarget(next string) string {
	if isLocalTarget(next) || p.isTrustedTarget(next) {
		return next
	}
	return ""
}

// isTrustedTarget tells whether next is a URL on an exactly listed origin.
func (p *policy) isTrustedTarget(next string) bool {
	if len(next) > maxNext || !plainURL(next) {
		return false
	}
	scheme, rest, ok := strings.Cut(next, "://")
	if !ok || (scheme != "http" && scheme != "https") {
		return false
	}
	host, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	// The origin is compared as it is written, before any parser had a say, so
	// that no two parsers can disagree on the host.
	if !p.origins.trustsExactly(scheme+"://"+host) || hasDotSegment(path) {
		return false
	}
	u, err := url.Parse(next)
	return err == nil && u.Host == host && u.User == nil
}

// isLocalTarget tells whether a browser stays on this site with next: one
// slash, and nothing that the WHATWG URL parser turns into another origin. It
// strips tabs and line ends, and reads a backslash as a slash, so those are
// refused wherever they stand; so is //, also behind dot segments that the
// parser removes.
func isLocalTarget(next string) bool {
	if len(next) > maxNext || !strings.HasPrefix(next, "/") || !plainURL(next) {
		return false
	}
	path := next
	if i := strings.IndexAny(next, "?#"); i >= 0 {
		path = next[:i]
	}
	if strings.Contains(path, "//") || hasDotSegment(path) {
		return false
	}
	_, err := url.Parse(next)
	return err == nil
}

// hasDotSegment finds segments that browsers resolve, also encoded: a target
// must lead where it says, not back into a sign-in route.
func hasDotSegment(target string) bool {
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	for segment := range strings.SplitSeq(target, "/") {
		if len(segment) > len("%2e%2e") {
			continue
		}
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case ".", "..":
			return true
		}
	}
	return false
}

// plainURL refuses backslashes, spaces and control characters, which browsers
// rewrite.
func plainURL(s string) bool {
	for _, c := range s {
		if c <= 0x20 || c == '\\' || c >= 0x7f && c <= 0xa0 || c == '\u2028' || c == '\u2029' || c == '\ufeff' || c == '\ufffd' {
			return false
		}
	}
	return true
}
