package ldaptest

import (
	"fmt"
	"strings"
)

// userDN names the entry after the person, as AD's tools do, and falls back to
// the account's name where two people share a name.
func (t *tree) userDN(u *User, base string) string {
	if t.Plain {
		return t.rdn("uid", u.SAMAccountName) + "," + base
	}
	dn := t.rdn("CN", u.commonName()) + "," + base
	if key, err := dnKey(dn); err == nil && t.byDN[key] != nil {
		dn = t.rdn("CN", u.commonName()+" ("+u.SAMAccountName+")") + "," + base
	}
	return dn
}

func (u *User) commonName() string {
	switch full := strings.TrimSpace(u.GivenName + " " + u.Surname); {
	case u.DisplayName != "":
		return u.DisplayName
	case full != "":
		return full
	default:
		return u.SAMAccountName
	}
}

func (t *tree) describeUser(e *entry) {
	u := e.user
	e.set("cn", u.commonName())
	e.set("givenName", u.GivenName)
	e.set("sn", u.Surname)
	e.set("displayName", u.DisplayName)
	e.set("mail", u.Mail)
	e.set("title", u.Title)
	if t.Plain {
		e.set("objectClass", "top", "person", "organizationalPerson", "inetOrgPerson")
		e.set("uid", u.SAMAccountName)
		return
	}
	e.set("objectClass", "top", "person", "organizationalPerson", "user")
	e.set("objectCategory", "CN=Person,CN=Schema,CN=Configuration,"+t.baseDN)
	e.set("name", u.commonName())
	e.set("sAMAccountName", u.SAMAccountName)
	e.set("userPrincipalName", u.UPN)
	e.set("primaryGroupID", fmt.Sprint(ridDomainUsers))
	control := accountNormal
	if u.State == Disabled {
		control |= accountDisabled
	}
	e.set("userAccountControl", fmt.Sprint(control))
}

func (t *tree) describeGroup(e *entry, name string) {
	e.set("cn", name)
	if t.Plain {
		e.set("objectClass", "top", "groupOfNames")
		return
	}
	e.set("objectClass", "top", "group")
	e.set("objectCategory", "CN=Group,CN=Schema,CN=Configuration,"+t.baseDN)
	e.set("name", name)
	e.set("sAMAccountName", name)
}

// link writes both ends of every membership.
func (t *tree) link() {
	members, uids := map[*entry][]string{}, map[*entry][]string{}
	for _, e := range t.entries {
		var of []string
		for _, g := range e.parents {
			if g.is("posixGroup") {
				if e.user != nil {
					uids[g] = append(uids[g], e.user.SAMAccountName)
				}
				continue
			}
			of = append(of, g.dn)
			members[g] = append(members[g], e.dn)
		}
		e.set("memberOf", of...)
		if t.Plain {
			e.operational("memberOf")
		}
	}
	for g, m := range members {
		g.set("member", m...)
	}
	for g, m := range uids {
		g.set("memberUid", m...)
	}
}
