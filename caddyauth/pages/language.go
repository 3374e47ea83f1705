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
	name  string // in the language itself
	texts texts
}

// Languages are the codes (BCP 47) of the languages that the pages speak.
func Languages() []string { return []string{"es", "en", "pt", "fr", "de"} }

type languages struct {
	listed  []language // each once, in the order of a page's list
	spoken  []language // by the matcher's index; the first is the default
	matcher xlanguage.Matcher
}

// newLanguages returns the languages; standard is the one for everybody whose
// own is not among them.
func newLanguages(standard string) *languages {
	es := language{"es", "Español", spanish()}
	listed := []language{
		es,
		{"en", "English", english()},
		{"pt", "Português", portuguese()},
		{"fr", "Français", french()},
		{"de", "Deutsch", german()},
	}
	first := slices.IndexFunc(listed, func(l language) bool { return l.code == standard })
	spoken := slices.Concat([]language{listed[first]}, listed[:first], listed[first+1:])
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
	return &languages{listed: listed, spoken: spoken, matcher: xlanguage.NewMatcher(tags)}
}

// of is the language of a reader: the one that they picked, or the one that
// their browser asks for.
func (l *languages) of(reader Reader) language {
	for _, picked := range l.listed {
		if picked.code == reader.Chosen {
			return picked
		}
	}
	return l.negotiate(reader.AcceptLanguage)
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
