package attack

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// earlydataStart starts a site that speaks HTTP/3. Caddy is built without the
// race detector: it writes a field when its TLS app starts and reads it in QUIC
// handshakes, with nothing between that orders the two.
func earlydataStart(t *testing.T, setup setup) *site {
	t.Helper()
	setup.tls = true
	s, text := prepare(t, setup)
	text = strings.Replace(text, "protocols h1 h2 h2c", "protocols h1 h2 h3", 1)
	s.program = plainProgram.Path(t)
	s.run(t, text)
	return s
}

// earlydataTickets tells when the server gave a ticket.
type earlydataTickets struct {
	tls.ClientSessionCache
	got chan struct{}
}

func (c *earlydataTickets) Put(key string, state *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, state)
	if state != nil {
		select {
		case c.got <- struct{}{}:
		default:
		}
	}
}

// earlydataTicket makes a handshake, after which a client can send early data.
func earlydataTicket(t *testing.T, s *site) *tls.Config {
	t.Helper()
	got := make(chan struct{}, 1)
	config := &tls.Config{
		InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{http3.NextProtoH3},
		ClientSessionCache: &earlydataTickets{tls.NewLRUClientSessionCache(4), got},
	}
	transport := &http3.Transport{TLSClientConfig: config}
	defer transport.Close()
	response, err := (&http.Client{Transport: transport, Timeout: 60 * time.Second}).Get(s.base() + "/ticket")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	select {
	case <-got:
	case <-time.After(60 * time.Second):
		t.Fatal("the server gives no ticket")
	}
	return config
}

// earlydataSend sends a request as early data, calls between when its answer is
// there, and sends it again on the same connection when the handshake is done.
func earlydataSend(t *testing.T, s *site, method, path, body string, between func(), fields ...string) (early, late reply) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn := &earlydataConn{PacketConn: socket, release: make(chan struct{})}
	released := sync.OnceFunc(func() { close(conn.release) })
	transport := &quic.Transport{Conn: conn}
	defer func() {
		released()
		_ = transport.Close()
		_ = socket.Close()
	}()
	addr, err := net.ResolveUDPAddr("udp", "127.0.0.1:"+s.port)
	if err != nil {
		t.Fatal(err)
	}
	config := earlydataTicket(t, s)
	connection, err := transport.DialEarly(ctx, addr, config, &quic.Config{Versions: []quic.Version{quic.Version1}})
	if err != nil {
		t.Fatal(err)
	}
	client := (&http3.Transport{}).NewClientConn(connection)

	request := func(body string) *http.Request {
		r, err := http.NewRequestWithContext(ctx, method, s.base()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		return r
	}
	answer := func(response *http.Response, err error) reply {
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		r, err := replyOf(response)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return r
	}

	// The header alone: quic-go sends no body as early data, and the gate has to
	// decide before there is one.
	stream, err := client.OpenRequestStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = stream.SendRequestHeader(request(""))
	said := time.Now()
	if err = errors.Join(err, stream.Close(), stream.SetReadDeadline(time.Now().Add(50*time.Second))); err != nil {
		t.Fatal(err)
	}
	conn.waitUntilSent(ctx, said)
	conn.hush()
	released()
	early = answer(stream.ReadResponse())
	between()
	conn.speak(addr)
	select {
	case <-connection.HandshakeComplete():
	case <-ctx.Done():
		t.Fatal("the handshake does not end")
	}
	if !connection.ConnectionState().Used0RTT {
		t.Fatal("the server took no early data")
	}
	return early, answer(client.RoundTrip(request(body)))
}

// earlydataWant fails unless an answer has that status; 425 has to say nothing
// else.
func earlydataWant(t *testing.T, name string, early, late reply, wantEarly, wantLate int) {
	t.Helper()
	if early.status != wantEarly || late.status != wantLate {
		t.Errorf("%s: %d as early data, %d after the handshake, want %d, %d", name, early.status, late.status, wantEarly, wantLate)
	}
	if early.status == http.StatusTooEarly && (early.body != "" || len(early.cookies) > 0) {
		t.Errorf("%s: the 425 has %q and the cookies %v", name, early.body, early.cookies)
	}
}

// Early data can be sent again by whoever recorded it: what signs in or out, or
// changes something, is asked for once more when the handshake is done.
func TestP30EarlyDataChangesNothing(t *testing.T) {
	t.Parallel()
	s := earlydataStart(t, setup{})
	credentials := `{"username":"ac12345","password":"` + ldaptest.DemoPassword + `"}`
	juan := s.signIn(t, juan)
	nothing := func() {}
	alive := func() {
		if r := juan.get(t, "/api/session/"); r.status != http.StatusOK {
			t.Errorf("the session is gone: %d", r.status)
		}
		s.wantNothingUpstream(t)
	}

	// The proof that the client can do it: what changes nothing is served.
	early, late := earlydataSend(t, s, "GET", "/x", "", nothing, "Cookie", juan.cookie())
	earlydataWant(t, "reading", early, late, http.StatusOK, http.StatusOK)

	for _, row := range []struct {
		name, method, path, body string
		fields                   []string
		late                     int
	}{
		{"signing in", "POST", "/api/login-ldap/", credentials, []string{"Content-Type", "application/json"}, http.StatusOK},
		{"posting", "POST", "/x", "a=b", []string{"Cookie", juan.cookie(), "X-Csrftoken", juan.csrf}, http.StatusOK},
		{"deleting by a link", "GET", "/x?_method=DELETE", "", []string{"Cookie", juan.cookie(), "X-Csrftoken", juan.csrf}, http.StatusOK},
		{"signing out", "GET", "/api/logout/", "", []string{"Cookie", juan.cookie()}, http.StatusOK},
	} {
		s.echo.Forget()
		sessions := len(s.audit(t))
		early, late := earlydataSend(t, s, row.method, row.path, row.body, func() {
			alive()
			if n := len(s.audit(t)); n != sessions {
				t.Errorf("%s: the audit log has %d lines more", row.name, n-sessions)
			}
		}, row.fields...)
		earlydataWant(t, row.name, early, late, http.StatusTooEarly, row.late)
	}
	wantRefused(t, juan.get(t, "/x"))
}

// The address of early data is proven by nothing: no address rule is met, or
// refuses, before the handshake is done.
func TestB25EarlyDataMeetsNoAddressRule(t *testing.T) {
	t.Parallel()
	s := earlydataStart(t, setup{auth: "trusted_ips 127.0.0.1", site: "require_session {\npublic /open/*\n}\nreverse_proxy UPSTREAM"})
	juan := s.signIn(t, juan)
	for _, path := range []string{"/x", "/open/x"} {
		s.echo.Forget()
		early, late := earlydataSend(t, s, "GET", path, "", func() { s.wantNothingUpstream(t) }, "Cookie", juan.cookie())
		earlydataWant(t, path, early, late, http.StatusTooEarly, http.StatusOK)
	}
}
