package pages

import (
	"iter"
	"math"
	"regexp"
	"strings"
	"testing"
)

// The ratios are those that other checkers of contrast give.
func TestContrastIsThatOfWCAG(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b colour
		want float64
	}{
		{"black on white", black, white, 21},
		{"white on black", white, black, 21},
		{"same", 0x8ab4f8, 0x8ab4f8, 1},
		{"lightest grey that is readable", 0x767676, white, 4.54},
		{"darkest grey that is not", 0x777777, white, 4.48},
		{"red", 0xff0000, white, 4.00},
		{"lime", 0x00ff00, white, 1.37},
		{"blue", 0x0000ff, white, 8.59},
		{"yellow", 0xffff00, white, 1.07},
		{"straight part of the curve", 0x0a0a0a, black, 1.06},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.a.contrast(c.b); math.Abs(got-c.want) > 0.005 {
				t.Errorf("%s on %s has %.3f, want %.2f", c.a, c.b, got, c.want)
			}
		})
	}
}

func TestAccentSpelling(t *testing.T) {
	for _, c := range []struct{ name, accent, want string }{
		{"six digits", "#b3541e", "#b3541e"},
		{"capitals", "#B3541E", "#b3541e"},
		{"three digits", "#fc0", "#ffcc00"},
		{"three capitals", "#FC0", "#ffcc00"},
		{"black", "#000000", "#000000"},
		{"leading zeros", "#00000f", "#00000f"},
		{"empty is the default", "", "#0a58ca"},
		{"no number sign", "b3541e", "#b3541e"},
		{"three digits without one", "fc0", "#ffcc00"},

		{"name", "blue", ""},
		{"number sign alone", "#", ""},
		{"two number signs", "##a58ca", ""},
		{"one digit", "#f", ""},
		{"four digits: alpha", "#0a58", ""},
		{"five digits", "#0a58c", ""},
		{"seven digits", "#0a58ca0", ""},
		{"eight digits: alpha", "#0a58ca80", ""},
		{"not a digit", "#0a58cg", ""},
		{"three, not digits", "#xyz", ""},
		{"sign", "#+a58ca", ""},
		{"space before", " #0a58ca", ""},
		{"space after", "#0a58ca ", ""},
		{"space instead", " ", ""},
		{"line break after", "#0a58ca\n", ""},
		{"NUL", "#0a58c\x00", ""},
		{"digits of another script", "#٠٠٠", ""},
		{"full-width digits", "#００", ""},
		{"function", "rgb(10,88,202)", ""},
		{"expression", "#0a58ca;background:url(//example.com)", ""},
		{"leaves the rule", "#fff}*{display:none", ""},
		{"leaves the style", "</style><script>alert(1)</script>", ""},
		{"64 KiB", "#" + strings.Repeat("0", 64<<10), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, warnings, err := newPalette(c.accent)
			if c.want == "" {
				if err == nil || !strings.HasPrefix(err.Error(), `accent: "`) || !strings.HasSuffix(err.Error(), "is not a colour of the form #rrggbb") {
					t.Errorf("error %v", err)
				}
				if p != (palette{}) || warnings != nil {
					t.Errorf("an error, and also %v and %q", p, warnings)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.light.accent != c.want {
				t.Errorf("accent %q, want %q", p.light.accent, c.want)
			}
		})
	}
}

func TestAccentErrorNamesTheValue(t *testing.T) {
	_, _, err := newPalette("blue")
	if want := `accent: "blue" is not a colour of the form #rrggbb`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestTonesOfAnAccent(t *testing.T) {
	for _, c := range []struct {
		name, accent string
		light, dark  tones
	}{
		{"default", "", tones{"#0a58ca", "#ffffff", "#0a58ca"}, tones{"#8ab4f8", "#101317", "#8ab4f8"}},
		{"default written out", "#0A58CA", tones{"#0a58ca", "#ffffff", "#0a58ca"}, tones{"#8ab4f8", "#101317", "#8ab4f8"}},
		{"dark enough for light", "#5b21b6", tones{"#5b21b6", "#ffffff", "#5b21b6"}, tones{"#5b21b6", "#ffffff", "#9873d1"}},
		{"light enough for dark", "#ffd700", tones{"#ffd700", "#101317", "#826e00"}, tones{"#ffd700", "#101317", "#ffd700"}},
		{"neither", "#777777", tones{"#777777", "#000000", "#707070"}, tones{"#777777", "#000000", "#868686"}},
		{"white", "#fff", tones{"#ffffff", "#101317", "#707070"}, tones{"#ffffff", "#101317", "#ffffff"}},
		{"black", "#000", tones{"#000000", "#ffffff", "#000000"}, tones{"#000000", "#ffffff", "#878787"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, _, err := newPalette(c.accent)
			if err != nil {
				t.Fatal(err)
			}
			if p.light != c.light {
				t.Errorf("light %v, want %v", p.light, c.light)
			}
			if p.dark != c.dark {
				t.Errorf("dark %v, want %v", p.dark, c.dark)
			}
		})
	}
}

func TestAccentWarnings(t *testing.T) {
	const rest = "less than the 4.5:1 that text needs: links, borders and focus rings are"
	for _, c := range []struct {
		name, accent string
		want         []string
	}{
		{"default", "", nil},
		{"default written out", "#0a58ca", nil},
		{"default in capitals", "#0A58CA", nil},
		{"only the dark page needs another tone", "#5b21b6", nil},
		{"the light page does, as written", "#FD0", []string{
			`accent: "#FD0" has a contrast of 1.2:1 to the light page, ` + rest + ` #806f00 there`,
		}},
		{"just below", "#777777", []string{
			`accent: "#777777" has a contrast of 4.1:1 to the light page, ` + rest + ` #707070 there`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, got, err := newPalette(c.accent)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("warnings\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestContrastIsRoundedDown(t *testing.T) {
	for _, c := range []struct {
		contrast float64
		want     string
	}{{4.4999, "4.4:1"}, {4.5, "4.5:1"}, {1, "1.0:1"}, {1.36, "1.3:1"}, {21, "21.0:1"}} {
		if got := ratio(c.contrast); got != c.want {
			t.Errorf("%v is %q, want %q", c.contrast, got, c.want)
		}
	}
}

// Proves over a cube of all hues, and all greys, what the pages rely on.
func TestEveryAccentIsReadable(t *testing.T) {
	for accent := range accents() {
		p, warnings, err := newPalette(accent.String())
		if err != nil {
			t.Fatal(err)
		}
		adjusted := 0
		for _, c := range []struct {
			name string
			look look
			used tones
		}{{"light", lightLook(), p.light}, {"dark", darkLook(), p.dark}} {
			name := c.name
			behind, on, link := parsed(t, c.used.accent), parsed(t, c.used.on), parsed(t, c.used.link)
			if behind != accent {
				t.Errorf("%s, %s: the button is %s", accent, name, behind)
			}
			if got := on.contrast(accent); got < 4.5 {
				t.Errorf("%s, %s: the text %s on a button has %.2f", accent, name, on, got)
			}
			if on != white && on != black && on != darkBack {
				t.Errorf("%s, %s: the text on a button is %s", accent, name, on)
			}
			least := min(link.contrast(c.look.back), link.contrast(c.look.card))
			if least < 4.5 {
				t.Errorf("%s, %s: links %s have %.2f", accent, name, link, least)
			}
			if link == accent {
				continue
			}
			adjusted++
			if got := min(accent.contrast(c.look.back), accent.contrast(c.look.card)); got >= 4.5 {
				t.Errorf("%s, %s: has %.2f, and links are %s", accent, name, got, link)
			}
			if least > 4.75 {
				t.Errorf("%s, %s: links %s have %.2f, further from the accent than needed", accent, name, link, least)
			}
			if !sameHue(accent, link) {
				t.Errorf("%s, %s: links %s have another hue", accent, name, link)
			}
		}
		if adjusted == 0 {
			t.Errorf("%s stands out from both looks", accent)
		}
		if got, want := len(warnings) > 0, p.light.link != accent.String(); got != want {
			t.Errorf("%s: warnings %q, want some: %v", accent, warnings, want)
		}
	}
}

func TestSomeAccentsNeedBlackText(t *testing.T) {
	var found int
	for accent := range accents() {
		if max(white.contrast(accent), darkBack.contrast(accent)) >= readable {
			continue
		}
		found++
		if textOn(accent) != black {
			t.Errorf("the text on %s is %s", accent, textOn(accent))
		}
	}
	if found == 0 {
		t.Error("white or the dark text colour always do: black is not needed")
	}
}

func TestPaletteCSS(t *testing.T) {
	p, _, err := newPalette("")
	if err != nil {
		t.Fatal(err)
	}
	const want = ":root{--back:#f4f5f7;--card:#ffffff;--accent:#0a58ca;--on:#ffffff;--link:#0a58ca}" +
		"@media (prefers-color-scheme:dark){:root{--back:#101317;--card:#1b1f24;--accent:#8ab4f8;--on:#101317;--link:#8ab4f8}}"
	if got := p.css(); got != want {
		t.Errorf("style\n%s\nwant\n%s", got, want)
	}
}

// A colour that is written in the style sheet as well would win, and could be
// another than the one that contrast was measured against.
func TestStyleSheetAndPaletteDeclareEachColourOnce(t *testing.T) {
	sheet, err := files.ReadFile("templates/style.css")
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := newPalette("")
	if err != nil {
		t.Fatal(err)
	}
	declared := make(map[string]int)
	for _, m := range regexp.MustCompile(`(--\w+):`).FindAllStringSubmatch(p.css()+string(sheet), -1) {
		declared[m[1]]++
	}
	for property, times := range declared {
		if times > 2 {
			t.Errorf("%s is declared %d times, want once in each look", property, times)
		}
	}
	used := regexp.MustCompile(`var\((--\w+)`).FindAllStringSubmatch(string(sheet), -1)
	if len(used) == 0 {
		t.Error("the style sheet uses none")
	}
	for _, m := range used {
		if declared[m[1]] == 0 {
			t.Errorf("the style sheet uses %s, which nothing declares", m[1])
		}
	}
}

func FuzzAccentNeverLeavesItsRule(f *testing.F) {
	for _, seed := range []string{"", "#fff", "#0A58CA", "blue", "#fff}*{display:none", "#0a58ca80", "#\x00\x00\x00", "#é1"} {
		f.Add(seed)
	}
	const declarations = `\{--back:#[0-9a-f]{6};--card:#[0-9a-f]{6};--accent:#[0-9a-f]{6};--on:#[0-9a-f]{6};--link:#[0-9a-f]{6}\}`
	style := regexp.MustCompile(`^:root` + declarations + `@media \(prefers-color-scheme:dark\)\{:root` + declarations + `\}$`)
	spelled := regexp.MustCompile(`^(#([0-9A-Fa-f]{3}|[0-9A-Fa-f]{6}))?$`)
	f.Fuzz(func(t *testing.T, accent string) {
		p, _, err := newPalette(accent)
		if (err == nil) != spelled.MatchString(accent) {
			t.Errorf("%q: error %v", accent, err)
		}
		if err == nil && !style.MatchString(p.css()) {
			t.Errorf("%q gives the style %q", accent, p.css())
		}
	})
}

// accents are every 15th value of each channel, and all greys.
func accents() iter.Seq[colour] {
	return func(yield func(colour) bool) {
		for r := colour(0); r <= 0xff; r += 15 {
			for g := colour(0); g <= 0xff; g += 15 {
				for b := colour(0); b <= 0xff; b += 15 {
					if !yield(r<<16 | g<<8 | b) {
						return
					}
				}
			}
		}
		for grey := range colour(0x100) {
			if !yield(grey * 0x010101) {
				return
			}
		}
	}
}

func parsed(t *testing.T, tone string) colour {
	t.Helper()
	if len(tone) != len("#rrggbb") {
		t.Fatalf("the tone %q is not #rrggbb", tone)
	}
	c, err := parseAccent(tone)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sameHue compares hues up to the rounding of channels, which moves the hue of
// what is nearly grey or nearly black the most.
func sameHue(a, b colour) bool {
	hueA, chromaA := hue(a)
	hueB, chromaB := hue(b)
	if chromaA == 0 || chromaB == 0 {
		return chromaA <= 1 || chromaB == 0 && chromaA <= 15
	}
	apart := math.Abs(hueA - hueB)
	return min(apart, 360-apart) <= 60/chromaB+60/chromaA
}

// hue is the hue of HSL in degrees. chroma is the difference between the
// greatest and the least channel, from 0 to 255.
func hue(c colour) (degrees, chroma float64) {
	r, g, b := float64(c>>16&0xff), float64(c>>8&0xff), float64(c&0xff)
	most, least := max(r, g, b), min(r, g, b)
	chroma = most - least
	switch {
	case chroma == 0:
		return 0, 0
	case most == r:
		degrees = 60 * (g - b) / chroma
	case most == g:
		degrees = 60*(b-r)/chroma + 120
	default:
		degrees = 60*(r-g)/chroma + 240
	}
	return math.Mod(degrees+360, 360), chroma
}
