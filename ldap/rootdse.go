package ldap

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"
)

// oidActiveDirectory is the capability that AD and Samba AD announce
// (MS-ADTS 3.1.1.3.4.3.1).
const oidActiveDirectory = "1.2.840.113556.1.4.800"

// rootFacts are what a server says of itself to everybody (RFC 4512 5.1).
type rootFacts struct {
	hidden        bool // it shows its rootDSE to nobody that it does not know
	kind          Kind
	base          string // defaultNamingContext, or the only naming context; else ""
	contexts      int    // naming contexts
	configuration string // configurationNamingContext, AD only
}

var errNotSynchronized = errors.New("the domain controller says that it is not synchronized yet (isSynchronized FALSE)")

var errHiddenAD = errors.New("the server did not show its rootDSE at first, as Active Directory does to everybody")

// unseen tells whether nothing is known of the server.
func (f rootFacts) unseen() bool {
	return f.hidden || f.kind == KindGeneric && f.base == "" && f.contexts == 0 && f.configuration == ""
}

// doubts tells whether a server should have shown its rootDSE and did not: an
// answer for once, or of something in between. A connection that took it for the
// server's nature would be of no use for as long as it is kept.
func (d *Directory) doubts(c *connection) bool {
	return c.root.unseen() && (d.service == nil || d.knownKind() == KindAD)
}

var rootAttributes = []string{
	"supportedCapabilities", "objectClass", "vendorName", "defaultNamingContext", "namingContexts",
	"configurationNamingContext", "isSynchronized",
}

// readRoot reads the rootDSE of a fresh connection.
func (c *connection) readRoot() error {
	e, err := c.rootDSE(rootAttributes...)
	switch {
	case err == nil:
	case hidesRootDSE(err): // AD shows it to everybody
		c.root = rootFacts{hidden: true, kind: KindGeneric}
		return nil
	default:
		return err
	}
	if strings.EqualFold(value(e, "isSynchronized"), "FALSE") {
		// What it knows of people and passwords may be old.
		return &transportError{doing: "reading rootDSE", err: errNotSynchronized}
	}
	c.root = factsOf(e)
	return nil
}

// readHiddenRoot reads the rootDSE that a server did not show to strangers: it
// may show it to those whom it knows, as the service account now is.
func (c *connection) readHiddenRoot() error {
	if !c.root.hidden {
		return nil
	}
	e, err := c.rootDSE(rootAttributes...)
	if hidesRootDSE(err) {
		return nil
	}
	if err != nil {
		return err
	}
	facts := factsOf(e)
	if facts.kind == KindAD {
		return &transportError{doing: "reading rootDSE", err: errHiddenAD}
	}
	c.root = facts
	return nil
}

func factsOf(e *goldap.Entry) rootFacts {
	contexts := e.GetEqualFoldAttributeValues("namingContexts")
	facts := rootFacts{
		kind:          kindFrom(e),
		base:          value(e, "defaultNamingContext"),
		contexts:      len(contexts),
		configuration: value(e, "configurationNamingContext"),
	}
	if facts.base == "" && len(contexts) == 1 {
		facts.base = contexts[0]
	}
	return facts
}

// kindFrom reads the kind off a rootDSE.
func kindFrom(e *goldap.Entry) Kind {
	switch {
	case slices.Contains(e.GetEqualFoldAttributeValues("supportedCapabilities"), oidActiveDirectory):
		return KindAD
	case hasClass(e, "OpenLDAProotDSE"):
		return KindOpenLDAP
	case strings.Contains(value(e, "vendorName"), "389 Project"):
		return Kind389DS
	}
	return KindGeneric
}

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

// userBase is where users are searched.
func (d *Directory) userBase(facts rootFacts) (string, error) {
	switch {
	case d.config.BaseDN != "":
		return d.config.BaseDN, nil
	case facts.base != "":
		return facts.base, nil
	}
	return "", &UnavailableError{
		Reason: ReasonBaseDN,
		Err:    fmt.Errorf("finding base DN: the server names %d naming contexts: set base_dn", facts.contexts),
	}
}

func (d *Directory) groupBase(userBase string) string {
	if d.config.GroupBase != "" {
		return d.config.GroupBase
	}
	return userBase
}
