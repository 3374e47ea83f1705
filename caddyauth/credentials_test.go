package caddyauth

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestJSONCredentials(t *testing.T) {
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	tooDeep := strings.Repeat("[", 30000) + strings.Repeat("]", 30000)
	for _, test := range []struct {
		name, body, username, password string
		ok                             bool
	}{
		{"plain", `{"username":"u","password":"p"}`, "u", "p", true},
		{"other order, spaces", " {\n\"password\" : \"p\" ,\t\"username\":\"u\" } \n", "u", "p", true},
		{"further members", `{"a":[1,{"username":"x"}],"username":"u","b":null,"password":"p","c":{"password":"y"}}`, "u", "p", true},
		{"escapes", `{"user\u006eame":"\u00e9\n","password":"\ud83d\ude00"}`, "é\n", "😀", true},
		{"empty values are the directory's business", `{"username":"","password":""}`, "", "", true},
		{"NUL is the directory's business", `{"username":"a\u0000","password":"p"}`, "a\x00", "p", true},
		{"deep nesting elsewhere", `{"x":` + deep + `,"username":"u","password":"p"}`, "u", "p", true},
		{"the names in other case are other members", `{"Username":"x","PASSWORD":"y","username":"u","password":"p"}`, "u", "p", true},

		{"nothing", ``, "", "", false},
		{"broken", `{bad`, "", "", false},
		{"half", `{"username":"u","password":"p"`, "", "", false},
		{"form", `username=u&password=p`, "", "", false},
		{"null", `null`, "", "", false},
		{"array", `[]`, "", "", false},
		{"array of two", `["u","p"]`, "", "", false},
		{"array of the object", `[{"username":"u","password":"p"}]`, "", "", false},
		{"string", `"u"`, "", "", false},
		{"number", `1`, "", "", false},
		{"true", `true`, "", "", false},
		{"empty object", `{}`, "", "", false},
		{"no password", `{"username":"u"}`, "", "", false},
		{"no username", `{"password":"p"}`, "", "", false},
		{"only other case", `{"Username":"u","Password":"p"}`, "", "", false},
		{"number for a name", `{"username":1,"password":"p"}`, "", "", false},
		{"null for a password", `{"username":"u","password":null}`, "", "", false},
		{"array for a password", `{"username":"u","password":["p"]}`, "", "", false},
		{"object for a name", `{"username":{"$ne":""},"password":"p"}`, "", "", false},
		{"true for a password", `{"username":"u","password":true}`, "", "", false},
		{"doubled name", `{"username":"a","username":"u","password":"p"}`, "", "", false},
		{"doubled password", `{"username":"u","password":"p","password":"p"}`, "", "", false},
		{"doubled by an escape", `{"username":"u","user\u006eame":"v","password":"p"}`, "", "", false},
		{"doubled by null", `{"username":"u","username":null,"password":"p"}`, "", "", false},
		{"trailing garbage", `{"username":"u","password":"p"}x`, "", "", false},
		{"trailing brace", `{"username":"u","password":"p"}}`, "", "", false},
		{"two objects", `{"username":"u","password":"p"}{}`, "", "", false},
		{"trailing comma", `{"username":"u","password":"p",}`, "", "", false},
		{"comment", `{"username":"u",/**/"password":"p"}`, "", "", false},
		{"byte order mark", "\ufeff" + `{"username":"u","password":"p"}`, "", "", false},
		{"UTF-16", "{\x00\"\x00u\x00", "", "", false},
		{"invalid UTF-8", "{\"username\":\"u\xff\",\"password\":\"p\"}", "", "", false},
		{"raw control character", "{\"username\":\"u\n\",\"password\":\"p\"}", "", "", false},
		{"too deep", `{"x":` + tooDeep + `,"username":"u","password":"p"}`, "", "", false},
		{"unclosed nesting", strings.Repeat(`{"a":`, 10000), "", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			username, password, err := parseJSONCredentials([]byte(test.body))
			if (err == nil) != test.ok {
				t.Fatalf("error %v, want accepted: %v", err, test.ok)
			}
			if err == nil && (username != test.username || password != test.password) {
				t.Errorf("got %q, %q, want %q, %q", username, password, test.username, test.password)
			}
		})
	}
}

func FuzzJSONCredentials(f *testing.F) {
	for _, seed := range []string{`{"username":"u","password":"p"}`, `{"username":"u","username":"v","password":"p"}`, `[]`, `{"a":{"username":"x"}}`, `{bad`, "\xff", `{"username":"\ud800","password":"p"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		username, password, err := parseJSONCredentials(body)
		if err != nil {
			return
		}
		// Another reader of the same bytes agrees on both.
		var members map[string]any
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatalf("%q is accepted, but is no JSON object: %v", body, err)
		}
		if members["username"] != username || members["password"] != password {
			t.Errorf("%q: we read %q, %q, encoding/json %q, %q", body, username, password, members["username"], members["password"])
		}
		if !utf8.ValidString(username + password) {
			t.Errorf("%q: invalid UTF-8 comes out", body)
		}
	})
}

func TestOneValueOfAField(t *testing.T) {
	if only(nil) != "" || only([]string{"a"}) != "a" || only([]string{"a", "a"}) != "" {
		t.Error("only does not take exactly one")
	}
}
