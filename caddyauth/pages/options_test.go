package pages

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func TestOptionsThatAreNone(t *testing.T) {
	for _, c := range []struct {
		name    string
		options Options
		want    string
	}{
		{"a language that is not spoken", Options{DefaultLanguage: "it"}, `default_language: "it"`},
		{"a language with its country", Options{DefaultLanguage: "es-MX"}, `default_language: "es-MX"`},
		{"title of spaces", Options{Branding: Branding{Title: "  "}}, "title: it is empty"},
		{"title of two lines", Options{Branding: Branding{Title: "a\nb"}}, "title: "},
		{"title too long", Options{Branding: Branding{Title: strings.Repeat("ñ", maxTitle+1)}}, "title: it has 65 characters"},
		{"title not UTF-8", Options{Branding: Branding{Title: "\xff"}}, "title: "},
		{"notice too long", Options{Branding: Branding{Notice: map[string]string{"en": strings.Repeat("x", maxText+1)}}}, "notice: it has 501"},
		{"notice in no language", Options{Branding: Branding{Notice: map[string]string{"xx": "x"}}}, `notice: "xx" is no language`},
		{"empty notice", Options{Branding: Branding{Notice: map[string]string{"": ""}}}, "notice: it is empty"},
		{"help with an escape character", Options{Branding: Branding{HelpText: map[string]string{"": "a\x1b[31m"}}}, "help_text: "},
		{"privacy as a script", Options{Branding: Branding{PrivacyURL: "javascript:alert(1)"}}, "privacy_url: "},
		{"privacy on another scheme's host", Options{Branding: Branding{PrivacyURL: "//evil.example/"}}, "privacy_url: "},
		{"privacy with a backslash", Options{Branding: Branding{PrivacyURL: `/\evil.example`}}, "privacy_url: "},
		{"privacy as a bare name", Options{Branding: Branding{PrivacyURL: "privacy"}}, "privacy_url: "},
		{"privacy with a password", Options{Branding: Branding{PrivacyURL: "https://a:b@c.example/"}}, "privacy_url: "},
		{"privacy without a host", Options{Branding: Branding{PrivacyURL: "https:///x"}}, "privacy_url: "},
		{"no colour", Options{Branding: Branding{Accent: "blue"}}, "accent: "},
		{"colour that leaves the style sheet", Options{Branding: Branding{Accent: "#000}body{display:none"}}, "accent: "},
		{"notice twice for the default language", Options{Branding: Branding{Notice: map[string]string{"": "a", "es": "b"}}}, `notice: one without a language is in "es"`},
		{"help twice for the default language", Options{DefaultLanguage: "de", Branding: Branding{HelpText: map[string]string{"": "a", "de": "b"}}}, `help_text: one without a language is in "de"`},
		{"no image", Options{Branding: Branding{Logo: []byte("<html></html>")}}, "logo: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := New(c.options); err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s…", err, c.want)
			}
		})
	}
}

func TestDefaultLanguage(t *testing.T) {
	for _, standard := range Languages() {
		p := newPagesWith(t, Options{DefaultLanguage: standard})
		for _, header := range []string{"", "ja", "*"} {
			if got := attr(write(t, p, header, http.StatusOK, full(SignIn, "")).one(t, "html"), "lang"); got != standard {
				t.Errorf("default %s, asked for %q: %s", standard, header, got)
			}
		}
		if got := attr(write(t, p, "ca,en;q=0.8", http.StatusOK, full(SignIn, "")).one(t, "html"), "lang"); got != "es" {
			t.Errorf("default %s, Catalan: %s", standard, got)
		}
	}
}

func TestPickedLanguageGoesBeforeTheBrowsers(t *testing.T) {
	l := newLanguages("fr")
	for _, c := range []struct{ chosen, header, want string }{
		{"de", "en", "de"}, {"", "en", "en"}, {"xx", "en", "en"}, {"DE", "en", "en"}, {"de ", "", "fr"}, {"<script>", "pt", "pt"},
	} {
		if got := l.of(Reader{Chosen: c.chosen, AcceptLanguage: c.header}).code; got != c.want {
			t.Errorf("picked %q, asked for %q: %s, want %s", c.chosen, c.header, got, c.want)
		}
	}
}

func TestBrandingIsOnEveryPage(t *testing.T) {
	branding := fullBranding()
	branding.Logo = []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>`)
	p := newPagesWith(t, Options{Branding: branding})
	for _, kind := range kinds() {
		d := write(t, p, "fr", http.StatusOK, full(kind, ""))
		checkBalanced(t, d.source)
		checkElements(t, d)
		logo := d.one(t, "img")
		if attr(logo, "alt") != branding.Title || !strings.HasPrefix(attr(logo, "src"), "data:image/svg+xml;base64,") {
			t.Errorf("%s: logo %v", kind, logo.Attr)
		}
		if !strings.HasSuffix(text(d.one(t, "title")), " – "+branding.Title) {
			t.Errorf("%s: title %q", kind, text(d.one(t, "title")))
		}
		var texts []string
		for _, n := range d.all("p") {
			if class := attr(n, "class"); class == "site" || class == "notice" || class == "help" {
				texts = append(texts, attr(n, "lang")+":"+text(n))
			}
		}
		want := []string{":" + branding.Title, "es:" + branding.Notice[""], "es:" + branding.HelpText[""]}
		if !slices.Equal(texts, want) {
			t.Errorf("%s: %q, want %q", kind, texts, want)
		}
		if got := d.linksBelow("footer"); !slices.Contains(got, branding.PrivacyURL) {
			t.Errorf("%s: links at the foot: %q", kind, got)
		}
	}
	d := write(t, p, "en", http.StatusOK, full(SignIn, ""))
	if !strings.Contains(d.source, `<p class="notice">Maintenance until 14:00.</p>`) {
		t.Error("the notice is not in the reader's language")
	}
	if spanish := write(t, p, "es", http.StatusOK, full(SignIn, "")); !strings.Contains(spanish.source, `<p class="notice">Mantenimiento`) {
		t.Error("a text in the page's language says so once more")
	}
}

// Texts of the configuration are text, whatever they look like.
func TestBrandingIsOnlyText(t *testing.T) {
	const hostile = `</p><script>alert(1)</script>{{.}}{env.HOME}"'`
	p := newPagesWith(t, Options{Branding: Branding{
		Title: hostile, Notice: map[string]string{"": hostile}, HelpText: map[string]string{"": hostile}, PrivacyURL: `/p?"><script>`,
	}})
	for _, kind := range kinds() {
		d := write(t, p, "es", http.StatusOK, full(kind, ""))
		checkBalanced(t, d.source)
		checkElements(t, d)
		if strings.Count(d.source, "<script>") != 1 {
			t.Errorf("%s: a script of the configuration", kind)
		}
		shown := 0
		for _, n := range d.all("p") {
			if text(n) == hostile {
				shown++
			}
		}
		if shown != 3 {
			t.Errorf("%s: %d of the texts are shown as they are", kind, shown)
		}
	}
}

func TestLanguageList(t *testing.T) {
	p := newPages(t)
	for _, c := range []struct {
		name       string
		page       Page
		path, next string
	}{
		{"with a next address", Page{Kind: SignIn, LanguagePath: signInPath, Next: "/a?b=c&d#e"}, signInPath, "&next=%2Fa%3Fb%3Dc%26d%23e"},
		{"without", Page{Kind: SignIn, LanguagePath: signInPath}, signInPath, ""},
		{"sessions", Page{Kind: Sessions, LanguagePath: listPath, Next: "/a"}, listPath, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := write(t, p, "pt-BR", http.StatusOK, c.page)
			var want []string
			for _, code := range Languages() {
				want = append(want, c.path+"?lang="+code+c.next)
			}
			if got := d.linksBelow("nav"); !slices.Equal(got, want) {
				t.Errorf("links %q, want %q", got, want)
			}
			var names []string
			for n := range d.one(t, "nav").Descendants() {
				if n.Type != html.ElementNode || n.Data != "a" {
					continue
				}
				names = append(names, text(n))
				if got := attr(n, "aria-current") == "true"; got != (attr(n, "lang") == "pt") {
					t.Errorf("%s is current: %v", text(n), got)
				}
			}
			if want := []string{"Español", "English", "Português", "Français", "Deutsch"}; !slices.Equal(names, want) {
				t.Errorf("names %q", names)
			}
		})
	}
	if d := write(t, p, "es", http.StatusOK, Page{Kind: Forbidden}); len(d.all("footer")) != 0 {
		t.Error("an empty foot")
	}
}

func TestNeededGroups(t *testing.T) {
	d := write(t, newPages(t), "en", http.StatusForbidden, full(Forbidden, "group_required"))
	for _, want := range []string{
		"You need to be in the group wiki-lectores.",
		"You need to be in one of these groups: Operaciones, S-1-5-21-1-2-3-512.",
	} {
		if !slices.ContainsFunc(d.all("p"), func(n *html.Node) bool { return text(n) == want }) {
			t.Errorf("does not say %q", want)
		}
	}
}

func TestManyNeededGroupsAreCut(t *testing.T) {
	page := full(Forbidden, "group_required")
	page.Needs = slices.Repeat([][]string{slices.Repeat([]string{strings.Repeat("x", 64<<10)}, 1000)}, 1000)
	if d := write(t, newPages(t), "en", http.StatusForbidden, page); len(d.source) > 40<<10 || !strings.Contains(d.source, "<bdi>…</bdi>") {
		t.Errorf("%d bytes", len(d.source))
	}
}

// A page stays small with a long next address, which stands in the list of
// languages once then.
func TestLongNextIsInTheLanguageListOnce(t *testing.T) {
	for _, kind := range []Kind{SignIn, SignedIn} {
		page := full(kind, "")
		page.Next = "/report?q=" + strings.Repeat("a&b", 300) + "#c"
		d := write(t, newPages(t), "en", http.StatusOK, page)
		checkBalanced(t, d.source)
		list := d.form(signInPath)
		for _, n := range d.all("form") {
			if attr(n, "method") == "" {
				list = n
			}
		}
		var got []string
		for n := range list.Descendants() {
			if n.Type == html.ElementNode && attr(n, "name") != "" {
				got = append(got, attr(n, "name")+"="+attr(n, "value"))
			}
		}
		if want := []string{"next=" + page.Next, "lang=es", "lang=en", "lang=pt", "lang=fr", "lang=de"}; attr(list, "action") != signInPath || !slices.Equal(got, want) {
			t.Errorf("%s: %q", kind, got)
		}
		if len(d.linksBelow("nav")) != 0 || len(d.source) > 8000+3*len(html.EscapeString(page.Next)) {
			t.Errorf("%s: links %q, %d bytes", kind, d.linksBelow("nav"), len(d.source))
		}
	}
}

func TestReferenceIsShownWhereThereIsOne(t *testing.T) {
	for _, kind := range []Kind{Unavailable, SignIn} {
		page := full(kind, "directory_unavailable")
		if d := write(t, newPages(t), "en", http.StatusServiceUnavailable, page); !strings.Contains(text(d.one(t, "main")), "give this reference: "+page.Reference+".") {
			t.Errorf("%s: no reference", kind)
		}
		page.Reference = ""
		if d := write(t, newPages(t), "en", http.StatusServiceUnavailable, page); strings.Contains(text(d.one(t, "main")), "reference") {
			t.Errorf("%s: speaks of a reference that there is not", kind)
		}
	}
}
