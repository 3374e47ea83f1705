package ldap

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// What a server sends must never end the process, never sign somebody in who
// did not show the right answers, and always come out as one of the two errors.
// The first bytes answer the rootDSE, the second the bind, the third whatever is
// asked then.
func FuzzReplies(f *testing.F) {
	success := []byte{0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00}
	done := reply(1, append([]byte{0x65, 0x07}, success...))
	bound := reply(2, append([]byte{0x61, 0x07}, success...))
	f.Add(done, bound, reply(3, append([]byte{0x65, 0x07}, success...)))
	f.Add(done, bound, []byte{})
	f.Add(done, reply(99, append([]byte{0x61, 0x07}, success...)), []byte{})
	f.Add(done, reply(2, []byte{0x61, 0x07, 0x0a, 0x01, 0x31, 0x04, 0x00, 0x04, 0x00}), []byte{})
	f.Add([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}, []byte{}, []byte{})
	f.Add([]byte("SSH-2.0-x\r\n"), bound, done)
	f.Add(done, []byte{0x30, 0x05, 0x02, 0x01, 0x02, 0x61, 0x00}, done)
	f.Add(done, reply(2, []byte{0x73, 0x00}), done)
	f.Fuzz(func(t *testing.T, root, bind, rest []byte) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(2 * time.Second))
			for _, answer := range [][]byte{root, bind, rest, rest} {
				if _, err := ber.ReadPacket(c); err != nil {
					return
				}
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		}()
		d, err := New(Config{Kind: KindAD, Label: "corp.test", Servers: []string{"ldap://" + l.Addr().String()}, Logger: new(logs).logger()})
		if err != nil {
			t.Fatal(err)
		}
		d.limits.dial, d.limits.operation, d.limits.total = 50*time.Millisecond, 50*time.Millisecond, 200*time.Millisecond
		id, err := d.SignIn(context.Background(), "juan", "secreto")
		var refused *RefusedError
		var unavailable *UnavailableError
		if id == nil && !errors.As(err, &refused) && !errors.As(err, &unavailable) {
			t.Errorf("SignIn = %v", err)
		}
		if id != nil && (id.ID == "" || id.Username == "" || len(id.Groups) == 0) {
			t.Errorf("signed in as %+v", id)
		}
		l.Close()
		d.Close()
		<-ended
	})
}
