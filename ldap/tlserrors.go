package ldap

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
)

// describeTLS says what to do about a failed handshake. These are the errors
// that every first installation meets, and Go's own texts name no cure.
func describeTLS(s server, err error) error {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("verifying the server's certificate: unknown authority: set ca_file to the certificate of the CA that signed it: %w", err)
	case errors.As(err, &hostname) && !hasSAN(hostname.Certificate):
		return fmt.Errorf("verifying the server's certificate: no SAN (subject alternative name) in it: reissue it with the DNS name %q: %w", s.host, err)
	case errors.As(err, &hostname):
		return fmt.Errorf("verifying the server's certificate: name mismatch, it is not for %q: write a name of the certificate in servers or server_name: %w", s.host, err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("verifying the server's certificate: expired or not yet valid: renew it, or check the clock: %w", err)
	case strings.Contains(err.Error(), "negative serial number"):
		// Samba's own certificate. Go has no other sign of it than the text.
		return fmt.Errorf("verifying the server's certificate: negative serial: reissue it, or start the process with GODEBUG=x509negativeserial=1: %w", err)
	case errors.As(err, &record), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("starting TLS: the server does not speak it: wrong scheme for this port? ldaps:// is mostly port 636, and port 389 takes ldap:// with start_tls: %w", err)
	default:
		return fmt.Errorf("starting TLS: %w", err)
	}
}

func hasSAN(c *x509.Certificate) bool {
	return c != nil && len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses)+len(c.URIs) > 0
}
