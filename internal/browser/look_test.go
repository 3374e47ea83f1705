package browser

import (
	"bytes"
	"image/png"
	"testing"
)

// chromium is shared by the tests of what a tab can do.
var chromium Shared

// newTab opens a tab of a test that runs beside others.
func newTab(t *testing.T) *Tab {
	t.Helper()
	chromium.Join(t)
	t.Parallel()
	return chromium.Tab(t)
}

// blank is a page that runs scripts and styles of its own.
const blank = "data:text/html,<!doctype html><title>x</title>"

func TestLook(t *testing.T) {
	tab := newTab(t)
	tab.Visit(blank + `<style>p{color:rgb(1,2,3)}</style><p>x</p>`)
	Eval[int](tab, "window.loadedOnce = 1")
	type seen struct {
		Width, Height              int64
		Scale                      float64
		Dark, Light, Forced, Still bool
		Colour                     string
		Once                       int
	}
	see := func() seen {
		return Eval[seen](tab, `({
			Width: innerWidth, Height: innerHeight, Scale: devicePixelRatio,
			Dark: matchMedia("(prefers-color-scheme: dark)").matches,
			Light: matchMedia("(prefers-color-scheme: light)").matches,
			Forced: matchMedia("(forced-colors: active)").matches,
			Still: matchMedia("(prefers-reduced-motion: reduce)").matches,
			Colour: getComputedStyle(document.querySelector("p")).color,
			Once: window.loadedOnce,
		})`)
	}
	const own = "rgb(1, 2, 3)"
	for _, c := range []struct {
		name string
		look Look
		want seen
	}{
		{"nothing asked for", Look{}, seen{1280, 800, 1, false, true, false, false, own, 1}},
		{"small and dark", Look{Width: 320, Height: 640, Dark: true}, seen{320, 640, 1, true, false, false, false, own, 1}},
		{"400 % zoom of a wide window", Look{Width: 320, Height: 256, Scale: 4}, seen{320, 256, 4, false, true, false, false, own, 1}},
		{"without motion", Look{ReducedMotion: true}, seen{1280, 800, 1, false, true, false, true, own, 1}},
		{"back to light", Look{}, seen{1280, 800, 1, false, true, false, false, own, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab.Look(c.look)
			if got := see(); got != c.want {
				t.Errorf("the page sees %+v, want %+v", got, c.want)
			}
		})
	}
	tab.Look(Look{ForcedColors: true})
	if got := see(); !got.Forced || got.Colour == own {
		t.Errorf("with forced colours the page sees %+v: its own colours, or no word of it", got)
	}
}

func TestScreenshotShowsTheWholePage(t *testing.T) {
	tab := newTab(t)
	tab.Look(Look{Width: 400, Height: 300, Scale: 2})
	tab.Visit(blank + `<style>html,body{margin:0}div{height:1500px}</style><div></div>`)
	picture, err := png.DecodeConfig(bytes.NewReader(tab.Screenshot()))
	if err != nil {
		t.Fatal(err)
	}
	if picture.Width != 800 || picture.Height != 3000 {
		t.Errorf("%d×%d pixels, want 800×3000", picture.Width, picture.Height)
	}
}
