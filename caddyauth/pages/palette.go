package pages

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
)

// colour is 0xrrggbb in sRGB.
type colour uint32

const (
	black         colour = 0x000000
	white         colour = 0xffffff
	defaultAccent colour = 0x0a58ca
	darkAccent    colour = 0x8ab4f8 // of the default accent, in the dark look

	// What text stands on. The style sheet has them from palette.css only, so
	// that it cannot show others than contrast was measured against.
	lightBack colour = 0xf4f5f7
	lightCard colour = 0xffffff
	darkBack  colour = 0x101317 // also the dark text on an accent
	darkCard  colour = 0x1b1f24
)

// readable is the least contrast of text (WCAG 2.2, 1.4.3). Borders and focus
// rings would do with 3 (1.4.11), but they share their tone with links.
const readable = 4.5

// palette is an accent colour as the pages use it, in both looks.
type palette struct{ light, dark tones }

// tones are CSS colours, as #rrggbb.
type tones struct {
	accent string // behind the text of buttons
	on     string // the text on it
	link   string // text, borders and focus rings in the accent on the card and on the page behind it
}

// look is what the tones have to stand out from.
type look struct {
	back, card colour
	towards    colour // mixed into an accent that does not stand out
}

func lightLook() look { return look{lightBack, lightCard, black} }
func darkLook() look  { return look{darkBack, darkCard, white} }

// newPalette reads an accent: #rgb or #rrggbb in any case, the number sign left
// out or not, because it begins a comment in a Caddyfile. Empty, or the default
// #0a58ca written out, is the default, with #8ab4f8 in the dark look.
//
// The warnings are sentences for the operator's log: one if the accent does not
// stand out enough from the light page to be text, so that another tone is used
// there. That the dark page takes a lighter tone is none: no colour stands out
// from both.
func newPalette(accent string) (palette, []string, error) {
	given, err := parseAccent(accent)
	if err != nil {
		return palette{}, nil, err
	}
	if given == defaultAccent {
		return palette{lightLook().tones(defaultAccent), darkLook().tones(darkAccent)}, nil, nil
	}
	p := palette{lightLook().tones(given), darkLook().tones(given)}
	if p.light.link == given.String() {
		return p, nil, nil
	}
	return p, []string{fmt.Sprintf("accent: %q has a contrast of %s to the light page, less than the %s that text needs: links, borders and focus rings are %s there",
		accent, ratio(lightLook().contrast(given)), ratio(readable), p.light.link)}, nil
}

// parseAccent takes no alpha channel, because the contrast of a colour that lets
// others through is not its own; and no names or functions, because what it
// returns are the only bytes of the option that reach the style sheet.
func parseAccent(accent string) (colour, error) {
	if accent == "" {
		return defaultAccent, nil
	}
	digits := strings.TrimPrefix(accent, "#")
	if len(digits) == 3 {
		digits = string([]byte{digits[0], digits[0], digits[1], digits[1], digits[2], digits[2]})
	}
	rgb, err := hex.DecodeString(digits)
	if err != nil || len(rgb) != 3 {
		return 0, fmt.Errorf("accent: %q is not a colour of the form #rrggbb", accent)
	}
	return colour(rgb[0])<<16 | colour(rgb[1])<<8 | colour(rgb[2]), nil
}

// css declares the custom properties that the style sheet is written with.
func (p palette) css() string {
	return ":root{" + p.light.properties(lightLook()) + "}" +
		"@media (prefers-color-scheme:dark){:root{" + p.dark.properties(darkLook()) + "}}"
}

func (t tones) properties(l look) string {
	return fmt.Sprintf("--back:%s;--card:%s;--accent:%s;--on:%s;--link:%s", l.back, l.card, t.accent, t.on, t.link)
}

// tones never changes the accent behind a button's text: it is the operator's
// brand, the text on it is ours to choose, and a border in the link's tone shows
// the button's edge where the accent is as light or as dark as the page.
func (l look) tones(accent colour) tones {
	return tones{accent: accent.String(), on: textOn(accent).String(), link: l.link(accent).String()}
}

// textOn is white or the dark text colour. For some middling accents neither is
// readable; black then is, because white is not.
func textOn(accent colour) colour {
	on := white
	if darkBack.contrast(accent) > white.contrast(accent) {
		on = darkBack
	}
	if on.contrast(accent) < readable {
		return black
	}
	return on
}

// link is the accent, or the tone nearest to it that is readable. Mixing with
// black or white keeps the hue, so that it still looks like the accent, and ends
// at black or white, which are readable.
func (l look) link(accent colour) colour {
	const steps = 100
	for step := range uint32(steps) {
		if tone := accent.mix(l.towards, step, steps); l.contrast(tone) >= readable {
			return tone
		}
	}
	return l.towards
}

// contrast is the lower of the contrasts with the look's surfaces.
func (l look) contrast(c colour) float64 {
	return min(c.contrast(l.back), c.contrast(l.card))
}

// contrast is the contrast ratio of WCAG 2.2, from 1 to 21.
func (c colour) contrast(other colour) float64 {
	a, b := c.luminance(), other.luminance()
	return (max(a, b) + 0.05) / (min(a, b) + 0.05)
}

// luminance is the relative luminance of WCAG 2.2, from 0 to 1.
func (c colour) luminance() float64 {
	linear := func(channel colour) float64 {
		v := float64(channel&0xff) / 0xff
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c>>16) + 0.7152*linear(c>>8) + 0.0722*linear(c)
}

// mix is the colour with step of steps parts of the other, by channel.
func (c colour) mix(other colour, step, steps uint32) colour {
	channel := func(shift int) colour {
		from, to := uint32(c>>shift)&0xff, uint32(other>>shift)&0xff
		return colour((from*(steps-step)+to*step+steps/2)/steps) << shift
	}
	return channel(16) | channel(8) | channel(0)
}

func (c colour) String() string { return fmt.Sprintf("#%06x", uint32(c)) }

// ratio rounds down: a contrast that is just too low must not read as enough.
func ratio(contrast float64) string {
	return fmt.Sprintf("%.1f:1", math.Floor(contrast*10)/10)
}
