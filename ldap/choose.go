package ldap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Choose returns the directory of the person who typed username: by the suffix
// of user@suffix or the prefix of DOMAIN\user. A name that says nothing, or
// what several directories know, is looked up where a service account exists,
// in the order given; the first that has the person is taken. If none has, it
// is the first directory that cannot be looked into, or else the first one.
//
// No password is involved, so that a person's is only ever sent to their own
// directory. The error is an *UnavailableError where a directory that may have
// the person could not be asked: to go on to another one would send it a
// password that is not for it. A name with the prefix or suffix of no directory
// is a *RefusedError where it is a prefix; a suffix may be an e-mail address's.
func Choose(ctx context.Context, directories []*Directory, username string) (*Directory, error) {
	if len(directories) == 0 {
		return nil, errors.New("choosing a directory: there is none")
	}
	if len(directories) == 1 {
		return directories[0], nil
	}
	typed, err := normalizeName(username)
	if err != nil {
		return directories[0], nil // which refuses it without any traffic
	}
	candidates := directories
	if n, err := splitName(typed); err == nil && n.domain != "" {
		owners, err := ownersOf(ctx, directories, n)
		if err != nil {
			return nil, err
		}
		switch {
		case len(owners) == 1:
			return owners[0], nil
		case len(owners) > 1:
			candidates = owners
		case n.netBIOS:
			return nil, &RefusedError{Reason: ReasonUserUnknown, Err: errors.New("choosing a directory: none has this domain")}
		default:
			if knowing := having(directories, func(d *Directory) bool { return d.names.knows(n.domain) }); len(knowing) > 0 {
				candidates = knowing
			}
		}
	}
	for _, d := range candidates {
		if d.service == nil {
			continue
		}
		found, err := d.has(ctx, typed)
		if err != nil {
			return nil, fmt.Errorf("choosing a directory: %w", err)
		}
		if found {
			return d, nil
		}
	}
	if blind := having(candidates, func(d *Directory) bool { return d.service == nil }); len(blind) > 0 {
		return blind[0], nil
	}
	return candidates[0], nil
}

// ownersOf returns the directories whose domain has the name that n carries.
// Where that is a NetBIOS name, those that have not been asked for theirs are,
// if they can be: what it looks like from the label may be another one's.
func ownersOf(ctx context.Context, directories []*Directory, n typedName) ([]*Directory, error) {
	certain := having(directories, func(d *Directory) bool { return d.names.certainlyOwn(n.domain) })
	if len(certain) > 0 || !n.netBIOS {
		if len(certain) > 0 {
			return certain, nil
		}
		return having(directories, func(d *Directory) bool { return d.names.own(n.domain) }), nil
	}
	looksLike := having(directories, func(d *Directory) bool { return d.names.own(n.domain) })
	// Those that it looks like first: one that says yes needs no other.
	for _, d := range slices.Concat(looksLike, directories) {
		if kind := d.knownKind(); d.service == nil || d.names.known() || kind != KindAuto && kind != KindAD {
			continue
		}
		if err := d.askNames(ctx); err != nil && len(looksLike) == 0 {
			return nil, fmt.Errorf("choosing a directory: %w", err)
		}
		if d.names.certainlyOwn(n.domain) {
			return []*Directory{d}, nil
		}
	}
	return having(looksLike, func(d *Directory) bool { return !d.names.known() }), nil
}

func having(directories []*Directory, is func(d *Directory) bool) []*Directory {
	var those []*Directory
	for _, d := range directories {
		if is(d) {
			those = append(those, d)
		}
	}
	return those
}

// has looks a name up.
func (d *Directory) has(parent context.Context, typed string) (bool, error) {
	ctx, cancel := d.bounded(parent)
	defer cancel()
	found, err := d.findAccount(ctx, typed, false)
	var refused *RefusedError
	switch {
	case err == nil:
		return len(found.entries) > 0, nil
	case errors.As(err, &refused):
		return refused.Reason == ReasonAmbiguousUser, nil
	}
	return false, verdictOn(parent, ctx, &attempt{}, err)
}

// Owns tells whether a typed name itself says that it is of this directory, by
// its suffix or prefix.
func (d *Directory) Owns(username string) bool {
	typed, err := normalizeName(username)
	if err != nil {
		return false
	}
	n, err := splitName(typed)
	return err == nil && n.domain != "" && d.names.own(n.domain)
}

// AccountName is the one spelling of a typed name under which failed attempts
// are counted: without this directory's own domain, and without all that
// directories do not look at when they compare names (MS-ADTS 6.5: case,
// accents, width, kana type), nor spaces. Names that no directory is shown have
// none: "".
func (d *Directory) AccountName(username string) string {
	typed, err := normalizeName(username)
	if err != nil {
		return ""
	}
	n, err := splitName(typed)
	switch {
	case err != nil:
		return foldName(typed)
	case n.domain == "" || d.names.own(n.domain):
		return foldName(n.user)
	case n.netBIOS:
		return foldName(n.domain) + `\` + foldName(n.user)
	}
	return foldName(n.user) + "@" + foldName(n.domain)
}

func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Mn, r), unicode.IsSpace(r), unicode.Is(unicode.Cf, r):
			return -1
		case r >= 'ァ' && r <= 'ヶ': // katakana to hiragana
			return r - 'ァ' + 'ぁ'
		}
		return r
	}, strings.ReplaceAll(foldCase(norm.NFKD.String(name)), "ß", "ss"))
}
