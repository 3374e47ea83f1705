package ldap

import "fmt"

// noAttribute stands for "read none".
const noAttribute = "-"

const guidAttribute = "objectGUID"

// Attributes are the names of the attributes that are read of people and
// groups. An empty name means the default; "-" means that none is read, which
// ID, Username and GroupName do not allow. Defaults are given for AD first, then
// for others.
type Attributes struct {
	// ID tells people apart for ever: it has one value, which never changes and
	// is never given to somebody else. objectGUID is read as a GUID, anything
	// else as text without regard to case. Default: objectGUID; nsUniqueId on
	// 389-ds, else entryUUID
	ID string `json:"id,omitempty"`

	// Username is what the session's user is called, and the {user} of a group
	// filter. Default: sAMAccountName; uid
	Username string `json:"username,omitempty"`

	// FirstName has the given name. Default: givenName
	FirstName string `json:"first_name,omitempty"`

	// LastName has the family name. Default: sn
	LastName string `json:"last_name,omitempty"`

	// DisplayName has the name to show; an entry without it is shown by its cn.
	// Default: displayName
	DisplayName string `json:"display_name,omitempty"`

	// Email has the e-mail address; with "-" the user principal name is taken.
	// Default: mail
	Email string `json:"email,omitempty"`

	// UPN has the user principal name. Default: userPrincipalName
	UPN string `json:"upn,omitempty"`

	// Title has the job title. Default: title
	Title string `json:"title,omitempty"`

	// Manager has the DN of the manager. Default: manager
	Manager string `json:"manager,omitempty"`

	// MemberOf lists the DNs of a person's groups. Not used on AD, where the
	// token has them all. Default: -; memberOf
	MemberOf string `json:"member_of,omitempty"`

	// GroupName is what a group's name in the configuration is compared with.
	// Default: sAMAccountName; cn
	GroupName string `json:"group_name,omitempty"`

	// PasswordSet tells when the password was last set: a change of it ends the
	// sessions that are older. Default: pwdLastSet; pwdUpdateTime on 389-ds (only
	// kept with passwordTrackUpdateTime on), else pwdChangedTime
	PasswordSet string `json:"password_set,omitempty"`
}

// attributeOption is one field of Attributes.
type attributeOption struct {
	name     string // as the Caddyfile spells it
	value    *string
	required bool
	ad       string // default on AD
	plain    string // default elsewhere
	ds389    string // default on 389-ds, where it differs
}

func (a *Attributes) options() []attributeOption {
	return []attributeOption{
		{name: "id", value: &a.ID, required: true, ad: guidAttribute, plain: "entryUUID", ds389: "nsUniqueId"},
		{name: "username", value: &a.Username, required: true, ad: "sAMAccountName", plain: "uid"},
		{name: "first_name", value: &a.FirstName, ad: "givenName", plain: "givenName"},
		{name: "last_name", value: &a.LastName, ad: "sn", plain: "sn"},
		{name: "display_name", value: &a.DisplayName, ad: "displayName", plain: "displayName"},
		{name: "email", value: &a.Email, ad: "mail", plain: "mail"},
		{name: "upn", value: &a.UPN, ad: "userPrincipalName", plain: "userPrincipalName"},
		{name: "title", value: &a.Title, ad: "title", plain: "title"},
		{name: "manager", value: &a.Manager, ad: "manager", plain: "manager"},
		{name: "member_of", value: &a.MemberOf, ad: noAttribute, plain: "memberOf"},
		{name: "group_name", value: &a.GroupName, required: true, ad: "sAMAccountName", plain: "cn"},
		{name: "password_set", value: &a.PasswordSet, ad: "pwdLastSet", plain: "pwdChangedTime", ds389: "pwdUpdateTime"},
	}
}

// with returns a with the defaults of a kind filled in.
func (a Attributes) with(kind Kind) Attributes {
	for _, o := range a.options() {
		switch {
		case *o.value != "":
		case kind == KindAD:
			*o.value = o.ad
		case kind == Kind389DS && o.ds389 != "":
			*o.value = o.ds389
		default:
			*o.value = o.plain
		}
	}
	return a
}

// check refuses what is no attribute's name. Error texts name the option as the
// Caddyfile spells it.
func (a Attributes) check() error {
	for _, o := range a.options() {
		switch {
		case *o.value == "":
		case *o.value == noAttribute && o.required:
			return fmt.Errorf("attributes: %s cannot be left out: write %[1]s <attribute>", o.name)
		case *o.value != noAttribute && !attributeName.MatchString(*o.value):
			return fmt.Errorf("attributes: %s %q is no attribute's name: write one like %s", o.name, *o.value, o.plain)
		}
	}
	return nil
}
