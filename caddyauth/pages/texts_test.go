package pages

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func catalogue() map[string]texts {
	all := make(map[string]texts)
	for _, l := range newLanguages().spoken {
		all[l.code] = l.texts
	}
	return all
}

func TestEveryLanguageHasTheSameKeys(t *testing.T) {
	all := catalogue()
	if len(all) != len(everyLanguage()) {
		t.Fatalf("%d languages", len(all))
	}
	for lang, own := range all {
		for other, theirs := range all {
			for key := range theirs {
				if _, ok := own[key]; !ok {
					t.Errorf("%q has %q, which %q lacks", other, key, lang)
				}
			}
		}
	}
}

// The pages are rendered in a language whose every text is its own key. A key
// that a page wants and that is missing fails the rendering; a key that no page
// shows is left over.
func TestNoKeyIsMissingAndNoneIsUnused(t *testing.T) {
	keys := make(texts)
	unseen := make(map[string]bool)
	codes := []string{"", "no_such_code"}
	for key := range spanish() {
		keys[key] = "[" + key + "]"
		unseen[key] = true
		if code, ok := strings.CutPrefix(key, "code."); ok {
			codes = append(codes, code)
		}
	}
	keys["signed_in_as"] += "{user}"
	p := newPages(t)
	p.languages.spoken[0].texts = keys

	marker := regexp.MustCompile(`\[([a-z_.]+)\]`)
	for _, kind := range kinds() {
		for _, code := range codes {
			for _, user := range []string{"", "mgarcia"} {
				page := full(kind, code)
				page.User = user
				w := httptest.NewRecorder()
				if err := p.Write(w, "", 200, page); err != nil {
					t.Fatal(err)
				}
				for _, m := range marker.FindAllStringSubmatch(w.Body.String(), -1) {
					delete(unseen, m[1])
				}
			}
		}
	}
	for key := range unseen {
		t.Errorf("no page shows %q", key)
	}
}

func TestEveryKindHasATitleAndEveryCodeATextInEveryLanguage(t *testing.T) {
	codes := []string{
		"authentication_required", "invalid_credentials", "invalid_json", "unsupported_media_type", "body_too_large",
		"method_not_allowed", "https_required", "csrf_failed", "origin_not_trusted", "ip_not_allowed", "group_required",
		"path_ambiguous", "directory_unavailable", "store_unavailable",
	}
	for lang, own := range catalogue() {
		for _, kind := range kinds() {
			if own["title."+string(kind)] == "" {
				t.Errorf("%q has no title for the page %q", lang, kind)
			}
		}
		for _, code := range codes {
			if own["code."+code] == "" {
				t.Errorf("%q has no text for the code %q", lang, code)
			}
		}
	}
}

func TestTextsAreWholeAndTranslated(t *testing.T) {
	for lang, own := range catalogue() {
		for key, text := range own {
			if text == "" || strings.TrimSpace(text) != text {
				t.Errorf("%s %q: empty, or space around %q", lang, key, text)
			}
			want := 0
			if key == "signed_in_as" {
				want = 1
			}
			if strings.Count(text, "{user}") != want || strings.Count(text, "{") != want {
				t.Errorf("%s %q: placeholders in %q", lang, key, text)
			}
			if strings.HasPrefix(key, "code.") && !strings.HasSuffix(text, ".") {
				t.Errorf("%s %q: not a sentence: %q", lang, key, text)
			}
			// The Spanish word for error is the English one.
			if lang != "en" && text == english()[key] && !(lang == "es" && key == "error") {
				t.Errorf("%s %q: still English: %q", lang, key, text)
			}
		}
	}
}
