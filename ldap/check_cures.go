package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	goldap "github.com/go-ldap/ldap/v3"
)

// causeAndCure puts a step's error into words: what is wrong, and what to do
// about it. The cause ends with the error's own text where that says more.
func causeAndCure(step string, kind Kind, err error) (cause, cure string) {
	var state *stateError
	var refused *RefusedError
	var unavailable *UnavailableError
	at := ""
	var server *serverError
	if errors.As(err, &server) {
		at = server.url + ": "
	}
	switch {
	case errors.As(err, &state):
		return state.what, cureOf(kind, state.reason)
	case errors.As(err, &refused):
		return causeOf(kind, step, refused), cureOf(kind, refused.Reason)
	case errors.Is(err, errNeedsService):
		return err.Error(), "add bind <dn> <password>, with an account that may search users and groups"
	case errors.Is(err, context.Canceled):
		return err.Error(), "the check was interrupted: run it again"
	case errors.Is(err, errBudget):
		return err.Error(), "find out what makes the directory slow, or raise timeout"
	}
	var dns *net.DNSError
	if errors.As(err, &dns) || step == CheckDNS {
		return at + strings.TrimSuffix(rootText(err), dnsCure), "write servers ldaps://<host> with a name that this machine can look up, or let it ask the domain's DNS (resolv.conf)"
	}
	if cause, cure = networkCure(step, err); cause != "" {
		return at + cause, cure
	}
	if cause, cure = certificateCure(err); cause != "" {
		return at + cause, cure
	}
	reason := searchReason(err)
	if errors.As(err, &unavailable) {
		reason = unavailable.Reason
	}
	var lookup *groupLookupError
	if errors.As(err, &lookup) {
		return lookup.Error(), "look at group_base, and whether the account that searches may read groups"
	}
	return err.Error(), unavailableCure(step, kind, reason, err)
}

// dnsCure ends the errors of findRecords.
const dnsCure = ": write servers ldaps://<host>, or let this machine ask the domain's DNS"

// networkCure explains why there is no connection, or none that answers.
func networkCure(step string, err error) (cause, cure string) {
	const scheme = "look at scheme and port in servers: ldaps:// is mostly port 636, ldap:// with start_tls port 389"
	var timeout net.Error
	var silent *silentError
	var transport *transportError
	text := rootText(err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused: no directory listens at this port", "look at host and port in servers, and whether the directory runs"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to the server: " + text, "look at the network, VPN and routes between this machine and the directory"
	case step == CheckConnect && (errors.As(err, &silent) || errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded)):
		return "timeout: " + text, "a firewall between this machine and the directory? let the port through (636 for ldaps://, 389 for ldap://), or look at host and port in servers"
	case step == CheckCertificate && errors.As(err, &silent):
		return "the server accepts connections, and says nothing when TLS begins: " + text, scheme + "; a server that hangs must be restarted"
	case strings.Contains(text, "refuses start_tls"):
		return text, "write ldaps:// if the server offers that, or set a certificate up on the server"
	case strings.Contains(text, "asking for TLS"):
		return "the server answers no start_tls: " + text, scheme
	case step == CheckKind && (errors.As(err, &silent) || errors.As(err, &transport) && transport.timedOut):
		return "the server accepts connections and does not answer: " + text, "restart the directory; " + scheme
	case step == CheckKind && errors.Is(err, errNotSynchronized):
		return text, "wait for the domain controller to finish its replication, or repair it"
	case step == CheckKind && errors.As(err, &transport):
		return "the server answers no LDAP: " + text, scheme
	case errors.As(err, &transport):
		return text, "the server broke off or fell silent: look at its log, and at firewalls and load balancers before it"
	}
	return "", ""
}

// rootText is an error's text, without the server that is named anyway.
func rootText(err error) string {
	var server *serverError
	if errors.As(err, &server) {
		return server.err.Error()
	}
	return err.Error()
}

// certificateCure explains a handshake that failed.
func certificateCure(err error) (cause, cure string) {
	var (
		verification *tls.CertificateVerificationError
		unknown      x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
		record       tls.RecordHeaderError
		alert        tls.AlertError
	)
	seen := ""
	var leaf *x509.Certificate
	if errors.As(err, &verification) && len(verification.UnverifiedCertificates) > 0 {
		leaf = verification.UnverifiedCertificates[0]
		seen = ": " + describeCertificate(leaf)
	}
	text := rootText(err)
	switch {
	case errors.As(err, &unknown) && leaf != nil && leaf.Issuer.String() == leaf.Subject.String():
		return "unknown authority, the certificate is signed by itself" + seen, "set ca_file to this certificate in PEM form, or give the server one of a CA"
	case errors.As(err, &unknown):
		return "unknown authority" + seen, "set ca_file to the PEM certificate of the CA that signed it"
	case errors.As(err, &hostname) && !hasSAN(hostname.Certificate):
		return "no SAN (subject alternative name), and names in the subject do not count" + seen, fmt.Sprintf("reissue the certificate with the DNS name %q", hostname.Host)
	case errors.As(err, &hostname):
		return fmt.Sprintf("name mismatch, the certificate is not for %q%s", hostname.Host, seen), "write a name of the certificate in servers, or as server_name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "expired or not yet valid" + seen, "renew the certificate, or set the clock of this machine"
	case strings.Contains(text, "negative serial number"):
		return "negative serial number, as in the certificates that Samba makes itself: Go refuses it", "reissue the certificate, or start Caddy (and this command) with GODEBUG=x509negativeserial=1"
	case errors.As(err, &record), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "the server does not speak TLS at this port", "wrong scheme for this port? ldaps:// is mostly port 636, and port 389 takes ldap:// with start_tls"
	case errors.As(err, &alert) && strings.Contains(text, "certificate"):
		return "the server wants another client certificate: " + text, "set client_cert to one that it trusts"
	case strings.Contains(text, "protocol version"):
		return "the server speaks no TLS 1.2 or later", "enable TLS 1.2 on the server: older versions are never used"
	case verification != nil:
		return text + seen, "reissue the certificate"
	case strings.Contains(text, "starting TLS"):
		return text, "look at the server's log"
	}
	return "", ""
}

// causeOf puts a no to the user into words.
func causeOf(kind Kind, step string, refused *RefusedError) string {
	detail := ""
	var result *resultError
	if errors.As(refused, &result) {
		detail = fmt.Sprintf(" (result %d", result.code)
		if match := dataCode.FindStringSubmatch(result.diagnostic); match != nil {
			detail += ", data " + strings.ToLower(match[1])
		}
		detail += ")"
	} else if refused.Err != nil {
		detail = ": " + refused.Err.Error()
	}
	switch refused.Reason {
	case ReasonBadCredentials:
		if kind == KindAD {
			return "wrong password, or a name that the directory does not know" + detail
		}
		return "wrong password" + detail
	case ReasonUserUnknown:
		if step == CheckSearch {
			return "the service account finds no such user, and no password is sent for whom it does not find" + detail
		}
		return "the directory has no such user here" + detail
	case ReasonAmbiguousUser:
		return "the name stands for several entries" + detail
	case ReasonNameInvalid:
		return "this is never sent to a directory" + detail
	case ReasonIdentityUnproven:
		return "the entry of the account that bound was not found" + detail
	case ReasonPasswordExpired:
		return "the password is right, and has expired" + detail
	case ReasonPasswordMustChange:
		return "the password is right, and must be changed first" + detail
	case ReasonAccountDisabled:
		return "the password is right, and the account is disabled" + detail
	case ReasonAccountExpired:
		return "the password is right, and the account has expired" + detail
	case ReasonAccountLocked:
		return "the account is locked, or the directory says so of it with any password" + detail
	case ReasonLogonHours:
		return "the password is right, and the account's logon hours do not allow this one" + detail
	case ReasonWorkstation:
		return "the password is right, and the account may sign in from other machines only" + detail
	case ReasonTokenTooBig:
		return "the password is right, and the account is in more groups than a token holds" + detail
	case ReasonNoPassword:
		return "the entry has no password" + detail
	case ReasonNameForm:
		return "the server does not take this form of name" + detail
	case ReasonTooManyGroups:
		return "the user is in more groups, or deeper nested ones, than are read" + detail
	}
	return "the directory refuses the bind at step " + step + detail
}

// throttleNote goes with a wrong password: whoever tries on locks the account.
const throttleNote = "; this attempt counted in the directory as one wrong password; a running Caddy counts its own, and after too many answers 429 too_many_attempts even to the right one (option throttle)"

// cureOf says what to do about a refusal.
func cureOf(kind Kind, reason Reason) string {
	switch reason {
	case ReasonBadCredentials:
		return "check name and password" + throttleNote
	case ReasonUserUnknown:
		return "check the name, base_dn and user_filter, and the rights of the service account: it must be allowed to read the entry"
	case ReasonAmbiguousUser:
		return "make user_filter narrower, or remove the double: exactly one entry may match"
	case ReasonNameInvalid:
		return "type another name or password: up to 256 and 1024 bytes of UTF-8, without control characters, and no /\\[]:;|=,+*?<>\" in a name"
	case ReasonIdentityUnproven:
		return "look at base_dn and user_filter, and at accounts whose userPrincipalName is another account's name"
	case ReasonPasswordExpired, ReasonPasswordMustChange:
		return "set a new password; password_url offers people the page where they do"
	case ReasonAccountDisabled:
		return "enable the account in the directory"
	case ReasonAccountExpired:
		return "set another end of the account (accountExpires) in the directory"
	case ReasonAccountLocked:
		return "unlock the account in the directory, or wait until the lock ends; keep throttle below the directory's own lock-out threshold"
	case ReasonLogonHours:
		return "allow the hour in logonHours, or sign in at another one"
	case ReasonWorkstation:
		return "add the domain controllers to the account's userWorkstations"
	case ReasonTokenTooBig:
		return "take the account out of groups: a token holds about 1015"
	case ReasonNoPassword:
		return "set a password for the entry"
	case ReasonNameForm:
		return "check base_dn and the kind of the directory: only Active Directory takes user@domain"
	case ReasonTooManyGroups:
		return "set group_base or group_filter to the groups that matter"
	}
	if kind == Kind389DS || kind == KindOpenLDAP {
		return "look at the server's log, and whether the account is inactivated or locked"
	}
	return "look at the server's log"
}

// unavailableCure says what to do where nobody can be judged.
func unavailableCure(step string, kind Kind, reason Reason, err error) string {
	switch reason {
	case ReasonServiceAccountRejected:
		return "check user and password of bind" + serviceState(err) + "; a wrong password counts in the directory, so that it is tried once a minute at the most" + serviceOnAD(kind)
	case ReasonTLSRequired:
		return "the server demands TLS: write ldaps://, or ldap:// with start_tls"
	case ReasonBaseDN:
		if step == CheckKind {
			return "set base_dn to the entry below which the users are"
		}
		return "check base_dn (and group_base): it must exist, and the account that searches must be allowed to read below it"
	case ReasonConnUnbound:
		return "the connection lost its identity: look at the server's log, and at load balancers before it"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "the directory is too slow: look at its log, or raise timeout"
	}
	if step == CheckIdentity {
		return "let the account that searches read the attribute, or name another one with attributes"
	}
	return "look at the server's log"
}

// serviceState reads what AD says of a service account besides no.
func serviceState(err error) string {
	var result *resultError
	if !errors.As(err, &result) || result.code != goldap.LDAPResultInvalidCredentials {
		return ""
	}
	switch reasonOfData(result.diagnostic) {
	case ReasonPasswordExpired, ReasonPasswordMustChange:
		return " (the password is right, and must be renewed)"
	case ReasonAccountDisabled, ReasonAccountExpired, ReasonLogonHours, ReasonWorkstation:
		return " (the password is right, and the account is disabled, expired or restricted)"
	case ReasonAccountLocked:
		return " (the account is locked)"
	}
	return ""
}

func serviceOnAD(kind Kind) string {
	if kind != KindAD {
		return ""
	}
	return "; on Active Directory sign-ins go on without it, re-checks do not"
}
