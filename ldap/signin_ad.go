package ldap

import (
	"fmt"
	"slices"

	goldap "github.com/go-ldap/ldap/v3"
)

// signInAD binds as the user and then proves which entry is theirs. found is
// what a service account saw under the typed name, nil where none looked.
func (d *Directory) signInAD(c *connection, a *attempt, found *account) (*Identity, error) {
	who, err := d.parseADName(a.typed)
	if err != nil {
		return nil, &RefusedError{Reason: ReasonNameInvalid, Err: err}
	}
	username := ""
	if found != nil && len(found.entries) == 1 {
		// The entry's own DN: a name may mean something else to the server
		// than to the filter, which takes e-mail addresses for example.
		username = value(found.entries[0], d.attributes(KindAD).Username)
		if isDN(found.entries[0].DN) {
			who.bind = found.entries[0].DN
		}
	}
	if _, err := a.bindUser(c, who.bind, username, false); err != nil {
		return nil, err
	}
	root, err := c.rootDSE("tokenGroups")
	if err != nil {
		return nil, err
	}
	token, err := tokenOf(root)
	if err != nil {
		return nil, err
	}
	base, err := d.userBase(c.root)
	if err != nil {
		return nil, err
	}
	var candidates []*goldap.Entry
	if found != nil {
		candidates = found.entries
	} else if candidates, err = d.candidates(c, base, who); err != nil {
		return nil, err
	}
	entry, sid, err := d.proveEntry(c, base, who, candidates, token)
	if err != nil {
		return nil, err
	}
	id, err := d.identity(entry, KindAD)
	if err != nil {
		return nil, err
	}
	for _, t := range token {
		if t != sid {
			id.Groups = append(id.Groups, Group{ID: t})
		}
	}
	d.learnNames(c)
	d.resolveGroups(c, d.groupFinder(c, KindAD, base), false)
	d.groups.name(id.Groups)
	return id, nil
}

// candidates are the entries that the typed name stands for, two at the most:
// one person's sAMAccountName may be the front of another's userPrincipalName.
func (d *Directory) candidates(c *connection, base string, who login) ([]*goldap.Entry, error) {
	filter := d.config.UserFilter
	if filter == "" {
		filter = defaultADFilter
	}
	entries, err := c.search(base, goldap.ScopeWholeSubtree, 2, fillFilter(filter, who), d.personAttributes(KindAD)...)
	if err != nil && err != errTooMany {
		return nil, err
	}
	return entries, nil
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
func (d *Directory) proveEntry(c *connection, base string, who login, candidates []*goldap.Entry, token []string) (*goldap.Entry, string, error) {
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
	entries, err := c.search("<SID="+sid+">", goldap.ScopeBaseObject, 1, "(objectClass=user)", d.personAttributes(KindAD)...)
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
	filter := d.config.UserFilter
	if filter == "" {
		filter = defaultADFilter // computers have accounts too
	}
	own := login{user: value(e, "sAMAccountName"), upn: value(e, "userPrincipalName")}
	if own.upn == "" {
		own.upn = own.user + "@" + d.config.Label
	}
	matching, err := c.search("<SID="+userSID(e)+">", goldap.ScopeBaseObject, 1, fillFilter(filter, own), "objectSid")
	if err != nil && !isNoSuchObject(err) {
		return err
	}
	if len(matching) != 1 || sidOf(matching[0]) != userSID(e) {
		return outside("user_filter")
	}
	return nil
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
