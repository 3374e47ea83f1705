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
// servers answer "success" to anybody (RFC 4513 5.1.2), so that one of white
// space, which a server might take for empty, is refused too; and Samba cuts at
// a NUL, so that the right password with a tail would do. Passwords are never
// trimmed or normalised.
func checkPassword(password string) error {
	switch {
	case strings.TrimSpace(password) == "":
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
// bare name gets the directory's domain, since Windows takes bare names for
// display names too. Only with a domain of this directory does the part without
// it count as a sAMAccountName: what follows another @ may be an e-mail address
// or the suffix of somebody else's userPrincipalName.
func (d *Directory) parseADName(name string) (login, error) {
	n, err := splitName(name)
	if err != nil {
		return login{}, err
	}
	if n.domain == "" {
		bind := n.user + "@" + d.config.Label
		return login{bind: bind, user: n.user, upn: bind}, nil
	}
	full := n.user + "@" + n.domain
	if n.netBIOS {
		full = n.domain + `\` + n.user
	}
	if d.names.own(n.domain) {
		return login{bind: full, user: n.user, upn: full}, nil
	}
	return login{bind: full, user: full, upn: full}, nil
}

// parseGenericName takes a normalised name as it is, since the filter decides
// what it is compared with, and then without a domain of this directory.
func (d *Directory) parseGenericName(name string) []login {
	names := []login{{user: name, upn: name}}
	if n, err := splitName(name); err == nil && n.domain != "" && d.names.own(n.domain) {
		names = append(names, login{user: n.user, upn: name})
	}
	return names
}

// typedName is a name in its parts.
type typedName struct {
	user    string
	domain  string // "" for a bare name
	netBIOS bool   // domain\user, not user@domain
}

func splitName(name string) (typedName, error) {
	n := typedName{user: name}
	if domain, user, ok := strings.Cut(name, `\`); ok {
		n = typedName{user: user, domain: domain, netBIOS: true}
	} else if user, domain, ok := strings.Cut(name, "@"); ok {
		n = typedName{user: user, domain: domain}
	} else {
		return n, checkNamePart(n.user)
	}
	n.user, n.domain = strings.TrimSpace(n.user), strings.TrimSpace(n.domain)
	if err := checkNamePart(n.user); err != nil {
		return n, err
	}
	return n, checkNamePart(n.domain)
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
