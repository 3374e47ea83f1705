package sessionstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"
	"time"
)

func exampleSession() *Session {
	s := &Session{
		ID: newSessionID(), CSRF: NewCSRF(),
		Created: time.Date(2025, 11, 21, 22, 17, 3, 123456789, time.UTC),
		Limits:  Limits{Idle: time.Hour, Absolute: 12 * time.Hour},
		User: User{
			Directory: "corp.example.com", ID: "0c4ee0d2-6d19-4f36-9f3c-9a2f7b9d2c11",
			Username: "mgarcia", DN: "CN=María García,OU=Users,DC=corp,DC=example,DC=com",
			FirstName: "María", LastName: "García", DisplayName: "María García",
			Email: "mgarcia@corp.example.com", UPN: "mgarcia@corp.example.com",
			Title: "Ingeniera", Manager: "CN=Juan Pérez,OU=Users,DC=corp,DC=example,DC=com",
			PasswordSet: "134082011230000000",
		},
		ClientIP: "2001:db8::17",
	}
	for i := range 20 {
		s.User.Groups = append(s.User.Groups, Group{ID: fmt.Sprintf("S-1-5-21-1004336348-1177238915-682003330-%d", 1100+i*37)})
	}
	s.User.Groups[3].Name, s.User.Groups[3].DN = "IT Admins", "CN=IT Admins,DC=corp"
	return s
}

func mustAppend(t testing.TB, key Key, s *Session) []byte {
	t.Helper()
	b, err := AppendSession(nil, key, s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSessionRecordRoundTrip(t *testing.T) {
	key := NewToken().Key()
	for name, change := range map[string]func(*Session){
		"as it is":                func(*Session) {},
		"no absolute limit":       func(s *Session) { s.Limits.Absolute = 0 },
		"the longest limits":      func(s *Session) { s.Limits = Limits{1<<63 - 1, 1<<63 - 1} },
		"no groups":               func(s *Session) { s.User.Groups = nil },
		"password set never":      func(s *Session) { s.User.PasswordSet = "" },
		"bytes that are no UTF-8": func(s *Session) { s.User.Title = "\x00\xff\xfe" },
		"groups that share nothing": func(s *Session) {
			s.User.Groups = []Group{{ID: "a"}, {ID: ""}, {ID: "b"}, {ID: "bb"}, {ID: "b"}, {ID: "b"}}
		},
		"the earliest time": func(s *Session) { s.Created = time.Unix(0, 0).UTC() },
		"the latest time":   func(s *Session) { s.Created = time.Unix(maxSeconds, 999999999).UTC() },
		"the longest field": func(s *Session) { s.User.DN = strings.Repeat("x", maxField) },
	} {
		s := exampleSession()
		change(s)
		b, err := AppendSession([]byte("prefix"), key, s)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if string(b[:6]) != "prefix" {
			t.Errorf("%s: it does not append", name)
		}
		got, err := DecodeSession(b[6:], key)
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%s: error %v\n got %+v\nwant %+v", name, err, got, s)
		}
	}
}

func TestSessionRecordSize(t *testing.T) {
	if n := len(mustAppend(t, Key{}, exampleSession())); n > 600 {
		t.Errorf("a session with 20 groups takes %d bytes, want at most 600", n)
	}
}

func TestSessionRecordOfAnotherKeyIsInvalid(t *testing.T) {
	b := mustAppend(t, NewToken().Key(), exampleSession())
	if s, err := DecodeSession(b, NewToken().Key()); s != nil || !errors.Is(err, ErrInvalidRecord) {
		t.Errorf("got %v, %v, want ErrInvalidRecord", s, err)
	}
}

func TestEveryDamageIsNoticed(t *testing.T) {
	key := NewToken().Key()
	good := mustAppend(t, key, exampleSession())
	for i := range good {
		for bit := range 8 {
			b := append([]byte(nil), good...)
			b[i] ^= 1 << bit
			if _, err := DecodeSession(b, key); !errors.Is(err, ErrInvalidRecord) {
				t.Errorf("byte %d, bit %d: %v, want ErrInvalidRecord", i, bit, err)
			}
		}
		if _, err := DecodeSession(good[:i], key); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("cut to %d bytes: %v, want ErrInvalidRecord", i, err)
		}
	}
	if _, err := DecodeSession(append(good, 0), key); !errors.Is(err, ErrInvalidRecord) {
		t.Errorf("a byte too many: %v", err)
	}
}

// seal makes the checksum of b right, as somebody who writes records can.
func seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func TestRecordsThatLieAreInvalid(t *testing.T) {
	var key Key
	head := append([]byte{sessionFormat}, key[:]...)
	good := mustAppend(t, key, exampleSession())
	body := good[:len(good)-checksum]
	huge := binary.AppendUvarint(nil, 1<<63)
	many := exampleSession()
	many.User.Groups = nil
	none := mustAppend(t, key, many)
	upToGroups := none[:len(none)-checksum-1]
	for name, b := range map[string][]byte{
		"nothing":                 nil,
		"only a format":           seal([]byte{sessionFormat}),
		"no fields":               seal(head),
		"format 0":                seal(append([]byte{0}, body[1:]...)),
		"format 3":                seal(append([]byte{3}, body[1:]...)),
		"format 2 called 1":       seal(append([]byte{1}, body[1:]...)),
		"a huge length":           seal(append(append([]byte(nil), head...), huge...)),
		"a length without end":    seal(append(append([]byte(nil), head...), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)),
		"something at the end":    seal(append(append([]byte(nil), body...), 0)),
		"cut in a field":          seal(append([]byte(nil), body[:60]...)),
		"a user record":           func() []byte { b, _ := AppendUserRecord(nil, &UserRecord{Directory: "d", ID: "i"}); return b }(),
		"too many groups":         seal(binary.AppendUvarint(append([]byte(nil), upToGroups...), maxGroups+1)),
		"groups that do not fit":  seal(binary.AppendUvarint(append([]byte(nil), upToGroups...), maxGroups)),
		"sharing what is not yet": seal(append(append([]byte(nil), upToGroups...), 1, 1, 0, 0, 0)),
		"longer than any record":  seal(make([]byte, MaxRecord)),
	} {
		if s, err := DecodeSession(b, key); s != nil || !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("%s: got %v, %v, want ErrInvalidRecord", name, s, err)
		}
	}
}

// A short record whose groups share long IDs must not take megabytes each.
func TestSharedGroupIDsDoNotAddUp(t *testing.T) {
	var key Key
	s := exampleSession()
	s.User.Groups = nil
	none := mustAppend(t, key, s)
	b := append([]byte(nil), none[:len(none)-checksum-1]...)
	b = binary.AppendUvarint(b, maxGroups)
	b = append(b, 0)
	b = binary.AppendUvarint(b, maxField)
	b = append(b, make([]byte, maxField)...)
	b = append(b, 0, 0)
	for range maxGroups - 1 {
		b = append(binary.AppendUvarint(b, maxField), 0, 0, 0)
	}
	if _, err := DecodeSession(seal(b), key); !errors.Is(err, ErrInvalidRecord) {
		t.Errorf("got %v, want ErrInvalidRecord", err)
	}
}

func TestSessionsThatMustNotBeStored(t *testing.T) {
	for name, spoil := range map[string]func(*Session){
		"no id":                func(s *Session) { s.ID = "" },
		"no user":              func(s *Session) { s.User.ID = "" },
		"no directory":         func(s *Session) { s.User.Directory = "" },
		"a short secret":       func(s *Session) { s.CSRF = "x" },
		"no idle timeout":      func(s *Session) { s.Limits.Idle = 0 },
		"a negative limit":     func(s *Session) { s.Limits.Absolute = -1 },
		"before 1970":          func(s *Session) { s.Created = time.Time{} },
		"too far ahead":        func(s *Session) { s.Created = time.Unix(maxSeconds+1, 0) },
		"a long password time": func(s *Session) { s.User.PasswordSet = strings.Repeat("x", maxField+1) },
		"a long field":         func(s *Session) { s.User.Email = strings.Repeat("x", maxField+1) },
		"a long group":         func(s *Session) { s.User.Groups[0].ID = strings.Repeat("x", maxField+1) },
		"a long group name":    func(s *Session) { s.User.Groups[0].Name = strings.Repeat("x", maxField+1) },
		"too many groups":      func(s *Session) { s.User.Groups = make([]Group, maxGroups+1) },
		"too much altogether": func(s *Session) {
			s.User.Groups = make([]Group, 100)
			for i := range s.User.Groups {
				s.User.Groups[i].DN = strings.Repeat("x", maxField)
			}
		},
		"group ids too long together": func(s *Session) {
			s.User.Groups = make([]Group, 200)
			for i := range s.User.Groups {
				s.User.Groups[i].ID = strings.Repeat("x", maxField)
			}
		},
	} {
		s := exampleSession()
		spoil(s)
		if b, err := AppendSession([]byte("p"), Key{}, s); err == nil || string(b) != "p" {
			t.Errorf("%s: %d bytes, error %v", name, len(b), err)
		}
	}
}

func TestUserRecordRoundTrip(t *testing.T) {
	var r UserRecord
	s := exampleSession()
	for range 3 {
		r = r.SignedIn(s)
		s.Created = s.Created.Add(time.Minute)
	}
	b, err := AppendUserRecord(nil, &r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeUserRecord(b, r.Directory, r.ID)
	if err != nil || got != r || r.SignIns != 3 || !r.LastSignIn.Equal(r.FirstSignIn.Add(2*time.Minute)) {
		t.Errorf("error %v\n got %+v\nwant %+v", err, got, r)
	}
	for _, who := range [][2]string{{r.Directory, "x"}, {"x", r.ID}, {"", ""}} {
		if _, err := DecodeUserRecord(b, who[0], who[1]); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("as record of %q: %v, want ErrInvalidRecord", who, err)
		}
	}
	for i := range b {
		if _, err := DecodeUserRecord(b[:i], r.Directory, r.ID); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("cut to %d: %v", i, err)
		}
	}
	if _, err := AppendUserRecord(nil, &UserRecord{}); err == nil {
		t.Error("the record of nobody was encoded")
	}
}

func TestSignInsThatCross(t *testing.T) {
	early, late := exampleSession(), exampleSession()
	late.Created = early.Created.Add(time.Minute)
	late.User.LastName = "Gómez"
	r := UserRecord{}.SignedIn(late).SignedIn(early)
	if r.LastName != "Gómez" || !r.LastSignIn.Equal(late.Created) || !r.FirstSignIn.Equal(early.Created) || r.SignIns != 2 {
		t.Errorf("got %+v", r)
	}
}

func FuzzDecodeSession(f *testing.F) {
	key := NewToken().Key()
	good := mustAppend(f, key, exampleSession())
	f.Add(good[1+len(key):len(good)-checksum], true)
	f.Add(good, false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed { // past the outer checks, into the fields, of either format
			format := byte(oldestSessionFormat + len(b)%2)
			b = seal(append(append([]byte{format}, key[:]...), b...))
		}
		s, err := DecodeSession(b, key)
		if err != nil {
			if s != nil || !errors.Is(err, ErrInvalidRecord) {
				t.Fatalf("got %v, %v", s, err)
			}
			return
		}
		again, err := AppendSession(nil, key, s)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		if back, err := DecodeSession(again, key); err != nil || !reflect.DeepEqual(back, s) {
			t.Fatalf("error %v\n got %+v\nwant %+v", err, back, s)
		}
	})
}

func FuzzDecodeUserRecord(f *testing.F) {
	r := UserRecord{}.SignedIn(exampleSession())
	good, err := AppendUserRecord(nil, &r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[1:len(good)-checksum], true)
	f.Add(good, false)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed {
			b = seal(append([]byte{userFormat}, b...))
		}
		got, err := DecodeUserRecord(b, r.Directory, r.ID)
		if err != nil {
			if !errors.Is(err, ErrInvalidRecord) {
				t.Fatal(err)
			}
			return
		}
		again, err := AppendUserRecord(nil, &got)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		if back, err := DecodeUserRecord(again, r.Directory, r.ID); err != nil || back != got {
			t.Fatalf("error %v\n got %+v\nwant %+v", err, back, got)
		}
	})
}
