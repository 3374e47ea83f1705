package ldap

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"
	"golang.org/x/text/unicode/norm"
)

// NormalizeDN returns the one spelling by which DNs are compared here: equal
// exactly where a directory matches them without regard to case, to spaces that
// do not count, to the order within a multi-valued RDN, and to the way special
// characters are escaped (RFC 4514; RFC 4517 4.2.15).
//
// The empty DN is an error, since nothing that is compared here is the root.
func NormalizeDN(dn string) (string, error) {
	if !utf8.ValidString(dn) {
		return "", fmt.Errorf("reading DN %q: it is not UTF-8", dn)
	}
	parsed, err := goldap.ParseDN(dn)
	if err != nil {
		return "", fmt.Errorf("reading DN %q: %w", dn, err)
	}
	if len(parsed.RDNs) == 0 {
		return "", errors.New("reading DN: it is empty")
	}
	rdns := make([]string, len(parsed.RDNs))
	for i, rdn := range parsed.RDNs {
		pairs := make([]string, len(rdn.Attributes))
		for j, a := range rdn.Attributes {
			kind := strings.TrimSpace(a.Type)
			if !attributeName.MatchString(kind) {
				return "", fmt.Errorf("reading DN %q: %q is no attribute", dn, kind)
			}
			pairs[j] = foldCase(kind) + "=" + normalizeDNValue(a.Value)
		}
		slices.Sort(pairs)
		rdns[i] = strings.Join(pairs, "+")
	}
	return strings.Join(rdns, ","), nil
}

// LeadingValue is the first value of a DN that is one, mostly the name of what it
// stands for.
func LeadingValue(dn string) (value string, ok bool) {
	if !isDN(dn) {
		return "", false
	}
	parsed, err := goldap.ParseDN(dn)
	if err != nil {
		return "", false
	}
	return strings.TrimSpace(parsed.RDNs[0].Attributes[0].Value), true
}

func isDN(s string) bool {
	_, err := NormalizeDN(s)
	return err == nil
}

// isUnder tells whether a DN is base or below it. Both must be normalised.
func isUnder(dn, base string) bool {
	return dn == base || strings.HasSuffix(dn, ","+base)
}

func normalizeDNValue(v string) string {
	var b strings.Builder
	if !utf8.ValidString(v) {
		// Binary, from \xx escapes: folding would make different values equal.
		for i := range len(v) {
			fmt.Fprintf(&b, `\%02x`, v[i])
		}
		return b.String()
	}
	for _, r := range foldCase(strings.Join(strings.Fields(norm.NFC.String(v)), " ")) {
		switch {
		case strings.ContainsRune(`"+,;<>\=`, r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '#' && b.Len() == 0:
			b.WriteString(`\#`)
		case unicode.IsControl(r):
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, `\%02x`, c)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// foldCase maps strings to the same text exactly where strings.EqualFold holds.
func foldCase(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return unicode.ToLower(least)
	}, s)
}
