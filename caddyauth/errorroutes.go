package caddyauth

import (
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// errorStripper stands before a server's error routes. Caddy refuses some
// requests before any handler of a site runs (a method of more than 32 letters,
// an invalid Host, a Host that is not the server name of the handshake), and the
// error routes then get the headers as the client sent them.
type errorStripper struct{ app *App }

// ServeHTTP implements caddyhttp.MiddlewareHandler. Where a handler of ours ran
// before the error, it does nothing.
func (s errorStripper) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	s.app.requestOf(r)
	return next.ServeHTTP(w, r)
}

// stripErrorRoutes puts an errorStripper before the error routes of the server
// whose routes are being provisioned. Caddy provisions error routes after all
// others: once it has begun to, they are left as they are.
func (app *App) stripErrorRoutes(ctx caddy.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server.Errors == nil || len(server.Errors.Routes) == 0 {
		return
	}
	// Of routes that are provisioned the raw handlers are gone.
	if !slices.ContainsFunc(server.Routes, func(route caddyhttp.Route) bool { return route.HandlersRaw != nil }) {
		return
	}
	routes := server.Errors.Routes
	if first := routes[0].Handlers; len(first) == 1 {
		if _, done := first[0].(errorStripper); done {
			return
		}
	}
	strip := caddyhttp.Route{Handlers: []caddyhttp.MiddlewareHandler{errorStripper{app}}}
	server.Errors.Routes = append(caddyhttp.RouteList{strip}, routes...)
}

// Interface guards
var _ caddyhttp.MiddlewareHandler = errorStripper{}
