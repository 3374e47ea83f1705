package pages

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
)

//go:embed templates
var files embed.FS

// Pages writes pages. It is safe for concurrent use; a configuration makes one
// and keeps it.
type Pages struct {
	templates  map[Kind]*template.Template
	style      template.CSS
	script     template.JS
	styleHash  string
	scriptHash string
	languages  *languages
	branding   branding
	warnings   []string
}

// New makes the pages of a configuration. Its errors begin with the option that
// they are about.
func New(options Options) (*Pages, error) {
	standard, err := options.standard()
	if err != nil {
		return nil, err
	}
	branding, err := options.Branding.compile(standard)
	if err != nil {
		return nil, err
	}
	palette, warnings, err := newPalette(options.Accent)
	if err != nil {
		return nil, err
	}
	style, err := source("templates/style.css")
	if err != nil {
		return nil, err
	}
	script, err := source("templates/script.js")
	if err != nil {
		return nil, err
	}
	style = palette.css() + "\n" + style

	p := &Pages{
		templates:  make(map[Kind]*template.Template),
		style:      template.CSS(style),
		script:     template.JS(script),
		styleHash:  sourceHash(style),
		scriptHash: sourceHash(script),
		languages:  newLanguages(standard),
		branding:   branding,
		warnings:   warnings,
	}
	common, err := template.New("layout.html").ParseFS(files, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, fmt.Errorf("parsing the pages' layout: %w", err)
	}
	for _, kind := range kinds() {
		t, err := common.Clone()
		if err == nil {
			t, err = t.ParseFS(files, "templates/"+string(kind)+".html")
		}
		if err != nil {
			return nil, fmt.Errorf("parsing the page %q: %w", kind, err)
		}
		p.templates[kind] = t
	}
	return p, nil
}

// source is the style sheet or the script as pages have it: without indentation,
// comments (which have lines of their own) and the carriage returns of a checkout
// that has them, which browsers drop before they hash.
func source(name string) (string, error) {
	text, err := files.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("reading the pages' source: %w", err)
	}
	var kept []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n"), nil
}

// Warnings are what is wrong with the options although there are pages: one
// sentence each, for the operator's log.
func (p *Pages) Warnings() []string { return p.warnings }

// Reader is what a request says of the language of whoever reads the page.
type Reader struct {
	// Chosen is the language that they picked from a page's list; empty, or one
	// that the pages do not speak: none.
	Chosen string

	// AcceptLanguage is the request's header (RFC 9110 section 12.5.4).
	AcceptLanguage string
}

// Write answers with the page, in the reader's language. The status and what belongs to it (Allow,
// Retry-After, cookies) are the caller's business; so is a HEAD request, whose
// body net/http drops. An error means that the page could not be made and
// nothing was written, so the caller can still refuse; a client that is gone is
// not an error.
func (p *Pages) Write(w http.ResponseWriter, reader Reader, status int, page Page) error {
	lang := p.languages.of(reader)
	page = page.bounded()
	var body bytes.Buffer
	if err := p.render(&body, lang, page); err != nil {
		return err
	}
	setHeaders(w.Header(), headerFacts{
		language:   lang.code,
		length:     body.Len(),
		styleHash:  p.styleHash,
		scriptHash: p.scriptHash,
		next:       page.formTarget(),
	})
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
	return nil
}

func (p *Pages) render(body *bytes.Buffer, lang language, page Page) error {
	t, ok := p.templates[page.Kind]
	if !ok {
		return fmt.Errorf("rendering a page: unknown kind %q", page.Kind)
	}
	v := view{Page: page, Language: lang.code, Style: p.style, Script: p.script, texts: lang.texts, languages: p.languages, branding: p.branding}
	if err := t.Execute(body, v); err != nil {
		return fmt.Errorf("rendering the page %q in %q: %w", page.Kind, lang.code, err)
	}
	return nil
}
