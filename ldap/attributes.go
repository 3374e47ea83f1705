package ldap

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"
)

const (
	noAttribute           = "-"
	defaultEmailAttribute = "mail"

	// maxValueBytes bounds a value that goes into an identity, and so into
	// session records and headers.
	maxValueBytes = 1024
)

// profileAttributes are read of every person, on every kind of directory.
func (d *Directory) profileAttributes(more ...string) []string {
	names := append(more, "objectClass", "givenName", "sn", "displayName", "cn", "userPrincipalName", "title", "manager")
	if a := d.emailAttribute(); a != "" {
		names = append(names, a)
	}
	return names
}

func (d *Directory) emailAttribute() string {
	switch d.config.EmailAttribute {
	case "":
		return defaultEmailAttribute
	case noAttribute:
		return ""
	default:
		return d.config.EmailAttribute
	}
}

// profile makes an identity of an entry that was proven to be the person's.
func (d *Directory) profile(e *goldap.Entry) *Identity {
	id := &Identity{
		Directory:   d.config.Label,
		FirstName:   value(e, "givenName"),
		LastName:    value(e, "sn"),
		DisplayName: value(e, "displayName"),
		UPN:         value(e, "userPrincipalName"),
		Title:       value(e, "title"),
		Manager:     value(e, "manager"),
	}
	if cleanLine(e.DN) {
		id.DN = e.DN
	}
	if id.DisplayName == "" {
		id.DisplayName = value(e, "cn")
	}
	if a := d.emailAttribute(); a != "" {
		id.Email = value(e, a)
	} else {
		id.Email = id.UPN
	}
	return id
}

// value is the first presentable value of an attribute, or "". Servers answer
// with the schema's case, not the question's.
func value(e *goldap.Entry, name string) string {
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
