package caddyauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/caddyauth/caddy-ldap/ldap"
)

// openForCheck opens a directory of its own, which shares nothing with those of
// a running configuration.
func openForCheck(d *Directory) (*ldap.Directory, error) {
	config, _, err := d.compile()
	if err != nil {
		return nil, fmt.Errorf("ldap_auth: directory %s: %w", d.Label, err)
	}
	config.Logger = slog.New(slog.DiscardHandler)
	return ldap.New(config)
}

// chooseForCheck picks the directory that a sign-in would ask. how says why.
func chooseForCheck(ctx context.Context, configured []*Directory, options checkOptions, step *ldap.CheckStep) (chosen *Directory, how string, err error) {
	if options.directory != "" {
		for _, d := range configured {
			if strings.EqualFold(d.Label, options.directory) {
				return d, "chosen by --directory", nil
			}
		}
		labels := make([]string, len(configured))
		for i, d := range configured {
			labels[i] = d.Label
		}
		return nil, "", &curedError{fmt.Errorf("--directory: no directory is labelled %q", options.directory), "name one of " + strings.Join(labels, ", ")}
	}
	switch {
	case len(configured) == 1:
		return configured[0], "the only one", nil
	case options.user == "":
		step.Warnings = append(step.Warnings, fmt.Sprintf("there are %d directories, and only the first is looked at: choose another with --directory", len(configured)))
		return configured[0], "the first", nil
	}
	return chooseByName(ctx, configured, options.user, step)
}

// chooseByName follows the rules of a sign-in. The look-ups that they need are
// made on directories of their own, so that the check that follows starts anew.
func chooseByName(ctx context.Context, configured []*Directory, user string, step *ldap.CheckStep) (chosen *Directory, how string, err error) {
	opened := make([]*ldap.Directory, 0, len(configured))
	defer func() {
		for _, d := range opened {
			_ = d.Close()
		}
	}()
	looked := false
	for _, d := range configured {
		one, err := openForCheck(d)
		if err != nil {
			return nil, "", err
		}
		opened = append(opened, one)
		looked = looked || one.HasService()
	}
	choice, err := ldap.Choose(ctx, opened, user)
	var refused *ldap.RefusedError
	switch {
	case errors.As(err, &refused):
		return nil, "", &curedError{fmt.Errorf("--user: the domain in %q is that of no directory: a sign-in gets 401", user), "type another domain, add it to domains of its directory, or choose one with --directory"}
	case err != nil:
		// A sign-in ends here: the directory that could not be asked is the one to
		// look at.
		for i, one := range opened {
			if _, failure := one.Knows(ctx, user); failure != nil {
				step.Warnings = append(step.Warnings, fmt.Sprintf("directory %q could not be asked whether it has the user, and a sign-in never goes on to another one", configured[i].Label))
				return configured[i], "the first that could not be asked", nil
			}
		}
		return nil, "", err
	}
	how = "the first: the name does not say which, and there is no service account to look it up"
	switch {
	case choice.Owns(user):
		how = "chosen by the domain in the name"
	case looked:
		how = "chosen as a sign-in chooses: looked up with the service accounts, in their order"
	}
	return configured[slices.Index(opened, choice)], how, nil
}
