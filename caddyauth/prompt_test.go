package caddyauth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// deadlines notes what is done to a connection.
type deadlines struct {
	*httptest.ResponseRecorder
	did []string
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	if at.IsZero() {
		d.did = append(d.did, "no deadline")
	} else if left := time.Until(at); left > 0 && left <= answerTimeout {
		d.did = append(d.did, "deadline")
	}
	return nil
}

func (d *deadlines) WriteHeader(status int) {
	d.did = append(d.did, "header")
	d.ResponseRecorder.WriteHeader(status)
}

func (d *deadlines) FlushError() error {
	d.did = append(d.did, "flush")
	return nil
}

func TestAnswersOfSignInRoutesHaveADeadline(t *testing.T) {
	for _, row := range []struct {
		name  string
		write func(w http.ResponseWriter) error
		want  []string
	}{
		{"written", func(w http.ResponseWriter) error { return writeJSON(w, 200, "x") }, []string{"deadline", "header", "flush", "no deadline"}},
		{"failed", func(http.ResponseWriter) error { return errors.New("failed") }, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			app := &App{cookies: *cookiesOf(t, ""), stripper: newStripper(nil)}
			r := httptest.NewRequest("GET", "/", nil)
			recorder := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			w, q := (&site{app: app}).begin(recorder, r)
			_ = q.promptly(w, func() error { return row.write(w) })
			if !slices.Equal(recorder.did, row.want) {
				t.Errorf("it did %q, want %q", recorder.did, row.want)
			}
		})
	}
}

// A client that opens no window for the answers once held all places of the
// directory's queue.
func TestClientThatReadsNothingHoldsNoPlace(t *testing.T) {
	s := newServer(t, setup{global: "servers {\nprotocols h1 h2c\n}", auth: unthrottled})
	s.setup.servers = "servers " + s.directory.URL() + "\nqueue 1\nconnections 1"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", s.port)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		t.Fatal(err)
	}
	const streams = 2
	answered, reset := make(chan uint32, streams), make(chan uint32, streams)
	go func() {
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			switch frame.(type) {
			case *http2.HeadersFrame:
				answered <- frame.Header().StreamID
			case *http2.RSTStreamFrame:
				reset <- frame.Header().StreamID
			}
		}
	}()
	// An answer that does not fit into the server's buffer.
	payload := "username=" + strings.Repeat("%22", 250) + "&password=wrong&next=%2F" + strings.Repeat("%26", 1900)
	for i := range streams {
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		for _, field := range [][2]string{
			{":method", "POST"}, {":scheme", "http"}, {":authority", address}, {":path", "/accounts/login/"},
			{"content-type", "application/x-www-form-urlencoded"}, {"content-length", fmt.Sprint(len(payload))},
			{"accept", "text/html"}, {"sec-fetch-mode", "navigate"}, {"sec-fetch-dest", "document"},
		} {
			_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
		}
		id := uint32(2*i + 1)
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
		_ = framer.WriteData(id, true, []byte(payload))
	}
	within := func(what string, events chan uint32) {
		t.Helper()
		for range streams {
			select {
			case <-events:
			case <-time.After(30 * time.Second):
				t.Fatalf("in vain: %s", what)
			}
		}
	}
	within("the refusals' headers", answered)
	if got := s.attempt("ac12345", ldaptest.DemoPassword); got.StatusCode != 200 {
		t.Errorf("another user: %d %s", got.StatusCode, got.body)
	}
	within("the end of the answers", reset)
}
