package ldap

import (
	"slices"
	"testing"
)

func TestNormalizeDN(t *testing.T) {
	same := [][]string{
		{"CN=IT Admins,DC=Corp,DC=test", "cn=it admins, dc=corp , dc=TEST", "cn=IT  Admins,dc=corp,dc=test"},
		{`cn=Smith\, John,dc=x`, `CN=smith\2C john,DC=X`},
		{`cn=a\;b,dc=x`, `cn=a\3Bb,dc=x`},
		{"cn=Muñoz,dc=x", `cn=mu\C3\B1oz,dc=x`, "cn=mun\u0303oz,dc=x"},
		{"cn=a+ou=b,dc=x", "OU=B+CN=A,dc=x"},
		{`cn=a\=b,dc=x`, "cn=a=b,dc=x"},
		{`cn=\#a,dc=x`, `cn=\23a,dc=x`},
		{"cn=ſ,dc=x", "cn=S,dc=x", "cn=s,dc=x"}, // equal under case folding
	}
	var all []string
	for _, group := range same {
		want, err := NormalizeDN(group[0])
		if err != nil {
			t.Fatalf("NormalizeDN(%q): %v", group[0], err)
		}
		if slices.Contains(all, want) {
			t.Errorf("%q is the form of two different DNs", want)
		}
		all = append(all, want)
		for _, dn := range append(group[1:], want) {
			if got, err := NormalizeDN(dn); got != want {
				t.Errorf("NormalizeDN(%q) = %q, %v, want %q", dn, got, err, want)
			}
		}
	}
	for _, dn := range []string{"", " ", "juan", "cn", "cn=a,", "cn=a,dc", "cn=\xff,dc=x", `cn=a\`, "IT Admins", "\\ =", "c n=x"} {
		if got, err := NormalizeDN(dn); err == nil {
			t.Errorf("NormalizeDN(%q) = %q, want an error", dn, got)
		}
	}
	a, _ := NormalizeDN(`cn=\ff,dc=x`)
	b, _ := NormalizeDN(`cn=\fe,dc=x`)
	if a == b {
		t.Errorf("two binary values have the one form %q", a)
	}
}

func TestIsUnder(t *testing.T) {
	tests := []struct {
		dn, base string
		want     bool
	}{
		{"cn=a,dc=x", "dc=x", true},
		{"dc=x", "DC=X", true},
		{"dc=y", "dc=x", false},
		{"cn=a,ou=dc\\=x", "dc=x", false},
		{`cn=a\,dc\=x`, "dc=x", false},
	}
	for _, test := range tests {
		dn, err := NormalizeDN(test.dn)
		if err != nil {
			t.Fatal(err)
		}
		base, err := NormalizeDN(test.base)
		if err != nil {
			t.Fatal(err)
		}
		if got := isUnder(dn, base); got != test.want {
			t.Errorf("isUnder(%q, %q) = %v", dn, base, got)
		}
	}
}

func FuzzNormalizeDN(f *testing.F) {
	for _, s := range []string{"cn=a,dc=x", `cn=a\,b+ou=c,dc=x`, `cn=\ff`, "cn=ſ", `cn=\ a\ `, "cn=#04024869"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, dn string) {
		once, err := NormalizeDN(dn)
		if err != nil {
			return
		}
		if twice, err := NormalizeDN(once); err != nil || twice != once {
			t.Fatalf("NormalizeDN(%q) = %q, then %q, %v", dn, once, twice, err)
		}
	})
}

func TestSIDs(t *testing.T) {
	for in, want := range map[string]string{
		"S-1-5-21-1-2-3-513": "S-1-5-21-1-2-3-513",
		"s-1-1-0":            "S-1-1-0",
		"S-1-5-032-0545":     "S-1-5-32-545",
	} {
		if got, err := ParseSID(in); got != want || err != nil {
			t.Errorf("ParseSID(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "S-1", "S-1-5", "S-2-5-1", "S-1-5-x", "S-1-5-4294967296", "S-1-281474976710656-1", "S-1--1", "S-1-5-+1", "S-1-5-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1"} {
		if sid, err := ParseSID(in); err == nil {
			t.Errorf("ParseSID(%q) = %q", in, sid)
		}
	}
	for in, want := range map[string]string{
		"\x01\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00":                 "S-1-1-0",
		"\x01\x02\x00\x00\x00\x00\x00\x05\x20\x00\x00\x00\x21\x02\x00\x00": "S-1-5-32-545",
		"":     "",
		"\x01": "",
		"\x01\x02\x00\x00\x00\x00\x00\x05\x20\x00\x00\x00":                  "",
		"\x02\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00":                  "",
		"\x01\x02\x00\x00\x00\x00\x00\x05\x20\x00\x00\x00\x21\x02\x00\x00x": "",
	} {
		if got, err := decodeSID([]byte(in)); got != want || (err != nil) != (want == "") {
			t.Errorf("decodeSID(%x) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestGUIDIsLittleEndianInItsFirstFields(t *testing.T) {
	raw := []byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	if got, err := decodeGUID(raw); got != "00112233-4455-6677-8899-aabbccddeeff" || err != nil {
		t.Errorf("decodeGUID = %q, %v", got, err)
	}
	if got, err := decodeGUID(raw[1:]); err == nil {
		t.Errorf("decodeGUID of 15 bytes = %q", got)
	}
}

func TestLeadingValue(t *testing.T) {
	for given, want := range map[string]string{
		"CN=Wiki,DC=x": "Wiki", `cn=A\, B,ou=x`: "A, B", `CN=Ni\C3\B1os,DC=x`: "Niños", "CN = IT Admins , OU=x": "IT Admins", "2.5.4.3=Ops,DC=x": "Ops", "OU=R+CN=D,DC=x": "R", "a=b": "b",
		"": "", "wiki": "", "S-1-5-32-544": "", `CN=x\`: "", "a b=c,d": "",
	} {
		if got, ok := LeadingValue(given); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v, want %q", given, got, ok, want)
		}
	}
}
