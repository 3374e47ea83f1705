package ldap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxSubAuthorities is the limit of the format (MS-DTYP 2.4.2).
const maxSubAuthorities = 15

// ParseSID reads a security identifier (MS-DTYP 2.4.2.1) and returns it in the
// spelling that directories' answers get here.
func ParseSID(s string) (string, error) {
	parts := strings.Split(s, "-")
	if len(parts) < 4 || len(parts) > 3+maxSubAuthorities || !strings.EqualFold(parts[0], "S") || parts[1] != "1" {
		return "", fmt.Errorf("reading SID %q: it is not of the form S-1-5-…", s)
	}
	for i, p := range parts[2:] {
		bits := 32
		if i == 0 {
			bits = 48
		}
		n, err := strconv.ParseUint(p, 10, bits)
		if err != nil {
			return "", fmt.Errorf("reading SID %q: %w", s, err)
		}
		parts[2+i] = strconv.FormatUint(n, 10)
	}
	parts[0] = "S"
	return strings.Join(parts, "-"), nil
}

// decodeSID reads the binary form (MS-DTYP 2.4.2.2).
func decodeSID(b []byte) (string, error) {
	if len(b) < 12 || b[0] != 1 || b[1] > maxSubAuthorities || len(b) != 8+4*int(b[1]) {
		return "", errors.New("reading binary SID: it is malformed")
	}
	authority := uint64(binary.BigEndian.Uint16(b[2:]))<<32 | uint64(binary.BigEndian.Uint32(b[4:]))
	out := strconv.AppendUint([]byte("S-1-"), authority, 10)
	for rest := b[8:]; len(rest) > 0; rest = rest[4:] {
		out = append(out, '-')
		out = strconv.AppendUint(out, uint64(binary.LittleEndian.Uint32(rest)), 10)
	}
	return string(out), nil
}
