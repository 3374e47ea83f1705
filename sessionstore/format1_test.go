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

func format1Key() (key Key) {
	for i := range key {
		key[i] = byte(i)
	}
	return key
}

func TestRecordsOfFormat1AreRead(t *testing.T) {
	want := &Session{
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
	key := format1Key()
	record, err := base64.StdEncoding.DecodeString(format1)
	if err != nil || record[0] != 1 {
		t.Fatalf("fixture: format %d, error %v", record[0], err)
	}
	got, err := DecodeSession(record, key)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("error %v\n got %+v\nwant %+v", err, got, want)
	}

	// What is written from now on is format 2, and says the same.
	again := mustAppend(t, key, got)
	if again[0] != 2 {
		t.Errorf("format %d is written, want 2", again[0])
	}
	if back, err := DecodeSession(again, key); err != nil || !reflect.DeepEqual(back, want) {
		t.Errorf("error %v\n got %+v\nwant %+v", err, back, want)
	}

	// The checksum does not tell the formats apart; the fields must.
	for _, format := range []byte{0, 2, 3} {
		b := append([]byte{format}, record[1:len(record)-checksum]...)
		if s, err := DecodeSession(seal(b), key); s != nil || !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("called format %d: %v, %v, want ErrInvalidRecord", format, s, err)
		}
	}
}
