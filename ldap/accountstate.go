package ldap

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

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
