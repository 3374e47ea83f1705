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
	templates map[Kind]*template.Template
	style     template.CSS
	styleHash string
	languages *languages
}

// New parses the templates. An error means that a template is broken.
func New() (*Pages, error) {
	style, err := files.ReadFile("templates/style.css")
	if err != nil {
		return nil, fmt.Errorf("reading the pages' style: %w", err)
	}
	// Browsers hash what is left after turning CRLF into LF; a checkout with
	// CRLF would otherwise give pages without style.
	css := strings.ReplaceAll(strings.TrimSpace(string(style)), "\r\n", "\n")

	p := &Pages{
		templates: make(map[Kind]*template.Template),
		style:     template.CSS(css),
		styleHash: sourceHash(css),
		languages: newLanguages(),
	}
	for _, kind := range kinds() {
		t, err := template.New("layout.html").ParseFS(files,
			"templates/layout.html", "templates/parts.html", "templates/"+string(kind)+".html")
		if err != nil {
			return nil, fmt.Errorf("parsing the page %q: %w", kind, err)
		}
		p.templates[kind] = t
	}
	return p, nil
}

// Write answers with the page, in the language that acceptLanguage (the
// request's header) asks for. The status and what belongs to it (Allow,
// Retry-After, cookies) are the caller's business; so is a HEAD request, whose
// body net/http drops. An error means that the page could not be made and
// nothing was written, so the caller can still refuse; a client that is gone is
// not an error.
func (p *Pages) Write(w http.ResponseWriter, acceptLanguage string, status int, page Page) error {
	lang := p.languages.negotiate(acceptLanguage)
	page = page.bounded()
	var body bytes.Buffer
	if err := p.render(&body, lang, page); err != nil {
		return err
	}
	setHeaders(w.Header(), headerFacts{
		language:  lang.code,
		length:    body.Len(),
		styleHash: p.styleHash,
		next:      page.formTarget(),
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
	v := view{Page: page, Language: lang.code, Style: p.style, texts: lang.texts}
	if err := t.Execute(body, v); err != nil {
		return fmt.Errorf("rendering the page %q in %q: %w", page.Kind, lang.code, err)
	}
	return nil
}
