package caddyauth

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testLogo = `<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><circle cx="4" cy="4" r="4"/></svg>`

// logoFile is a file with a content.
func logoFile(t testing.TB, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "logo")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestBrandingIsOnThePages(t *testing.T) {
	mark := logged.mark()
	s := start(t, setup{auth: `default_language fr
		branding {
			title "Corp's <b>intranet</b>"
			logo ` + logoFile(t, testLogo) + `
			accent "#ffdd00"
			notice "Fermé dimanche."
			notice en "Closed on Sunday."
			help_text "{env.HOME} 1234"
			privacy_url /privacy
		}`})
	wantLog(t, mark, `branding: accent: \"#ffdd00\" has a contrast of 1.2:1`, `"level":"warn"`)
	for language, texts := range map[string][]string{
		"":      {`<html lang="fr">`, `<p class="notice">Fermé dimanche.`, `<p class="help">{env.HOME} 1234<`},
		"en-GB": {`<html lang="en">`, `<p class="notice">Closed on Sunday.`, `<p class="help" lang="fr">{env.HOME} 1234<`},
	} {
		got := s.do("GET", "/accounts/login/", navigation, header("Accept-Language", language))
		for _, text := range append(texts, "Corp&#39;s &lt;b&gt;intranet", `<img src="data:image/svg&#43;xml;base64,`, "--accent:#ffdd00;--on:#101317", `<a href="/privacy">`) {
			if got.StatusCode != 200 || !strings.Contains(got.body, text) {
				t.Errorf("in %q: no %s in %s", language, text, got.body)
			}
		}
	}
}

// Whether a text without a language meets another one is known once the default
// language is, which may stand below.
func TestBrandingBeforeTheDefaultLanguage(t *testing.T) {
	for _, lines := range []string{
		"branding {\nnotice a\nnotice es b\n}\ndefault_language en",
		"branding {\nnotice a\nnotice es b\nhelp_text en c\nhelp_text pt c\nhelp_text fr c\nhelp_text de c\n}\ndefault_language en",
	} {
		if _, err := adapt("{\nldap_auth corp.example.com {\n" + lines + "\n}\n}\n:8080 {\nrequire_session\n}"); err != nil {
			t.Errorf("%q: %v", lines, err)
		}
	}
}

// What is wrong is an error when the configuration is read, and names the option:
// of what is no file already when it is adapted.
func TestBrandingThatIsNone(t *testing.T) {
	folder := t.TempDir()
	for _, c := range []struct {
		name, lines, want string
		atLoad            bool
	}{
		{"language not spoken", "default_language it", `default_language: "it" is no language of the pages`, false},
		{"accent that a comment took", "branding {\naccent #0a58ca\n}", `"#0a58ca": without them # begins a comment`, false},
		{"accent in words", "branding {\naccent blue\n}", `accent: "blue" is not a colour`, false},
		{"notice twice", "branding {\nnotice a\nnotice b\n}", "notice: there are two for the same language", false},
		{"notice for the default language twice", "default_language en\nbranding {\nnotice a\nnotice en b\n}", `notice: one without a language is in "en"`, false},
		{"notice without quotes", "branding {\nnotice back at noon today\n}", "notice needs a text, in quotes", false},
		{"notice in a language not spoken", "branding {\nnotice xx a\n}", `notice: "xx" is no language`, false},
		{"empty title", "branding {\ntitle \"\"\n}", "title: the argument is empty", false},
		{"privacy as a script", "branding {\nprivacy_url javascript:alert(1)\n}", "privacy_url: ", false},
		{"unknown option", "branding {\ncolour red\n}", "unrecognized subdirective: colour", false},
		{"argument", "branding corp", "branding has no arguments", false},
		{"twice", "branding {\ntitle a\n}\nbranding {\ntitle b\n}", "branding is set already", false},
		{"no such file", "branding {\nlogo " + folder + "/none.png\n}", "branding: logo: ", true},
		{"a folder", "branding {\nlogo " + folder + "\n}", "is not a regular file", true},
		{"an empty file", "branding {\nlogo " + logoFile(t, "") + "\n}", "is empty", true},
		{"no image", "branding {\nlogo " + logoFile(t, "<html></html>") + "\n}", "branding: logo: ", true},
		{"too large", "branding {\nlogo " + logoFile(t, testLogo+strings.Repeat(" ", 64<<10)) + "\n}", "branding: logo: ", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := adapt("{\nldap_auth corp.example.com {\n" + c.lines + "\n}\n}\n:8080 {\nrequire_session\n}")
			if c.atLoad && err == nil {
				err = validate(t, config)
			} else if c.atLoad {
				t.Fatalf("adapting: %v", err)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if !c.atLoad && err != nil && !strings.Contains(err.Error(), "Caddyfile:") {
				t.Errorf("no file and line in %v", err)
			}
		})
	}
}
