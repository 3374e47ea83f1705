package screenshots

import (
	"bytes"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/browser"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// folderVariable names the folder that the pictures go to.
const folderVariable = "CADDY_LDAP_SCREENSHOTS"

const (
	width  = 480 // of every picture: two stand side by side in README.md
	height = 560 // at least: pages that are longer are shown whole
)

// album is where pictures go.
type album struct {
	folder string
	taken  []string
}

func (a *album) take(t *testing.T, tab *browser.Tab, name string, dark bool) {
	t.Helper()
	tab.Look(browser.Look{Width: width, Height: height, Dark: dark})
	picture, err := shrink(tab.Screenshot())
	if err != nil {
		t.Fatal(err)
	}
	size, err := png.DecodeConfig(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	if size.Width != width || size.Height < height || len(picture) > maxPicture {
		t.Errorf("%s has %d×%d pixels and %d bytes", name, size.Width, size.Height, len(picture))
	}
	if err := os.WriteFile(filepath.Join(a.folder, name+".png"), picture, 0o644); err != nil {
		t.Fatal(err)
	}
	a.taken = append(a.taken, name+".png")
}

func TestScreenshots(t *testing.T) {
	var chromium browser.Shared
	chromium.Join(t)
	var program realserver.Caddy
	t.Cleanup(program.Remove)
	a := &album{folder: os.Getenv(folderVariable)}
	kept := a.folder != ""
	if !kept {
		a.folder = t.TempDir()
	}

	site := startSite(t, &program, "")
	tab := chromium.Tab(t)
	visit := func(path string, status int64) {
		t.Helper()
		if got := tab.Visit(site + path); got != status {
			t.Fatalf("%s: status %d, want %d", path, got, status)
		}
	}
	visit("/", http.StatusOK)
	visit("/accounts/login/?lang=en&next=/", http.StatusOK)
	a.take(t, tab, "sign-in-light", false)
	a.take(t, tab, "sign-in-dark", true)

	tab.Type("#username", user)
	tab.Type("#password", "not this one")
	if got := tab.Click("form [type=submit]"); got != http.StatusUnauthorized {
		t.Fatalf("a wrong password: status %d", got)
	}
	a.take(t, tab, "error", false)

	tab.Type("#password", password)
	if got := tab.Click("form [type=submit]"); got != http.StatusOK || tab.URL() != site+"/" {
		t.Fatalf("signed in: status %d at %s", got, tab.URL())
	}
	visit("/admin/", http.StatusForbidden)
	a.take(t, tab, "forbidden", false)

	signInElsewhere(t, site, "10.20.0.7")
	signInElsewhere(t, site, "192.0.2.44")
	visit("/accounts/sessions/", http.StatusOK)
	a.take(t, tab, "sessions", false)

	site = startSite(t, &program, exampleBranding(t))
	tab = chromium.Tab(t)
	visit("/accounts/login/?lang=en", http.StatusOK)
	a.take(t, tab, "branding", false)

	if !kept {
		a.compare(t)
	}
}

// compare tells whether the documentation has these pictures and no others.
// What is on them may differ: by the machine's fonts, and the time.
func (a *album) compare(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir("../../docs/images")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, entry := range entries {
		have = append(have, entry.Name())
	}
	slices.Sort(a.taken)
	if !slices.Equal(have, a.taken) {
		t.Errorf("docs/images has %q, and the pictures are %q: run scripts/screenshots.sh", have, a.taken)
	}
	for _, page := range []string{"README.md", "docs/branding.md"} {
		text, err := os.ReadFile(filepath.Join("../..", page))
		if err != nil {
			t.Fatal(err)
		}
		have = slices.DeleteFunc(have, func(name string) bool { return strings.Contains(string(text), "images/"+name) })
	}
	if len(have) > 0 {
		t.Errorf("no page of the documentation shows %q", have)
	}
}
