package ldap

import "fmt"

// Reason says, for the audit log, why a sign-in was refused or could not be
// decided. The set is closed; clients never see more of it than the wire
// contract allows.
type Reason string

// Reasons of a RefusedError: the directory, or a rule that runs before it,
// said no to this person.
const (
	ReasonBadCredentials     Reason = "bad_credentials"      // wrong password, or AD's 52e for an unknown user
	ReasonUserUnknown        Reason = "user_unknown"         // no entry, or AD data 525
	ReasonAmbiguousUser      Reason = "ambiguous_user"       // several entries, or AD data 57
	ReasonNameInvalid        Reason = "name_invalid"         // a name or password that is never sent to a directory
	ReasonIdentityUnproven   Reason = "identity_unproven"    // no entry belongs to the identity that bound
	ReasonPasswordExpired    Reason = "password_expired"     // AD data 532; elsewhere a password policy
	ReasonPasswordMustChange Reason = "password_must_change" // AD data 773; elsewhere a password policy
	ReasonAccountDisabled    Reason = "account_disabled"     // AD data 533
	ReasonAccountExpired     Reason = "account_expired"      // AD data 701
	ReasonAccountLocked      Reason = "account_locked"       // AD data 775; elsewhere result 19 or a password policy
	ReasonLogonHours         Reason = "logon_hours"          // AD data 530
	ReasonWorkstation        Reason = "workstation"          // AD data 531
	ReasonTokenTooBig        Reason = "token_too_big"        // AD data 568
	ReasonNoPassword         Reason = "no_password"          // result 48: the entry has none
	ReasonNameForm           Reason = "config_name_form"     // result 34: the server does not take this form of name
	ReasonTooManyGroups      Reason = "too_many_groups"      // more groups, or deeper in each other, than are read
	ReasonRefused            Reason = "refused"              // any other result code that ends a user's bind
)

// ReasonPasswordChanged is a reason of Recheck only.
const ReasonPasswordChanged Reason = "password_changed"

// Reasons of an UnavailableError: nobody can be judged just now.
const (
	ReasonDirectoryUnavailable   Reason = "directory_unavailable"    // network, TLS, time-out, a busy or broken server
	ReasonServiceAccountRejected Reason = "service_account_rejected" // the service account's password was refused
	ReasonTLSRequired            Reason = "tls_required"             // the server demands TLS or signing
	ReasonBaseDN                 Reason = "config_base_dn"           // the base DN does not exist or may not be read
	ReasonConnUnbound            Reason = "conn_unbound"             // the connection lost its identity
	ReasonCancelled              Reason = "cancelled"                // the client went away
	ReasonBusy                   Reason = "busy"                     // too many sign-ins at once
)

// RefusedError is the directory's no to one sign-in.
type RefusedError struct {
	Reason Reason

	// Username is the directory's own spelling where an entry was found before
	// the refusal, else empty.
	Username string

	// Err is the cause, for debugging; it may name the entry and the server.
	Err error
}

func (e *RefusedError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("sign-in refused: %s", e.Reason)
	}
	return fmt.Sprintf("sign-in refused: %s: %v", e.Reason, e.Err)
}

func (e *RefusedError) Unwrap() error { return e.Err }

// UnavailableError means that the directory could not decide. It says nothing
// about the person, and is never to be counted as a failed attempt.
type UnavailableError struct {
	Reason Reason
	Server string // URL of the server that was tried last, or empty
	Sent   bool   // the user's password had been sent, so that the directory may have judged it
	Err    error
}

func (e *UnavailableError) Error() string {
	if e.Server == "" {
		return fmt.Sprintf("directory unavailable: %s: %v", e.Reason, e.Err)
	}
	return fmt.Sprintf("directory unavailable: %s: asking %s: %v", e.Reason, e.Server, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }
