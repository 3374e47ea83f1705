package realserver

import (
	"errors"
	"fmt"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

// NewAccount adds a person whose names start with name and are nobody else's,
// until the test ends. With a password policy it is in good state.
func (s *Slapd) NewAccount(t testing.TB, name string) Account {
	t.Helper()
	username := unique(name)
	a := slapdPerson(username, "Clave-De-Prueba-"+username, "Prueba", username)
	s.Create(t, a)
	return a
}

// Create adds the person a until the test ends. After a Delete it is the same
// name with another entryUUID: somebody else.
func (s *Slapd) Create(t testing.TB, a Account) {
	t.Helper()
	s.addForTest(t, a.DN, a.attributes())
}

// NewGroup adds a groupOfNames until the test ends and returns its DN. It has
// one member at least, as its schema wants.
func (s *Slapd) NewGroup(t testing.TB, name string, first Account, others ...Account) string {
	t.Helper()
	members := []string{first.DN}
	for _, other := range others {
		members = append(members, other.DN)
	}
	dn := "cn=" + unique(name) + "," + slapdGroupOU
	s.addForTest(t, dn, groupOfNames(members...))
	return dn
}

// SetPassword replaces the password of the entry dn.
func (s *Slapd) SetPassword(t testing.TB, dn, password string) {
	t.Helper()
	s.Set(t, dn, "userPassword", password)
}

// SetUsername changes the uid, which the DN is made of, and returns the account
// with both.
func (s *Slapd) SetUsername(t testing.TB, a Account, uid string) Account {
	t.Helper()
	_, parent := splitDN(t, a.DN)
	a.Username = uid
	return s.moved(t, a, "uid="+ldap.EscapeDN(uid), parent)
}

// slapdCrowdSize is more groups than a client may be made to walk through.
const slapdCrowdSize = 1100

// Crowded returns a person who is directly in 1,100 groups, muchos-0001 to
// muchos-1100, which are made at the first call.
func (s *Slapd) Crowded(t testing.TB) Account {
	t.Helper()
	s.crowding.Do(func() {
		s.crowdErr = errors.New("an earlier test ended while the groups were made")
		s.crowdErr = s.crowd()
	})
	if s.crowdErr != nil {
		t.Fatalf("making a crowd of groups: %v", s.crowdErr)
	}
	return s.crowded
}

func (s *Slapd) crowd() error {
	conn, err := s.dialAdmin()
	if err != nil {
		return fmt.Errorf("connecting as the administrator: %w", err)
	}
	defer conn.Close()
	if err := add(conn, s.crowded.DN, s.crowded.attributes()); err != nil {
		return err
	}
	for i := range slapdCrowdSize {
		dn := fmt.Sprintf("cn=muchos-%04d,%s", i+1, slapdGroupOU)
		if err := add(conn, dn, groupOfNames(s.crowded.DN)); err != nil {
			return err
		}
	}
	return nil
}
