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
	dnPlaceholder   = "{dn}"

	defaultADFilter      = "(&(objectCategory=person)(objectClass=user)(|(sAMAccountName={user})(userPrincipalName={upn})))"
	defaultGenericFilter = "(uid={user})"

	// nestedGroupFilter finds groups that list a group: memberUid holds people
	// only.
	nestedGroupFilter  = "(|(member={dn})(uniqueMember={dn}))"
	defaultGroupFilter = "(|(member={dn})(uniqueMember={dn})(&(objectClass=posixGroup)(memberUid={user})))"
)

// fillFilter puts escaped names into a filter, in one pass: a name that reads
// "{upn}" stays what it is.
func fillFilter(filter string, l login) string {
	return strings.NewReplacer(
		userPlaceholder, goldap.EscapeFilter(l.user),
		upnPlaceholder, goldap.EscapeFilter(l.upn),
	).Replace(filter)
}

// fillGroupFilter is fillFilter for groups. DNs are escaped like any other
// value: unescaped, one with a parenthesis breaks the filter, and one with an
// asterisk silently finds nothing.
func fillGroupFilter(filter, dn, user string) string {
	return strings.NewReplacer(
		dnPlaceholder, goldap.EscapeFilter(dn),
		userPlaceholder, goldap.EscapeFilter(user),
	).Replace(filter)
}

// checkUserFilter refuses filters that do not depend on the name, do not
// compile, or have a placeholder outside of a value.
func checkUserFilter(filter string) error {
	if !strings.Contains(filter, userPlaceholder) && !strings.Contains(filter, upnPlaceholder) {
		return errors.New("it has no {user}: write one like (uid={user})")
	}
	if err := checkShape(func(v string) string { return fillFilter(filter, login{user: v, upn: v}) }); err != nil {
		return fmt.Errorf("%w: {user} and {upn} may stand in values only: write one like (uid={user})", err)
	}
	return nil
}

// checkGroupFilter is checkUserFilter for groups.
func checkGroupFilter(filter string) error {
	if !strings.Contains(filter, dnPlaceholder) && !strings.Contains(filter, userPlaceholder) {
		return errors.New("it has no {dn} and no {user}: write one like (member={dn})")
	}
	if err := checkShape(func(v string) string { return fillGroupFilter(filter, v, v) }); err != nil {
		return fmt.Errorf("%w: {dn} and {user} may stand in values only: write one like (member={dn})", err)
	}
	return nil
}

// checkShape tells whether whatever is filled in stays a value. Escaping
// protects values only: ({user}=x) would let the name choose the attribute.
func checkShape(fill func(value string) string) error {
	plain, err := filterShape(fill("x"))
	if err != nil {
		return fmt.Errorf("it does not compile: %w", err)
	}
	odd, err := filterShape(fill("y:=z>~<"))
	if err != nil {
		return fmt.Errorf("it does not compile with every value: %w", err)
	}
	if odd != plain {
		return errors.New("it changes its meaning with the value")
	}
	return nil
}

// ruleInChain follows groups in groups within the server (MS-ADTS
// 3.1.1.3.4.4.3). Servers that do not know it find nothing, without an error.
const ruleInChain = "1.2.840.113556.1.4.1941"

var errInChain = errors.New("the matching rule " + ruleInChain + " is known to AD only, and elsewhere finds nobody: remove it, groups in groups are followed anyway")

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
