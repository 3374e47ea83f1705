package ldaptest

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

// AD's matching rules (MS-ADTS 3.1.1.3.4.4).
const (
	ruleBitAnd  = "1.2.840.113556.1.4.803"
	ruleBitOr   = "1.2.840.113556.1.4.804"
	ruleInChain = "1.2.840.113556.1.4.1941"
)

var errFilter = errors.New("malformed filter")

// matches evaluates a filter on an entry. The depth of filters is bounded by
// that of packets.
func (t *tree) matches(f *ber.Packet, e *entry) (bool, error) {
	if f.ClassType != ber.ClassContext {
		return false, errFilter
	}
	switch f.Tag {
	case goldap.FilterAnd, goldap.FilterOr:
		for _, child := range f.Children {
			ok, err := t.matches(child, e)
			if err != nil {
				return false, err
			}
			if ok == (f.Tag == goldap.FilterOr) {
				return ok, nil
			}
		}
		return f.Tag == goldap.FilterAnd, nil
	case goldap.FilterNot:
		if len(f.Children) != 1 {
			return false, errFilter
		}
		ok, err := t.matches(f.Children[0], e)
		return !ok, err
	case goldap.FilterPresent:
		return e.get(text(f)) != nil, nil
	case goldap.FilterExtensibleMatch:
		return t.matchesRule(f, e)
	}
	if len(f.Children) != 2 {
		return false, errFilter
	}
	a := e.get(text(f.Children[0]))
	if a == nil {
		return false, nil
	}
	switch f.Tag {
	case goldap.FilterEqualityMatch, goldap.FilterApproxMatch:
		want := []byte(text(f.Children[1]))
		return a.any(func(v []byte) bool { return t.equal(a.name, v, want) }), nil
	case goldap.FilterSubstrings:
		return a.any(func(v []byte) bool { return containsParts(string(v), f.Children[1].Children) }), nil
	case goldap.FilterGreaterOrEqual, goldap.FilterLessOrEqual:
		want := text(f.Children[1])
		sign := 1
		if f.Tag == goldap.FilterLessOrEqual {
			sign = -1
		}
		return a.any(func(v []byte) bool { return compare(string(v), want)*sign >= 0 }), nil
	default:
		return false, errFilter
	}
}

func (a *attribute) any(match func([]byte) bool) bool {
	for _, v := range a.values {
		if match(v) {
			return true
		}
	}
	return false
}

// equal compares by the attribute's syntax.
func (t *tree) equal(name string, have, want []byte) bool {
	switch strings.ToLower(name) {
	case "objectsid":
		if s, err := parseSID(string(want)); err == nil {
			want = s
		}
		return bytes.Equal(have, want)
	case "objectguid":
		return bytes.Equal(have, want)
	case "ncname":
		return sameDN(have, want)
	case "objectcategory":
		if !bytes.ContainsRune(want, '=') {
			// The short form: the class name stands for its schema object.
			first, _, _ := strings.Cut(string(have), ",")
			_, first, _ = strings.Cut(first, "=")
			return strings.EqualFold(first, string(want))
		}
		return sameDN(have, want)
	case "memberof", "member", "manager", "distinguishedname", "entrydn":
		return sameDN(have, want)
	case "samaccountname":
		// Samba ignores an end of spaces and a NUL here. Clients must not send
		// such names; if they do, this finds somebody.
		want = bytes.TrimRight(want, " \x00")
	}
	return strings.EqualFold(string(have), string(want))
}

func sameDN(a, b []byte) bool {
	x, errX := dnKey(string(a))
	y, errY := dnKey(string(b))
	return errX == nil && errY == nil && x == y
}

func containsParts(value string, parts []*ber.Packet) bool {
	value = strings.ToLower(value)
	for _, p := range parts {
		part := strings.ToLower(text(p))
		switch p.Tag {
		case goldap.FilterSubstringsInitial:
			if !strings.HasPrefix(value, part) {
				return false
			}
			value = value[len(part):]
		case goldap.FilterSubstringsFinal:
			if !strings.HasSuffix(value, part) {
				return false
			}
			value = ""
		default:
			i := strings.Index(value, part)
			if i < 0 {
				return false
			}
			value = value[i+len(part):]
		}
	}
	return true
}

func compare(a, b string) int {
	x, errX := strconv.ParseInt(a, 10, 64)
	y, errY := strconv.ParseInt(b, 10, 64)
	if errX == nil && errY == nil {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		default:
			return 0
		}
	}
	return strings.Compare(strings.ToLower(a), strings.ToLower(b))
}

func (t *tree) matchesRule(f *ber.Packet, e *entry) (bool, error) {
	var rule, name, value string
	for _, part := range f.Children {
		switch part.Tag {
		case goldap.MatchingRuleAssertionMatchingRule:
			rule = text(part)
		case goldap.MatchingRuleAssertionType:
			name = text(part)
		case goldap.MatchingRuleAssertionMatchValue:
			value = text(part)
		}
	}
	a := e.get(name)
	switch {
	case t.Plain && rule != "":
		return false, nil // slapd: an unknown rule matches nothing, silently
	case rule == ruleInChain && strings.EqualFold(name, "memberOf"):
		for _, g := range e.ancestors() {
			if sameDN([]byte(g.dn), []byte(value)) {
				return true, nil
			}
		}
		return false, nil
	case rule == ruleInChain && strings.EqualFold(name, "member"):
		key, err := dnKey(value)
		if err != nil || t.byDN[key] == nil {
			return false, nil
		}
		for _, g := range t.byDN[key].ancestors() {
			if g == e {
				return true, nil
			}
		}
		return false, nil
	case a == nil:
		return false, nil
	case rule == "":
		return a.any(func(v []byte) bool { return t.equal(a.name, v, []byte(value)) }), nil
	case rule == ruleBitAnd, rule == ruleBitOr:
		mask, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return false, nil
		}
		return a.any(func(v []byte) bool {
			n, err := strconv.ParseInt(string(v), 10, 64)
			if rule == ruleBitOr {
				return err == nil && n&mask != 0
			}
			return err == nil && n&mask == mask
		}), nil
	default:
		return false, nil
	}
}
