package realserver

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

// SID of the entry dn, in its S-1-… form.
func (s *Samba) SID(t testing.TB, dn string) string {
	t.Helper()
	sid, err := sidText(s.Attributes(t, dn, "objectSid").GetRawAttributeValue("objectSid"))
	if err != nil {
		t.Fatalf("reading objectSid of %q: %v", dn, err)
	}
	return sid
}

// TokenSIDs are what the controller says of who a connection is that a has
// bound: the own SID, and those of all groups.
func (s *Samba) TokenSIDs(t testing.TB, a Account) []string {
	t.Helper()
	conn, err := dial(s.URL, s.CA.Pool())
	if err != nil {
		t.Fatalf("connecting to the controller: %v", err)
	}
	defer conn.Close()
	if err := conn.Bind(a.DN, a.Password); err != nil {
		t.Fatalf("binding as %q: %v", a.DN, err)
	}
	result, err := conn.Search(&ldap.SearchRequest{
		Scope: ldap.ScopeBaseObject, Filter: "(objectClass=*)", Attributes: []string{"tokenGroups"},
	})
	if err != nil || len(result.Entries) != 1 {
		t.Fatalf("reading the token of %q: %v", a.DN, err)
	}
	var sids []string
	for _, raw := range result.Entries[0].GetRawAttributeValues("tokenGroups") {
		sid, err := sidText(raw)
		if err != nil {
			t.Fatalf("reading the token of %q: %v", a.DN, err)
		}
		sids = append(sids, sid)
	}
	return sids
}

// sidText turns an objectSid into its S-1-… form (MS-DTYP 2.4.2.2). It is
// written apart from the product's own on purpose: tests compare the two.
func sidText(raw []byte) (string, error) {
	if len(raw) < 8 || len(raw) != 8+4*int(raw[1]) {
		return "", fmt.Errorf("reading a SID of %d bytes", len(raw))
	}
	authority := binary.BigEndian.Uint64(append([]byte{0, 0}, raw[2:8]...))
	var b strings.Builder
	fmt.Fprintf(&b, "S-%d-%d", raw[0], authority)
	for sub := raw[8:]; len(sub) > 0; sub = sub[4:] {
		fmt.Fprintf(&b, "-%d", binary.LittleEndian.Uint32(sub))
	}
	return b.String(), nil
}
