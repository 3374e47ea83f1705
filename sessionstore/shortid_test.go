package sessionstore

import (
	"strings"
	"testing"
)

func TestShortIDs(t *testing.T) {
	const uuid = "0c4ee0d2-6d19-4f36-9f3c-9a2f7b9d2c11"
	binary := "\x0c\x4e\xe0\xd2\x6d\x19\x4f\x36\x9f\x3c\x9a\x2f\x7b\x9d\x2c\x11"
	seen := map[string]string{}
	for id, want := range map[string]string{
		uuid:                                   "\x00" + binary,
		strings.ToUpper(uuid):                  strings.ToUpper(uuid), // would come back in lower case
		uuid[:35] + "g":                        uuid[:35] + "g",
		uuid[:35] + "-":                        uuid[:35] + "-",
		"{" + uuid + "}":                       "{" + uuid + "}",
		strings.ReplaceAll(uuid, "-", ""):      strings.ReplaceAll(uuid, "-", ""),
		"0c4ee0d26-d19-4f36-9f3c-9a2f7b9d2c11": "0c4ee0d26-d19-4f36-9f3c-9a2f7b9d2c11",
		"":                                     "",
		"1":                                    "1",
		binary:                                 binary,
		"\x00" + binary:                        "\x01\x00" + binary, // looks short
		"\x01":                                 "\x01\x01",
		"\x01\x00" + binary:                    "\x01\x01\x00" + binary,
		"\x02":                                 "\x02",
	} {
		short := ShortID(id)
		if short != want {
			t.Errorf("%q: %q, want %q", id, short, want)
		}
		if other, taken := seen[short]; taken {
			t.Errorf("%q and %q have one short form", id, other)
		}
		seen[short] = id
		if back, ok := LongID(short); back != id || !ok {
			t.Errorf("%q comes back as %q, %v", id, back, ok)
		}
	}
	for _, short := range []string{uuid, "\x00", "\x00" + binary[1:], "\x00" + binary + "x", "\x01", "\x01x", "\x01" + uuid} {
		if id, ok := LongID(short); ok {
			t.Errorf("%q is taken for the short form of %q", short, id)
		}
	}
}
