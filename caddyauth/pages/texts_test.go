package pages

import (
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func catalogue(t *testing.T) map[string]texts {
	t.Helper()
	all := make(map[string]texts)
	for _, l := range newLanguages("es").spoken {
		all[l.code] = l.texts
	}
	return all
}

// placeholders are those that texts have, by key.
func placeholders() map[string]string {
	return map[string]string{
		"signed_in_as": "{user}", "retry.other": "{n}", "grace.other": "{n}",
		"needs.one": "{groups}", "needs.any": "{groups}", "reference": "{ref}",
	}
}

func TestEveryLanguageHasTheSameKeys(t *testing.T) {
	all := catalogue(t)
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
	codes, states := []string{"", "no_such_code"}, []string{"", "no_such_state"}
	for key := range spanish() {
		keys[key] = "[" + key + "]"
		unseen[key] = true
		if code, ok := strings.CutPrefix(key, "code."); ok {
			codes = append(codes, code)
		}
		if state, ok := strings.CutPrefix(key, "state."); ok {
			states = append(states, state)
		}
	}
	for key, placeholder := range placeholders() {
		keys[key] += placeholder
	}
	p := newPagesWith(t, Options{Branding: fullBranding()})
	p.languages.spoken[0].texts = keys

	marker := regexp.MustCompile(`\[([a-z_.]+)\]`)
	for _, kind := range kinds() {
		for _, code := range codes {
			var pages []Page
			for _, user := range []string{"", "mgarcia"} {
				for n := range 3 {
					page := full(kind, code)
					page.User, page.RetryMinutes, page.GraceSignIns = user, int64(n), n
					pages = append(pages, page)
				}
			}
			if code == "account_restricted" {
				for _, state := range states {
					page := full(kind, code)
					page.Detail = state
					pages = append(pages, page)
				}
			}
			for _, page := range pages {
				w := httptest.NewRecorder()
				if err := p.Write(w, Reader{}, 200, page); err != nil {
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
		"method_not_allowed", "password_expired", "password_must_change", "account_restricted", "too_many_attempts", "https_required", "csrf_failed", "origin_not_trusted", "ip_not_allowed", "group_required",
		"path_ambiguous", "reauthentication_required", "directory_unavailable", "store_unavailable",
	}
	for lang, own := range catalogue(t) {
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
	for lang, own := range catalogue(t) {
		for key, text := range own {
			if text == "" || strings.TrimSpace(text) != text {
				t.Errorf("%s %q: empty, or space around %q", lang, key, text)
			}
			placeholder := placeholders()[key]
			want := 0
			if placeholder != "" {
				want = 1
			}
			if want == 1 && strings.Count(text, placeholder) != 1 || strings.Count(text, "{") != want {
				t.Errorf("%s %q: placeholders in %q", lang, key, text)
			}
			if group, _, _ := strings.Cut(key, "."); slices.Contains([]string{"code", "state", "retry", "grace", "hint", "needs", "reference"}, group) && !strings.HasSuffix(text, ".") {
				t.Errorf("%s %q: not a sentence: %q", lang, key, text)
			}
			// The Spanish word for error is the English one.
			if lang != "en" && text == english()[key] && !(lang == "es" && key == "error") {
				t.Errorf("%s %q: still English: %q", lang, key, text)
			}
		}
	}
}
