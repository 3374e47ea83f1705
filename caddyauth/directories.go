package caddyauth

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap"
)

// defaultTimeout is how long one sign-in may take, as package ldap has it.
const defaultTimeout = 10 * time.Second

// configuredDirectory is one directory of a configuration: the directory itself,
// which may outlive it, and what this configuration says of it.
type configuredDirectory struct {
	*directoryHandle
	configured      *Directory
	key             string // of the pool
	hints           loginHints
	timeout         time.Duration // of one sign-in
	recheckInterval time.Duration
	recheckGrace    time.Duration
	groups          *groupResolver

	recheck    *recheck // nil without a service account
	recheckKey string   // of its pool
}

// configure checks the options and takes a reference to the directory, which
// release gives back. Nothing is dialled.
func (d *Directory) configure() (*configuredDirectory, error) {
	if d.Label == "" {
		return nil, errors.New("directory: the label is missing")
	}
	c := &configuredDirectory{configured: d, timeout: defaultTimeout, recheckInterval: defaultRecheck, recheckGrace: defaultRecheckGrace}
	var err error
	if c.hints, err = d.hints(); err != nil {
		return nil, fmt.Errorf("directory %s: %w", d.Label, err)
	}
	if d.Timeout != 0 {
		c.timeout = time.Duration(d.Timeout)
	}
	if d.Recheck != 0 {
		c.recheckInterval = time.Duration(d.Recheck)
	}
	if d.RecheckGrace != 0 {
		c.recheckGrace = time.Duration(d.RecheckGrace)
	}
	switch {
	case c.recheckInterval < time.Second || c.recheckInterval > 24*time.Hour:
		return nil, fmt.Errorf("directory %s: recheck: %s is not from 1s to 24h", d.Label, c.recheckInterval)
	case c.recheckGrace < time.Second:
		return nil, fmt.Errorf("directory %s: recheck_grace: %s is less than 1s", d.Label, c.recheckGrace)
	case d.BindUser == "" && (d.Recheck != 0 || d.RecheckGrace != 0):
		return nil, fmt.Errorf("directory %s: recheck needs a service account: add bind <user> <password>", d.Label)
	}
	if c.directoryHandle, c.key, err = d.acquire(); err != nil {
		return nil, err
	}
	return c, nil
}

// acquireRecheck takes a reference to the re-check of the directory's accounts.
// Nothing is started.
func (c *configuredDirectory) acquireRecheck(app *App) error {
	if !c.HasService() {
		return nil
	}
	key := c.key + "\x00" + app.resource
	var err error
	if c.recheck, err = acquireRecheck(key, c.directoryHandle, app.store); err == nil {
		c.recheckKey = key
	}
	return err
}

// start lets the directory log through this configuration, says what its
// options mean, and begins the re-checks.
func (c *configuredDirectory) start(app *App) {
	c.handler.handOver(app, app.slogger.Handler())
	c.configured.warn(app.slogger)
	if c.recheck != nil {
		c.recheck.start(app)
		return
	}
	app.slogger.Warn("without a service account nobody looks at an account after its sign-in: one that is disabled, or loses a group, keeps its sessions as they are until they time out: add bind <user> <password>",
		slog.String("directory", c.Label()), slog.Duration("absolute_timeout", app.limits.Absolute))
}

// release gives back what this configuration acquired.
func (c *configuredDirectory) release(app *App) error {
	var err error
	if c.recheck != nil {
		// First: it uses the directory.
		c.recheck.takeBack(app)
		_, err = rechecks.Delete(c.recheckKey)
	}
	for _, ref := range app.groupRefs {
		c.ReleaseGroup(ref)
	}
	_, released := directories.Delete(c.key)
	c.handler.takeBack(app)
	return errors.Join(err, released)
}

// overdue tells whether a session has gone on for longer than recheck_grace
// while its directory could not say what became of the account.
func (q *request) overdue() bool {
	d := q.directory
	if d.recheck == nil || d.recheck.failing.Load() == 0 || !d.recheck.overdue(q.session.Age(), d.recheckGrace) {
		return false
	}
	q.explain().reason = "recheck_grace"
	return true
}

// ldapDirectories are the directories in the order of the configuration.
func (app *App) ldapDirectories() []*ldap.Directory {
	list := make([]*ldap.Directory, len(app.directories))
	for i, d := range app.directories {
		list[i] = d.Directory
	}
	return list
}

// passwordURL is where people change their password, as far as that is known
// before they have said who they are.
func (app *App) passwordURL() string {
	for _, d := range app.directories {
		if d.configured.PasswordURL != "" {
			return d.configured.PasswordURL
		}
	}
	return ""
}
