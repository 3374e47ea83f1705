package caddyauth

import (
	"encoding/json"
	"testing"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "",
		"Juan Pérez 😀":      "Juan Pérez 😀",
		"a\x1b[31mb":        `a\x1b[31mb`,
		"a\r\n\tb":          `a\x0d\x0a\x09b`,
		"\x7f\u009b":        `\x7f\u009b`,
		"\u202eevil":        `\u202eevil`,
		"\U000e0041":        `\U000e0041`,
		"bad \xff\xc3 utf8": `bad \xff\xc3 utf8`,
		"�":                 "�",
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var same, plain string
		if err := json.Unmarshal(printableJSON(quoted), &same); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if err := json.Unmarshal(quoted, &plain); err != nil || same != plain {
			t.Errorf("%q: printableJSON makes it %q", text, same)
		}
	}
}
