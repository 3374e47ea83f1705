package ldap

import "time"

// Identity is a person as the directory proved it: every field comes from the
// directory's own entry, none from what was typed.
type Identity struct {
	// Directory is the label of the directory that proved the identity.
	Directory string

	// ID never changes and is never used again for someone else: objectGUID
	// on AD, in the usual 8-4-4-4-12 form, nsUniqueId on 389-ds, else entryUUID,
	// or the attribute configured.
	ID string

	// Username in the directory's own spelling: sAMAccountName on AD, else uid,
	// or the attribute configured.
	Username string

	// DN of the entry.
	DN string

	// The attributes givenName, sn, displayName (else cn), mail (else, where it
	// is not read at all, the user principal name), userPrincipalName, title and
	// manager (a DN), or those configured. Empty where the entry has none.
	// Values that are not UTF-8 or hold control characters are left out.
	FirstName, LastName, DisplayName, Email, UPN, Title, Manager string

	// PasswordSet tells when the password was last set, as the directory spells
	// it, with the attribute's name before it, so that a later look at the entry
	// can tell whether it was changed since.
	PasswordSet string

	// Groups that the person is in. On AD all of the token's: nested ones, the
	// primary group and the built-in ones. Elsewhere those that list the person
	// or one of these groups.
	Groups []Group

	// Warning is what the directory said of the password that it accepted, nil
	// for nothing.
	Warning *PasswordWarning
}

// PasswordWarning is about a password that still signs in, but will not for
// ever.
type PasswordWarning struct {
	// GraceSignIns are the sign-ins left with a password that has expired; -1
	// means that it has not.
	GraceSignIns int

	// ExpiresIn is the time until the password expires; 0 means unknown.
	ExpiresIn time.Duration
}

// Group is one group of an identity.
type Group struct {
	// ID is what access is decided by: the SID in its S-1-… form on AD, else
	// the DN in the normal form of NormalizeDN.
	ID string

	// Name and DN are filled for groups that the configuration refers to and
	// that were resolved: the sAMAccountName on AD, else the cn, or the attribute
	// configured.
	Name, DN string
}

// passwordMark is a PasswordSet: which attribute was read, and what it showed.
// Nothing is an answer too, from a service account: from then on a value is a
// change.
func passwordMark(attribute, value string) string { return attribute + "=" + value }
