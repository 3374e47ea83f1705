package realserver

import (
	"errors"
	"fmt"
	"testing"
)

// crowdSize is more than Windows returns of one attribute at once (1,500), and
// more groups than a directory may plausibly be walked through one by one.
const crowdSize = 1700

// Crowded returns a person who is directly in 1,700 groups, whose sAMAccountNames
// are muchos-0001 to muchos-1700. They are made at the first call: they take a
// few seconds, and slow down every search of the whole domain.
func (s *Samba) Crowded(t testing.TB) Account {
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

// crowd goes through Samba's own database, in one transaction: over LDAP each
// group would be one of its own, on a list of groups that grows.
func (s *Samba) crowd() error {
	conn, err := s.dialAdmin()
	if err != nil {
		return fmt.Errorf("connecting as Administrator: %w", err)
	}
	defer conn.Close()
	if err := addPerson(conn, s.crowded, nil); err != nil {
		return err
	}
	return s.python(`
user, parent, count = sys.argv[2], sys.argv[3], int(sys.argv[4])
sam.transaction_start()
for i in range(1, count + 1):
    name = "muchos-%04d" % i
    sam.add({"dn": "CN=%s,%s" % (name, parent), "objectClass": "group", "sAMAccountName": name, "member": user})
sam.transaction_commit()
`, s.crowded.DN, sambaGroup, fmt.Sprint(crowdSize))
}
