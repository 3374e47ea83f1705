package caddyauth

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// originalURL returns the URL as the client sent it, before any rewrite.
// Decisions are made on it, never on what a rewrite made of it.
func originalURL(r *http.Request) *url.URL {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return original.URL
	}
	return r.URL
}

// canonicalPath tells whether every server would read the path the same way.
// Decoded once, it is valid UTF-8 with no %, \, ;, ?, # or control character,
// no empty segment but the last, no dot segment, no segment that ends in a dot
// or a space, and it had no encoded slash. What falls out is what some server
// or file system resolves to another resource: /public/..;/admin, /a%2f..,
// /admin%5csecret, /secret. and their like. With ? and # it is Caddy itself: a
// rewrite to what path_regexp has captured cuts /admin%3fx after /admin.
func canonicalPath(u *url.URL) bool {
	path := u.Path
	if path == "" || path[0] != '/' || !utf8.ValidString(path) {
		return false
	}
	if raw := u.RawPath; raw != "" && (strings.Contains(raw, "%2f") || strings.Contains(raw, "%2F")) {
		return false
	}
	start := 1 // of the segment at hand
	ascii, colon := true, false
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			switch c := path[i]; {
			case c < 0x20 || c == 0x7f || c == '%' || c == '\\' || c == ';' || c == '?' || c == '#':
				return false
			case c == ':':
				colon = true
			case c >= 0x80:
				ascii = false
				if c == 0xc2 && i+1 < len(path) && path[i+1] < 0xa0 {
					return false // U+0080 to U+009F, the other control characters
				}
			}
			continue
		}
		segment := path[start:i]
		last := i == len(path)
		switch {
		case segment == "":
			if !last {
				return false
			}
		case segment[len(segment)-1] == '.' || segment[len(segment)-1] == ' ':
			return false // dot segments are among these
		}
		start = i + 1
	}
	return ascii && !colon || !hidesDots(path)
}

// pathPattern is a path of a public or require line: exact, or with a whole
// last segment * everything below it and the folder itself.
type pathPattern struct {
	path string // without the final /*; "" for /*
	tree bool
}

// parsePathPattern refuses what could not match as its writer expects.
func parsePathPattern(pattern string) (pathPattern, error) {
	path, tree := strings.CutSuffix(pattern, "/*")
	switch {
	case !strings.HasPrefix(pattern, "/"):
		return pathPattern{}, fmt.Errorf("path %q must begin with a slash", pattern)
	case strings.Contains(path, "*"):
		return pathPattern{}, fmt.Errorf("path %q: a * is allowed only as the whole last segment, as in /docs/*", pattern)
	case strings.Contains(path, "?") || strings.Contains(path, "#"):
		return pathPattern{}, fmt.Errorf("path %q must not hold a query or a fragment", pattern)
	case path != "" && !canonicalPath(&url.URL{Path: path}):
		return pathPattern{}, fmt.Errorf("path %q must be written as the server sees it: decoded, without empty or dot segments, and without %%, \\, ;, ?, # or control characters", pattern)
	case tree && strings.HasSuffix(path, "/"):
		return pathPattern{}, fmt.Errorf("path %q has an empty segment", pattern)
	}
	return pathPattern{path: path, tree: tree}, nil
}

// isPublic matches to the letter: a file system that ignores case may hold a
// secret file beside the public one.
func (p pathPattern) isPublic(path string) bool {
	if p.tree {
		rest, ok := strings.CutPrefix(path, p.path)
		return ok && (rest == "" || rest[0] == '/')
	}
	return path == p.path
}

// isRequired ignores case, and covers the path with and without a last slash: a
// server that answers both must not serve one of them to anybody. folded is
// foldPath(path); p was folded at load.
func (p pathPattern) isRequired(folded string) bool {
	rest, ok := strings.CutPrefix(folded, p.path)
	if !ok {
		return false
	}
	if p.tree {
		return rest == "" || rest[0] == '/'
	}
	return rest == "" || rest == "/"
}

// folded returns the pattern for isRequired.
func (p pathPattern) folded() pathPattern {
	p.path = strings.TrimSuffix(foldPath(p.path), "/")
	return p
}

// pathRules are the public and require lines of one handler.
type pathRules struct {
	public  []pathPattern
	require []requireLine
}

// requireLine demands one of its groups under its path.
type requireLine struct {
	pattern pathPattern
	groups  groupLine
}

func compilePathRules(public []string, require []PathRequirement) (pathRules, error) {
	var rules pathRules
	for _, path := range public {
		pattern, err := parsePathPattern(path)
		if err != nil {
			return rules, fmt.Errorf("public: %w", err)
		}
		rules.public = append(rules.public, pattern)
	}
	for _, line := range require {
		pattern, err := parsePathPattern(line.Path)
		if err != nil {
			return rules, fmt.Errorf("require: %w", err)
		}
		if len(line.Groups) == 0 {
			return rules, fmt.Errorf("require %s: a group is missing: a session is needed everywhere anyway", line.Path)
		}
		groups, err := compileGroupLine(line.Groups)
		if err != nil {
			return rules, fmt.Errorf("require %s: %w", line.Path, err)
		}
		rules.require = append(rules.require, requireLine{pattern: pattern.folded(), groups: groups})
	}
	return rules, nil
}

// judge returns what the lines say of a request's path. A path that is not
// canonical is never public and counts as under every require line.
func (rules *pathRules) judge(u *url.URL) (public, ambiguous bool, required []requireLine) {
	if len(rules.public) == 0 && len(rules.require) == 0 {
		return false, false, nil
	}
	if !canonicalPath(u) {
		return false, true, rules.require
	}
	if len(rules.require) > 0 {
		folded := foldPath(u.Path)
		windows := folded
		if strings.Contains(folded, ":") || !isASCII(u.Path) {
			windows = windowsPath(folded)
		}
		for _, line := range rules.require {
			if line.pattern.isRequired(folded) || line.pattern.isRequired(windows) {
				required = append(required, line)
			}
		}
		if required != nil {
			return false, false, required
		}
	}
	for _, pattern := range rules.public {
		if pattern.isPublic(u.Path) {
			return true, false, nil
		}
	}
	return false, false, nil
}

// signInPaths are the routes that a sign-in handler answers itself.
type signInPaths struct {
	page, api, logout, session, sessions string
	home                                 string
}

// route is one of the sign-in routes.
type route int

const (
	noRoute route = iota
	pageRoute
	apiRoute
	logoutRoute
	sessionRoute
	sessionsRoute
)

// route finds the sign-in route of a request, with and without the path's last
// slash, on the path as the client sent it. A path with encoded characters
// where none are needed is no sign-in path: it goes through the gate.
func (p *signInPaths) route(u *url.URL) route {
	if u.RawPath != "" {
		return noRoute
	}
	switch path := u.Path; {
	case samePath(path, p.page):
		return pageRoute
	case samePath(path, p.api):
		return apiRoute
	case samePath(path, p.logout):
		return logoutRoute
	case samePath(path, p.session):
		return sessionRoute
	case samePath(path, p.sessions):
		return sessionsRoute
	}
	return noRoute
}

// leadsOn tells whether people may be sent to an address after a sign-in: the
// list of their sessions is the one sign-in route that is a place to be.
func (p *signInPaths) leadsOn(u *url.URL) bool {
	which := p.route(u)
	return which == noRoute || which == sessionsRoute
}

// samePath compares but for a last slash.
func samePath(path, configured string) bool {
	if len(path) == len(configured) {
		return path == configured
	}
	if len(path)+1 == len(configured) {
		return configured[len(path)] == '/' && configured[:len(path)] == path
	}
	return len(path) == len(configured)+1 && path[len(configured)] == '/' && path[:len(configured)] == configured &&
		path[len(configured)-1] != '/'
}

// defaultSignInPaths are served by require_session where no ldap_login ran
// before it.
func defaultSignInPaths() signInPaths {
	return signInPaths{
		page:     "/accounts/login/",
		api:      "/api/login-ldap/",
		logout:   "/api/logout/",
		session:  "/api/session/",
		sessions: "/accounts/sessions/",
		home:     "/",
	}
}

// check refuses paths that could not be reached or would hide each other.
func (p *signInPaths) check() error {
	named := []struct{ option, path string }{
		{"page", p.page}, {"api", p.api}, {"logout", p.logout}, {"session", p.session}, {"sessions", p.sessions},
	}
	for i, a := range named {
		if !strings.HasPrefix(a.path, "/") || a.path == "/" || strings.Contains(a.path, "*") || !canonicalPath(&url.URL{Path: a.path}) {
			return fmt.Errorf("%s: invalid path %q: it must begin with a slash, be more than a slash, and hold no *, %%, \\, ;, ?, #, empty or dot segments", a.option, a.path)
		}
		for _, b := range named[:i] {
			if samePath(a.path, b.path) {
				return fmt.Errorf("%s: path %q is the one of %s already", a.option, a.path, b.option)
			}
		}
	}
	home, err := url.Parse(p.home)
	if err != nil || !isLocalTarget(p.home) {
		return fmt.Errorf("home: %q must be a path of this site, beginning with one slash", p.home)
	}
	if !p.leadsOn(&url.URL{Path: home.Path}) {
		return fmt.Errorf("home: %q is a sign-in route: browsers would be sent there after each sign-in", p.home)
	}
	return nil
}
