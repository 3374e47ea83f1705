package screenshots

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"slices"
	"testing"
)

// maxPicture is in bytes: pictures are in every checkout, for ever.
const maxPicture = 40 << 10

// shrink writes a picture anew with at most 256 colours, which halves it: pages
// have few, and the others are the soft edges of letters.
func shrink(picture []byte) ([]byte, error) {
	decoded, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, fmt.Errorf("reading the picture: %w", err)
	}
	bounds := decoded.Bounds()
	counts := make(map[color.RGBA]int)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[rgba(decoded.At(x, y))]++
		}
	}
	palette, index := fewColours(counts)
	paletted := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			paletted.SetColorIndex(x, y, index[rgba(decoded.At(x, y))])
		}
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, paletted); err != nil {
		return nil, fmt.Errorf("writing the picture: %w", err)
	}
	return out.Bytes(), nil
}

func rgba(c color.Color) color.RGBA { return color.RGBAModel.Convert(c).(color.RGBA) }

// fewColours chooses a palette, and an entry of it for each colour: colours that
// differ in their low bits alone share that of which there is most, in as many
// bits as it takes. Colours of surfaces stay what they are.
func fewColours(counts map[color.RGBA]int) (color.Palette, map[color.RGBA]uint8) {
	var colours []color.RGBA
	for c := range counts {
		colours = append(colours, c)
	}
	// The order of a map is not that of the last time.
	slices.SortFunc(colours, func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	for bits := 0; ; bits++ {
		coarse := func(c color.RGBA) color.RGBA {
			return color.RGBA{c.R >> bits, c.G >> bits, c.B >> bits, 0xff}
		}
		entries, index := make(map[color.RGBA]uint8), make(map[color.RGBA]uint8)
		var palette color.Palette
		for _, c := range colours {
			entry, known := entries[coarse(c)]
			if !known {
				if len(palette) == 256 {
					break
				}
				entry = uint8(len(palette))
				entries[coarse(c)] = entry
				palette = append(palette, c)
			}
			index[c] = entry
		}
		if len(index) == len(colours) {
			return palette, index
		}
	}
}

func TestShrinkKeepsSurfacesAndSize(t *testing.T) {
	for _, c := range []struct {
		name  string
		shade func(x, y int) color.RGBA
	}{
		{"few colours", func(x, y int) color.RGBA { return color.RGBA{uint8(x), 0, 0, 0xff} }},
		{"many colours", func(x, y int) color.RGBA { return color.RGBA{uint8(x * 2), uint8(y * 2), uint8(x + y), 0xff} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			surface := color.RGBA{0x1b, 0x1f, 0x24, 0xff}
			given := image.NewRGBA(image.Rect(0, 0, 120, 120))
			for y := range 120 {
				for x := range 120 {
					given.Set(x, y, surface)
					if x < 100 && y < 50 {
						given.Set(x, y, c.shade(x, y))
					}
				}
			}
			var written bytes.Buffer
			if err := png.Encode(&written, given); err != nil {
				t.Fatal(err)
			}
			shrunk, err := shrink(written.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			got, err := png.Decode(bytes.NewReader(shrunk))
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := got.(*image.Paletted); !ok || got.Bounds() != given.Bounds() {
				t.Fatalf("a %T of %v", got, got.Bounds())
			}
			if at := rgba(got.At(119, 119)); at != surface {
				t.Errorf("the surface became %v", at)
			}
			for y := range 50 {
				for x := range 100 {
					was, is := c.shade(x, y), rgba(got.At(x, y))
					if far(was.R, is.R) || far(was.G, is.G) || far(was.B, is.B) {
						t.Fatalf("%v at %d, %d became %v", was, x, y, is)
					}
				}
			}
		})
	}
}

func far(a, b uint8) bool { return max(a, b)-min(a, b) > 32 }
