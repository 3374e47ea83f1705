package sessionstore

import (
	"encoding/base64"
	"errors"
	"reflect"
	"testing"
	"time"
)

// format1 is a session's record as it was written before PasswordSet came,
// under the key of the bytes 0 to 31. It is never made anew.
const format1 = "AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fEGFiY2RlZmdoMjM0NTY3MjMgQUJDREVGR0hJSktMTU5PUFFSU1RV" +
	"VldYWVphYmNkZWbfyYPJBpWa7zqAwOKF42iAgJ7FpOkJDDIwMDE6ZGI4OjoxNxBjb3JwLmV4YW1wbGUuY29tJDBjNGVlMGQy" +
	"LTZkMTktNGYzNi05ZjNjLTlhMmY3YjlkMmMxMQdtZ2FyY2lhNENOPU1hcsOtYSBHYXJjw61hLE9VPVVzZXJzLERDPWNvcnAs" +
	"REM9ZXhhbXBsZSxEQz1jb20GTWFyw61hB0dhcmPDrWEOTWFyw61hIEdhcmPDrWEYbWdhcmNpYUBjb3JwLmV4YW1wbGUuY29t" +
	"GG1nYXJjaWFAY29ycC5leGFtcGxlLmNvbQlJbmdlbmllcmExQ049SnVhbiBQw6lyZXosT1U9VXNlcnMsREM9Y29ycCxEQz1l" +
	"eGFtcGxlLERDPWNvbQMALFMtMS01LTIxLTEwMDQzMzYzNDgtMTE3NzIzODkxNS02ODIwMDMzMzAtNTEyCUlUIEFkbWlucxRD" +
	"Tj1JVCBBZG1pbnMsREM9Y29ycCsBMwAABgYzMi01NDUAAJi+pg0="

// format2 is that session's record as it was written once PasswordSet was there.
const format2 = "AgABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fEGFiY2RlZmdoMjM0NTY3MjMgQUJDREVGR0hJSktMTU5PUFFSU1RVVl" +
	"dYWVphYmNkZWbfyYPJBpWa7zqAwOKF42iAgJ7FpOkJDDIwMDE6ZGI4OjoxNxBjb3JwLmV4YW1wbGUuY29tJDBjNGVlMGQyLTZk" +
	"MTktNGYzNi05ZjNjLTlhMmY3YjlkMmMxMQdtZ2FyY2lhNENOPU1hcsOtYSBHYXJjw61hLE9VPVVzZXJzLERDPWNvcnAsREM9ZX" +
	"hhbXBsZSxEQz1jb20GTWFyw61hB0dhcmPDrWEOTWFyw61hIEdhcmPDrWEYbWdhcmNpYUBjb3JwLmV4YW1wbGUuY29tGG1nYXJj" +
	"aWFAY29ycC5leGFtcGxlLmNvbQlJbmdlbmllcmExQ049SnVhbiBQw6lyZXosT1U9VXNlcnMsREM9Y29ycCxEQz1leGFtcGxlLE" +
	"RDPWNvbRIxMzQwODIwMTEyMzAwMDAwMDADACxTLTEtNS0yMS0xMDA0MzM2MzQ4LTExNzcyMzg5MTUtNjgyMDAzMzMwLTUxMglJ" +
	"VCBBZG1pbnMUQ049SVQgQWRtaW5zLERDPWNvcnArATMAAAYGMzItNTQ1AABNoqg3"

// userFormat1 is the user's record after two sign-ins, an hour apart, as it was
// written with its directory and ID in it.
const userFormat1 = "ARBjb3JwLmV4YW1wbGUuY29tJDBjNGVlMGQyLTZkMTktNGYzNi05ZjNjLTlhMmY3YjlkMmMxMQdtZ2FyY2lhBk1hcsOtYQdHYX" +
	"Jjw61hGG1nYXJjaWFAY29ycC5leGFtcGxlLmNvbQ5NYXLDrWEgR2FyY8OtYd/Jg8kGlZrvOu/lg8kGlZrvOgJBYmwt"

func format1Key() (key Key) {
	for i := range key {
		key[i] = byte(i)
	}
	return key
}

func format1Session() *Session {
	return &Session{
		ID: "abcdefgh23456723", CSRF: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef",
		Created: time.Date(2025, 11, 21, 22, 17, 3, 123456789, time.UTC),
		Limits:  Limits{Idle: time.Hour, Absolute: 12 * time.Hour},
		User: User{
			Directory: "corp.example.com", ID: "0c4ee0d2-6d19-4f36-9f3c-9a2f7b9d2c11",
			Username: "mgarcia", DN: "CN=María García,OU=Users,DC=corp,DC=example,DC=com",
			FirstName: "María", LastName: "García", DisplayName: "María García",
			Email: "mgarcia@corp.example.com", UPN: "mgarcia@corp.example.com",
			Title: "Ingeniera", Manager: "CN=Juan Pérez,OU=Users,DC=corp,DC=example,DC=com",
			Groups: []Group{
				{ID: "S-1-5-21-1004336348-1177238915-682003330-512", Name: "IT Admins", DN: "CN=IT Admins,DC=corp"},
				{ID: "S-1-5-21-1004336348-1177238915-682003330-513"},
				{ID: "S-1-5-32-545"},
			},
		},
		ClientIP: "2001:db8::17",
	}
}

func fixture(t *testing.T, text string, format byte) []byte {
	t.Helper()
	record, err := base64.StdEncoding.DecodeString(text)
	if err != nil || record[0] != format {
		t.Fatalf("fixture: format %d, error %v", record[0], err)
	}
	return record
}

func TestRecordsOfOlderFormatsAreRead(t *testing.T) {
	key := format1Key()
	for format, text := range map[byte]string{1: format1, 2: format2} {
		want := format1Session()
		if format == 2 {
			want.User.PasswordSet = "134082011230000000"
		}
		record := fixture(t, text, format)
		got, err := DecodeSession(record, key)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("format %d: error %v\n got %+v\nwant %+v", format, err, got, want)
		}
		if s, err := DecodeSession(record, Key{}); s != nil || !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("format %d, under another key: %v, %v, want ErrInvalidRecord", format, s, err)
		}

		// What is written from now on is format 3, and says the same.
		again := mustAppend(t, key, got)
		if again[0] != 3 {
			t.Errorf("format %d is written, want 3", again[0])
		}
		if back, err := DecodeSession(again, key); err != nil || !reflect.DeepEqual(back, want) {
			t.Errorf("format %d: error %v\n got %+v\nwant %+v", format, err, back, want)
		}

		// The checksum does not tell the formats apart; the fields must.
		for _, other := range []byte{0, 1, 2, 3} {
			b := append([]byte{other}, record[1:len(record)-checksum]...)
			if s, err := DecodeSession(seal(b), key); other != format && (s != nil || !errors.Is(err, ErrInvalidRecord)) {
				t.Errorf("format %d called %d: %v, %v, want ErrInvalidRecord", format, other, s, err)
			}
			if s, err := DecodeSession(seal(b, key[:]...), key); s != nil || !errors.Is(err, ErrInvalidRecord) {
				t.Errorf("format %d called %d: %v, %v, want ErrInvalidRecord", format, other, s, err)
			}
		}
	}
}

func TestUserRecordsOfFormat1AreRead(t *testing.T) {
	s := format1Session()
	want := UserRecord{}.SignedIn(s)
	s.Created = s.Created.Add(time.Hour)
	want = want.SignedIn(s)
	record := fixture(t, userFormat1, 1)
	got, err := DecodeUserRecord(record, want.Directory, want.ID)
	if err != nil || got != want {
		t.Fatalf("error %v\n got %+v\nwant %+v", err, got, want)
	}
	for _, who := range [][2]string{{want.Directory, "x"}, {"x", want.ID}, {"", ""}} {
		if _, err := DecodeUserRecord(record, who[0], who[1]); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("as record of %q: %v, want ErrInvalidRecord", who, err)
		}
	}
	if again, err := AppendUserRecord(nil, &got); err != nil || again[0] != 2 {
		t.Errorf("format %d is written, error %v, want 2", again[0], err)
	}
}
