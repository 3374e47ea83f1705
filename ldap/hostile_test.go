package ldap

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// reply is a raw LDAP message.
func reply(id int, op []byte) []byte {
	body := append([]byte{0x02, 0x01, byte(id)}, op...)
	return append([]byte{0x30, byte(len(body))}, body...)
}

// raw and message are what a server sends, whatever it was asked, or as the
// answer to it.
func raw(b []byte) func(int) []byte { return func(int) []byte { return b } }

func message(op []byte) func(int) []byte { return func(id int) []byte { return reply(id, op) } }

// searchDone ends a search that found nothing.
func searchDone(id int) []byte {
	return reply(id, []byte{0x65, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00})
}

// Whatever a hostile server says, to strangers or after a bind, the process lives, and nobody is
// signed in.
func TestHostileServers(t *testing.T) {
	for _, test := range []struct {
		what  string
		bytes func(id int) []byte
	}{
		{"nothing", raw(nil)},
		{"empty sequence", raw([]byte{0x30, 0x00})},
		{"no operation", raw([]byte{0x30, 0x03, 0x02, 0x01, 0x01})},
		{"empty bind response", message([]byte{0x61, 0x00})},
		{"bind response of wrong types", message([]byte{0x61, 0x06, 0x04, 0x00, 0x04, 0x00, 0x04, 0x00})},
		{"success with a broken control", message([]byte{0x61, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00, 0xa0, 0x02, 0x30, 0x00})},
		{"a result code that wraps around to success", message([]byte{0x61, 0x09, 0x0a, 0x03, 0x01, 0x00, 0x00, 0x04, 0x00, 0x04, 0x00})},
		{"a length of 2 GiB", raw([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff})},
		{"a length of 17 MiB", raw([]byte{0x30, 0x84, 0x01, 0x10, 0x00, 0x00})},
		{"endless nesting", raw([]byte(strings.Repeat("\x30\x80", 1<<16)))},
		{"success, then hangs up", message([]byte{0x61, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00})},
	} {
		t.Run(test.what+", to strangers", func(t *testing.T) {
			url := "ldap://" + listen(t, func(c net.Conn) {
				ber.ReadPacket(c)
				c.Write(test.bytes(1))
			})
			d, _ := open(t, Config{Kind: KindAD, Servers: []string{url}})
			mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
		})
		t.Run(test.what+", after a bind", func(t *testing.T) {
			url := "ldap://" + listen(t, func(c net.Conn) {
				ber.ReadPacket(c) // of the rootDSE
				c.Write(searchDone(1))
				ber.ReadPacket(c)
				c.Write(test.bytes(2))
			})
			d, _ := open(t, Config{Kind: KindAD, Servers: []string{url}})
			if u := mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable); !u.Sent {
				t.Error("the password was not sent")
			}
		})
	}
}

func TestServerThatNeverStopsSending(t *testing.T) {
	sent := make(chan int64, 1)
	url := "ldap://" + listen(t, func(c net.Conn) {
		ber.ReadPacket(c)
		// Answers to a message that nobody waits for, for ever, each too small
		// to be refused for itself.
		chunk := append([]byte{0x30, 0x83, 0x01, 0x00, 0x08, 0x02, 0x01, 99, 0x64, 0x83, 0x01, 0x00, 0x00}, make([]byte, 1<<16)...)
		copy(chunk[13:], []byte{0x04, 0x83, 0x00, 0xff, 0xfb})
		var total int64
		for {
			n, err := c.Write(chunk)
			total += int64(n)
			if err != nil {
				sent <- total
				return
			}
		}
	})
	d, _ := open(t, Config{Kind: KindAD, Servers: []string{url}})
	d.limits.total, d.limits.dial, d.limits.operation = 8*time.Second, 8*time.Second, 8*time.Second
	mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
	if n := <-sent; n < maxReplyBytes || n > 2*maxReplyBytes { // what is in the sockets' buffers counts
		t.Errorf("the server got rid of %d bytes, want little more than %d", n, maxReplyBytes)
	}
}

func TestPanicIsATransportError(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(s))
	c := dialed(t, d)
	err := c.do("testing", func() error { panic("decoder") })
	var transport *transportError
	if !errors.As(err, &transport) || !strings.Contains(err.Error(), "decoder") {
		t.Errorf("got %v", err)
	}
}

// A server, or whoever can edit it, must not turn the bind into an anonymous
// one, which succeeds with any password: the entry found has no DN.
func TestEntryWithoutADN(t *testing.T) {
	attribute := func(name, value string) *ber.Packet {
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		set.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, value, ""))
		pair := ber.NewSequence("")
		pair.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, name, ""))
		pair.AppendChild(set)
		return pair
	}
	attributes := ber.NewSequence("")
	attributes.AppendChild(attribute("uid", "ac12345"))
	attributes.AppendChild(attribute("entryUUID", "6e3de8c6-caf5-4fda-b111-44938a9b6b7e"))
	entry := ber.Encode(ber.ClassApplication, ber.TypeConstructed, 4, nil, "")
	entry.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
	entry.AppendChild(attributes)
	success := []byte{0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00}
	url := "ldap://" + listen(t, func(c net.Conn) {
		for id := 1; ; id++ {
			p, err := ber.ReadPacket(c)
			if err != nil {
				return
			}
			if p.Children[1].Tag == 0 {
				c.Write(reply(id, append([]byte{0x61}, success...)))
				continue
			}
			c.Write(reply(id, entry.Bytes()))
			c.Write(reply(id, append([]byte{0x65}, success...)))
		}
	})
	d, _ := open(t, Config{Kind: KindGeneric, Servers: []string{url}, BindUser: serviceDN, BindPassword: servicePass, BaseDN: plainBase})
	u := mustBeUnavailable(t, d, "ac12345", "anything", ReasonDirectoryUnavailable)
	if !strings.Contains(u.Error(), "no usable DN") {
		t.Errorf("error %q", u)
	}
}
