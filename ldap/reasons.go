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

// outcome is what an error means for a sign-in: a refusal, or no decision.
type outcome struct {
	reason  Reason
	refused bool
}

// bindOutcome judges a failed bind with the user's own password. Codes that
// speak of the server are no decision; every other one is a no, so that an
// unknown code never becomes "try again".
func bindOutcome(err error) outcome {
	var result *resultError
	if !errors.As(err, &result) {
		return outcome{reason: ReasonDirectoryUnavailable}
	}
	switch result.code {
	case goldap.LDAPResultInvalidCredentials:
		return outcome{reasonOfData(result.diagnostic), true}
	case goldap.LDAPResultStrongAuthRequired, goldap.LDAPResultConfidentialityRequired:
		return outcome{reason: ReasonTLSRequired}
	case goldap.LDAPResultOperationsError, goldap.LDAPResultProtocolError, goldap.LDAPResultTimeLimitExceeded,
		goldap.LDAPResultAuthMethodNotSupported, goldap.LDAPResultReferral, goldap.LDAPResultAdminLimitExceeded,
		goldap.LDAPResultUnavailableCriticalExtension, goldap.LDAPResultSaslBindInProgress,
		goldap.LDAPResultBusy, goldap.LDAPResultUnavailable, goldap.LDAPResultLoopDetect, goldap.LDAPResultOther:
		return outcome{reason: ReasonDirectoryUnavailable}
	default:
		return outcome{ReasonRefused, true}
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
	o := bindOutcome(err)
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
	default:
		return ReasonDirectoryUnavailable
	}
}

func isNoSuchObject(err error) bool {
	var result *resultError
	return errors.As(err, &result) && result.code == goldap.LDAPResultNoSuchObject
}
