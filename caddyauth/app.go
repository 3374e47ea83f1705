// Package caddyauth holds the Caddy modules of the sign-in: the app ldap_auth,
// which owns the directory, the sessions and the shared policy; the handlers
// ldap_login and require_session; the matcher session_group; the storage modules
// badger and redis; the admin API and the commands. It is the only package of this
// project that imports Caddy.
package caddyauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/throttle"
)

func init() {
	caddy.RegisterModule(App{})
	caddy.RegisterModule(Badger{})
	caddy.RegisterModule(LDAPLogin{})
	caddy.RegisterModule(Redis{})
	caddy.RegisterModule(RequireSession{})
	caddy.RegisterModule(SessionGroup{})
	caddy.RegisterModule(adminAPI{})
}

// App signs people in with their directory account and keeps their sessions.
// The handlers ldap_login and require_session put it in front of sites.
type App struct {
	// The directories that prove who people are, at least one. With several, the
	// name that somebody types says which, see Directory.Domains; user names
	// then carry the label, as in jdoe@corp.example.com.
	Directories []*Directory `json:"directories,omitempty"`

	// How sessions live, and where they are kept.
	Sessions Sessions `json:"sessions,omitzero"`

	// How many wrong passwords are possible.
	Throttle Throttle `json:"throttle,omitzero"`

	// The language of the pages for everybody whose browser asks for none of es,
	// en, pt, fr and de. Default: es
	DefaultLanguage string `json:"default_language,omitempty"`

	// What the pages show of whoever runs the site.
	Branding Branding `json:"branding,omitzero"`

	Policy

	limits  sessionstore.Limits
	perUser int // sessions at once
	cookies cookieConfig
	pages   *pages.Pages
	audit   auditor
	logger  *zap.Logger
	slogger *slog.Logger // the same, for packages that do not know Caddy

	throttled      bool
	throttleLimits throttle.Limits

	directories []*configuredDirectory // in the order of Directories

	storage  Storage
	store    *storeHandle
	resource string // of the pool; empty until this instance holds a reference

	// Of the handlers and matchers, which are all provisioned before any
	// request comes.
	policies     []ownPolicy
	headerNames  []string
	groupRefs    []string
	decidingRefs []string
	stripper     *stripper

	// reading counts the sign-ins whose bodies are being read.
	reading chan struct{}

	// warnedIP is set once trusted_ips met a proxy that is not strict.
	warnedIP *atomic.Bool

	// warnedSource is set once throttle source did.
	warnedSource *atomic.Bool
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ldap_auth",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision reads the configuration and the files that it names. It dials,
// opens and starts nothing.
func (app *App) Provision(ctx caddy.Context) error {
	if err := app.provision(ctx); err != nil {
		return fmt.Errorf("ldap_auth: %w", err)
	}
	return nil
}

func (app *App) provision(ctx caddy.Context) error {
	app.logger, app.slogger = ctx.Logger(), ctx.Slogger()
	app.audit = auditor{logger: app.logger.Named("audit")}
	app.headerNames = defaultIdentityHeaders().names()
	app.stripper = newStripper(app.headerNames)
	app.warnedIP, app.warnedSource = new(atomic.Bool), new(atomic.Bool)
	app.reading = make(chan struct{}, maxReading)
	if err := metrics.register(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering the metrics: %w", err)
	}

	if _, err := app.Policy.compile(); err != nil {
		return err
	}
	app.usePolicy("ldap_auth", app.Policy)
	if err := app.provisionSessions(ctx); err != nil {
		return fmt.Errorf("sessions: %w", err)
	}
	var err error
	if err = app.provisionPages(); err != nil {
		return err
	}

	app.throttled = !app.Throttle.InsecureOff
	if app.throttleLimits, err = app.Throttle.compile(); err != nil {
		return err
	}

	if len(app.Directories) == 0 {
		return errors.New("directory: name the directory that proves who people are")
	}
	for _, configured := range app.Directories {
		if configured == nil {
			return errors.New("directory: it is null")
		}
		if slices.ContainsFunc(app.directories, func(d *configuredDirectory) bool { return strings.EqualFold(d.configured.Label, configured.Label) }) {
			return fmt.Errorf("directory %s: there are two of this label", configured.Label)
		}
		acquired, err := configured.configure()
		if err != nil {
			return err
		}
		app.directories = append(app.directories, acquired)
	}

	if app.store, err = acquireStore(app.storage.Resource()); err != nil {
		return err
	}
	app.resource = app.storage.Resource()
	for _, d := range app.directories {
		if err := d.acquireRecheck(app); err != nil {
			return err
		}
	}
	return nil
}

// Start opens the store, unless an earlier configuration has it open.
func (app *App) Start() error {
	if err := app.store.open(app, app.storage, app.slogger); err != nil {
		return fmt.Errorf("ldap_auth: %w", err)
	}
	for _, d := range app.directories {
		d.start(app)
	}
	if !app.throttled {
		app.logger.Warn("throttle insecure_off is set: passwords can be guessed as fast as the directory answers, and accounts locked by strangers")
	}
	for _, own := range app.policies {
		own.Policy.warn(app.logger, own.of)
	}
	return nil
}

// Stop has nothing to stop: requests that are under way still need everything.
func (app *App) Stop() error { return nil }

// Cleanup releases what this instance acquired, and nothing else: it also runs
// for configurations that failed.
func (app *App) Cleanup() error {
	var err error
	for _, d := range app.directories {
		err = errors.Join(err, d.release(app))
	}
	if app.resource != "" {
		_, released := stores.Delete(app.resource)
		err = errors.Join(err, released)
		app.store.handler.takeBack(app)
	}
	return err
}

// useHeaders takes note of headers that a gate sets: they are stripped from
// requests to every site.
func (app *App) useHeaders(names []string) {
	app.headerNames = append(app.headerNames, names...)
	app.stripper = newStripper(app.headerNames)
}

// maxGroups bounds the groups that one configuration names: each sign-in may
// have to look all of them up.
const maxGroups = 1000

// useGroups takes note of groups that a handler or matcher names, so that
// sign-ins resolve them. deciding ones are named to applications.
func (app *App) useGroups(refs []string, deciding bool) error {
	for _, ref := range refs {
		if slices.Contains(app.groupRefs, ref) {
			continue
		}
		if len(app.groupRefs) >= maxGroups {
			return fmt.Errorf("group %q is one too many: a configuration names at most %d", ref, maxGroups)
		}
		for i, d := range app.directories {
			if err := d.UseGroup(ref); err != nil {
				for _, before := range app.directories[:i] {
					before.ReleaseGroup(ref)
				}
				return err // it names the group
			}
		}
		app.groupRefs = append(app.groupRefs, ref)
	}
	if deciding {
		for _, ref := range refs {
			if !slices.Contains(app.decidingRefs, ref) {
				app.decidingRefs = append(app.decidingRefs, ref)
			}
		}
	}
	for _, d := range app.directories {
		d.groups = newGroupResolver(d, app.groupRefs, app.logger)
	}
	return nil
}

// groupNames returns what applications are told of a user's groups: those that
// the configuration decides by, and the forwarded ones.
func (app *App) groupNames(groups *groupResolver, m memberships, forwarded groupLine) string {
	if len(app.decidingRefs) == 0 && len(forwarded) == 0 {
		return ""
	}
	refs := app.decidingRefs
	if len(forwarded) > 0 {
		refs = slices.Concat(refs, forwarded)
	}
	return groups.names(m, refs)
}

// directoryOf returns the directory of a label, nil if none is configured.
func (app *App) directoryOf(label string) *configuredDirectory {
	for _, d := range app.directories {
		if d.configured.Label == label {
			return d
		}
	}
	return nil
}

// sessions waits until the store is open. Any error is a 503: not ready is not
// "no session".
func (app *App) sessions(ctx context.Context) (*sessionstore.Sessions, error) {
	return app.store.wait(ctx)
}

// openSessions returns the sessions if the store is open.
func (app *App) openSessions() (*sessionstore.Sessions, bool) {
	sessions := app.store.sessions.Load()
	return sessions, sessions != nil
}

// ownPolicy is what one module of the configuration sets itself.
type ownPolicy struct {
	of string
	Policy
}

// usePolicy takes note of a module's own options, to warn of what weakens
// safety when the configuration starts.
func (app *App) usePolicy(of string, own Policy) {
	app.policies = append(app.policies, ownPolicy{of, own})
}

// appOf returns the app for a module that needs it.
func appOf(ctx caddy.Context, module string) (*App, error) {
	loaded, err := ctx.AppIfConfigured("ldap_auth")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, fmt.Errorf("%s needs the ldap_auth global option", module)
	}
	if err != nil {
		return nil, err
	}
	return loaded.(*App), nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
