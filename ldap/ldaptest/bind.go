package ldaptest

import (
	"fmt"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

const dataBadCredentials = "52e"

// bind decides a bind request and changes the connection's identity as the
// kind of directory does it.
func (c *conn) bind(op *ber.Packet) result {
	if len(op.Children) < 3 {
		return result{code: goldap.LDAPResultProtocolError, diagnostic: "malformed bind request"}
	}
	if v, ok := op.Children[0].Value.(int64); !ok || v != 3 {
		return result{code: goldap.LDAPResultProtocolError, diagnostic: "only LDAP version 3 is supported"}
	}
	auth := op.Children[2]
	if auth.ClassType != ber.ClassContext || auth.Tag != 0 {
		return result{code: goldap.LDAPResultAuthMethodNotSupported, diagnostic: "only simple binds are supported"}
	}
	if c.tree.RequireTLS && !c.tls {
		return result{code: goldap.LDAPResultStrongAuthRequired, diagnostic: `00002028: LdapErr: DSID-0C090259, comment: The server requires binds to turn on integrity checking if SSL\TLS are not already active on the connection, data 0, v4563` + "\x00"}
	}
	name, password := text(op.Children[1]), text(auth)
	if name == "" && password == "" {
		c.bound = nil
		return result{}
	}
	if c.tree.Plain {
		return c.bindPlain(name, password)
	}
	return c.bindAD(name, password)
}

// bindAD leaves the connection's identity as it was when the bind fails, which
// is what makes searching after a failed bind dangerous.
func (c *conn) bindAD(name, password string) result {
	e := c.tree.findAD(name)
	if e != nil && e.user.State == Locked {
		return refusedAD(Locked.dataCode()) // with any password
	}
	// Samba cuts passwords at a NUL, and so does this: a client that lets one
	// through must be seen to.
	password, _, _ = strings.Cut(password, "\x00")
	if e == nil || password == "" || password != e.user.Password {
		return refusedAD(dataBadCredentials)
	}
	if code := e.user.State.dataCode(); code != "" {
		return refusedAD(code)
	}
	c.bound = e
	return result{}
}

// bindPlain drops to anonymous when the bind fails, as slapd does.
func (c *conn) bindPlain(name, password string) result {
	c.bound = nil
	key, err := dnKey(name)
	if err != nil {
		return result{code: goldap.LDAPResultInvalidDNSyntax, diagnostic: "invalid DN"}
	}
	if password == "" {
		return result{code: goldap.LDAPResultUnwillingToPerform, diagnostic: "unauthenticated bind (DN with no password) disallowed"}
	}
	e := c.tree.byDN[key]
	if e == nil || e.user == nil || e.user.Password != password || e.user.State != Normal {
		return result{code: goldap.LDAPResultInvalidCredentials}
	}
	c.bound = e
	return result{}
}

// refusedAD words a refusal as Windows does, its last NUL included.
func refusedAD(data string) result {
	return result{
		code:       goldap.LDAPResultInvalidCredentials,
		diagnostic: fmt.Sprintf("80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext error, data %s, v4563\x00", data),
	}
}

// findAD tries the name forms of MS-ADTS 5.1.1.1.1: DOMAIN\account, the
// explicit userPrincipalName, account@domain, and the DN. Case and extra
// spaces do not matter. A bare name is no form at all.
func (t *tree) findAD(name string) *entry {
	name = foldName(name)
	if domain, account, ok := strings.Cut(name, `\`); ok && !strings.Contains(account, "=") {
		if domain == foldName(t.NetBIOS) {
			return t.findAccount(account)
		}
		return nil
	}
	if i := strings.LastIndexByte(name, '@'); i > 0 && !strings.Contains(name, "=") {
		for _, e := range t.accounts {
			if e.user.UPN != "" && foldName(e.user.UPN) == name {
				return e // before the implicit name of any other account
			}
		}
		account, suffix := strings.TrimSpace(name[:i]), strings.TrimSpace(name[i+1:])
		if suffix == foldName(t.Domain) || suffix == foldName(t.NetBIOS) {
			return t.findAccount(account)
		}
		return nil
	}
	if key, err := dnKey(name); err == nil {
		if e := t.byDN[key]; e != nil && e.user != nil {
			return e
		}
	}
	return nil
}

func (t *tree) findAccount(account string) *entry {
	for _, e := range t.accounts {
		if foldName(e.user.SAMAccountName) == account {
			return e
		}
	}
	return nil
}

func foldName(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }
