package pages

import (
	"cmp"
	"slices"
	"strings"

	xlanguage "golang.org/x/text/language"
)

// language is one that the pages speak.
type language struct {
	code  string // BCP 47, as in the lang attribute
	texts texts
}

type languages struct {
	spoken  []language // by the matcher's index
	matcher xlanguage.Matcher
}

// newLanguages returns the languages; the first is the one for everybody whose
// own is not among them.
func newLanguages() *languages {
	es := language{"es", spanish()}
	spoken := []language{
		es,
		{"en", english()},
		{"pt", portuguese()},
		{"fr", french()},
		{"de", german()},
	}
	var tags []xlanguage.Tag
	for _, l := range spoken {
		tags = append(tags, xlanguage.MustParse(l.code))
	}
	// The matcher prefers a language asked for second that it has exactly to a
	// related one for the first: without these, "ca, en" would be English.
	for _, code := range []string{"ca", "gl", "eu"} {
		tags = append(tags, xlanguage.MustParse(code))
		spoken = append(spoken, es)
	}
	return &languages{spoken: spoken, matcher: xlanguage.NewMatcher(tags)}
}

const (
	maxAcceptLanguage = 512 // bytes; browsers send well under 200
	maxWishes         = 32
)

// negotiate picks the language for an Accept-Language header (RFC 9110 section
// 12.5.4). The header is anonymous input to a parser and a matcher that do real
// work for each entry: over-long ones are not looked at. An entry that is not a
// language is left out alone, so that one odd entry does not lose the others.
func (l *languages) negotiate(header string) language {
	if header == "" || len(header) > maxAcceptLanguage || strings.Count(header, ",") >= maxWishes {
		return l.spoken[0]
	}
	type wish struct {
		tag     xlanguage.Tag
		quality float32
	}
	var wishes []wish
	for entry := range strings.SplitSeq(header, ",") {
		// One entry gives one tag, or none where its quality is 0.
		tags, qualities, err := xlanguage.ParseAcceptLanguage(entry)
		if err != nil || len(tags) != 1 {
			continue
		}
		wishes = append(wishes, wish{tags[0], qualities[0]})
	}
	slices.SortStableFunc(wishes, func(a, b wish) int { return cmp.Compare(b.quality, a.quality) })
	tags := make([]xlanguage.Tag, len(wishes))
	for i, w := range wishes {
		tags[i] = w.tag
	}
	_, index, _ := l.matcher.Match(tags...)
	return l.spoken[index]
}
