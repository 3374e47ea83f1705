package sessionstore

import (
	"crypto/subtle"
	"fmt"
	"time"
)

// Records as they were written before: what they are the records of stands in
// them, nothing is packed, and the checksum covers nothing else. Sessions of
// format 1 have no PasswordSet.
const (
	firstWithPasswordSet = 2
	lastPlainSession     = 2
	lastPlainUser        = 1
)

func decodeOldSession(b []byte, key Key) (*Session, error) {
	d, err := newDecoder(b, oldestSessionFormat, lastPlainSession)
	if err != nil {
		return nil, err
	}
	if echo := d.bytes(len(key)); subtle.ConstantTimeCompare(echo, key[:]) != 1 {
		return nil, fmt.Errorf("%w: it is the record of another key", ErrInvalidRecord)
	}
	s := &Session{}
	s.ID = d.string()
	s.CSRF = d.string()
	s.Created = d.time()
	s.Limits.Idle = d.nanoseconds()
	s.Limits.Absolute = d.nanoseconds()
	s.ClientIP = d.string()
	u := &s.User
	for _, field := range []*string{
		&u.Directory, &u.ID, &u.Username, &u.DN, &u.FirstName, &u.LastName,
		&u.DisplayName, &u.Email, &u.UPN, &u.Title, &u.Manager,
	} {
		*field = d.string()
	}
	if d.format >= firstWithPasswordSet {
		u.PasswordSet = d.string()
	}
	u.Groups = d.oldGroups()
	return s, d.finish()
}

func decodeOldUserRecord(b []byte, directory, id string) (UserRecord, error) {
	d, err := newDecoder(b, oldestUserFormat, lastPlainUser)
	if err != nil {
		return UserRecord{}, err
	}
	var r UserRecord
	for _, field := range []*string{
		&r.Directory, &r.ID, &r.Username, &r.FirstName, &r.LastName, &r.Email, &r.DisplayName,
	} {
		*field = d.string()
	}
	r.FirstSignIn = d.time()
	r.LastSignIn = d.time()
	r.SignIns = d.uvarint()
	if err := d.finish(); err != nil {
		return UserRecord{}, err
	}
	if r.Directory != directory || r.ID != id {
		return UserRecord{}, fmt.Errorf("%w: it is the record of another user", ErrInvalidRecord)
	}
	return r, nil
}

// oldGroups reads groups one after the other, each ID as what it does not share
// with the one before.
func (d *decoder) oldGroups() []Group {
	n := d.groupCount(4) // shared, ID, name, DN
	if n == 0 {
		return nil
	}
	groups := make([]Group, n)
	last, total := "", 0
	for i := range groups {
		shared := d.atMost(uint64(len(last)))
		id := last[:shared] + d.string()
		if total += len(id); total > maxGroupIDs || len(id) > maxField {
			d.fail("its group ids are too long")
		}
		groups[i] = Group{ID: id, Name: d.string(), DN: d.string()}
		if d.bad != "" {
			return nil
		}
		last = id
	}
	return groups
}

func (d *decoder) nanoseconds() time.Duration {
	const longest = 1<<63 - 1
	n := d.uvarint()
	if n > longest {
		d.fail("a duration in it is too large")
		return 0
	}
	return time.Duration(n)
}
