package realserver

import (
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

// What is changed here stays changed. The servers are shared, so tests do it to
// accounts and groups of their own, of NewAccount and NewGroup.

// AddToGroup makes a a direct member of the group with this DN.
func (s *server) AddToGroup(t testing.TB, group string, a Account) {
	t.Helper()
	change := ldap.NewModifyRequest(group, nil)
	change.Add("member", []string{a.DN})
	s.modify(t, change)
}

// RemoveFromGroup ends what AddToGroup did.
func (s *server) RemoveFromGroup(t testing.TB, group string, a Account) {
	t.Helper()
	change := ldap.NewModifyRequest(group, nil)
	change.Delete("member", []string{a.DN})
	s.modify(t, change)
}

// Set replaces an attribute of the entry dn; no value removes it.
func (s *server) Set(t testing.TB, dn, attribute string, values ...string) {
	t.Helper()
	change := ldap.NewModifyRequest(dn, nil)
	change.Replace(attribute, values)
	s.modify(t, change)
}

// Delete removes the entry of a, wherever it was moved to with a's DN.
func (s *server) Delete(t testing.TB, a Account) {
	t.Helper()
	s.asAdmin(t, "deleting "+a.DN, func(conn *ldap.Conn) error {
		return conn.Del(ldap.NewDelRequest(a.DN, nil))
	})
}

// moved gives the entry of a the relative name rdn below parent and returns
// the account with its new DN. Its ID stays.
func (s *server) moved(t testing.TB, a Account, rdn, parent string) Account {
	t.Helper()
	s.asAdmin(t, "moving "+a.DN, func(conn *ldap.Conn) error {
		return conn.ModifyDN(ldap.NewModifyDNRequest(a.DN, rdn, true, parent))
	})
	a.DN = rdn + "," + parent
	return a
}

// addForTest adds an entry and has it gone when the test ends, also if it was
// moved or deleted, or deleted and made again, in the meantime: an entry is
// known by its ID.
func (s *server) addForTest(t testing.TB, dn string, entry attributes) {
	t.Helper()
	s.asAdmin(t, "preparing the test", func(conn *ldap.Conn) error { return add(conn, dn, entry) })
	id := s.Attributes(t, dn, s.idAttribute).GetRawAttributeValue(s.idAttribute)
	t.Cleanup(func() {
		s.asAdmin(t, "cleaning up "+dn, func(conn *ldap.Conn) error {
			result, err := conn.Search(&ldap.SearchRequest{
				BaseDN: s.BaseDN, Scope: ldap.ScopeWholeSubtree, Attributes: []string{"1.1"},
				Filter: "(" + s.idAttribute + "=" + ldap.EscapeFilter(string(id)) + ")",
			})
			if err != nil {
				return err
			}
			for _, entry := range result.Entries {
				if err := conn.Del(ldap.NewDelRequest(entry.DN, nil)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func (s *server) modify(t testing.TB, change *ldap.ModifyRequest) {
	t.Helper()
	s.asAdmin(t, "changing "+change.DN, func(conn *ldap.Conn) error { return conn.Modify(change) })
}

// asAdmin does f with all rights and fails the test if that fails.
func (s *server) asAdmin(t testing.TB, what string, f func(*ldap.Conn) error) {
	t.Helper()
	conn, err := s.dialAdmin()
	if err != nil {
		t.Fatalf("connecting as the administrator: %v", err)
	}
	defer conn.Close()
	if err := f(conn); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// unique is name with a random end, at most 20 characters long: Windows takes
// no longer sAMAccountName.
func unique(name string) string {
	if len(name) > 12 {
		name = name[:12]
	}
	return fmt.Sprintf("%s-%.7s", name, rand.Text())
}

// splitDN cuts a DN behind its first relative name, as it is spelled: parsing
// and writing it again would be another spelling.
func splitDN(t testing.TB, dn string) (rdn, parent string) {
	t.Helper()
	for i := 0; i < len(dn); i++ {
		switch dn[i] {
		case '\\':
			i++
		case ',':
			return dn[:i], dn[i+1:]
		}
	}
	t.Fatalf("%q has no parent", dn)
	return "", ""
}
