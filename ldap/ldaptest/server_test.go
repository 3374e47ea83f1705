package ldaptest

import (
	"errors"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

func start(t *testing.T, dir Directory) *Server {
	t.Helper()
	s, err := Start("127.0.0.1:0", dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func dial(t *testing.T, s *Server) *goldap.Conn {
	t.Helper()
	c, err := goldap.DialURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	c.SetTimeout(5 * time.Second)
	t.Cleanup(func() { c.Close() })
	return c
}

func bound(t *testing.T, s *Server, name, password string) *goldap.Conn {
	t.Helper()
	c := dial(t, s)
	if err := c.Bind(name, password); err != nil {
		t.Fatalf("Bind(%q): %v", name, err)
	}
	return c
}

func code(err error) int {
	var e *goldap.Error
	if errors.As(err, &e) {
		return int(e.ResultCode)
	}
	return -1
}

func TestBindForms(t *testing.T) {
	dir := Demo()
	dir.Users = append(dir.Users,
		User{SAMAccountName: "victim", Password: "v"},
		User{SAMAccountName: "eve", UPN: "victim@other.example", Password: "e"})
	s := start(t, dir)
	tests := []struct {
		name, password, data string
	}{
		{"ac12345@empresa.local", "secreto", ""},
		{"AC12345@EMPRESA.LOCAL", "secreto", ""},
		{" ac12345 @empresa.local ", "secreto", ""},
		{"ac12345@empresa", "secreto", ""},
		{`EMPRESA\ac12345`, "secreto", ""},
		{`empresa\AC12345`, "secreto", ""},
		{"CN=Juan Pérez,CN=Users,DC=empresa,DC=local", "secreto", ""},
		{"cn=JUAN PÉREZ, cn=users, dc=empresa, dc=local", "secreto", ""},
		{"victim@other.example", "e", ""},
		{"victim@empresa.local", "v", ""},
		{"eve@empresa.local", "e", ""},
		{"victim@other.example", "v", "52e"},
		{"ac12345", "secreto", "52e"},
		{"Juan Pérez", "secreto", "52e"},
		{`empresa.local\ac12345`, "secreto", "52e"},
		{`NOPE\ac12345`, "secreto", "52e"},
		{"ac12345@wrong.local", "secreto", "52e"},
		{"a@b@c", "secreto", "52e"},
		{"ac12345@empresa.local", "SECRETO", "52e"},
		{"", "secreto", "52e"},
		{"expirada@empresa.local", "secreto", "532"},
		{"expirada@empresa.local", "wrong", "52e"},
		{"bloqueada@empresa.local", "secreto", "775"},
		{"bloqueada@empresa.local", "wrong", "775"},
		{"deshabilitada@empresa.local", "secreto", "533"},
		{"deshabilitada@empresa.local", "wrong", "52e"},
	}
	for _, test := range tests {
		err := dial(t, s).Bind(test.name, test.password)
		want := "80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext error, data " + test.data + ", v4563\x00"
		switch {
		case test.data == "" && err != nil:
			t.Errorf("Bind(%q, %q): %v", test.name, test.password, err)
		case test.data != "" && (code(err) != 49 || !strings.HasSuffix(err.Error(), want)):
			t.Errorf("Bind(%q, %q): %v, want data %s", test.name, test.password, err, test.data)
		}
	}
	c := dial(t, s)
	if err := c.UnauthenticatedBind("ac12345@empresa.local"); code(err) != 49 {
		t.Errorf("a name without a password: %v", err)
	}
	if err := c.UnauthenticatedBind(""); err != nil {
		t.Errorf("anonymous bind: %v", err)
	}
	if got := s.Binds(); got != len(tests)+2 {
		t.Errorf("Binds() = %d, want %d", got, len(tests)+2)
	}
}

func TestOtherOperations(t *testing.T) {
	s := start(t, Demo())
	c := bound(t, s, "ac12345@empresa.local", "secreto")
	if _, err := c.WhoAmI(nil); code(err) != 2 {
		t.Errorf("who-am-I: %v", err)
	}
	if err := c.Del(goldap.NewDelRequest("cn=x", nil)); code(err) != 53 {
		t.Errorf("delete: %v", err)
	}
	control := goldap.NewControlString("1.2.3", true, "")
	if _, err := c.Search(goldap.NewSearchRequest("", 0, 0, 0, 0, false, "(cn=*)", nil, []goldap.Control{control})); code(err) != 12 {
		t.Errorf("critical control: %v", err)
	}
	if err := c.Bind("ac12345@empresa.local", "secreto"); err != nil {
		t.Errorf("the connection did not survive: %v", err)
	}
}

func TestDirectoriesThatCannotBe(t *testing.T) {
	for what, dir := range map[string]Directory{
		"no domain":       {},
		"empty label":     {Domain: "a..b"},
		"user twice":      {Domain: "a", Users: []User{{SAMAccountName: "x"}, {SAMAccountName: "X"}}},
		"no name":         {Domain: "a", Users: []User{{}}},
		"UPN twice":       {Domain: "a", Users: []User{{SAMAccountName: "x", UPN: "u@a"}, {SAMAccountName: "y", UPN: "U@a"}}},
		"unknown group":   {Domain: "a", Users: []User{{SAMAccountName: "x", MemberOf: []string{"g"}}}},
		"unknown manager": {Domain: "a", Users: []User{{SAMAccountName: "x", Manager: "m"}}},
		"group twice":     {Domain: "a", Groups: []Group{{Name: "g"}, {Name: "G"}}},
	} {
		if s, err := Start("127.0.0.1:0", dir); err == nil {
			s.Close()
			t.Errorf("%s: it started", what)
		}
	}
	if _, err := Start("127.0.0.1:99999", Demo()); err == nil {
		t.Error("a bad address: it started")
	}
}
