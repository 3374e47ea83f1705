package ldaptest

import (
	"strconv"
	"strings"
)

// rootDSE is the server's own entry, which anybody may read. tokenGroups is in
// it only for a bound connection, and only when asked for by name.
func (c *conn) rootDSE() *entry {
	t := c.tree
	e := &entry{}
	e.set("objectClass", "top")
	e.set("namingContexts", t.baseDN)
	e.set("supportedLDAPVersion", "3")
	if c.server.startTLS != nil {
		e.set("supportedExtension", oidStartTLS)
	}
	if t.Plain {
		// slapd's rootDSE shows its class only, unless more is asked by name.
		for _, name := range []string{"namingContexts", "supportedLDAPVersion", "supportedExtension"} {
			e.operational(name)
		}
		return e
	}
	e.set("defaultNamingContext", t.baseDN)
	e.set("rootDomainNamingContext", t.baseDN)
	e.set("dnsHostName", "dc1."+t.Domain)
	e.set("ldapServiceName", t.Domain+":dc1$@"+t.Domain)
	e.set("configurationNamingContext", t.configurationDN())
	e.set("isSynchronized", strings.ToUpper(strconv.FormatBool(!t.NotSynchronized)))
	e.set("supportedCapabilities",
		"1.2.840.113556.1.4.800",  // Active Directory
		"1.2.840.113556.1.4.1670", // of Windows Server 2003 and later
		"1.2.840.113556.1.4.1791", // LDAP signing
	)
	if c.bound != nil {
		sids := t.token(c.bound)
		values := make([]string, len(sids))
		for i, s := range sids {
			values[i] = string(s)
		}
		e.set("tokenGroups", values...)
		e.operational("tokenGroups")
	}
	return e
}
