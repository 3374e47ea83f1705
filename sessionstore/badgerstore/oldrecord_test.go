package badgerstore

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// What older versions have left in a folder, as they wrote it. Between formats
// 1 and 2 of a session the time of the password came.

func oldSession(format byte, key sessionstore.Key, s *sessionstore.Session) []byte {
	u := &s.User
	b := append([]byte{format}, key[:]...)
	b = appendOld(b, s.ID, s.CSRF)
	b = appendOldTime(b, s.Created)
	b = binary.AppendUvarint(b, uint64(s.Limits.Idle))
	b = binary.AppendUvarint(b, uint64(s.Limits.Absolute))
	b = appendOld(b, s.ClientIP, u.Directory, u.ID, u.Username, u.DN, u.FirstName, u.LastName, u.DisplayName, u.Email, u.UPN, u.Title, u.Manager)
	if format > 1 {
		b = appendOld(b, u.PasswordSet)
	}
	b = binary.AppendUvarint(b, uint64(len(u.Groups)))
	for _, g := range u.Groups {
		b = appendOld(append(b, 0), g.ID, g.Name, g.DN) // 0: nothing shared with the one before
	}
	return appendOldChecksum(b)
}

func oldUser(r *sessionstore.UserRecord) []byte {
	b := appendOld([]byte{1}, r.Directory, r.ID, r.Username, r.FirstName, r.LastName, r.Email, r.DisplayName)
	b = appendOldTime(appendOldTime(b, r.FirstSignIn), r.LastSignIn)
	return appendOldChecksum(binary.AppendUvarint(b, r.SignIns))
}

func oldUserKey(directory, id string) []byte {
	return append(appendField([]byte{prefixUser}, directory), id...)
}

func appendOld(b []byte, fields ...string) []byte {
	for _, s := range fields {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}

func appendOldTime(b []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(t.Unix())), uint64(t.Nanosecond()))
}

func appendOldChecksum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}
