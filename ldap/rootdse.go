package ldap

import (
	"errors"
	"fmt"
	"slices"

	goldap "github.com/go-ldap/ldap/v3"
)

// oidActiveDirectory is the capability that AD and Samba AD announce
// (MS-ADTS 3.1.1.3.4.3.1).
const oidActiveDirectory = "1.2.840.113556.1.4.800"

// rootDSE reads attributes of the server's own entry. A server that shows none
// answers with an empty one.
func (c *connection) rootDSE(attributes ...string) (*goldap.Entry, error) {
	entries, err := c.search("", goldap.ScopeBaseObject, 1, "(objectClass=*)", attributes...)
	if err != nil {
		return nil, fmt.Errorf("reading rootDSE: %w", err)
	}
	if len(entries) == 0 {
		return &goldap.Entry{}, nil
	}
	return entries[0], nil
}

// kindOf finds out which kind of server c leads to, before any bind. The answer
// is remembered: a directory does not change its kind.
func (d *Directory) kindOf(c *connection) (Kind, error) {
	if kind := d.knownKind(); kind != KindAuto {
		return kind, nil
	}
	kind := KindGeneric
	e, err := c.rootDSE("supportedCapabilities")
	switch {
	case err == nil:
		if slices.Contains(e.GetEqualFoldAttributeValues("supportedCapabilities"), oidActiveDirectory) {
			kind = KindAD
		}
	case hidesRootDSE(err): // AD shows it to everybody
	default:
		return KindAuto, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.detected = kind
	return kind, nil
}

func (d *Directory) knownKind() Kind {
	if d.config.Kind != KindAuto {
		return d.config.Kind
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.detected
}

// hidesRootDSE tells a server that does not show its rootDSE to strangers from
// one that is broken: only the former says something about its kind.
func hidesRootDSE(err error) bool {
	var result *resultError
	return errors.As(err, &result) && slices.Contains([]uint16{
		goldap.LDAPResultNoSuchObject, goldap.LDAPResultInappropriateAuthentication,
		goldap.LDAPResultInsufficientAccessRights, goldap.LDAPResultUnwillingToPerform,
		goldap.LDAPResultStrongAuthRequired, // slapd with "require authc"
	}, result.code)
}

// userBase is where users are searched; e is the rootDSE, read as far as
// baseAttributes.
func (d *Directory) userBase(e *goldap.Entry) (string, error) {
	if d.config.BaseDN != "" {
		return d.config.BaseDN, nil
	}
	if base := value(e, "defaultNamingContext"); base != "" {
		return base, nil
	}
	contexts := e.GetEqualFoldAttributeValues("namingContexts")
	if len(contexts) == 1 && contexts[0] != "" {
		return contexts[0], nil
	}
	return "", fmt.Errorf("finding base DN: the server names %d naming contexts: set base_dn", len(contexts))
}

func (d *Directory) groupBase(userBase string) string {
	if d.config.GroupBase != "" {
		return d.config.GroupBase
	}
	return userBase
}

// baseAttributes are what userBase needs.
func baseAttributes(more ...string) []string {
	return append(more, "defaultNamingContext", "namingContexts")
}
