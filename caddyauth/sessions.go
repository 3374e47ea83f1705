package caddyauth

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// Sessions says how long sessions live, how their cookies look and where they
// are kept.
type Sessions struct {
	// How long a session lives without a request. Default: 1h
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`

	// How long a session lives after the sign-in, whatever happens; 0 means
	// without such a limit. Default: 12h
	AbsoluteTimeout *caddy.Duration `json:"absolute_timeout,omitempty"`

	// How many sessions somebody may have at once: a further sign-in ends the
	// oldest. 1 to 1000. Default: 100
	PerUser int `json:"per_user,omitempty"`

	// Lets browsers forget the session cookie when they are closed. The
	// session itself lives on until its timeouts. Default: false
	BrowserClose bool `json:"browser_close,omitempty"`

	// The name of the session cookie. Default: sessionid
	CookieName string `json:"cookie_name,omitempty"`

	// A prefix that binds the session cookie to TLS, and with `__Host-` to
	// this host: `__Host-` or `__Secure-`. Over plain HTTP it is left out,
	// because browsers would refuse it. Default: none
	CookiePrefix string `json:"cookie_prefix,omitempty"`

	// Which requests from other sites carry the cookies: `lax` (links only),
	// `strict` (none) or `none` (all; needs TLS). Default: lax
	SameSite string `json:"same_site,omitempty"`

	// Where sessions are kept. Default: badger
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=ldap_auth.storage inline_key=module"`
}

// provisionSessions reads the options of sessions.
func (app *App) provisionSessions(ctx caddy.Context) error {
	s := &app.Sessions
	app.limits = sessionstore.Limits{Idle: time.Duration(s.IdleTimeout), Absolute: 12 * time.Hour}
	if s.IdleTimeout == 0 {
		app.limits.Idle = time.Hour
	}
	if s.AbsoluteTimeout != nil {
		app.limits.Absolute = time.Duration(*s.AbsoluteTimeout)
	}
	if app.limits.Idle < time.Second {
		return fmt.Errorf("idle_timeout: %s is less than 1s", app.limits.Idle)
	}
	if app.limits.Absolute != 0 && app.limits.Absolute < time.Second {
		return fmt.Errorf("absolute_timeout: %s is less than 1s; write off for no limit", app.limits.Absolute)
	}
	var err error
	if app.perUser, err = s.perUser(); err != nil {
		return err
	}
	if app.cookies, err = s.compileCookies(app.limits); err != nil {
		return err
	}

	if s.StorageRaw == nil {
		badger := new(Badger)
		if err := badger.Provision(ctx); err != nil {
			return err
		}
		app.storage = badger
		return nil
	}
	module, err := ctx.LoadModule(s, "StorageRaw")
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	storage, ok := module.(Storage)
	if !ok {
		return fmt.Errorf("storage: module %T keeps no sessions", module)
	}
	app.storage = storage
	return nil
}

const (
	defaultPerUser = 100
	mostPerUser    = 1000
)

// perUser fills in the default of the option and checks it.
func (s *Sessions) perUser() (int, error) {
	switch {
	case s.PerUser == 0:
		return defaultPerUser, nil
	case s.PerUser < 1 || s.PerUser > mostPerUser:
		return 0, fmt.Errorf("per_user: %d is not from 1 to %d", s.PerUser, mostPerUser)
	}
	return s.PerUser, nil
}

// compileCookies fills in the defaults of the cookies' options and checks them.
func (s *Sessions) compileCookies(limits sessionstore.Limits) (cookieConfig, error) {
	name, sameSite := s.CookieName, s.SameSite
	if name == "" {
		name = "sessionid"
	}
	if sameSite == "" {
		sameSite = "lax"
	}
	return newCookieConfig(name, s.CookiePrefix, sameSite, s.BrowserClose, limits)
}
