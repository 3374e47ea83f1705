package pages

import (
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Options are what a configuration says of its pages.
type Options struct {
	// DefaultLanguage is for everybody whose own languages are not among
	// Languages. Empty is Spanish.
	DefaultLanguage string

	Branding
}

// Branding is what a site shows of itself. Everything may be empty. Texts are
// plain: there is no markup in them.
type Branding struct {
	// Title is the name of the site or its owner, at most 64 characters.
	Title string

	// Logo is the content of a PNG, JPEG, GIF, WebP or SVG file of at most
	// MaxLogo bytes. It is part of each page.
	Logo []byte

	// Accent is the colour of buttons and links, as #rrggbb or #rgb. Where it
	// would be hard to read as text, a darker or a lighter tone stands in;
	// Warnings name that of the light page.
	Accent string

	// Notice is shown above the page's own text, HelpText below: by language, the
	// empty one standing for the default language, each at most 500 characters
	// and of any number of lines. Who reads a language that has none sees that of
	// the default language, if there is one.
	Notice, HelpText map[string]string

	// PrivacyURL is linked at the foot: a path of the site, or an http or https
	// address.
	PrivacyURL string
}

// Check returns the error that New would, without making pages.
func (o Options) Check() error {
	standard, err := o.standard()
	if err != nil {
		return err
	}
	if _, err := o.Branding.compile(standard); err != nil {
		return err
	}
	_, _, err = newPalette(o.Accent)
	return err
}

// standard is the default language.
func (o Options) standard() (string, error) {
	switch {
	case o.DefaultLanguage == "":
		return Languages()[0], nil
	case !slices.Contains(Languages(), o.DefaultLanguage):
		return "", fmt.Errorf("default_language: %q is no language of the pages: these are %s", o.DefaultLanguage, strings.Join(Languages(), ", "))
	}
	return o.DefaultLanguage, nil
}

const (
	maxTitle = 64  // characters
	maxText  = 500 // characters
)

// branding is a Branding that was checked, as pages show it.
type branding struct {
	title        string
	logo         template.URL
	notice, help map[string]string
	privacyURL   string
}

// compile checks everything but the accent. Its errors begin with the option.
// standard is the default language.
func (b Branding) compile(standard string) (branding, error) {
	c := branding{title: b.Title, notice: byLanguage(b.Notice, standard), help: byLanguage(b.HelpText, standard), privacyURL: b.PrivacyURL}
	if b.Title != "" {
		if err := checkText("title", b.Title, maxTitle); err != nil {
			return branding{}, err
		}
		if strings.ContainsFunc(b.Title, unicode.IsControl) {
			return branding{}, fmt.Errorf("title: %q has more than one line, or control characters", b.Title)
		}
	}
	for _, option := range []struct {
		name  string
		texts map[string]string
	}{{"notice", b.Notice}, {"help_text", b.HelpText}} {
		_, unnamed := option.texts[""]
		if _, named := option.texts[standard]; named && unnamed {
			return branding{}, fmt.Errorf("%s: one without a language is in %q, the default_language, and there is one for that too: write the language before each", option.name, standard)
		}
		for language, text := range option.texts {
			if language != "" && !slices.Contains(Languages(), language) {
				return branding{}, fmt.Errorf("%s: %q is no language of the pages: these are %s", option.name, language, strings.Join(Languages(), ", "))
			}
			if err := checkText(option.name, text, maxText); err != nil {
				return branding{}, err
			}
		}
	}
	if err := checkPrivacyURL(b.PrivacyURL); err != nil {
		return branding{}, err
	}
	var err error
	c.logo, err = logoURL(b.Logo)
	return c, err
}

// byLanguage gives the text without a language to the default one.
func byLanguage(texts map[string]string, standard string) map[string]string {
	by := maps.Clone(texts)
	if text, ok := by[""]; ok {
		delete(by, "")
		by[standard] = text
	}
	return by
}

// checkText checks a text that is not empty by its nature.
func checkText(option, text string, most int) error {
	switch {
	case !utf8.ValidString(text):
		return fmt.Errorf("%s: %q is not UTF-8", option, text)
	case strings.TrimSpace(text) == "":
		return fmt.Errorf("%s: it is empty: write a text, or leave the option out", option)
	case utf8.RuneCountInString(text) > most:
		return fmt.Errorf("%s: it has %d characters, and may have %d", option, utf8.RuneCountInString(text), most)
	case strings.ContainsFunc(text, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\r' && c != '\t' }):
		return fmt.Errorf("%s: %q has control characters", option, text)
	}
	return nil
}

// checkPrivacyURL refuses what is no address of a page, above all those that
// run scripts.
func checkPrivacyURL(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.User != nil {
		return fmt.Errorf("privacy_url: %q is not an address", address)
	}
	local := u.Scheme == "" && u.Host == "" && strings.HasPrefix(address, "/") && !strings.ContainsAny(address, "\\\t\r\n") && !strings.HasPrefix(address, "//")
	remote := (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != ""
	if !local && !remote {
		return fmt.Errorf("privacy_url: %q is neither a path of the site nor an http or https address", address)
	}
	return nil
}
