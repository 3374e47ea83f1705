package caddyauth

import (
	"fmt"
	"io"
	"os"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
)

// Branding is what the pages show of whoever runs the site. All of it is
// optional, and plain text.
type Branding struct {
	// The name of the site or its owner, at most 64 characters, on each page and
	// in the window's title.
	Title string `json:"title,omitempty"`

	// A PNG, JPEG, GIF, WebP or SVG file of at most 32 KiB. It becomes part of
	// each page.
	Logo string `json:"logo,omitempty"`

	// The colour of buttons and links, as #rrggbb. Where it would be hard to
	// read as text, a darker or lighter tone is used; a warning at the load names
	// that of the light page. Default: #0a58ca
	Accent string `json:"accent,omitempty"`

	// A text above the page's own, as for maintenance, and one below, as whom to
	// call: by language (es, en, pt, fr, de), or under the empty string for
	// default_language. At most 500 characters each, of any number of lines.
	Notice   map[string]string `json:"notice,omitempty"`
	HelpText map[string]string `json:"help_text,omitempty"`

	// The page about privacy, linked at the foot: a path, or an http or https
	// address.
	PrivacyURL string `json:"privacy_url,omitempty"`
}

// provisionPages makes the pages, and warns of what is hard to read on them.
func (app *App) provisionPages() error {
	branding := app.Branding.withoutLogo()
	var err error
	if app.Branding.Logo != "" {
		if branding.Logo, err = readLogo(app.Branding.Logo); err != nil {
			return fmt.Errorf("branding: logo: %w", err)
		}
	}
	if err := (pages.Options{DefaultLanguage: app.DefaultLanguage}).Check(); err != nil {
		return err // it is not about the branding
	}
	if app.pages, err = pages.New(pages.Options{DefaultLanguage: app.DefaultLanguage, Branding: branding}); err != nil {
		return fmt.Errorf("branding: %w", err)
	}
	for _, warning := range app.pages.Warnings() {
		app.logger.Warn("branding: " + warning)
	}
	return nil
}

// withoutLogo is what can be checked without reading a file.
func (b Branding) withoutLogo() pages.Branding {
	return pages.Branding{Title: b.Title, Accent: b.Accent, Notice: b.Notice, HelpText: b.HelpText, PrivacyURL: b.PrivacyURL}
}

// possibleDefault is a default language that goes with the texts; "" if there is
// none: a text without a language is in the default one, which has no other then.
func (b Branding) possibleDefault() string {
	for _, language := range pages.Languages() {
		if (b.Notice[""] == "" || b.Notice[language] == "") && (b.HelpText[""] == "" || b.HelpText[language] == "") {
			return language
		}
	}
	return ""
}

// readLogo reads no more of a file than a logo may have and one byte, so that
// what is too long shows.
func readLogo(name string) ([]byte, error) {
	// Before it is opened, which waits for a writer if it is a named pipe.
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("reading %q, which has to be an image that Caddy may read: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file: name an image that Caddy may read", name)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading %q, which has to be an image that Caddy may read: %w", name, err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, pages.MaxLogo+1))
	if err != nil {
		return nil, err
	}
	if len(content) == 0 {
		return nil, fmt.Errorf("%q is empty: name an image, or leave the option out", name)
	}
	return content, nil
}
