package sessionstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
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
		"the longest in seconds":  func(s *Session) { s.Limits.Idle = (1<<63 - 1) / time.Second * time.Second },
		"limits of nanoseconds":   func(s *Session) { s.Limits = Limits{1, time.Second + 1} },
		"no groups":               func(s *Session) { s.User.Groups = nil },
		"password set never":      func(s *Session) { s.User.PasswordSet = "" },
		"bytes that are no UTF-8": func(s *Session) { s.User.Title = "\x00\xff\xfe" },
		"groups that share nothing": func(s *Session) {
			s.User.Groups = []Group{{ID: "a"}, {ID: ""}, {ID: "b"}, {ID: "bb"}, {ID: "b"}, {ID: "b"}}
		},
		"group ids of every form": func(s *Session) {
			s.User.Groups = []Group{
				{ID: s.User.ID}, {ID: s.User.ID}, {ID: "0c4ee0d2-6d19-4f36-9f3c-9a2f7b9d2c12", Name: "n"}, {ID: strings.ToUpper(s.User.ID)},
				{ID: "0"}, {ID: "00"}, {ID: "007"}, {ID: "70"}, {ID: strings.Repeat("9", maxShortDigits)}, {ID: strings.Repeat("9", maxShortDigits+1)},
				{ID: "S-1-5-100"}, {ID: "S-1-5-101", DN: "d"}, {ID: "S-1-5-0"}, {ID: "S-1-5-"}, {ID: "S-1-5-01"}, {ID: "-1"}, {ID: "+1"},
				{ID: "abcdefgh"}, {ID: "abcdefg7"}, {ID: "abcdefg8"}, {ID: "abcdefg\n"}, {ID: "abcdefgh\n", Name: "last"},
			}
		},
		"other ids": func(s *Session) { s.ID, s.User.ID, s.User.PasswordSet = "ABCDEFGH", "007", "never" },
		"more than usual": func(s *Session) {
			for i := range s.User.Groups {
				s.User.Groups[i].Name = fmt.Sprint("group ", i, strings.Repeat("x", i))
				s.User.Groups[i].DN = "CN=" + s.User.Groups[i].Name + ",OU=Groups,DC=corp,DC=example,DC=com"
			}
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
	if n := len(mustAppend(t, Key{}, exampleSession())); n > 400 {
		t.Errorf("a session with 20 groups takes %d bytes, want at most 400", n)
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
			want := ErrInvalidRecord
			if i == 0 && b[0] > sessionFormat && b[0] <= lastFormat {
				want = ErrNewerRecord // nobody can tell here
			}
			if s, err := DecodeSession(b, key); s != nil || !errors.Is(err, want) {
				t.Errorf("byte %d, bit %d: %v, want %v", i, bit, err, want)
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
func seal(b []byte, subject ...byte) []byte {
	return binary.BigEndian.AppendUint32(b, recordChecksum(b, subject))
}

// sealed is a record of today with those fields.
func sealed(format byte, subject []byte, fields ...byte) []byte {
	return seal(pack([]byte{format}, fields), subject...)
}

// fields are those of a record of today, without its groups if it has none.
func fields(t testing.TB, record []byte) []byte {
	t.Helper()
	b, ok := unpack(nil, record[1:len(record)-checksum], MaxRecord)
	if !ok {
		t.Fatal("the record cannot be unpacked")
	}
	return b
}

func TestRecordsThatLieAreInvalid(t *testing.T) {
	var key Key
	good := mustAppend(t, key, exampleSession())
	body := good[:len(good)-checksum]
	all := fields(t, good)
	huge := binary.AppendUvarint(nil, 1<<63)
	bare := exampleSession()
	bare.User.Groups = nil
	none := fields(t, mustAppend(t, key, bare))
	none = none[:len(none)-2] // how many groups, how many with names
	with := func(format byte, fields ...byte) []byte { return sealed(format, key[:], fields...) }
	grouped := func(more ...byte) []byte { return with(sessionFormat, slices.Concat(none, more)...) }
	if _, err := DecodeSession(grouped(1, 0, 1<<2, 'g', 1, 0, 1, 'n', 0), key); err != nil {
		t.Fatalf("a record that does not lie: %v", err)
	}
	for name, b := range map[string][]byte{
		"nothing":                    nil,
		"only a format":              seal([]byte{sessionFormat}, key[:]...),
		"format 0":                   with(0, all...),
		"format 32":                  with(32, all...),
		"format 255":                 with(255, all...),
		"format 3 called 2":          with(2, all...),
		"format 3 called 1":          with(1, all...),
		"not packed":                 seal(append([]byte{sessionFormat}, all...), key[:]...),
		"without the key":            seal(body),
		"a huge length":              with(sessionFormat, huge...),
		"a length without end":       with(sessionFormat, bytes.Repeat([]byte{0xff}, 11)...),
		"something at the end":       with(sessionFormat, append(slices.Clone(all), 0)...),
		"something after the packed": seal(append(slices.Clone(body), 1), key[:]...),
		"cut in a field":             with(sessionFormat, all[:60]...),
		"no groups":                  with(sessionFormat, none...),
		"a user record":              func() []byte { b, _ := AppendUserRecord(nil, &UserRecord{Directory: "d", ID: "i"}); return b }(),
		"too many groups":            grouped(binary.AppendUvarint(nil, maxGroups+1)...),
		"groups that do not fit":     grouped(binary.AppendUvarint(nil, maxGroups)...),
		"sharing what is not yet":    grouped(1, 1, 0, 0),
		"a UUID of 15 bytes":         grouped(append([]byte{1, 0, 2}, make([]byte, 15)...)...),
		"a UUID with a length":       grouped(append([]byte{1, 0, 1<<2 | 2}, make([]byte, 17)...)...),
		"too long in base32":         grouped(append([]byte{1, 0}, binary.AppendUvarint(nil, (maxField/8*5+1)<<2|3)...)...),
		"names of no group":          grouped(0, 1, 0, 0, 0),
		"names of a group behind":    grouped(1, 0, 1<<2, 'g', 1, 1, 1, 'n', 0),
		"names far behind":           grouped(append([]byte{1, 0, 1 << 2, 'g', 1}, append(huge, 0, 0)...)...),
		"names cut short":            grouped(1, 0, 1<<2, 'g', 1),
		"longer than any record":     seal(make([]byte, MaxRecord)),
		"longer when unpacked":       seal(append(appendPlain([]byte{sessionFormat}, []byte("x")), bytes.Repeat([]byte{0xff, 0xff, 0x07, 1}, 100)...), key[:]...),
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
	none := fields(t, mustAppend(t, key, s))
	long := bytes.Repeat([]byte("x"), maxField)
	b := binary.AppendUvarint(none[:len(none)-2:len(none)-2], maxGroups)
	b = append(binary.AppendUvarint(append(b, 0), maxField<<shortKinds), long...)
	for range maxGroups - 1 {
		b = append(binary.AppendUvarint(b, maxField), 0)
	}
	if _, err := DecodeSession(sealed(sessionFormat, key[:], append(b, 0)...), key); !errors.Is(err, ErrInvalidRecord) || !strings.Contains(err.Error(), "group ids") {
		t.Errorf("got %v, want ErrInvalidRecord", err)
	}

	// As it was written before.
	old := fixture(t, format1, 1)
	old = old[:bytes.Index(old, []byte("S-1-5-21"))-3]
	b = append(binary.AppendUvarint(slices.Clone(old), maxGroups), 0)
	b = append(append(binary.AppendUvarint(b, maxField), long...), 0, 0)
	for range maxGroups - 1 {
		b = append(binary.AppendUvarint(b, maxField), 0, 0, 0)
	}
	if _, err := DecodeSession(seal(b), format1Key()); !errors.Is(err, ErrInvalidRecord) || !strings.Contains(err.Error(), "group ids") {
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
	// Past the outer checks, into the packed fields; past the packing; and into
	// the fields of older formats.
	const asItIs, packed, inner, format1, format2, ways = 0, 1, 2, 3, 4, 5
	f.Add(good, byte(asItIs))
	f.Add(good[1:len(good)-checksum], byte(packed))
	f.Add(fields(f, good), byte(inner))
	f.Add([]byte{}, byte(inner))
	f.Add([]byte{}, byte(format1))
	f.Add([]byte{}, byte(format2))
	f.Fuzz(func(t *testing.T, b []byte, way byte) {
		switch way % ways {
		case packed:
			b = seal(append([]byte{sessionFormat}, b...), key[:]...)
		case inner:
			b = sealed(sessionFormat, key[:], b...)
		case format1, format2:
			b = seal(slices.Concat([]byte{way%ways - format1 + 1}, key[:], b))
		}
		s, err := DecodeSession(b, key)
		if err != nil {
			wantUnread(t, b, sessionFormat, err)
			if s != nil {
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

// wantUnread wants the error that goes with the first byte of b.
func wantUnread(t *testing.T, b []byte, newest byte, err error) {
	t.Helper()
	newer := len(b) > 0 && b[0] > newest && b[0] <= lastFormat
	if errors.Is(err, ErrNewerRecord) != newer || errors.Is(err, ErrInvalidRecord) == newer {
		t.Fatalf("of %.20q: %v", b, err)
	}
}

func FuzzDecodeUserRecord(f *testing.F) {
	r := UserRecord{}.SignedIn(exampleSession())
	subject := userSubject(r.Directory, r.ID)
	good, err := AppendUserRecord(nil, &r)
	if err != nil {
		f.Fatal(err)
	}
	const asItIs, inner, format1, ways = 0, 1, 2, 3
	f.Add(good, byte(asItIs))
	f.Add(fields(f, good), byte(inner))
	f.Add([]byte{}, byte(format1))
	f.Fuzz(func(t *testing.T, b []byte, way byte) {
		switch way % ways {
		case inner:
			b = sealed(userFormat, subject, b...)
		case format1:
			b = seal(append([]byte{1}, b...))
		}
		got, err := DecodeUserRecord(b, r.Directory, r.ID)
		if err != nil {
			wantUnread(t, b, userFormat, err)
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
