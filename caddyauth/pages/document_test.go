package pages

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// document is a written page as a browser would read it.
type document struct {
	status int
	header http.Header
	source string
	root   *html.Node
}

func newPages(t testing.TB) *Pages {
	t.Helper()
	return newPagesWith(t, Options{})
}

func newPagesWith(t testing.TB, options Options) *Pages {
	t.Helper()
	p, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, p *Pages, acceptLanguage string, status int, page Page) document {
	t.Helper()
	w := httptest.NewRecorder()
	if err := p.Write(w, Reader{AcceptLanguage: acceptLanguage}, status, page); err != nil {
		t.Fatal(err)
	}
	source := w.Body.String()
	root, err := html.Parse(strings.NewReader(source))
	if err != nil {
		t.Fatal(err)
	}
	return document{status: w.Code, header: w.Header(), source: source, root: root}
}

// all returns the elements of that name, in document order.
func (d document) all(name string) []*html.Node {
	var found []*html.Node
	for n := range d.root.Descendants() {
		if n.Type == html.ElementNode && (name == "*" || n.Data == name) {
			found = append(found, n)
		}
	}
	return found
}

func (d document) one(t *testing.T, name string) *html.Node {
	t.Helper()
	found := d.all(name)
	if len(found) != 1 {
		t.Fatalf("%d <%s>, want one", len(found), name)
	}
	return found[0]
}

// input returns the form field of that name, or nil.
func (d document) input(name string) *html.Node {
	for _, n := range d.all("input") {
		if attr(n, "name") == name {
			return n
		}
	}
	return nil
}

// form returns the form that posts to the action, or nil.
func (d document) form(action string) *html.Node {
	for _, n := range d.all("form") {
		if attr(n, "action") == action {
			return n
		}
	}
	return nil
}

func (d document) byID(id string) *html.Node {
	for _, n := range d.all("*") {
		if attr(n, "id") == id {
			return n
		}
	}
	return nil
}

// links returns the target of every link.
// links are the addresses of the links in the page's main part.
func (d document) links() []string { return d.linksBelow("main") }

func (d document) linksBelow(name string) []string {
	var found []string
	for _, part := range d.all(name) {
		for n := range part.Descendants() {
			if n.Type == html.ElementNode && n.Data == "a" {
				found = append(found, attr(n, "href"))
			}
		}
	}
	return found
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAttr(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

func text(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return strings.TrimSpace(b.String())
}
