package sessionstore

import "fmt"

// The binary form of records, for every backend that stores bytes:
//
//	format (1 byte) | fields, packed | CRC-32C (4 bytes)
//
// The checksum also covers what the record is the record of, the key of a session
// or directory and ID of a user: one that was moved under another key is as
// unreadable as one that was damaged. Neither stops somebody who can write to the
// store: that takes encryption.
//
// Records of older formats are read, never written (oldrecord.go); those of newer
// ones are left alone (newerrecord.go). So a new format has the next number, its
// first byte stays what it is, and what a backend keeps beside the records stays
// as it was. A folder of badgerstore gets a new version with it.
const (
	sessionFormat       = 3
	oldestSessionFormat = 1
	userFormat          = 2
	oldestUserFormat    = 1

	// MaxRecord bounds the size of one record, in bytes, packed and unpacked.
	MaxRecord = 512 << 10
)

// AppendSession appends the record of s under key to dst. It refuses a session
// that DecodeSession would not accept.
func AppendSession(dst []byte, key Key, s *Session) ([]byte, error) {
	if err := s.check(); err != nil {
		return dst, fmt.Errorf("encoding session: %w", err)
	}
	if len(s.User.Groups) > maxGroups {
		return dst, fmt.Errorf("encoding session: user is in %d groups, at most %d are possible", len(s.User.Groups), maxGroups)
	}
	var room [usualRecord]byte
	e := encoder{b: room[:0]}
	e.short("id", s.ID)
	e.string("csrf", s.CSRF)
	e.time("created", s.Created)
	e.duration(s.Limits.Idle)
	e.duration(s.Limits.Absolute)
	e.string("client_ip", s.ClientIP)
	u := &s.User
	e.string("directory", u.Directory)
	e.short("user id", u.ID)
	e.string("username", u.Username)
	e.string("dn", u.DN)
	e.string("first_name", u.FirstName)
	e.string("last_name", u.LastName)
	e.string("display_name", u.DisplayName)
	e.string("email", u.Email)
	e.string("upn", u.UPN)
	e.string("title", u.Title)
	e.string("manager", u.Manager)
	e.short("password_set", u.PasswordSet)
	e.groups(u.Groups)
	out, err := e.seal(dst, sessionFormat, key[:])
	if err != nil {
		return dst, fmt.Errorf("encoding session: %w", err)
	}
	return out, nil
}

// DecodeSession reads the record b that was found under key. Whatever is wrong
// with it, the error is an ErrInvalidRecord; of a newer format, an ErrNewerRecord.
func DecodeSession(b []byte, key Key) (*Session, error) {
	var s *Session
	var err error
	if len(b) > 0 && b[0] < sessionFormat {
		s, err = decodeOldSession(b, key)
	} else {
		s, err = decodeSession(b, key)
	}
	if err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	}
	return s, nil
}

func decodeSession(b []byte, key Key) (*Session, error) {
	d, err := newPackedDecoder(b, sessionFormat, key[:])
	if err != nil {
		return nil, err
	}
	s := &Session{}
	s.ID = d.short()
	s.CSRF = d.string()
	s.Created = d.time()
	s.Limits.Idle = d.duration()
	s.Limits.Absolute = d.duration()
	s.ClientIP = d.string()
	u := &s.User
	u.Directory = d.string()
	u.ID = d.short()
	for _, field := range []*string{
		&u.Username, &u.DN, &u.FirstName, &u.LastName, &u.DisplayName, &u.Email, &u.UPN, &u.Title, &u.Manager,
	} {
		*field = d.string()
	}
	u.PasswordSet = d.short()
	u.Groups = d.groups()
	return s, d.finish()
}

// AppendUserRecord appends the binary form of r to dst.
func AppendUserRecord(dst []byte, r *UserRecord) ([]byte, error) {
	if r.Directory == "" || r.ID == "" {
		return dst, fmt.Errorf("encoding user record: no user: directory %q, id %q", r.Directory, r.ID)
	}
	var room [usualRecord]byte
	e := encoder{b: room[:0]}
	e.string("username", r.Username)
	e.string("first_name", r.FirstName)
	e.string("last_name", r.LastName)
	e.string("email", r.Email)
	e.string("display_name", r.DisplayName)
	e.time("first sign-in", r.FirstSignIn)
	e.time("last sign-in", r.LastSignIn)
	e.uvarint(r.SignIns)
	out, err := e.seal(dst, userFormat, userSubject(r.Directory, r.ID))
	if err != nil {
		return dst, fmt.Errorf("encoding user record: %w", err)
	}
	return out, nil
}

// DecodeUserRecord reads the record b that was found for a user. Whatever is
// wrong with it, the error is an ErrInvalidRecord; of a newer format, an
// ErrNewerRecord.
func DecodeUserRecord(b []byte, directory, id string) (UserRecord, error) {
	if directory == "" || id == "" {
		return UserRecord{}, fmt.Errorf("%w: it is the record of no user", ErrInvalidRecord)
	}
	if len(b) > 0 && b[0] < userFormat {
		return decodeOldUserRecord(b, directory, id)
	}
	d, err := newPackedDecoder(b, userFormat, userSubject(directory, id))
	if err != nil {
		return UserRecord{}, err
	}
	r := UserRecord{Directory: directory, ID: id}
	for _, field := range []*string{&r.Username, &r.FirstName, &r.LastName, &r.Email, &r.DisplayName} {
		*field = d.string()
	}
	r.FirstSignIn = d.time()
	r.LastSignIn = d.time()
	r.SignIns = d.uvarint()
	if err := d.finish(); err != nil {
		return UserRecord{}, err
	}
	return r, nil
}

// userSubject is what the checksum of a user's record covers beside it. The
// length keeps the user "b" of "a.x" apart from the user "xb" of "a.".
func userSubject(directory, id string) []byte {
	e := encoder{b: make([]byte, 0, 128)}
	e.uvarint(uint64(len(directory)))
	return append(append(e.b, directory...), id...)
}
