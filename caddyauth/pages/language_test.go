package pages

import (
	"strings"
	"testing"
)

func TestNegotiation(t *testing.T) {
	for _, c := range []struct{ name, header, want string }{
		{"nothing asked", "", "es"},
		{"Spanish", "es", "es"},
		{"Mexico", "es-MX", "es"},
		{"Latin America", "es-419", "es"},
		{"Catalan", "ca", "es"},
		{"Catalan before English", "ca,en;q=0.8", "es"},
		{"Valencian before English", "ca-valencia,en;q=0.8", "es"},
		{"Galician before English", "gl,en;q=0.8", "es"},
		{"Basque before English", "eu,en;q=0.8", "es"},
		{"English", "en-GB,en;q=0.9", "en"},
		{"other case", "EN-us", "en"},
		{"Brazil", "pt-BR", "pt"},
		{"Portugal", "pt-PT,pt;q=0.9,en;q=0.8", "pt"},
		{"Canada", "fr-CA", "fr"},
		{"Austria", "de-AT", "de"},
		{"Mexico before English", "es-MX,en;q=0.8", "es"},
		{"Latin America before English", "es-419,en;q=0.8", "es"},
		{"Portugal before English", "pt-PT,en;q=0.8", "pt"},
		{"Canada before English", "fr-CA,en-CA;q=0.8", "fr"},
		{"Austria before English", "de-AT,en;q=0.8", "de"},
		{"Swiss German", "gsw", "de"},
		{"by weight, not by place", "de;q=0.1, fr;q=0.9", "fr"},
		{"first of equal weight", "de, fr", "de"},
		{"refused by weight 0", "en;q=0, de;q=0.1", "de"},
		{"unknown, then known", "ja,zh;q=0.9,en;q=0.5", "en"},
		{"unknown", "ja", "es"},
		{"not spoken", "it", "es"},
		{"anything", "*", "es"},
		{"anything, but", "*, de;q=0.5", "de"},
		{"everything refused", "en;q=0", "es"},
		{"one odd entry does not lose the rest", "xx-yy, !!!, de;q=abc, fr;q=0.5", "fr"},
		{"not a header", "<script>alert(1)</script>", "es"},
		{"not UTF-8", "\xff\xfe,\x00", "es"},
		{"weights that are no numbers", "fr;q=NaN,de;q=1", "de"},
		{"longest", strings.Repeat(" ", maxAcceptLanguage-2) + "de", "de"},
		{"too long", strings.Repeat(" ", maxAcceptLanguage-1) + "de", "es"},
		{"most entries", strings.Repeat("ja,", maxWishes-1) + "de", "de"},
		{"too many entries", strings.Repeat("ja,", maxWishes) + "de", "es"},
		{"64 KiB", strings.Repeat("de-", 21845), "es"},
		{"commas only", strings.Repeat(",", 31), "es"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := newLanguages("es").negotiate(c.header).code; got != c.want {
				t.Errorf("%.80q gives %q, want %q", c.header, got, c.want)
			}
		})
	}
}

func FuzzNegotiate(f *testing.F) {
	l := newLanguages("es")
	for _, seed := range []string{"", "es-MX,es;q=0.9", "de-1901-x-foo", "a-a-aa,q=;;", "i-klingon", "und-Latn-u-rg-zzzz"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if lang := l.negotiate(header); lang.texts == nil {
			t.Errorf("%q gives no language", header)
		}
	})
}
