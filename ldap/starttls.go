package ldap

import (
	"errors"
	"fmt"
	"io"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

const oidStartTLS = "1.3.6.1.4.1.1466.20037"

// requestStartTLS asks for TLS on a fresh connection (RFC 4511 4.14) and reads
// the answer. go-ldap's own StartTLS has no deadline for the handshake and
// hides the certificate errors' types. Nothing is buffered: plain text that
// somebody injects after the answer is read as a broken handshake, never as a
// protected reply.
func requestStartTLS(rw io.ReadWriter) (err error) {
	defer func() {
		if p := recover(); p != nil { // see connection.do
			err = fmt.Errorf("asking for TLS: the answer made the decoder panic: %v", p)
		}
	}()
	request := ber.NewSequence("LDAPMessage")
	request.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, 1, "messageID"))
	operation := ber.Encode(ber.ClassApplication, ber.TypeConstructed, goldap.ApplicationExtendedRequest, nil, "ExtendedRequest")
	operation.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, oidStartTLS, "requestName"))
	request.AppendChild(operation)
	if _, err := rw.Write(request.Bytes()); err != nil {
		return fmt.Errorf("asking for TLS: %w", err)
	}
	answer, err := ber.ReadPacket(rw)
	if err != nil {
		return fmt.Errorf("asking for TLS: %w", err)
	}
	if len(answer.Children) < 2 || answer.Children[0].Value != int64(1) || answer.Children[1].Tag != goldap.ApplicationExtendedResponse {
		return errors.New("asking for TLS: the answer is no LDAP")
	}
	if err := wireError("asking for TLS", goldap.GetLDAPError(answer)); err != nil {
		return fmt.Errorf("the server refuses start_tls: write ldaps:// if it offers that: %w", err)
	}
	return nil
}
