package sessionstore

import "time"

// UserRecord is what is kept of everyone who ever signed in, and nothing else.
type UserRecord struct {
	Directory, ID                        string
	Username, FirstName, LastName, Email string
	DisplayName                          string
	FirstSignIn, LastSignIn              time.Time
	SignIns                              uint64
}

// SignedIn returns the record after the sign-in that session stands for. The
// zero record is that of a user who never signed in before. Names are those
// of the newest sign-in: two that cross leave those of the later one.
func (r UserRecord) SignedIn(session *Session) UserRecord {
	u := &session.User
	first := r.FirstSignIn
	if r.SignIns == 0 || session.Created.Before(first) {
		first = session.Created
	}
	if r.SignIns > 0 && session.Created.Before(r.LastSignIn) {
		r.FirstSignIn = first
		r.SignIns++
		return r
	}
	return UserRecord{
		Directory: u.Directory, ID: u.ID,
		Username: u.Username, FirstName: u.FirstName, LastName: u.LastName,
		Email: u.Email, DisplayName: u.DisplayName,
		FirstSignIn: first, LastSignIn: session.Created,
		SignIns: r.SignIns + 1,
	}
}
