package ldap

// Identity is a person as the directory proved it: every field comes from the
// directory's own entry, none from what was typed.
type Identity struct {
	// Directory is the label of the directory that proved the identity.
	Directory string

	// ID never changes and is never used again for someone else: objectGUID
	// on AD, in the usual 8-4-4-4-12 form, else entryUUID.
	ID string

	// Username in the directory's own spelling: sAMAccountName on AD, else uid.
	Username string

	// DN of the entry.
	DN string

	// The attributes givenName, sn, displayName (else cn), mail (or the one
	// configured), userPrincipalName, title and manager (a DN). Empty where the
	// entry has none. Values that are not UTF-8 or hold control characters are
	// left out.
	FirstName, LastName, DisplayName, Email, UPN, Title, Manager string

	// Groups that the person is in. On AD all of the token's: nested ones, the
	// primary group and the built-in ones.
	Groups []Group
}

// Group is one group of an identity.
type Group struct {
	// ID is what access is decided by: the SID in its S-1-… form on AD, else
	// the DN in the normal form of NormalizeDN.
	ID string

	// Name and DN are filled for groups that the configuration refers to and
	// that were resolved: the sAMAccountName on AD, else the cn.
	Name, DN string
}
