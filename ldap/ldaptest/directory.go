// Package ldaptest is an LDAP server in memory that behaves like Active
// Directory as its users see it: the name forms that bind, the data codes of a
// refused bind, tokenGroups, nesting, and the traps (a user principal name that
// looks like somebody else's account name, a connection that keeps its old
// identity after a failed bind). It serves the demonstration and fast tests;
// it is no substitute for tests on the real thing.
//
// Everything is read-only, and everything that a client can make grow is
// bounded: connections, packet sizes, nesting, idle time.
package ldaptest

// Directory is the content that a Server serves.
type Directory struct {
	// Domain is the DNS domain, which becomes the naming context: empresa.local
	// is DC=empresa,DC=local. Required.
	Domain string

	// NetBIOS is the short domain name of NAME\user. Default: the first label
	// of Domain in capitals
	NetBIOS string

	Users  []User
	Groups []Group

	// Plain makes the server an ordinary LDAP directory instead, as OpenLDAP
	// is: uid=…,ou=people and cn=…,ou=groups, binds by DN only, entryUUID, no
	// data codes, no token, memberOf only when asked by name.
	Plain bool

	// RequireTLS refuses binds on unencrypted connections, as a domain
	// controller with LDAP signing enforced does.
	RequireTLS bool

	// IgnoreSizeLimit answers with more entries than the client asked for, as
	// Samba does.
	IgnoreSizeLimit bool

	// UPNSuffixes are alternative suffixes of the forest. Not in Plain
	// directories.
	UPNSuffixes []string

	// NotSynchronized makes the server say that its copy of the domain is not
	// complete yet. Not in Plain directories.
	NotSynchronized bool

	// HideRootDSE shows the server's own entry to nobody who is not signed in, as
	// slapd does with "require authc".
	HideRootDSE bool

	// LockoutThreshold is how many wrong passwords lock an account, as the
	// domain says. It is only shown, and not done. Not in Plain directories.
	LockoutThreshold int

	// Policies are password policies beside that of the domain.
	Policies []Policy

	// MaxValRange is how many values of one attribute an answer holds before
	// the rest must be asked for with ;range=. Default: 1500, as on Windows
	MaxValRange int
}

// User is one account.
type User struct {
	// SAMAccountName is the account's name, in Plain directories its uid.
	// Required, unique.
	SAMAccountName string

	// UPN is the explicit userPrincipalName. Empty means none: the implicit
	// one, SAMAccountName@Domain, binds all the same.
	UPN string

	GivenName, Surname, Mail, Title string

	// DisplayName is also the cn. Default: given name and surname, else
	// SAMAccountName
	DisplayName string

	// Manager is the SAMAccountName of another user.
	Manager string

	Password string
	State    State

	// MemberOf names the groups that the account is directly in.
	MemberOf []string

	// ExtraAttributes are added to the entry and take the place of attributes
	// of the same name; an empty list removes the attribute.
	ExtraAttributes map[string][]string
}

// Group is one security group.
type Group struct {
	// Name is the sAMAccountName and the cn. Required, unique.
	Name string

	// MemberOf names the groups that this one is in. Cycles are allowed.
	MemberOf []string

	// Posix makes it a posixGroup with memberUid values, which memberOf does
	// not show, in Plain directories.
	Posix bool
}

// Policy is a password policy: on AD a password settings object, in Plain
// directories an entry of the ppolicy overlay. It is only shown.
type Policy struct {
	Name      string
	Threshold int  // wrong passwords that lock an account, 0 for none
	Off       bool // pwdLockout FALSE; not on AD
}

// State of an account decides what a bind with the right password is told.
type State int

const (
	Normal         State = iota
	Expired              // the password is past its age: data 532
	MustChange           // the password must be changed first: data 773
	Disabled             // data 533
	AccountExpired       // data 701
	Locked               // data 775, and that with any password
	LogonHours           // not at this hour: data 530
	Workstation          // not from this machine: data 531
)

// dataCode is the Win32 error that AD puts into the diagnostic message.
func (s State) dataCode() string {
	switch s {
	case Expired:
		return "532"
	case MustChange:
		return "773"
	case Disabled:
		return "533"
	case AccountExpired:
		return "701"
	case Locked:
		return "775"
	case LogonHours:
		return "530"
	case Workstation:
		return "531"
	default:
		return ""
	}
}
