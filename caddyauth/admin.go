package caddyauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// adminAPI lets operators see and end sessions, on Caddy's admin endpoint below
// /ldap_auth/. Who may reach that endpoint is Caddy's business: whoever does
// can replace the whole configuration.
//
// It holds nothing: Caddy makes it anew before each load, and after one that
// fails it stays, while the configuration of before goes on.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.ldap_auth",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes implements caddy.AdminRouter. All paths are below one, so that the
// permissions of remote administrators can name them.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminBase, Handler: caddy.AdminHandlerFunc(serveAdmin)}}
}

const (
	adminBase     = "/ldap_auth/"
	adminSessions = adminBase + "sessions"
	adminUsers    = adminBase + "users"
	adminCounts   = adminBase + "counts"
)

// What is missing, in the words that the command ldap-sessions looks for.
const (
	noSuchSession = "no such session"
	noSuchUser    = "no such user"
)

// adminAction answers a request of one path and method.
type adminAction struct {
	parameters []string // of the query that it knows
	answer     func(ctx context.Context, call *adminCall) (any, error)
}

// adminCall is one request, and what it is about.
type adminCall struct {
	app      *App
	sessions *sessionstore.Sessions
	id       string // of the session that the path names
	query    adminQuery
}

// adminActions returns what can be done with a path, by method; nil: there is
// no such path. State changes by DELETE only.
func adminActions(path string) (actions map[string]adminAction, id string) {
	switch path {
	case adminSessions:
		return map[string]adminAction{
			http.MethodGet:    {[]string{"user", "directory", "limit", "cursor"}, listSessions},
			http.MethodDelete: {[]string{"user", "directory"}, endUser},
		}, ""
	case adminUsers:
		return map[string]adminAction{
			http.MethodGet: {[]string{"user", "directory", "limit", "cursor"}, listUsers},
		}, ""
	case adminCounts:
		return map[string]adminAction{http.MethodGet: {nil, countSessions}}, ""
	}
	if id, ok := strings.CutPrefix(path, adminSessions+"/"); ok && id != "" && !strings.Contains(id, "/") {
		return map[string]adminAction{
			http.MethodGet:    {nil, showOne},
			http.MethodDelete: {nil, endOne},
		}, id
	}
	return nil, ""
}

// serveAdmin answers a request below adminBase.
func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	actions, id := adminActions(r.URL.Path)
	if actions == nil || r.URL.RawPath != "" {
		// Also another spelling of a path: what is allowed by path has one.
		return adminError(http.StatusNotFound, errors.New("there is nothing at this path"))
	}
	action, ok := actions[r.Method]
	if !ok {
		allowed := http.MethodGet
		if _, ok := actions[http.MethodDelete]; ok {
			allowed += ", " + http.MethodDelete
		}
		w.Header().Set("Allow", allowed)
		return adminError(http.StatusMethodNotAllowed, errors.New("method not allowed"))
	}
	query, err := parseAdminQuery(r.URL.RawQuery, action.parameters)
	if err != nil {
		return adminError(http.StatusBadRequest, err)
	}
	app, err := activeApp()
	if err != nil {
		return adminError(http.StatusNotFound, err)
	}
	body, err := answerAdmin(r.Context(), app, action, adminCall{id: id, query: query})
	if err != nil {
		var known caddy.APIError
		if !errors.As(err, &known) {
			app.logStoreError(nil, "answering the admin API", err)
			known = storeFailure(err)
		}
		if known.HTTPStatus == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", retryAfter)
		}
		return known // by value: Caddy knows no other
	}
	return writeAdmin(w, body)
}

func answerAdmin(ctx context.Context, app *App, action adminAction, call adminCall) (any, error) {
	sessions, ok := app.openSessions()
	if !ok {
		return nil, errStoreNotReady
	}
	call.app, call.sessions = app, sessions
	return action.answer(ctx, &call)
}

// activeApp is the app of the configuration that runs now. It is asked for anew
// each time: during a reload, and after one that failed, only Caddy knows.
func activeApp() (*App, error) {
	loaded, err := caddy.ActiveContext().AppIfConfigured("ldap_auth")
	if err != nil {
		return nil, errors.New("no configuration with ldap_auth runs")
	}
	app, ok := loaded.(*App)
	if !ok {
		return nil, fmt.Errorf("the app ldap_auth is a %T", loaded)
	}
	return app, nil
}

func adminError(status int, err error) caddy.APIError {
	return caddy.APIError{HTTPStatus: status, Err: err}
}

// storeFailure is the answer where the store failed. What the store says stays
// in the log: it may name what the answers of this API never name.
func storeFailure(err error) caddy.APIError {
	text := "the session store failed: the log of ldap_auth has the cause"
	switch {
	case errors.Is(err, errStoreNotReady):
		text = errStoreNotReady.Error()
	case errors.Is(err, sessionstore.ErrClosed):
		text = "the session store is closed"
	case errors.Is(err, sessionstore.ErrNoSpace):
		text = "the session store has no space"
	case errors.Is(err, sessionstore.ErrUnavailable):
		text = "the session store cannot be reached: the log of ldap_auth has the cause"
	}
	return adminError(http.StatusServiceUnavailable, errors.New(text))
}

func writeAdmin(w http.ResponseWriter, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return adminError(http.StatusInternalServerError, fmt.Errorf("encoding the answer: %w", err))
	}
	text = append(printableJSON(text), '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(text)
	return nil
}

// adminCounted is the answer to how much there is.
type adminCounted struct {
	Sessions int `json:"sessions"`
	InMemory int `json:"in_memory"`
	Users    int `json:"users"`
}

func countSessions(ctx context.Context, call *adminCall) (any, error) {
	counts, err := call.sessions.Count(ctx)
	if err != nil {
		return nil, err
	}
	return adminCounted{Sessions: counts.Sessions, InMemory: call.sessions.InMemory(), Users: counts.Users}, nil
}

// Interface guard
var _ caddy.AdminRouter = (*adminAPI)(nil)
