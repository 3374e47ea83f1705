package caddyauth

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddyauth/caddy-ldap/ldap"
)

// directoryCalls are those of ldap.Directory whose answers are a server's.
type directoryCalls interface {
	SignIn(ctx context.Context, username, password string, checks ...ldap.Check) (*ldap.Identity, error)
	Recheck(ctx context.Context, ids []string) ([]ldap.AccountState, error)
	Lockout(ctx context.Context) ([]ldap.LockoutPolicy, error)
	GroupState(ref string) (ldap.Group, ldap.GroupState)
}

func (h *directoryHandle) asked() directoryCalls {
	if h.calls != nil {
		return h.calls
	}
	return h.Directory
}

// errPanicked is code of ours that panicked over what came from outside.
var errPanicked = errors.New("it panicked")

// caught is deferred: it makes a panic of the call that it is about an error,
// which says nothing about anybody. Servers choose what is read there, and a
// re-check is no request: its panic would end the process.
func (h *directoryHandle) caught(doing string, err *error) {
	p := recover()
	if p == nil {
		return
	}
	*err = &ldap.UnavailableError{Reason: ldap.ReasonDirectoryUnavailable, Err: fmt.Errorf("%s: %w: %v", doing, errPanicked, p)}
	if app, ok := h.handler.newest().(*App); ok {
		app.logPanic("asking the directory panicked: it counts as one that does not answer", p)
	}
}

// SignIn is ldap.Directory's, as are the following: without their panics.
func (h *directoryHandle) SignIn(ctx context.Context, username, password string, checks ...ldap.Check) (identity *ldap.Identity, err error) {
	defer h.caught("signing in", &err)
	return h.asked().SignIn(ctx, username, password, checks...)
}

// Recheck is ldap.Directory's.
func (h *directoryHandle) Recheck(ctx context.Context, ids []string) (states []ldap.AccountState, err error) {
	defer h.caught("looking accounts up", &err)
	return h.asked().Recheck(ctx, ids)
}

// Lockout is ldap.Directory's.
func (h *directoryHandle) Lockout(ctx context.Context) (policies []ldap.LockoutPolicy, err error) {
	defer h.caught("reading lockout policies", &err)
	return h.asked().Lockout(ctx)
}

// GroupState is ldap.Directory's. It asks nobody now and is called with every
// request: the handler that asks catches its panics.
func (h *directoryHandle) GroupState(ref string) (ldap.Group, ldap.GroupState) {
	return h.asked().GroupState(ref)
}

// Interface guards
var (
	_ directoryCalls = (*ldap.Directory)(nil)
	_ directoryCalls = (*directoryHandle)(nil)
	_ groupDirectory = (*directoryHandle)(nil)
)
