package ldaptest

import "fmt"

// configurationDN names the forest's configuration.
func (t *tree) configurationDN() string { return "CN=Configuration," + t.baseDN }

// addPartitions adds what the configuration says of the domain's names
// (MS-ADTS 6.1.1.2.1).
func (t *tree) addPartitions() error {
	partitions := &entry{dn: "CN=Partitions," + t.configurationDN(), configuration: true}
	partitions.set("objectClass", "top", "crossRefContainer")
	partitions.set("uPNSuffixes", t.UPNSuffixes...)
	domain := &entry{dn: t.rdn("CN", t.NetBIOS) + "," + partitions.dn, configuration: true}
	domain.set("objectClass", "top", "crossRef")
	domain.set("nCName", t.baseDN)
	domain.set("nETBIOSName", t.NetBIOS)
	domain.set("dnsRoot", t.Domain)
	for _, e := range []*entry{partitions, domain} {
		if err := t.add(e); err != nil {
			return err
		}
	}
	return nil
}

// addPolicies adds the password policies, on AD where Windows keeps them.
func (t *tree) addPolicies(base *entry) error {
	if !t.Plain {
		base.set("lockoutThreshold", fmt.Sprint(t.LockoutThreshold))
	}
	if len(t.Policies) == 0 {
		return nil
	}
	rdns := []string{t.rdn("ou", "policies")}
	if !t.Plain {
		rdns = []string{t.rdn("CN", "System"), t.rdn("CN", "Password Settings Container")}
	}
	dn := t.baseDN
	for _, rdn := range rdns {
		dn = rdn + "," + dn
		c := &entry{dn: dn}
		c.set("objectClass", "top", "container")
		if err := t.add(c); err != nil {
			return err
		}
	}
	for _, p := range t.Policies {
		e := &entry{dn: t.rdn("CN", p.Name) + "," + dn}
		e.set("cn", p.Name)
		if t.Plain {
			e.set("objectClass", "top", "device", "pwdPolicy")
			e.set("pwdLockout", map[bool]string{true: "FALSE", false: "TRUE"}[p.Off])
			e.set("pwdMaxFailure", fmt.Sprint(p.Threshold))
		} else {
			e.set("objectClass", "top", "msDS-PasswordSettings")
			e.set("msDS-LockoutThreshold", fmt.Sprint(p.Threshold))
		}
		if err := t.add(e); err != nil {
			return err
		}
	}
	return nil
}
