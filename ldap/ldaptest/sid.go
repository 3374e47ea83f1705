package ldaptest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// sid is a security identifier in its binary form (MS-DTYP 2.4.2.2).
type sid []byte

func newSID(authority uint64, subs ...uint32) sid {
	b := make([]byte, 8, 8+4*len(subs))
	binary.BigEndian.PutUint64(b, authority)
	b[0], b[1] = 1, byte(len(subs))
	for _, s := range subs {
		b = binary.LittleEndian.AppendUint32(b, s)
	}
	return b
}

// domainSID is derived from the domain's name, so that a restarted server's
// sessions and records still fit.
func domainSID(domain string) []uint32 {
	sum := sha256.Sum256([]byte(strings.ToLower(domain)))
	return []uint32{
		21,
		binary.LittleEndian.Uint32(sum[0:]),
		binary.LittleEndian.Uint32(sum[4:]),
		binary.LittleEndian.Uint32(sum[8:]),
	}
}

// parseSID reads the S-1-… form.
func parseSID(s string) (sid, error) {
	parts := strings.Split(s, "-")
	if len(parts) < 3 || len(parts) > 18 || !strings.EqualFold(parts[0], "S") || parts[1] != "1" {
		return nil, fmt.Errorf("parsing SID %q", s)
	}
	authority, err := strconv.ParseUint(parts[2], 10, 48)
	if err != nil {
		return nil, fmt.Errorf("parsing SID %q: %w", s, err)
	}
	subs := make([]uint32, 0, len(parts)-3)
	for _, p := range parts[3:] {
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("parsing SID %q: %w", s, err)
		}
		subs = append(subs, uint32(n))
	}
	return newSID(authority, subs...), nil
}

// guidOf derives an objectGUID from the account's SID: a rename keeps it.
func guidOf(s sid) []byte {
	sum := sha256.Sum256(append([]byte("objectGUID:"), s...))
	g := sum[:16]
	g[7] = g[7]&0x0f | 0x40 // version 4, in the little-endian third field
	g[8] = g[8]&0x3f | 0x80
	return g
}

// guidText is the 8-4-4-4-12 form of a GUID in its little-endian binary form.
func guidText(g []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x",
		binary.LittleEndian.Uint32(g), binary.LittleEndian.Uint16(g[4:]), binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:16])
}
