package ldap

import (
	"fmt"
	"slices"

	goldap "github.com/go-ldap/ldap/v3"
)

// signInAD binds as the user and then proves which entry is theirs.
func (d *Directory) signInAD(c *connection, a *attempt) (*Identity, error) {
	who, err := parseADName(a.typed, d.config.Label)
	if err != nil {
		return nil, &RefusedError{Reason: ReasonNameInvalid, Err: err}
	}
	if err := a.bindUser(c, who.bind, ""); err != nil {
		return nil, err
	}
	root, err := c.rootDSE(baseAttributes("tokenGroups")...)
	if err != nil {
		return nil, err
	}
	token, err := tokenOf(root)
	if err != nil {
		return nil, err
	}
	base, err := d.userBase(root)
	if err != nil {
		return nil, &UnavailableError{Reason: ReasonBaseDN, Err: err}
	}
	entry, sid, err := d.proveEntry(c, base, who, token)
	if err != nil {
		return nil, err
	}
	id, err := d.adIdentity(entry)
	if err != nil {
		return nil, err
	}
	for _, t := range token {
		if t != sid {
			id.Groups = append(id.Groups, Group{ID: t})
		}
	}
	d.resolveGroups(c, adGroups{c, d.groupBase(base)})
	d.groups.name(id.Groups)
	return id, nil
}

// tokenOf reads the SIDs that the connection acts with: the account's own, on
// Samba the first, and all of its groups.
func tokenOf(root *goldap.Entry) ([]string, error) {
	values := root.GetEqualFoldRawAttributeValues("tokenGroups")
	token := make([]string, 0, len(values))
	for _, v := range values {
		sid, err := decodeSID(v)
		if err != nil {
			return nil, fmt.Errorf("reading tokenGroups: %w", err)
		}
		token = append(token, sid)
	}
	return token, nil
}

// proveEntry returns the entry of the account that the connection is bound as.
//
// The name that was typed is no proof: Eve's userPrincipalName may be
// victim@other.example while the victim's sAMAccountName is victim, so that
// Eve's password binds and a search for the name finds the victim. What counts
// is the SID in the connection's token. Groups are in the token as well, so the
// entry must also be a user's.
func (d *Directory) proveEntry(c *connection, base string, who login, token []string) (*goldap.Entry, string, error) {
	filter := d.config.UserFilter
	if filter == "" {
		filter = defaultADFilter
	}
	candidates, err := c.search(base, goldap.ScopeWholeSubtree, 2, fillFilter(filter, who), d.adAttributes()...)
	if err != nil && err != errTooMany {
		return nil, "", err
	}
	var proven []*goldap.Entry
	for _, e := range candidates {
		if sid := userSID(e); sid != "" && slices.Contains(token, sid) {
			proven = append(proven, e)
		}
	}
	if len(proven) == 1 {
		return proven[0], userSID(proven[0]), nil
	}
	if len(token) > 0 {
		e, err := d.entryBySID(c, token[0])
		if err != nil {
			return nil, "", err
		}
		if e != nil {
			return e, token[0], d.checkAllowed(c, e, base)
		}
	}
	d.config.Logger.Error("sign-in refused: the bound account's entry was not found: somebody may be trying another account's name",
		"directory", d.config.Label, "bind_name", who.bind, "candidates", len(candidates), "token_sids", len(token))
	return nil, "", &RefusedError{
		Reason: ReasonIdentityUnproven,
		Err:    fmt.Errorf("none of %d entries has an objectSid of the token's %d", len(candidates), len(token)),
	}
}

// entryBySID returns the user with exactly this SID, or nil.
func (d *Directory) entryBySID(c *connection, sid string) (*goldap.Entry, error) {
	entries, err := c.search("<SID="+sid+">", goldap.ScopeBaseObject, 1, "(objectClass=user)", d.adAttributes()...)
	if isNoSuchObject(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(entries) == 1 && userSID(entries[0]) == sid {
		return entries[0], nil
	}
	return nil, nil
}

// checkAllowed holds an entry that was found by its SID against base_dn and
// user_filter: who set them meant to leave others out. The filter gets the
// directory's own names this time.
func (d *Directory) checkAllowed(c *connection, e *goldap.Entry, base string) error {
	outside := func(option string) error {
		return &RefusedError{
			Reason:   ReasonUserUnknown,
			Username: value(e, "sAMAccountName"),
			Err:      fmt.Errorf("entry %q is outside of %s", printable(e.DN), option),
		}
	}
	if d.config.BaseDN != "" {
		dn, err := NormalizeDN(e.DN)
		if err != nil {
			return outside("base_dn")
		}
		under, err := NormalizeDN(base)
		if err != nil || !isUnder(dn, under) {
			return outside("base_dn")
		}
	}
	if d.config.UserFilter == "" {
		return nil
	}
	own := login{user: value(e, "sAMAccountName"), upn: value(e, "userPrincipalName")}
	if own.upn == "" {
		own.upn = own.user + "@" + d.config.Label
	}
	matching, err := c.search("<SID="+userSID(e)+">", goldap.ScopeBaseObject, 1, fillFilter(d.config.UserFilter, own), "objectSid")
	if err != nil && !isNoSuchObject(err) {
		return err
	}
	if len(matching) != 1 || sidOf(matching[0]) != userSID(e) {
		return outside("user_filter")
	}
	return nil
}

func (d *Directory) adAttributes() []string {
	return d.profileAttributes("objectSid", "objectGUID", "sAMAccountName")
}

// userSID is the SID of a user's entry, and "" for anything else.
func userSID(e *goldap.Entry) string {
	if !hasClass(e, "user") {
		return ""
	}
	return sidOf(e)
}

func sidOf(e *goldap.Entry) string {
	raw, err := single(e, "objectSid")
	if err != nil {
		return ""
	}
	sid, err := decodeSID(raw)
	if err != nil {
		return ""
	}
	return sid
}

func (d *Directory) adIdentity(e *goldap.Entry) (*Identity, error) {
	raw, err := single(e, "objectGUID")
	if err != nil {
		return nil, err
	}
	id := d.profile(e)
	if id.ID, err = decodeGUID(raw); err != nil {
		return nil, fmt.Errorf("reading entry %q: %w", printable(e.DN), err)
	}
	if id.Username = value(e, "sAMAccountName"); id.Username == "" {
		return nil, fmt.Errorf("reading entry %q: it shows no sAMAccountName", printable(e.DN))
	}
	return id, nil
}
