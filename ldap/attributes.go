package ldap

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"
)

// maxValueBytes bounds a value that goes into an identity, and so into session
// records and headers.
const maxValueBytes = 1024

// attributes are the names that entries of a kind of directory are read by.
func (d *Directory) attributes(kind Kind) Attributes { return d.config.Attributes.with(kind) }

// personAttributes are asked for of every person: what identity needs, on AD
// what proves whose entry it is, and more.
func (d *Directory) personAttributes(kind Kind, more ...string) []string {
	a := d.attributes(kind)
	names := append([]string{
		"objectClass", a.ID, a.Username, a.FirstName, a.LastName, a.DisplayName, a.Email, a.UPN, a.Title, a.Manager, a.PasswordSet,
	}, more...)
	if a.DisplayName != noAttribute {
		names = append(names, "cn")
	}
	if kind == KindAD {
		names = append(names, "objectSid", "sAMAccountName", "userPrincipalName")
	} else {
		names = append(names, a.MemberOf) // by name: slapd shows it with no *
	}
	var unique []string
	for _, name := range names {
		if name != noAttribute && !slices.ContainsFunc(unique, func(n string) bool { return strings.EqualFold(n, name) }) {
			unique = append(unique, name)
		}
	}
	return unique
}

// identity makes an identity, without its groups, of an entry that is the
// person's.
func (d *Directory) identity(e *goldap.Entry, kind Kind) (*Identity, error) {
	a := d.attributes(kind)
	id, err := identifier(e, a.ID)
	if err != nil {
		return nil, fmt.Errorf("%w: nothing else tells people apart for ever: let the service account read it, or name another attribute with attributes { id <attribute> }; is the kind of directory right?", err)
	}
	username := value(e, a.Username)
	if username == "" {
		return nil, fmt.Errorf("reading entry %q: it shows no %s, which becomes the user name: name another attribute with attributes { username <attribute> }", printable(e.DN), a.Username)
	}
	person := &Identity{
		Directory:   d.config.Label,
		ID:          id,
		Username:    username,
		FirstName:   value(e, a.FirstName),
		LastName:    value(e, a.LastName),
		DisplayName: value(e, a.DisplayName),
		Email:       value(e, a.Email),
		UPN:         value(e, a.UPN),
		Title:       value(e, a.Title),
		Manager:     value(e, a.Manager),
		PasswordSet: passwordMark(a.PasswordSet, value(e, a.PasswordSet)),
	}
	if cleanLine(e.DN) {
		person.DN = e.DN
	}
	if person.DisplayName == "" && a.DisplayName != noAttribute {
		person.DisplayName = value(e, "cn")
	}
	if a.Email == noAttribute {
		person.Email = person.UPN
	}
	return person, nil
}

// identifier reads the attribute that tells people apart.
func identifier(e *goldap.Entry, name string) (string, error) {
	raw, err := single(e, name)
	if err != nil {
		return "", err
	}
	if strings.EqualFold(name, guidAttribute) {
		guid, err := decodeGUID(raw)
		if err != nil {
			return "", fmt.Errorf("reading entry %q: %w", printable(e.DN), err)
		}
		return guid, nil
	}
	id := string(raw)
	if strings.TrimSpace(id) == "" || !cleanLine(id) || len(id) > maxNameBytes {
		return "", fmt.Errorf("reading entry %q: its %s is no text of at most %d bytes", printable(e.DN), name, maxNameBytes)
	}
	return foldCase(id), nil
}

// value is the first presentable value of an attribute, or "". Servers answer
// with the schema's case, not the question's.
func value(e *goldap.Entry, name string) string {
	if name == noAttribute {
		return ""
	}
	for _, v := range e.GetEqualFoldAttributeValues(name) {
		if v != "" && cleanLine(v) && len(v) <= maxValueBytes {
			return v
		}
	}
	return ""
}

// single is the one value of an attribute that identifies somebody: with
// several, it identifies nobody.
func single(e *goldap.Entry, name string) ([]byte, error) {
	values := e.GetEqualFoldRawAttributeValues(name)
	if len(values) != 1 || len(values[0]) == 0 {
		return nil, fmt.Errorf("reading entry %q: it has %d values of %s, not one", printable(e.DN), len(values), name)
	}
	return values[0], nil
}

func hasClass(e *goldap.Entry, class string) bool {
	for _, v := range e.GetEqualFoldAttributeValues("objectClass") {
		if strings.EqualFold(v, class) {
			return true
		}
	}
	return false
}

// cleanLine keeps values that could split headers or log lines out.
func cleanLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
