package ldap

import (
	"context"
	"encoding/binary"
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

// AccountState is what a re-check found of one account.
type AccountState struct {
	reason      Reason
	kind        Kind
	token       []Group // nil: they could not be read
	common      []Group // on AD, what everybody has beside it; nil: not known
	passwordSet string
}

// SignedIn is what is remembered of one sign-in of an account.
type SignedIn struct {
	At          time.Time
	PasswordSet string  // Identity.PasswordSet
	Groups      []Group // Identity.Groups
}

// Reason tells why what began with a sign-in may not go on, "" while it may:
// ReasonUserUnknown (the account is gone, or outside of base_dn or
// user_filter), ReasonAmbiguousUser (another one has the same ID),
// ReasonAccountDisabled, ReasonAccountExpired, ReasonTooManyGroups, or
// ReasonPasswordChanged.
func (s AccountState) Reason(in SignedIn) Reason {
	if s.reason == "" && s.passwordChanged(in) {
		return ReasonPasswordChanged
	}
	return s.reason
}

// Update returns what a sign-in would find now. What could not be read stays as
// it was.
func (s AccountState) Update(in SignedIn) SignedIn {
	now := in
	if attribute, value, _ := strings.Cut(s.passwordSet, "="); value != "" && s.newerThan(in.PasswordSet, attribute) {
		now.PasswordSet = s.passwordSet
	}
	if s.token != nil {
		now.Groups = s.groups(in.Groups)
	}
	return now
}

// newerThan tells whether the mark of a sign-in is to be replaced: an older one
// is that of a server which is behind.
func (s AccountState) newerThan(mark, attribute string) bool {
	of, saw, _ := strings.Cut(mark, "=")
	_, value, _ := strings.Cut(s.passwordSet, "=")
	before, ok := s.timeOf(saw)
	at, isTime := s.timeOf(value)
	return of != attribute || !ok || !isTime || at.After(before)
}

// groups are those of the account. On AD the token of a connection also holds
// SIDs that say how somebody came in (Authenticated Users, Everyone, …) and the
// groups that these are in, which no entry shows. The former stay as they were,
// the latter are everybody's: those of the service account.
func (s AccountState) groups(before []Group) []Group {
	if s.kind != KindAD {
		return s.token
	}
	groups := slices.Clone(s.token)
	add := func(g Group) {
		if !slices.ContainsFunc(groups, func(t Group) bool { return t.ID == g.ID }) {
			groups = append(groups, g)
		}
	}
	for _, g := range s.common {
		add(g)
	}
	for _, g := range before {
		ofDomain, builtIn := strings.HasPrefix(g.ID, "S-1-5-21-"), strings.HasPrefix(g.ID, "S-1-5-32-")
		if !ofDomain && (!builtIn || s.common == nil) {
			add(g)
		}
	}
	return groups
}

// passwordGrace is how much the clocks of directory and client may differ where
// only they tell whether a password was changed after a sign-in.
const passwordGrace = 2 * time.Minute

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

// passwordChanged compares with what the sign-in saw. An older time is none of a
// change, but of a server that has not heard of it yet. Where the sign-in saw
// nothing, what is there now is a change unless it is clearly older; where it
// looked at another attribute, only the clocks are left.
func (s AccountState) passwordChanged(in SignedIn) bool {
	attribute, now, _ := strings.Cut(s.passwordSet, "=")
	sawOf, saw, _ := strings.Cut(in.PasswordSet, "=")
	at, isTime := s.timeOf(now)
	switch {
	case now == "", now == saw && sawOf == attribute:
		return false
	case sawOf != attribute:
		return isTime && at.After(in.At.Add(passwordGrace))
	case saw == "":
		return !isTime || at.After(in.At.Add(-passwordGrace))
	}
	if before, ok := s.timeOf(saw); ok && isTime {
		return at.After(before)
	}
	return true // as AD's 0: it must be changed
}

// timeOf reads a value of the attribute that tells when a password was set.
func (s AccountState) timeOf(text string) (time.Time, bool) {
	if s.kind == KindAD {
		return fileTime(text)
	}
	at, err := time.Parse("20060102150405Z", text)
	return at, err == nil
}

// fileTime reads a time of AD: 100 ns since 1601 (MS-DTYP 2.3.3). 0 and the
// largest number are none.
func fileTime(text string) (time.Time, bool) {
	const toUnix = 116444736000000000
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n == 1<<63-1 {
		return time.Time{}, false
	}
	n -= toUnix
	return time.Unix(n/1e7, n%1e7*100), true
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

// SameGroups tells whether two lists hold the same IDs.
func SameGroups(a, b []Group) bool {
	ids := func(groups []Group) []string {
		list := make([]string, len(groups))
		for i, g := range groups {
			list[i] = g.ID
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	return slices.Equal(ids(a), ids(b))
}

// warnOnce logs what an operator should know, once a directory.
func (d *Directory) warnOnce(text string) {
	if _, before := d.warned.LoadOrStore(text, true); !before {
		d.config.Logger.Warn(text, "directory", d.config.Label)
	}
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

// encodeGUID is the way back from decodeGUID.
func encodeGUID(id string) ([]byte, error) {
	var a uint32
	var b, c, d uint16
	var e uint64
	if n, err := fmt.Sscanf(id, "%08x-%04x-%04x-%04x-%012x", &a, &b, &c, &d, &e); err != nil || n != 5 || len(id) != 36 {
		return nil, fmt.Errorf("reading id %q: it is no GUID", id)
	}
	raw := binary.LittleEndian.AppendUint32(nil, a)
	raw = binary.LittleEndian.AppendUint16(raw, b)
	raw = binary.LittleEndian.AppendUint16(raw, c)
	raw = binary.BigEndian.AppendUint16(raw, d)
	raw = append(raw, binary.BigEndian.AppendUint64(nil, e)[2:]...)
	if back, err := decodeGUID(raw); err != nil || !strings.EqualFold(back, id) {
		return nil, fmt.Errorf("reading id %q: it is no GUID", id) // with something behind its numbers
	}
	return raw, nil
}
