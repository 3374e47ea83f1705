package realserver

import "testing"

func TestSIDText(t *testing.T) {
	tests := []struct {
		what string
		raw  string
		want string // empty: an error
	}{
		{"everyone", "\x01\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00", "S-1-1-0"},
		{"builtin users", "\x01\x02\x00\x00\x00\x00\x00\x05\x20\x00\x00\x00\x21\x02\x00\x00", "S-1-5-32-545"},
		{"large part", "\x01\x01\x00\x00\x00\x00\x00\x05\xff\xff\xff\xff", "S-1-5-4294967295"},
		{"cut off", "\x01\x02\x00\x00\x00\x00\x00\x05\x20\x00\x00\x00", ""},
		{"too long", "\x01\x00\x00\x00\x00\x00\x00\x05\x20\x00\x00\x00", ""},
		{"empty", "", ""},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			got, err := sidText([]byte(test.raw))
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("sidText = %q, %v; want %q", got, err, test.want)
			}
		})
	}
}
