package caddyauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// RequireSession lets requests through only with a live session, and tells the
// handlers behind it who is signed in. Everything that it refuses it answers
// itself: error routes are a chain without it.
//
// Where no ldap_login handler ran before, it serves the sign-in routes under
// their default paths.
//
// On success `{http.auth.user.id}` is the user name, and
// `{http.auth.user.uid}`, `.dn`, `.name`, `.first_name`, `.last_name`,
// `.email`, `.upn`, `.title`, `.manager` and `.groups` are set.
type RequireSession struct {
	// Groups of which the user must be in one, each by name, DN or SID. A name
	// is the sAMAccountName on Active Directory, elsewhere the cn directly
	// under group_base. Default: any session will do
	Groups []string `json:"groups,omitempty"`

	// Paths that need no session, judged as the client sent them. Without a
	// `*` a path is exact; `/docs/*` covers the folder itself and all below.
	// Default: none
	Public []string `json:"public,omitempty"`

	// Paths that need a group beside a session. They beat public ones, ignore
	// case, and all that cover a path must be met. Default: none
	Require []PathRequirement `json:"require,omitempty"`

	// How long ago the sign-in may be; who signed in before is asked to do so
	// again. At least 1s. Default: as long as the session lives
	Fresh caddy.Duration `json:"fresh,omitempty"`

	// The request headers that carry the identity to the handlers behind.
	// Default: Remote-User, Remote-Name, Remote-Email, Remote-Groups
	IdentityHeaders *IdentityHeaders `json:"identity_headers,omitempty"`

	// Groups that the groups header names beside those that the configuration
	// decides by. Default: none
	ForwardGroups []string `json:"forward_groups,omitempty"`

	// Labels of the directories whose users may pass. Default: all
	Directories []string `json:"directories,omitempty"`

	Policy

	site          *site
	rules         pathRules
	groups        groupLine
	headers       IdentityHeaders
	forwardGroups groupLine
}

// PathRequirement is a path and the groups of which a user must be in one.
type PathRequirement struct {
	// The path, as in public.
	Path string `json:"path"`

	// The groups, each by name, DN or SID.
	Groups []string `json:"groups"`
}

// CaddyModule returns the Caddy module information.
func (RequireSession) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.require_session",
		New: func() caddy.Module { return new(RequireSession) },
	}
}

// Provision checks the options and tells the app which groups and headers they
// name.
func (g *RequireSession) Provision(ctx caddy.Context) error {
	app, err := appOf(ctx, "require_session")
	if err != nil {
		return err
	}
	g.site = &site{app: app, paths: defaultSignInPaths(), logger: ctx.Logger()}
	if err := g.compile(); err != nil {
		return fmt.Errorf("require_session: %w", err)
	}
	app.usePolicy("require_session", g.Policy)
	app.stripErrorRoutes(ctx)
	return nil
}

func (g *RequireSession) compile() error {
	app := g.site.app
	var err error
	if g.site.policy, err = g.Policy.over(app.Policy).compile(); err != nil {
		return err
	}
	if err := errors.Join(
		notEmpty("groups", g.Groups), notEmpty("public", g.Public), notEmpty("require", g.Require),
		notEmpty("forward_groups", g.ForwardGroups), notEmpty("directories", g.Directories),
	); err != nil {
		return err
	}
	if err = checkFresh(g.Fresh); err != nil {
		return err
	}
	if g.rules, err = compilePathRules(g.Public, g.Require); err != nil {
		return err
	}
	if g.groups, err = compileGroupLine(g.Groups); err != nil {
		return err
	}
	if g.forwardGroups, err = compileGroupLine(g.ForwardGroups); err != nil {
		return fmt.Errorf("forward_groups: %w", err)
	}
	for _, label := range g.Directories {
		if app.directoryOf(label) == nil {
			return fmt.Errorf("directories: no directory is labelled %q", label)
		}
	}
	var headers IdentityHeaders
	if g.IdentityHeaders != nil {
		headers = *g.IdentityHeaders
	}
	if g.headers, err = headers.compile(); err != nil {
		return err
	}

	app.useHeaders(g.headers.names())
	refs := slices.Clone(g.groups)
	for _, line := range g.rules.require {
		refs = append(refs, line.groups...)
	}
	if err := app.useGroups(refs, true); err != nil {
		return err
	}
	return app.useGroups(g.forwardGroups, false)
}

// checkFresh refuses ages that no sign-in could have.
func checkFresh(fresh caddy.Duration) error {
	if fresh != 0 && time.Duration(fresh) < time.Second {
		return fmt.Errorf("fresh: %s is less than 1s", time.Duration(fresh))
	}
	return nil
}

// notEmpty refuses a list that is there and holds nothing: it must not become
// "feature off".
func notEmpty[T any](option string, list []T) error {
	if list != nil && len(list) == 0 {
		return fmt.Errorf("%s: the list is empty: fill it, or leave the option out", option)
	}
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (g *RequireSession) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	guard := lastResort{site: g.site, w: w, r: r}
	defer guard.answer()
	w, q := g.site.begin(w, r)
	if g.site.tooEarly(w, r, q) {
		return nil
	}

	f := facts{ipAllowed: g.site.admit(r)}
	if f.ipAllowed && q.paths == nil {
		if which := g.site.paths.route(q.original); which != noRoute {
			g.site.own(r, q)
			return g.site.serveRoute(w, r, q, which)
		}
	}
	// In any case: an application may take "trace" for what it resembles.
	f.methodRefused = strings.EqualFold(r.Method, http.MethodTrace) || strings.EqualFold(r.Method, http.MethodConnect) && !isWebSocketConnect(r)
	var required []requireLine
	f.public, f.pathAmbiguous, required = g.rules.judge(q.original)
	if f.ipAllowed && !f.methodRefused && !f.public {
		g.site.own(r, q)
		f.trustPreflight = q.answer.cors != "" && isPreflight(r)
		if !f.trustPreflight {
			g.gather(&f, r, q, required)
		}
	}

	switch verdict, reason := decide(f, g.site.policy.csrf); verdict {
	case allow:
		watched := q.answer.watching // by an outer handler of ours
		if !watched && !q.watch() {
			// It ended just now.
			q.session, q.result = sessionstore.Handle{}, sessionstore.Unknown
			return g.site.askToSignIn(w, r, q)
		}
		if !watched {
			defer q.answer.stopWatching()
		}
		if g.closedMeanwhile(q) {
			return g.refuse(w, r, q, codeStoreUnavailable, required)
		}
		g.identify(r, q)
		q.answer.renew = true
		guard.handedOn = true
		return q.serveWatched(w, r, next)
	case allowPublic:
		guard.handedOn = true
		return q.serve(w, r, next)
	case preflight:
		allowPreflight(w.Header(), r)
		return writeJSON(w, http.StatusOK, struct {
			Status string `json:"status"`
		}{"ok"})
	case signIn:
		return g.site.askToSignIn(w, r, q)
	default:
		return g.refuse(w, r, q, reason, required)
	}
}

// gather finds out about the session and all that depends on it.
func (g *RequireSession) gather(f *facts, r *http.Request, q *request, required []requireLine) {
	live, err := q.lookup(r.Context(), true)
	switch {
	case err != nil:
		g.site.app.logStoreError(q, "reading a session", err)
		f.session = sessionFailed
		return
	case !live:
		return
	case q.overdue():
		f.session = sessionOverdue
		return
	case g.Directories != nil && !slices.Contains(g.Directories, q.session.User.Directory):
		f.session = sessionForeign
	default:
		f.session = sessionLive
	}

	f.inSiteGroups, f.inRequireGroups = true, true
	if len(g.groups) > 0 || len(required) > 0 {
		groups, view := q.directory.groups, viewOf(q.session)
		f.inSiteGroups = len(g.groups) == 0 || groups.meets(view.memberships, g.groups)
		for _, line := range required {
			f.inRequireGroups = f.inRequireGroups && groups.meets(view.memberships, line.groups)
		}
	}

	// Last, because a form may be read for it, at the client's pace.
	f.unsafe, f.upgrade = isUnsafe(r), isUpgrade(r)
	if f.upgrade {
		// A browser sends an Origin with every WebSocket: what has none is a
		// program that holds the cookie on purpose. Sec-Fetch-Site and Referer
		// say nothing here.
		origin, ok := r.Header["Origin"]
		f.originAllowed = !ok || len(origin) == 1 && g.site.policy.listed(r, origin[0])
		// The handshake cannot carry the token, and its Origin was checked.
		f.unsafe = false
	} else if f.unsafe {
		f.originAllowed = g.site.policy.originAllowed(r)
		if f.originAllowed && g.site.policy.csrf == csrfToken {
			f.tokenShown = csrfTokenSent(r, q.session.CSRF)
		}
		if g.closedMeanwhile(q) {
			f.session = sessionFailed
			return
		}
		if !q.session.Alive() {
			// It ended while the client took its time with the form: a sign-out
			// that was acknowledged meanwhile holds.
			f.session, q.result = sessionNone, sessionstore.Unknown
		}
	}
	f.stale = g.Fresh > 0 && q.session.Age() > time.Duration(g.Fresh)
}

// closedMeanwhile tells whether a reload has closed the session's store since it was
// looked up: a sign-out may have been acknowledged by the one that came after it.
func (g *RequireSession) closedMeanwhile(q *request) bool {
	err := q.session.Err()
	if err == nil {
		return false
	}
	g.site.app.logStoreError(q, "reading a session", err)
	q.lookupErr = err
	return true
}

// identify tells the handlers behind who is signed in.
func (g *RequireSession) identify(r *http.Request, q *request) {
	directory, view := q.directory, viewOf(q.session)
	groups := g.site.app.groupNames(directory.groups, view.memberships, g.forwardGroups)
	q.showUser(r, view, groups)
	if !g.headers.Off {
		view.setHeaders(r.Header, g.headers, groups)
	}
}

// refuse answers a request that must not pass.
func (g *RequireSession) refuse(w http.ResponseWriter, r *http.Request, q *request, reason code, required []requireLine) error {
	switch reason {
	case codeGroupRequired:
		q.explain().needs = g.unmet(q, required)
	case codeStoreUnavailable, codeDirectoryUnavailable:
		return g.site.refuseGate(w, r, q, reason)
	case codeMethodNotAllowed:
		w.Header().Set("Allow", corsMethods)
		return g.site.refuseGate(w, r, q, reason)
	case codeIPNotAllowed:
		return g.site.refuseIP(w, r, q)
	}
	// The session goes on, and its user is whom the access log is about.
	q.answer.renew = true
	q.showUser(r, viewOf(q.session), "")
	g.site.app.audit.forbidden(r, q, reason)
	return g.site.refuseGate(w, r, q, reason)
}

// unmet are the lines of groups that a session does not meet, by the names that
// people know: none where it is about the directory.
func (g *RequireSession) unmet(q *request, required []requireLine) [][]string {
	if g.Directories != nil && !slices.Contains(g.Directories, q.session.User.Directory) {
		return nil
	}
	var unmet [][]string
	groups, view := q.directory.groups, viewOf(q.session)
	if len(g.groups) > 0 && !groups.meets(view.memberships, g.groups) {
		unmet = append(unmet, g.groups.shown())
	}
	for _, line := range required {
		if !groups.meets(view.memberships, line.groups) {
			unmet = append(unmet, line.groups.shown())
		}
	}
	return unmet
}

// Interface guards
var (
	_ caddy.Provisioner           = (*RequireSession)(nil)
	_ caddyhttp.MiddlewareHandler = (*RequireSession)(nil)
)
