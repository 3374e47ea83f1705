package sessionstore

// The IDs that directories give are UUIDs nearly always: 36 characters that say
// 16 bytes, in every session's record and in the keys of a store.
const (
	uuidSize = 16
	uuidText = 36

	uuidMark = 0 // the first byte of a short form, before the UUID
	longMark = 1 // before an ID that begins as if it were one
)

// ShortID returns an ID as keys of a store hold it: a UUID in half of the bytes.
// No two IDs have the same short form.
func ShortID(id string) string {
	if uuid, ok := parseUUID(id); ok {
		return string(append([]byte{uuidMark}, uuid[:]...))
	}
	if id != "" && id[0] <= longMark {
		return string([]byte{longMark}) + id
	}
	return id
}

// LongID returns the ID that short is the short form of.
func LongID(short string) (id string, ok bool) {
	if short == "" || short[0] > longMark {
		_, uuid := parseUUID(short)
		return short, !uuid
	}
	if short[0] == uuidMark {
		return string(appendUUID(nil, short[1:])), len(short) == 1+uuidSize
	}
	id = short[1:]
	return id, id != "" && id[0] <= longMark
}

// parseUUID reads a UUID in its canonical form, with lower-case digits. Any other
// would not come back as it was.
func parseUUID(s string) (uuid [uuidSize]byte, ok bool) {
	if len(s) != uuidText || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return uuid, false
	}
	for i, n := 0, 0; i < len(s); i++ {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			continue
		case '0' <= c && c <= '9':
			uuid[n/2] = uuid[n/2]<<4 | (c - '0')
		case 'a' <= c && c <= 'f':
			uuid[n/2] = uuid[n/2]<<4 | (c - 'a' + 10)
		default:
			return uuid, false
		}
		n++
	}
	return uuid, true
}

// appendUUID appends the canonical form of the 16 bytes of a UUID; nothing for
// any other number of them.
func appendUUID(b []byte, uuid string) []byte {
	if len(uuid) != uuidSize {
		return b
	}
	const digits = "0123456789abcdef"
	for i := range len(uuid) {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, digits[uuid[i]>>4], digits[uuid[i]&0xf])
	}
	return b
}
