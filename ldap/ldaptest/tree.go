package ldaptest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"
)

// Relative identifiers as a Windows domain gives them out.
const (
	ridDomainUsers  = 513
	ridFirst        = 1103
	aliasUsers      = 545
	maxValRange     = 1500
	accountNormal   = 0x200
	accountDisabled = 0x2
)

// tree is a Directory made ready for searches. It never changes.
type tree struct {
	Directory
	baseDN   string
	entries  []*entry // base first, parents before children
	byDN     map[string]*entry
	bySID    map[string]*entry
	accounts []*entry
}

// dnKey is the form by which DNs are compared: as AD does it, without regard
// to case and to optional spaces.
func dnKey(dn string) (string, error) {
	parsed, err := goldap.ParseDN(dn)
	if err != nil {
		return "", fmt.Errorf("parsing DN %q: %w", dn, err)
	}
	for _, rdn := range parsed.RDNs {
		for _, a := range rdn.Attributes {
			a.Value = strings.ToLower(a.Value)
		}
	}
	return parsed.String(), nil
}

func newTree(dir Directory) (*tree, error) {
	if dir.Domain == "" {
		return nil, errors.New("building directory: Domain is empty")
	}
	labels := strings.Split(dir.Domain, ".")
	if slices.Contains(labels, "") {
		return nil, fmt.Errorf("building directory: domain %q has an empty label", dir.Domain)
	}
	if dir.NetBIOS == "" {
		dir.NetBIOS = strings.ToUpper(labels[0])
	}
	if dir.MaxValRange <= 0 {
		dir.MaxValRange = maxValRange
	}
	dir.Users, dir.Groups = slices.Clone(dir.Users), slices.Clone(dir.Groups)

	t := &tree{Directory: dir, byDN: map[string]*entry{}, bySID: map[string]*entry{}}
	for i, l := range labels {
		labels[i] = t.rdn("DC", l)
	}
	t.baseDN = strings.Join(labels, ",")
	if err := t.build(); err != nil {
		return nil, fmt.Errorf("building directory %q: %w", dir.Domain, err)
	}
	return t, nil
}

// rdn writes one naming pair the way the kind of directory spells it.
func (t *tree) rdn(attr, value string) string {
	if t.Plain {
		attr = strings.ToLower(attr)
	}
	return attr + "=" + goldap.EscapeDN(value)
}

func (t *tree) build() error {
	domain := domainSID(t.Domain)
	withRID := func(rid int) sid { return newSID(5, append(slices.Clone(domain), uint32(rid))...) }

	base := &entry{dn: t.baseDN}
	base.set("objectClass", "top", "domain")
	if !t.Plain {
		base.sid = newSID(5, domain...)
	}
	if err := t.add(base); err != nil {
		return err
	}

	groupRDN, userRDN := t.rdn("CN", "Users"), t.rdn("CN", "Users")
	if t.Plain {
		groupRDN, userRDN = t.rdn("ou", "groups"), t.rdn("ou", "people")
	}
	containers := []string{groupRDN, userRDN}
	if !t.Plain {
		containers = append(containers, t.rdn("CN", "Builtin"))
	}
	for _, rdn := range slices.Compact(containers) {
		c := &entry{dn: rdn + "," + t.baseDN}
		c.set("objectClass", "top", "container")
		if err := t.add(c); err != nil {
			return err
		}
	}
	groupBase, userBase := groupRDN+","+t.baseDN, userRDN+","+t.baseDN

	if !t.Plain {
		for _, b := range []struct {
			name, dn string
			sid      sid
		}{
			{"Domain Users", t.rdn("CN", "Domain Users") + "," + groupBase, withRID(ridDomainUsers)},
			{"Users", t.rdn("CN", "Users") + "," + t.rdn("CN", "Builtin") + "," + t.baseDN, newSID(5, 32, aliasUsers)},
		} {
			e := &entry{dn: b.dn, sid: b.sid}
			t.describeGroup(e, b.name)
			if err := t.add(e); err != nil {
				return err
			}
		}
	}

	groups := map[string]*entry{}
	rid := ridFirst
	for _, g := range t.Groups {
		name := strings.ToLower(g.Name)
		if g.Name == "" || groups[name] != nil {
			return fmt.Errorf("adding group %q: the name is empty or taken", g.Name)
		}
		e := &entry{dn: t.rdn("CN", g.Name) + "," + groupBase, sid: withRID(rid)}
		rid++
		t.describeGroup(e, g.Name)
		if g.Posix && t.Plain {
			e.set("objectClass", "top", "posixGroup")
		}
		if err := t.add(e); err != nil {
			return err
		}
		groups[name] = e
	}
	parents := func(names []string) ([]*entry, error) {
		var found []*entry
		for _, n := range names {
			g := groups[strings.ToLower(n)]
			if g == nil {
				return nil, fmt.Errorf("group %q does not exist", n)
			}
			found = append(found, g)
		}
		return found, nil
	}
	var err error
	for _, g := range t.Groups {
		e := groups[strings.ToLower(g.Name)]
		if e.parents, err = parents(g.MemberOf); err != nil {
			return fmt.Errorf("adding group %q: %w", g.Name, err)
		}
	}

	names, upns := map[string]*entry{}, map[string]bool{}
	for i := range t.Users {
		u := &t.Users[i]
		sam, upn := strings.ToLower(u.SAMAccountName), strings.ToLower(u.UPN)
		if sam == "" || names[sam] != nil {
			return fmt.Errorf("adding user %q: the name is empty or taken", u.SAMAccountName)
		}
		if upn != "" && upns[upn] {
			return fmt.Errorf("adding user %q: the UPN %q is taken", u.SAMAccountName, u.UPN)
		}
		upns[upn] = true
		e := &entry{sid: withRID(rid), user: u}
		rid++
		e.dn = t.userDN(u, userBase)
		if e.parents, err = parents(u.MemberOf); err != nil {
			return fmt.Errorf("adding user %q: %w", u.SAMAccountName, err)
		}
		t.describeUser(e)
		if err := t.add(e); err != nil {
			return err
		}
		names[sam] = e
		t.accounts = append(t.accounts, e)
	}
	for _, e := range t.accounts {
		if e.user.Manager == "" {
			continue
		}
		m := names[strings.ToLower(e.user.Manager)]
		if m == nil {
			return fmt.Errorf("adding user %q: manager %q does not exist", e.user.SAMAccountName, e.user.Manager)
		}
		e.set("manager", m.dn)
	}
	t.link()
	if err := t.addPolicies(base); err != nil {
		return err
	}
	if !t.Plain {
		if err := t.addPartitions(); err != nil {
			return err
		}
	}
	for _, e := range t.accounts {
		t.describeToken(e)
		for name, values := range e.user.ExtraAttributes {
			e.set(name, values...)
		}
	}
	return nil
}

func (t *tree) add(e *entry) error {
	key, err := dnKey(e.dn)
	if err != nil {
		return err
	}
	if t.byDN[key] != nil {
		return fmt.Errorf("adding %q: the DN is taken", e.dn)
	}
	e.key = key
	if t.Plain {
		seed := e.sid
		if seed == nil {
			seed = sid(key)
		}
		e.set("entryUUID", guidText(guidOf(seed)))
		e.operational("entryUUID")
		e.set("entryDN", e.dn)
		e.operational("entryDN")
	} else {
		e.set("distinguishedName", e.dn)
		if e.sid != nil {
			e.set("objectSid", string(e.sid))
			e.set("objectGUID", string(guidOf(e.sid)))
			t.bySID[string(e.sid)] = e
		}
	}
	t.entries = append(t.entries, e)
	t.byDN[key] = e
	return nil
}

// describeToken gives an account's entry the groups that AD computes for it.
// They lack what only a connection has: Everyone, Authenticated Users.
func (t *tree) describeToken(e *entry) {
	if t.Plain {
		return
	}
	var values []string
	for _, g := range e.ancestors() {
		values = append(values, string(g.sid))
	}
	values = append(values, string(newSID(5, append(domainSID(t.Domain), ridDomainUsers)...)), string(newSID(5, 32, aliasUsers)))
	e.set("tokenGroups", values...)
	e.operational("tokenGroups")
}

// token is what AD puts into a signed-in connection's access token: the own
// SID first, then every group, nested ones and the primary one included.
func (t *tree) token(e *entry) []sid {
	sids := []sid{e.sid}
	for _, g := range e.ancestors() {
		sids = append(sids, g.sid)
	}
	return append(sids,
		newSID(5, append(domainSID(t.Domain), ridDomainUsers)...),
		newSID(5, 32, aliasUsers), // BUILTIN\Users
		newSID(1, 0),              // Everyone
		newSID(5, 11),             // Authenticated Users
	)
}
