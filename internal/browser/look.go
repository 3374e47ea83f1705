package browser

import (
	"context"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Look is what a screen and its user's settings ask of a page. Zoom needs no
// setting of its own: 400 % on a window of 1280 px leaves the page 320 px.
type Look struct {
	Width, Height int64   // CSS pixels; 0 is 1280 and 800
	Scale         float64 // pixels of the screen for one of CSS; 0 is 1
	Dark          bool    // prefers-color-scheme; light is asked for otherwise
	ForcedColors  bool    // as Windows has it for high contrast
	ReducedMotion bool    // prefers-reduced-motion
}

// Look shows the page, and all that follow it in the tab, in another way. It
// does not load the page again.
func (tab *Tab) Look(look Look) {
	tab.t.Helper()
	if look.Width == 0 {
		look.Width = 1280
	}
	if look.Height == 0 {
		look.Height = 800
	}
	if look.Scale == 0 {
		look.Scale = 1
	}
	features := []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: either(look.Dark, "dark", "light")},
		{Name: "forced-colors", Value: either(look.ForcedColors, "active", "none")},
		{Name: "prefers-reduced-motion", Value: either(look.ReducedMotion, "reduce", "no-preference")},
	}
	tab.do(
		chromedp.EmulateViewport(look.Width, look.Height, chromedp.EmulateScale(look.Scale)),
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
			return err
		}),
	)
}

func either(yes bool, is, otherwise string) string {
	if yes {
		return is
	}
	return otherwise
}

// Screenshot is a picture of the whole page, as a PNG.
func (tab *Tab) Screenshot() []byte {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		tab.t.Fatalf("taking a picture: %v", err)
	}
	return picture
}
