package ldaptest

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// Bounds of one request. The decoder keeps a copy of the content at every
// level, so that depth multiplies the memory that a packet costs.
const (
	maxPacketBytes    = 1 << 20
	maxPacketDepth    = 50
	maxPacketElements = 20_000
)

// LDAP operation tags (RFC 4511 section 4.2 ff.).
const (
	opBindRequest       = 0
	opBindResponse      = 1
	opUnbindRequest     = 2
	opSearchRequest     = 3
	opSearchEntry       = 4
	opSearchDone        = 5
	opModifyRequest     = 6
	opAddRequest        = 8
	opDeleteRequest     = 10
	opModifyDNRequest   = 12
	opCompareRequest    = 14
	opAbandonRequest    = 16
	opSearchReference   = 19
	opExtendedRequest   = 23
	opExtendedResponse  = 24
	oidStartTLS         = "1.3.6.1.4.1.1466.20037"
	oidNoticeDisconnect = "1.3.6.1.4.1.1466.20036"
)

// result is what an LDAPResult carries.
type result struct {
	code       int64
	matchedDN  string
	diagnostic string
	referral   string
}

// readRequest reads one LDAPMessage. Any error means that the connection
// cannot go on: after a bad length there is no next message to find.
func readRequest(r *bufio.Reader) (*ber.Packet, error) {
	head := make([]byte, 2, 6)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if head[0] != 0x30 {
		return nil, fmt.Errorf("reading request: tag %#x is no sequence", head[0])
	}
	length := int(head[1])
	if head[1] >= 0x80 {
		n := int(head[1] & 0x7f)
		if n == 0 || n > 4 {
			return nil, fmt.Errorf("reading request: length of %d bytes", n)
		}
		more := make([]byte, n)
		if _, err := io.ReadFull(r, more); err != nil {
			return nil, err
		}
		head = append(head, more...)
		length = 0
		for _, b := range more {
			length = length<<8 | int(b)
		}
	}
	if length < 0 || length > maxPacketBytes {
		return nil, fmt.Errorf("reading request: %d bytes are more than %d", length, maxPacketBytes)
	}
	data := make([]byte, len(head)+length)
	copy(data, head)
	if _, err := io.ReadFull(r, data[len(head):]); err != nil {
		return nil, err
	}
	elements := 0
	if err := checkShape(data[len(head):], 1, &elements); err != nil {
		return nil, fmt.Errorf("reading request: %w", err)
	}
	return ber.DecodePacketErr(data)
}

// checkShape walks definite-length BER without building anything.
func checkShape(data []byte, depth int, elements *int) error {
	if depth > maxPacketDepth {
		return fmt.Errorf("nesting of more than %d", maxPacketDepth)
	}
	for len(data) > 0 {
		if *elements++; *elements > maxPacketElements {
			return fmt.Errorf("more than %d elements", maxPacketElements)
		}
		constructed := data[0]&0x20 != 0
		if data[0]&0x1f == 0x1f || len(data) < 2 {
			return errors.New("malformed element")
		}
		length, head := int(data[1]), 2
		if length >= 0x80 {
			n := length & 0x7f
			if n == 0 || n > 4 || len(data) < 2+n {
				return errors.New("malformed length")
			}
			length, head = 0, 2+n
			for _, b := range data[2 : 2+n] {
				length = length<<8 | int(b)
			}
		}
		if length > len(data)-head {
			return errors.New("element longer than its parent")
		}
		if constructed {
			if err := checkShape(data[head:head+length], depth+1, elements); err != nil {
				return err
			}
		}
		data = data[head+length:]
	}
	return nil
}

// message wraps an operation in its envelope.
func message(id int64, op *ber.Packet, controls ...*ber.Packet) *ber.Packet {
	m := ber.NewSequence("LDAPMessage")
	m.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, "messageID"))
	m.AppendChild(op)
	if len(controls) > 0 {
		list := ber.Encode(ber.ClassContext, ber.TypeConstructed, 0, nil, "controls")
		for _, control := range controls {
			list.AppendChild(control)
		}
		m.AppendChild(list)
	}
	return m
}

func response(tag ber.Tag, r result) *ber.Packet {
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "response")
	op.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, r.code, "resultCode"))
	op.AppendChild(octets(r.matchedDN))
	op.AppendChild(octets(r.diagnostic))
	if r.referral != "" {
		ref := ber.Encode(ber.ClassContext, ber.TypeConstructed, 3, nil, "referral")
		ref.AppendChild(octets(r.referral))
		op.AppendChild(ref)
	}
	return op
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

// text is the content of a primitive element, whatever its tag.
func text(p *ber.Packet) string {
	if p == nil || p.Data == nil {
		return ""
	}
	return p.Data.String()
}
