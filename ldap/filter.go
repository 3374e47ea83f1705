package ldap

import (
	"errors"
	"fmt"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

const (
	userPlaceholder = "{user}"
	upnPlaceholder  = "{upn}"

	defaultADFilter      = "(&(objectCategory=person)(objectClass=user)(|(sAMAccountName={user})(userPrincipalName={upn})))"
	defaultGenericFilter = "(uid={user})"
)

// fillFilter puts escaped names into a filter, in one pass: a name that reads
// "{upn}" stays what it is.
func fillFilter(filter string, l login) string {
	return strings.NewReplacer(
		userPlaceholder, goldap.EscapeFilter(l.user),
		upnPlaceholder, goldap.EscapeFilter(l.upn),
	).Replace(filter)
}

// checkUserFilter refuses filters that do not depend on the name, do not
// compile, or have a placeholder outside of a value: escaping protects values
// only, so that ({user}=x) would let the name choose the attribute.
func checkUserFilter(filter string) error {
	if !strings.Contains(filter, userPlaceholder) && !strings.Contains(filter, upnPlaceholder) {
		return errors.New("it has no {user}: write one like (uid={user})")
	}
	plain, err := filterShape(fillFilter(filter, login{user: "x", upn: "x"}))
	if err != nil {
		return fmt.Errorf("it does not compile: %w", err)
	}
	odd, err := filterShape(fillFilter(filter, login{user: "y:=z>~<", upn: "y:=z>~<"}))
	if err != nil || odd != plain {
		return errors.New("{user} and {upn} may stand in values only: write one like (uid={user})")
	}
	return nil
}

// filterShape is a filter's structure, with its attributes and without its
// values.
func filterShape(filter string) (string, error) {
	packet, err := goldap.CompileFilter(filter)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	writeShape(&b, packet)
	return b.String(), nil
}

func writeShape(b *strings.Builder, p *ber.Packet) {
	fmt.Fprintf(b, "(%d", p.Tag)
	switch p.Tag {
	case goldap.FilterAnd, goldap.FilterOr, goldap.FilterNot:
		for _, child := range p.Children {
			writeShape(b, child)
		}
	case goldap.FilterPresent:
		fmt.Fprintf(b, " %q", p.Data.String())
	case goldap.FilterExtensibleMatch:
		for _, child := range p.Children {
			fmt.Fprintf(b, " %d", child.Tag)
			if child.Tag != goldap.MatchingRuleAssertionMatchValue {
				fmt.Fprintf(b, " %q", child.Data.String())
			}
		}
	default:
		fmt.Fprintf(b, " %q", p.Children[0].Data.String())
		for _, part := range p.Children[1].Children { // of substrings
			fmt.Fprintf(b, " %d", part.Tag)
		}
	}
	b.WriteByte(')')
}
