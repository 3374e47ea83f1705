package caddyauth

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// LDAPLogin serves the sign-in routes: the page, the API, sign-out, the
// question who is signed in, and the list of somebody's sessions. Other requests pass unguarded; require_session
// guards. It stands at a site's top level where the site only signs in, or
// where the routes have other paths than the default ones.
type LDAPLogin struct {
	// The path of the sign-in page. Default: /accounts/login/
	Page string `json:"page,omitempty"`

	// The path of the sign-in API, which takes JSON. Default: /api/login-ldap/
	API string `json:"api,omitempty"`

	// The path that signs out. Default: /api/logout/
	Logout string `json:"logout,omitempty"`

	// The path that tells who is signed in. Default: /api/session/
	Session string `json:"session,omitempty"`

	// The path where people see their sessions and end them. Default:
	// /accounts/sessions/
	Sessions string `json:"sessions,omitempty"`

	// Where browsers go after a sign-in without another target. Default: /
	Home string `json:"home,omitempty"`

	Policy

	site *site
}

// CaddyModule returns the Caddy module information.
func (LDAPLogin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ldap_login",
		New: func() caddy.Module { return new(LDAPLogin) },
	}
}

// Provision fills in the default paths and checks the options.
func (l *LDAPLogin) Provision(ctx caddy.Context) error {
	app, err := appOf(ctx, "ldap_login")
	if err != nil {
		return err
	}
	l.site = &site{app: app, logger: ctx.Logger()}
	if l.site.policy, err = l.Policy.over(l.site.app.Policy).compile(); err != nil {
		return fmt.Errorf("ldap_login: %w", err)
	}
	if l.site.paths, err = l.compilePaths(); err != nil {
		return fmt.Errorf("ldap_login: %w", err)
	}
	app.usePolicy("ldap_login", l.Policy)
	app.stripErrorRoutes(ctx)
	return nil
}

// compilePaths fills in the default paths and checks them.
func (l *LDAPLogin) compilePaths() (signInPaths, error) {
	paths := defaultSignInPaths()
	for _, path := range []struct {
		configured string
		target     *string
	}{
		{l.Page, &paths.page},
		{l.API, &paths.api},
		{l.Logout, &paths.logout},
		{l.Session, &paths.session},
		{l.Sessions, &paths.sessions},
		{l.Home, &paths.home},
	} {
		if path.configured != "" {
			*path.target = path.configured
		}
	}
	return paths, paths.check()
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (l *LDAPLogin) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	guard := lastResort{site: l.site, w: w, r: r}
	defer guard.answer()
	w, q := l.site.begin(w, r)
	if l.site.tooEarly(w, r, q) {
		return nil
	}
	if !l.site.admit(r) {
		return l.site.refuseIP(w, r, q)
	}
	if which := l.site.paths.route(q.original); which != noRoute {
		l.site.own(r, q)
		return l.site.serveRoute(w, r, q, which)
	}
	q.paths = &l.site.paths
	guard.handedOn = true
	return q.serve(w, r, next)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*LDAPLogin)(nil)
	_ caddyhttp.MiddlewareHandler = (*LDAPLogin)(nil)
)
