package caddyauth

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// directivePlaces are whole Caddyfiles with a place for each directive's text.
var directivePlaces = map[string]string{
	"ldap_auth":       "{\n%s\n}\n:8080 {\nrequire_session\nrespond ok\n}\n",
	"ldap_login":      "{\nldap_auth corp.example.com\n}\n:8080 {\n@inside client_ip 10.0.0.0/8\n%s\nrequire_session\nrespond ok\n}\n",
	"require_session": "{\nldap_auth corp.example.com\n}\n:8080 {\n@inside client_ip 10.0.0.0/8\n%s\nrespond ok\n}\n",
	"session_group":   "{\nldap_auth corp.example.com\n}\n:8080 {\n@a {\n%s\n}\nrequire_session\nrespond @a ok\n}\n",
	"badger":          "{\nldap_auth corp.example.com {\nsessions {\nstorage %s\n}\n}\n}\n:8080 {\nrequire_session\nrespond ok\n}\n",
}

// mustNotPanic adapts a Caddyfile. Whatever it is, the outcome is an error or a
// configuration that Caddy reads back.
func mustNotPanic(t *testing.T, text string) {
	t.Helper()
	defer func() {
		if panicked := recover(); panicked != nil {
			t.Errorf("it panics with %v:\n%s", panicked, text)
		}
	}()
	config, err := adapt(text)
	if err != nil {
		return
	}
	if err := caddy.StrictUnmarshalJSON(config, new(caddy.Config)); err != nil {
		t.Errorf("what it adapts to does not read back: %v\n%s", err, text)
	}
}

// TestP10TruncatedAndMangledDirectives: a directive that ends anywhere, in a
// file that goes on behind it or ends with it, or that has a word less, a word
// twice, two in each other's place or one that means something else.
func TestP10TruncatedAndMangledDirectives(t *testing.T) {
	odd := []string{`""`, "{", "}", "\n", "-1", "999999999999999999999", "{$CADDY_LDAP_UNSET}", "{env.CADDY_LDAP_UNSET}", "\x00", "@", "*", "@inside"}
	for name, block := range syntaxBlocks(t) {
		t.Run(name, func(t *testing.T) {
			place := directivePlaces[name]
			head, _, _ := strings.Cut(place, "%s")
			for i, filled := range fillIn(t, block) {
				words := wordsOf(t, filled)
				for n := range len(words) + 1 {
					cut := strings.Join(words[:n], " ")
					open := max(strings.Count(cut, "{ \n")-strings.Count(cut, "\n }"), 0)
					mustNotPanic(t, fmt.Sprintf(place, cut+strings.Repeat("\n}", open)))
				}
				if i > 0 {
					continue // the others differ from the first in one line
				}
				for n := range words {
					cut := strings.Join(words[:n], " ")
					mangled := [][]string{
						slices.Delete(slices.Clone(words), n, n+1),
						slices.Insert(slices.Clone(words), n, words[n]),
						append(slices.Clone(words[:n]), slices.Concat(words[min(n+1, len(words)):], words[n:n+1])...),
					}
					for _, other := range odd {
						replaced := slices.Clone(words)
						replaced[n] = other
						mangled = append(mangled, replaced)
					}
					mustNotPanic(t, fmt.Sprintf(place, cut))
					mustNotPanic(t, head+cut)
					for _, words := range mangled {
						mustNotPanic(t, fmt.Sprintf(place, strings.Join(words, " ")))
					}
				}
			}
		})
	}
}

// wordsOf are the words of a Caddyfile, and its line breaks.
func wordsOf(t *testing.T, text string) []string {
	t.Helper()
	tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for i, token := range tokens {
		if i > 0 && token.Line != tokens[i-1].Line {
			words = append(words, "\n")
		}
		word := token.Text
		if word == "" || strings.ContainsAny(word, " \t\n\"") {
			word = "`" + word + "`"
		}
		words = append(words, word)
	}
	return words
}

// FuzzDirectives: whatever stands in a directive's place, there is an error or a
// configuration, and never a panic.
func FuzzDirectives(f *testing.F) {
	names := slices.Sorted(maps.Keys(directivePlaces))
	for i, name := range names {
		f.Add(uint8(i), name)
		f.Add(uint8(i), name+" {\n}")
		f.Add(uint8(i), name+" a b {\nc d e {\nf\n}\n}")
	}
	f.Add(uint8(2), "ldap_auth {\ndirectory a.example ad {\nservers ldaps://b\nbind u p\nattributes {\nid x\n}\n}\nthrottle account 3 15m\n}")
	f.Add(uint8(4), "require_session @inside Staff {\npublic /a/*\nrequire /b/* C\nfresh 1h\nidentity_headers A B C D\n}")
	f.Fuzz(func(t *testing.T, which uint8, text string) {
		if strings.Contains(text, "import") {
			t.Skip("import reads this machine's files")
		}
		mustNotPanic(t, fmt.Sprintf(directivePlaces[names[int(which)%len(names)]], text))
	})
}
