package ldap

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// MaxRecheck bounds the accounts of one Recheck: a filter has to hold them all.
const MaxRecheck = 50

var errNoService = errors.New("looking accounts up: there is no service account")

// Recheck looks up, as the service account, what became of at most MaxRecheck
// accounts, by Identity.ID. States come in the order of the IDs. An error means
// that nothing is known of any of them. Without IDs it only finds out whether
// the directory can be asked.
//
// What is missing is gone; what cannot be read is not. A service account that
// may not read account states or groups is warned of once.
func (d *Directory) Recheck(parent context.Context, ids []string) ([]AccountState, error) {
	if d.service == nil {
		return nil, errNoService
	}
	if len(ids) > MaxRecheck {
		return nil, fmt.Errorf("looking accounts up: %d are more than %d", len(ids), MaxRecheck)
	}
	ctx, cancel := context.WithTimeoutCause(parent, d.limits.recheck, errBudget)
	defer cancel()
	r := recheck{Directory: d, unreadable: make(map[string]bool)}
	for {
		var states []AccountState
		_, err := d.lookup(ctx, nil, func(c *connection, base string) (err error) {
			states, err = r.look(c, base, ids)
			return err
		})
		if err == nil {
			return states, nil
		}
		// The server may answer all questions but one.
		if r.reading == "" || over(ctx) || len(r.unreadable) >= maxUnreadable {
			return nil, verdictOn(parent, ctx, &attempt{}, err)
		}
		r.unreadable[r.reading] = true
		r.reading = "" // or a server that is gone now would be asked without end
	}
}

// maxUnreadable are the accounts of one re-check that a server may leave without
// an answer before it is the server.
const maxUnreadable = 2

// recheck is one look at some accounts.
type recheck struct {
	*Directory
	reading    string          // the ID of the account that is being read, "" for none
	unreadable map[string]bool // those of which nothing came
}

func (r *recheck) look(c *connection, base string, ids []string) ([]AccountState, error) {
	r.reading = ""
	if len(ids) == 0 {
		_, err := c.rootDSE("1.1")
		return nil, err
	}
	kind := r.learnKind(c)
	entries, err := r.entriesOf(c, kind, base, ids)
	if err != nil {
		return nil, err
	}
	var common []Group
	if kind == KindAD {
		if common, err = r.commonGroups(c); err != nil {
			return nil, err
		}
	}
	states := make([]AccountState, len(ids))
	for i, id := range ids {
		switch those := entries[id]; {
		case len(those) == 0:
			states[i].reason = ReasonUserUnknown
			continue
		case len(those) > 1:
			// Whose session it is cannot be told any more.
			states[i].reason = ReasonAmbiguousUser
			continue
		case r.unreadable[id]:
			states[i].kind = kind
			continue
		}
		r.reading = id
		states[i], err = r.stateOf(c, kind, base, entries[id][0])
		states[i].common = common
		switch {
		case err == nil:
		case serverFault(err), searchReason(err) == ReasonConnUnbound, over(c.ctx):
			return nil, err
		default:
			// One account that cannot be read is no reason to know nothing of
			// the others.
			r.warnOnce("an account cannot be re-checked: its sessions stay as they are: " + err.Error())
			states[i] = AccountState{kind: kind}
		}
	}
	r.reading = ""
	return states, nil
}

// entriesOf reads the accounts' entries by their IDs.
func (d *Directory) entriesOf(c *connection, kind Kind, base string, ids []string) (map[string][]*goldap.Entry, error) {
	var filter strings.Builder
	filter.WriteString("(|")
	for _, id := range ids {
		filter.WriteString("(" + d.attributes(kind).ID + "=" + d.idFilterValue(kind, id) + ")")
	}
	filter.WriteString(")")
	a := d.attributes(kind)
	// Not the groups: of many people at once they would be too much.
	attributes := slices.DeleteFunc([]string{a.ID, a.Username, a.UPN, a.PasswordSet, "objectClass",
		"userAccountControl", "accountExpires", "objectSid", "pwdAccountLockedTime", "pwdEndTime", "nsAccountLock"},
		func(name string) bool { return name == noAttribute })
	found, err := c.search(base, goldap.ScopeWholeSubtree, 2*len(ids), filter.String(), attributes...)
	if err != nil {
		// A list that was cut short would make people look gone.
		return nil, fmt.Errorf("looking accounts up below %q: %w", base, err)
	}
	entries := make(map[string][]*goldap.Entry, len(found))
	for _, e := range found {
		if id, err := identifier(e, d.attributes(kind).ID); err == nil {
			entries[id] = append(entries[id], e)
		}
	}
	return entries, nil
}

func (d *Directory) stateOf(c *connection, kind Kind, base string, e *goldap.Entry) (AccountState, error) {
	attribute := d.attributes(kind).PasswordSet
	state := AccountState{kind: kind, passwordSet: passwordMark(attribute, value(e, attribute))}
	if state.reason = d.accountReason(kind, e); state.reason != "" {
		return state, nil
	}
	allowed, read, err := d.readAllowed(c, kind, e)
	if err != nil {
		return state, err
	}
	if !allowed {
		state.reason = ReasonUserUnknown
		return state, nil
	}
	if kind == KindAD {
		state.token, err = d.tokenOfEntry(read)
	} else {
		username := value(e, d.attributes(kind).Username)
		state.token, err = d.memberships(c, kind, read, username, d.groupBase(base))
		if state.token == nil {
			state.token = []Group{}
		}
	}
	var refused *RefusedError
	if errors.As(err, &refused) {
		state.reason, state.token, err = refused.Reason, nil, nil
	}
	d.groups.name(state.token)
	return state, err
}

// accountReason reads whether the account was disabled or has expired.
func (d *Directory) accountReason(kind Kind, e *goldap.Entry) Reason {
	if kind == KindAD {
		control, err := strconv.ParseInt(value(e, "userAccountControl"), 10, 64)
		if err != nil {
			d.warnOnce("the service account may not read userAccountControl: re-checks cannot see disabled accounts")
		} else if control&2 != 0 { // ADS_UF_ACCOUNTDISABLE
			return ReasonAccountDisabled
		}
		if at, ok := fileTime(value(e, "accountExpires")); ok && !time.Now().Before(at) {
			return ReasonAccountExpired
		}
		return ""
	}
	switch {
	case strings.EqualFold(value(e, "nsAccountLock"), "true"),
		value(e, "pwdAccountLockedTime") == "000001010000Z": // locked until an administrator unlocks it
		return ReasonAccountDisabled
	}
	if at, err := time.Parse("20060102150405Z", value(e, "pwdEndTime")); err == nil && !time.Now().Before(at) {
		return ReasonAccountExpired
	}
	return ""
}

// readAllowed reads the entry again, by itself, as far as groups are concerned:
// AD computes tokenGroups for the base of a search only. The rest of
// user_filter, that is without the name, must still hold.
func (d *Directory) readAllowed(c *connection, kind Kind, e *goldap.Entry) (bool, *goldap.Entry, error) {
	attributes := []string{"tokenGroups"}
	if kind != KindAD {
		attributes = d.personAttributes(kind)
	}
	entries, err := c.search(e.DN, goldap.ScopeBaseObject, 1, d.filterWithoutName(kind, e), attributes...)
	switch {
	case isNoSuchObject(err):
		return false, nil, nil // it went between two questions
	case err != nil:
		return false, nil, fmt.Errorf("reading entry %q: %w", printable(e.DN), err)
	case len(entries) == 0:
		return false, nil, nil
	}
	return true, entries[0], nil
}

// namedRule is a comparison by a matching rule in which the name stands: such a
// value takes no asterisk.
var namedRule = regexp.MustCompile(`\(([A-Za-z0-9.;-]*)(:dn)?(:[A-Za-z0-9.-]+)?:=[^()]*\{(?:user|upn)\}[^()]*\)`)

// filterWithoutName is user_filter for somebody of whom nobody knows any more
// what was typed: with any value in its place, or, since values like DNs cannot
// be compared with a part, with the names of the entry itself.
func (d *Directory) filterWithoutName(kind Kind, e *goldap.Entry) string {
	const everybody = "(objectClass=*)"
	filter := d.config.UserFilter
	switch {
	case filter == "" && kind == KindAD:
		filter = defaultADFilter
	case filter == "":
		return everybody
	}
	own := login{user: value(e, d.attributes(kind).Username), upn: value(e, d.attributes(kind).UPN)}
	if own.upn == "" {
		own.upn = own.user + "@" + d.config.Label
	}
	anybody := namedRule.ReplaceAllStringFunc(filter, func(comparison string) string {
		if attribute := namedRule.FindStringSubmatch(comparison)[1]; attribute != "" {
			return "(" + attribute + "=*)"
		}
		return everybody
	})
	anybody = strings.NewReplacer(userPlaceholder, "*", upnPlaceholder, "*").Replace(anybody)
	for strings.Contains(anybody, "**") {
		anybody = strings.ReplaceAll(anybody, "**", "*")
	}
	if _, err := goldap.CompileFilter(anybody); err != nil {
		return everybody
	}
	return "(|" + anybody + fillFilter(filter, own) + ")"
}

// commonGroups are those that every account has for having signed in: what the
// service account's token holds beyond its entry's.
func (d *Directory) commonGroups(c *connection) ([]Group, error) {
	root, err := c.rootDSE("tokenGroups")
	if err != nil {
		return nil, err
	}
	token, err := tokenOf(root)
	if err != nil || len(token) == 0 {
		return nil, err
	}
	entries, err := c.search("<SID="+token[0]+">", goldap.ScopeBaseObject, 1, "(objectClass=*)", "objectSid", "tokenGroups")
	if err != nil && !isNoSuchObject(err) {
		return nil, fmt.Errorf("reading the service account's entry: %w", err)
	}
	if len(entries) != 1 || sidOf(entries[0]) != token[0] {
		return nil, nil
	}
	own, err := tokenOf(entries[0])
	if err != nil || len(own) == 0 {
		return nil, err
	}
	common := make([]Group, 0, 8)
	for _, sid := range token[1:] {
		if !slices.Contains(own, sid) {
			common = append(common, Group{ID: sid})
		}
	}
	return common, nil
}

// tokenOfEntry reads the groups of an entry that was read by itself.
func (d *Directory) tokenOfEntry(e *goldap.Entry) ([]Group, error) {
	token, err := tokenOf(e)
	if err != nil {
		return nil, err
	}
	if len(token) == 0 {
		// Everybody has a primary group: it is the reading that failed.
		d.warnOnce("the service account may not read tokenGroups: re-checks cannot see changes of groups: put it into the group Windows Authorization Access Group")
		return nil, nil
	}
	groups := make([]Group, 0, len(token))
	for _, sid := range token {
		groups = append(groups, Group{ID: sid})
	}
	return groups, nil
}

// idFilterValue is an ID in the form of a filter.
func (d *Directory) idFilterValue(kind Kind, id string) string {
	if !strings.EqualFold(d.attributes(kind).ID, guidAttribute) {
		return goldap.EscapeFilter(id)
	}
	raw, err := encodeGUID(id)
	if err != nil {
		return goldap.EscapeFilter(id) // which finds nobody
	}
	var b strings.Builder
	for _, c := range raw {
		fmt.Fprintf(&b, `\%02x`, c)
	}
	return b.String()
}
