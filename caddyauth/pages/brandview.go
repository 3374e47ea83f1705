package pages

import (
	"html/template"
	"net/url"
)

// SiteTitle is the branding's, or empty.
func (v view) SiteTitle() string { return v.branding.title }

// Logo is an image in a data: URL, or empty.
func (v view) Logo() template.URL { return v.branding.logo }

// PrivacyURL is linked at the foot, unless empty.
func (v view) PrivacyURL() string { return v.branding.privacyURL }

// operatorText is a text of the configuration. Language is empty where it is the
// page's own; screen readers need to know it otherwise.
type operatorText struct{ Text, Language string }

// Notice is the branding's, in the reader's language if there is one.
func (v view) Notice() operatorText { return v.operatorText(v.branding.notice) }

// Help is the branding's help_text; see Notice.
func (v view) Help() operatorText { return v.operatorText(v.branding.help) }

func (v view) operatorText(texts map[string]string) operatorText {
	if text, ok := texts[v.Language]; ok {
		return operatorText{Text: text}
	}
	standard := v.languages.spoken[0].code
	return operatorText{texts[standard], standard}
}

// languageLink is an entry of the list of languages.
type languageLink struct {
	Code, Name, URL string
	Current         bool
}

// LanguageLinks are the languages to choose from, the page's own included.
func (v view) LanguageLinks() []languageLink {
	if v.LanguagePath == "" {
		return nil
	}
	var links []languageLink
	for _, l := range v.languages.listed {
		to := v.LanguagePath + "?lang=" + l.code
		if v.Next != "" && v.Kind != Sessions {
			to += "&next=" + url.QueryEscape(v.Next)
		}
		links = append(links, languageLink{l.code, l.name, to, l.code == v.Language})
	}
	return links
}

// LongNext tells whether the next address is too long to stand in each link of
// the list: a page is to stay small. Then it stands once, in a form.
func (v view) LongNext() bool { return v.Kind != Sessions && len(url.QueryEscape(v.Next)) > 200 }

// groupLine is a line of groups of which one is needed, with the text around
// them.
type groupLine struct {
	sentence
	Groups []string
}

// maxNeeds bounds the lines of groups that a page shows, and the groups of a line.
const maxNeeds = 8

// NeededGroups are the lines of Needs.
func (v view) NeededGroups() ([]groupLine, error) {
	var lines []groupLine
	for _, groups := range v.Needs[:min(len(v.Needs), maxNeeds)] {
		key := "needs.any"
		if len(groups) == 1 {
			key = "needs.one"
		}
		around, err := v.around(key, "{groups}")
		if err != nil {
			return nil, err
		}
		line := groupLine{sentence: around}
		for i, group := range groups {
			if i == maxNeeds {
				line.Groups = append(line.Groups, "…")
				break
			}
			line.Groups = append(line.Groups, shown(group))
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// ReferenceLine is the sentence around the reference.
func (v view) ReferenceLine() (sentence, error) { return v.around("reference", "{ref}") }
