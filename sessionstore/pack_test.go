package sessionstore

import (
	"bytes"
	"strings"
	"testing"
)

func TestPackedComesBack(t *testing.T) {
	random := NewToken()
	for name, test := range map[string]struct {
		in  string
		max int // bytes that it may take
	}{
		"nothing":          {"", 0},
		"one byte":         {"a", 2},
		"nothing repeated": {string(random[:]), len(random) + 1},
		"a name twice":     {"mgarcia and mgarcia@empresa.local", 30},
		"one byte often":   {strings.Repeat("x", 100_000), 10},
		"a part often":     {strings.Repeat("abcdefg", 10_000), 20},
		"at the very end":  {"12345-12345", 11},
		"the shortest":     {"12345", 6},
		"far back":         {"DC=empresa,DC=local" + strings.Repeat(string(random[:]), 1000) + "DC=empresa,DC=local", 80},
		"the longest":      {strings.Repeat("x", MaxRecord), 12},
	} {
		b := pack([]byte("before"), []byte(test.in))
		if string(b[:6]) != "before" || len(b)-6 > test.max {
			t.Errorf("%s: %d bytes, want at most %d", name, len(b)-6, test.max)
		}
		got, ok := unpack(nil, b[6:], MaxRecord)
		if !ok || string(got) != test.in {
			t.Errorf("%s: got %d bytes, %v, want %d", name, len(got), ok, len(test.in))
		}
		if got, ok := unpack(nil, b[6:], len(test.in)-1); ok && test.in != "" {
			t.Errorf("%s: got %d bytes, more than they may be", name, len(got))
		}
	}
}

func TestWhatCannotBeUnpacked(t *testing.T) {
	for name, b := range map[string][]byte{
		"a length cut short":     {0x80},
		"a length without end":   bytes.Repeat([]byte{0xff}, 12),
		"bytes cut short":        {4, 'a'},
		"a reference cut short":  {2, 'a', 1},
		"back to nothing":        {1, 1},
		"back to itself":         {2, 'a', 1, 0},
		"back too far":           {2, 'a', 1, 2},
		"back for ever":          {2, 'a', 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
		"more than there may be": append([]byte{2, 'a'}, bytes.Repeat([]byte{0xff, 0x0f, 1}, 10)...),
		"a huge copy":            {2, 'a', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1},
	} {
		if got, ok := unpack(nil, b, 4000); ok {
			t.Errorf("%s: got %d bytes", name, len(got))
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack(nil, []byte("CN=María García,OU=Usuarios,DC=empresa,DC=local María García")))
	f.Add([]byte{2, 'a', 0xff, 0x0f, 1})
	const limit = 10_000
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, ok := unpack(nil, pack(nil, b), len(b)); !ok || !bytes.Equal(got, b) {
			t.Fatalf("got %q, %v", got, ok)
		}
		if got, _ := unpack(nil, b, limit); len(got) > limit || cap(got) > 2*limit {
			t.Fatalf("%d bytes in %d", len(got), cap(got))
		}
	})
}
