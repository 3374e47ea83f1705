package ldap

import (
	"errors"
	"regexp"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"
)

// dataCode finds the Win32 error in AD's diagnostic message:
// "80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext error, data 52e, v4563".
var dataCode = regexp.MustCompile(`(?i)\bdata ([0-9a-f]+)\b`)

// unbound finds the Win32 errors of a question that needs a signed-in connection
// and came on one that is not (ERROR_DS_OPERATIONS_ERROR, ERROR_NOT_AUTHENTICATED).
var unbound = regexp.MustCompile(`(?i)\b(00002020|000004dc)\b`)

// outcome is what the result of a bind means for a sign-in: a refusal, no
// decision, or, as the zero value, a proof.
type outcome struct {
	reason  Reason
	refused bool
}

// bindOutcome judges a bind with the user's own password. Codes that speak of
// the server are no decision; every other one is a no, so that an unknown code
// never becomes "try again". Not every success is a yes.
func bindOutcome(err error, p policyAnswer) outcome {
	if err == nil {
		reason := p.objection()
		return outcome{reason, reason != ""}
	}
	var result *resultError
	if !errors.As(err, &result) {
		return outcome{reason: ReasonDirectoryUnavailable}
	}
	switch result.code {
	case goldap.LDAPResultStrongAuthRequired, goldap.LDAPResultConfidentialityRequired:
		return outcome{reason: ReasonTLSRequired}
	case goldap.LDAPResultOperationsError, goldap.LDAPResultProtocolError, goldap.LDAPResultTimeLimitExceeded,
		goldap.LDAPResultAuthMethodNotSupported, goldap.LDAPResultReferral, goldap.LDAPResultAdminLimitExceeded,
		goldap.LDAPResultUnavailableCriticalExtension, goldap.LDAPResultSaslBindInProgress,
		goldap.LDAPResultBusy, goldap.LDAPResultUnavailable, goldap.LDAPResultLoopDetect, goldap.LDAPResultOther:
		return outcome{reason: ReasonDirectoryUnavailable}
	default:
		return outcome{reasonOfRefusal(result, p), true}
	}
}

// reasonOfRefusal names a refusal. Some reasons are told to the client, so that
// no answer that a wrong password gets as well may become one of those. That is
// why 53 is a plain refusal although 389-ds words it "Account inactivated. …":
// it looks at locks before it looks at the password, and sends the policy error
// "locked" for both. The policy error "expired" comes after the password was
// found right (slapd; 389-ds, need_new_pw).
func reasonOfRefusal(result *resultError, p policyAnswer) Reason {
	if p.err == policyAccountLocked {
		return ReasonAccountLocked
	}
	switch result.code {
	case goldap.LDAPResultInvalidCredentials:
		if p.err == policyPasswordExpired {
			return ReasonPasswordExpired
		}
		return reasonOfData(result.diagnostic)
	case goldap.LDAPResultConstraintViolation: // 389-ds: "Exceed password retry limit. Please try later."
		return ReasonAccountLocked
	case goldap.LDAPResultInappropriateAuthentication:
		return ReasonNoPassword
	case goldap.LDAPResultInvalidDNSyntax:
		return ReasonNameForm
	default:
		return ReasonRefused
	}
}

// reasonOfData reads the diagnostic of an invalidCredentials result. All codes
// but 52e, 525, 57 and 775 come with the right password only.
func reasonOfData(diagnostic string) Reason {
	match := dataCode.FindStringSubmatch(diagnostic)
	if match == nil {
		return ReasonBadCredentials
	}
	switch strings.ToLower(match[1]) {
	case "525":
		return ReasonUserUnknown
	case "57":
		return ReasonAmbiguousUser
	case "530":
		return ReasonLogonHours
	case "531":
		return ReasonWorkstation
	case "532":
		return ReasonPasswordExpired
	case "533":
		return ReasonAccountDisabled
	case "568":
		return ReasonTokenTooBig
	case "701":
		return ReasonAccountExpired
	case "773":
		return ReasonPasswordMustChange
	case "775":
		return ReasonAccountLocked
	default:
		return ReasonBadCredentials
	}
}

// serviceBindReason judges a failed bind of the service account.
func serviceBindReason(err error) Reason {
	o := bindOutcome(err, noPolicy())
	if o.refused {
		return ReasonServiceAccountRejected
	}
	return o.reason
}

// searchReason judges a failed search.
func searchReason(err error) Reason {
	var result *resultError
	if !errors.As(err, &result) {
		return ReasonDirectoryUnavailable
	}
	switch result.code {
	case goldap.LDAPResultNoSuchObject, goldap.LDAPResultInsufficientAccessRights,
		goldap.LDAPResultInvalidDNSyntax, goldap.LDAPResultReferral:
		return ReasonBaseDN
	case goldap.LDAPResultStrongAuthRequired, goldap.LDAPResultConfidentialityRequired:
		return ReasonTLSRequired
	case goldap.LDAPResultOperationsError:
		if unbound.MatchString(result.diagnostic) {
			return ReasonConnUnbound
		}
		return ReasonDirectoryUnavailable
	default:
		return ReasonDirectoryUnavailable
	}
}

func isNoSuchObject(err error) bool {
	var result *resultError
	return errors.As(err, &result) && result.code == goldap.LDAPResultNoSuchObject
}
