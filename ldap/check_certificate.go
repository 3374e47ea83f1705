package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// certificateWarning is the time before the end of a certificate from which on
// it is warned of.
const certificateWarning = 30 * 24 * time.Hour

// certificate does the TLS handshakes.
func (k *check) certificate(s *CheckStep) error {
	err := k.each(s, func(ctx context.Context, r *reach) error {
		stop := context.AfterFunc(ctx, func() { r.raw.Close() })
		defer stop()
		secure, err := k.d.secure(ctx, r.server, r.meter)
		if err != nil {
			return err
		}
		r.secure = secure
		r.text = r.server.url + ": plain text"
		if t, ok := secure.(*tls.Conn); ok {
			r.text = r.server.url + ": " + describeHandshake(t.ConnectionState())
		}
		return nil
	})
	for _, r := range k.reached {
		t, ok := r.secure.(*tls.Conn)
		host, _, _ := net.SplitHostPort(r.server.address)
		switch {
		case ok:
			s.Warnings = append(s.Warnings, endings(r.server.url, t.ConnectionState())...)
		case r.err == nil && r.secure != nil && !isLoopback(host):
			s.Warnings = append(s.Warnings, r.server.url+": plain text: passwords cross the network readable (insecure_plaintext)")
		}
	}
	return err
}

// describeHandshake is what was agreed on, and with whom.
func describeHandshake(state tls.ConnectionState) string {
	if len(state.PeerCertificates) == 0 {
		return tls.VersionName(state.Version)
	}
	return tls.VersionName(state.Version) + ", " + describeCertificate(state.PeerCertificates[0])
}

func describeCertificate(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	subjects := "no SAN (subject alternative name)"
	if len(names) > 0 {
		subjects = "for " + strings.Join(names, ", ")
	}
	left := time.Until(c.NotAfter)
	ends := fmt.Sprintf("%d days left", int(left/(24*time.Hour)))
	switch now := time.Now(); {
	case now.After(c.NotAfter):
		ends = "expired on " + c.NotAfter.UTC().Format(time.DateOnly)
	case now.Before(c.NotBefore):
		ends = "not valid before " + c.NotBefore.UTC().Format(time.DateTime) + " UTC"
	}
	return printable(fmt.Sprintf("subject %q, issuer %q, %s, %s", c.Subject, c.Issuer, subjects, ends))
}

// endings warns of what ends soon of a chain that was verified.
func endings(url string, state tls.ConnectionState) []string {
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	var soon []string
	for _, c := range state.VerifiedChains[0] {
		if left := time.Until(c.NotAfter); left < certificateWarning {
			soon = append(soon, fmt.Sprintf("%s: the certificate of %q ends in %d days, on %s: renew it",
				url, printable(c.Subject.String()), int(left/(24*time.Hour)), c.NotAfter.UTC().Format(time.DateOnly)))
		}
	}
	return soon
}
