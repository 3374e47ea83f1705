package ldap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
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

// encodeGUID is the way back from decodeGUID.
func encodeGUID(id string) ([]byte, error) {
	var a uint32
	var b, c, d uint16
	var e uint64
	if n, err := fmt.Sscanf(id, "%08x-%04x-%04x-%04x-%012x", &a, &b, &c, &d, &e); err != nil || n != 5 || len(id) != 36 {
		return nil, fmt.Errorf("reading id %q: it is no GUID", id)
	}
	raw := binary.LittleEndian.AppendUint32(nil, a)
	raw = binary.LittleEndian.AppendUint16(raw, b)
	raw = binary.LittleEndian.AppendUint16(raw, c)
	raw = binary.BigEndian.AppendUint16(raw, d)
	raw = append(raw, binary.BigEndian.AppendUint64(nil, e)[2:]...)
	if back, err := decodeGUID(raw); err != nil || !strings.EqualFold(back, id) {
		return nil, fmt.Errorf("reading id %q: it is no GUID", id) // with something behind its numbers
	}
	return raw, nil
}
