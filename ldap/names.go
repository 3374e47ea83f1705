package ldap

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Bounds of what a directory is ever shown, in bytes.
const (
	maxNameBytes     = 256
	maxPasswordBytes = 1024
)

// forbiddenInSAM cannot be in a sAMAccountName (MS-SAMR 3.1.1.6 and the
// documentation of the attribute). None of them has business in a bind name.
const forbiddenInSAM = `"/\[]:;|=,+*?<>@`

// login is a typed name in the forms that a directory is asked with.
type login struct {
	bind string // name of the bind; on KindGeneric the entry's DN is used instead
	user string // {user} of the filter
	upn  string // {upn} of the filter
}

// normalizeName brings a typed name into the one spelling that is used from
// here on. Directories ignore case, spaces around names and doubled ones
// inside, and some cut names at a NUL: without this, one person has many names.
func normalizeName(typed string) (string, error) {
	if len(typed) > maxNameBytes {
		return "", fmt.Errorf("reading name: it has more than %d bytes", maxNameBytes)
	}
	if !utf8.ValidString(typed) {
		return "", errors.New("reading name: it is not UTF-8")
	}
	if strings.ContainsFunc(typed, unicode.IsControl) {
		return "", errors.New("reading name: it has control characters")
	}
	name := strings.Join(strings.Fields(norm.NFC.String(typed)), " ")
	if name == "" {
		return "", errors.New("reading name: it is empty")
	}
	if len(name) > maxNameBytes {
		return "", fmt.Errorf("reading name: it has more than %d bytes", maxNameBytes)
	}
	return name, nil
}

// checkPassword refuses what no directory may see. An empty password makes many
// servers answer "success" to anybody (RFC 4513 5.1.2), and Samba cuts at a
// NUL, so that the right password with a tail would do. Passwords are never
// trimmed or normalised.
func checkPassword(password string) error {
	switch {
	case password == "":
		return errors.New("reading password: it is empty")
	case len(password) > maxPasswordBytes:
		return fmt.Errorf("reading password: it has more than %d bytes", maxPasswordBytes)
	case !utf8.ValidString(password):
		return errors.New("reading password: it is not UTF-8")
	case strings.ContainsRune(password, 0):
		return errors.New("reading password: it has a NUL")
	default:
		return nil
	}
}

// parseADName reads a normalised name as user, user@suffix or DOMAIN\user. A
// bare name gets domain, since Windows takes bare names for display names too.
func parseADName(name, domain string) (login, error) {
	if prefix, user, ok := strings.Cut(name, `\`); ok {
		prefix, user = strings.TrimSpace(prefix), strings.TrimSpace(user)
		if err := checkNamePart(prefix); err != nil {
			return login{}, err
		}
		if err := checkNamePart(user); err != nil {
			return login{}, err
		}
		bind := prefix + `\` + user
		return login{bind: bind, user: user, upn: bind}, nil
	}
	user, suffix, ok := strings.Cut(name, "@")
	if !ok {
		suffix = domain
	}
	user, suffix = strings.TrimSpace(user), strings.TrimSpace(suffix)
	if err := checkNamePart(user); err != nil {
		return login{}, err
	}
	if err := checkNamePart(suffix); err != nil {
		return login{}, err
	}
	bind := user + "@" + suffix
	return login{bind: bind, user: user, upn: bind}, nil
}

func checkNamePart(part string) error {
	if part == "" {
		return errors.New("reading name: one side of it is empty")
	}
	if i := strings.IndexAny(part, forbiddenInSAM); i >= 0 {
		return fmt.Errorf("reading name: %q cannot be in it", part[i])
	}
	return nil
}

// parseGenericName takes a normalised name as it is: the filter decides what
// it is compared with.
func parseGenericName(name string) login { return login{user: name, upn: name} }
