package ldap

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// decodeGUID reads an objectGUID, whose first three fields are little-endian
// (MS-DTYP 2.3.4.2).
func decodeGUID(b []byte) (string, error) {
	if len(b) != 16 {
		return "", errors.New("reading objectGUID: it has not 16 bytes")
	}
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x",
		binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]),
		b[8:10], b[10:16]), nil
}
