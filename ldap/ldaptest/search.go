package ldaptest

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

// maxPageSize is how many entries one search returns at most, as on Windows.
const maxPageSize = 1000

// query is a search request.
type query struct {
	base      string
	scope     int64
	sizeLimit int64
	typesOnly bool
	filter    *ber.Packet
	want      []string
}

func parseQuery(op *ber.Packet) (query, bool) {
	if len(op.Children) < 8 {
		return query{}, false
	}
	q := query{base: text(op.Children[0]), filter: op.Children[6]}
	var ok [3]bool
	q.scope, ok[0] = op.Children[1].Value.(int64)
	q.sizeLimit, ok[1] = op.Children[3].Value.(int64)
	q.typesOnly, ok[2] = op.Children[5].Value.(bool)
	for _, a := range op.Children[7].Children {
		q.want = append(q.want, text(a))
	}
	return q, ok[0] && ok[1] && ok[2]
}

// search answers a search request; false ends the connection.
func (c *conn) search(id int64, op *ber.Packet) bool {
	q, ok := parseQuery(op)
	if !ok {
		return c.send(id, response(opSearchDone, result{code: goldap.LDAPResultProtocolError, diagnostic: "malformed search request"}))
	}
	if q.base == "" && q.scope == goldap.ScopeBaseObject {
		if c.tree.HideRootDSE && c.bound == nil {
			return c.send(id, response(opSearchDone, result{code: goldap.LDAPResultStrongAuthRequired, diagnostic: "authentication required"}))
		}
		e := c.rootDSE()
		if match, err := c.tree.matches(q.filter, e); err == nil && match {
			if !c.sendEntry(id, e, q) {
				return false
			}
		}
		return c.send(id, response(opSearchDone, result{}))
	}
	if c.bound == nil {
		return c.send(id, response(opSearchDone, c.anonymous()))
	}
	base, refused := c.tree.resolve(q.base)
	if base == nil {
		return c.send(id, response(opSearchDone, refused))
	}
	if q.scope != goldap.ScopeBaseObject && slices.ContainsFunc(q.want, func(w string) bool { return strings.EqualFold(w, "tokenGroups") }) {
		return c.send(id, response(opSearchDone, result{code: goldap.LDAPResultOperationsError, diagnostic: "tokenGroups: not a BASE search"}))
	}
	limit := int64(maxPageSize)
	if q.sizeLimit > 0 && q.sizeLimit < limit && !c.tree.IgnoreSizeLimit {
		limit = q.sizeLimit
	}
	var sent int64
	for _, e := range c.tree.entries {
		if e.configuration != base.configuration || !inScope(e, base, q.scope) {
			continue
		}
		match, err := c.tree.matches(q.filter, e)
		if err != nil {
			return c.send(id, response(opSearchDone, result{code: goldap.LDAPResultProtocolError, diagnostic: err.Error()}))
		}
		if !match {
			continue
		}
		if sent == limit {
			return c.send(id, response(opSearchDone, result{code: goldap.LDAPResultSizeLimitExceeded}))
		}
		if !c.sendEntry(id, e, q) {
			return false
		}
		sent++
	}
	if !c.tree.Plain && q.scope == goldap.ScopeWholeSubtree && base == c.tree.entries[0] {
		// A domain's root points to the partitions beside it. Clients that
		// follow this anonymously see "000004DC" errors.
		ref := ber.Encode(ber.ClassApplication, ber.TypeConstructed, opSearchReference, nil, "")
		ref.AppendChild(octets("ldap://" + c.tree.Domain + "/CN=Configuration," + c.tree.baseDN))
		if !c.send(id, ref) {
			return false
		}
	}
	return c.send(id, response(opSearchDone, result{}))
}

func (c *conn) anonymous() result {
	if c.tree.Plain {
		return result{code: goldap.LDAPResultNoSuchObject}
	}
	return result{
		code:       goldap.LDAPResultOperationsError,
		diagnostic: "000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this operation a successful bind must be completed on the connection., data 0, v4563\x00",
	}
}

// resolve finds a search's base, which on AD may also be <SID=…> or <GUID=…>.
func (t *tree) resolve(base string) (*entry, result) {
	if inner, ok := strings.CutPrefix(base, "<"); ok && !t.Plain {
		inner = strings.TrimSuffix(inner, ">")
		kind, value, _ := strings.Cut(inner, "=")
		var found *entry
		switch {
		case strings.EqualFold(kind, "SID"):
			s, err := parseSID(value)
			if raw, hexErr := hex.DecodeString(value); err != nil && hexErr == nil {
				s = raw
			}
			found = t.bySID[string(s)]
		case strings.EqualFold(kind, "GUID"):
			for _, e := range t.entries {
				if a := e.get("objectGUID"); a != nil &&
					(strings.EqualFold(hex.EncodeToString(a.values[0]), value) || strings.EqualFold(guidText(a.values[0]), value)) {
					found = e
				}
			}
		}
		if found != nil {
			return found, result{}
		}
		return nil, t.noSuchObject("")
	}
	key, err := dnKey(base)
	if err != nil {
		return nil, result{code: goldap.LDAPResultInvalidDNSyntax, diagnostic: "0000208F: NameErr: DSID-03100232, problem 2006 (BAD_NAME), data 8349, best match of:\n\t'" + printable(base) + "'\n\x00"}
	}
	if e := t.byDN[key]; e != nil {
		return e, result{}
	}
	if !t.Plain && !strings.HasSuffix(key, t.entries[0].key) {
		return nil, result{code: goldap.LDAPResultReferral, diagnostic: "0000202B: RefErr: DSID-0310084A, data 0, 1 access points\x00", referral: "ldap://elsewhere.invalid/" + printable(base)}
	}
	return nil, t.noSuchObject(t.baseDN)
}

func (t *tree) noSuchObject(matched string) result {
	r := result{code: goldap.LDAPResultNoSuchObject, matchedDN: matched}
	if !t.Plain {
		r.diagnostic = fmt.Sprintf("0000208D: NameErr: DSID-0310028D, problem 2001 (NO_OBJECT), data 0, best match of:\n\t'%s'\n\x00", matched)
	}
	return r
}

func inScope(e, base *entry, scope int64) bool {
	switch scope {
	case goldap.ScopeBaseObject:
		return e == base
	case goldap.ScopeSingleLevel:
		return parentKey(e.key) == base.key && e != base
	default:
		return e == base || strings.HasSuffix(e.key, ","+base.key)
	}
}

// parentKey cuts the first RDN off; commas inside values are escaped in keys.
func parentKey(key string) string {
	for i := 0; i < len(key); i++ {
		switch key[i] {
		case '\\':
			i++
		case ',':
			return key[i+1:]
		}
	}
	return ""
}

// sendEntry sends the attributes that were asked for, in the schema's spelling.
func (c *conn) sendEntry(id int64, e *entry, q query) bool {
	list := ber.NewSequence("attributes")
	for i := range e.attributes {
		a := &e.attributes[i]
		asked, from, to := a.asked(q.want)
		if !asked {
			continue
		}
		c.tree.appendAttribute(list, a, q.typesOnly, from, to)
	}
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, opSearchEntry, nil, "")
	op.AppendChild(octets(e.dn))
	op.AppendChild(list)
	return c.send(id, op)
}

// asked tells whether the selection covers a, and the range that it names, or
// from = -1.
func (a *attribute) asked(want []string) (ok bool, from, to int) {
	if len(want) == 0 {
		return !a.operational, -1, 0
	}
	for _, w := range want {
		name, option, _ := strings.Cut(w, ";")
		switch {
		case strings.EqualFold(name, a.name):
			if low, high, found := strings.Cut(strings.TrimPrefix(strings.ToLower(option), "range="), "-"); found {
				from, err := strconv.Atoi(low)
				to, errTo := strconv.Atoi(high)
				if errTo != nil {
					to = len(a.values) - 1
				}
				if err == nil && from >= 0 && to >= from {
					return true, from, to
				}
			}
			return true, -1, 0
		case w == "*" && !a.operational, w == "+" && a.operational:
			ok, from = true, -1
		}
	}
	return ok, from, to
}

func (t *tree) appendAttribute(list *ber.Packet, a *attribute, typesOnly bool, from, to int) {
	name, values := a.name, a.values
	ranged := from >= 0
	if !ranged && len(values) > t.MaxValRange {
		ranged, from, to = true, 0, t.MaxValRange-1
	}
	if ranged {
		if to-from >= t.MaxValRange {
			to = from + t.MaxValRange - 1
		}
		end := strconv.Itoa(to)
		if to >= len(values)-1 {
			to, end = len(values)-1, "*"
		}
		if from > to {
			return
		}
		name, values = fmt.Sprintf("%s;range=%d-%s", a.name, from, end), values[from:to+1]
	}
	set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
	if !typesOnly {
		for _, v := range values {
			set.AppendChild(octets(string(v)))
		}
	}
	pair := ber.NewSequence("attribute")
	pair.AppendChild(octets(name))
	pair.AppendChild(set)
	list.AppendChild(pair)
}
