package attack

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// dial opens a connection to the site, with TLS where it speaks that.
func (s *site) dial(t testing.TB, protocols ...string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if s.tls {
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: protocols})
	}
	return conn
}

// raw sends bytes and reads one answer. Lines may end in a line feed alone,
// which becomes what HTTP has; HOST is the site's host and port.
func (s *site) raw(t testing.TB, text string) reply {
	t.Helper()
	r, err := s.tryRaw(t, text)
	if err != nil {
		t.Fatalf("reading the answer to %q: %v", text, err)
	}
	return r
}

// tryRaw is raw for requests that may get no answer at all.
func (s *site) tryRaw(t testing.TB, text string) (reply, error) {
	t.Helper()
	conn := s.dial(t, "http/1.1")
	defer conn.Close()
	if _, err := io.WriteString(conn, s.wire(text)); err != nil {
		return reply{}, err
	}
	method, _, _ := strings.Cut(text, " ")
	return readReply(bufio.NewReader(conn), method)
}

// readReply reads the answer to a request of a method.
func readReply(in *bufio.Reader, method string) (reply, error) {
	response, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		return reply{}, err
	}
	return replyOf(response)
}

// burst sends requests on one connection, without waiting for answers,
// and returns these. Each text is a request in lines, as for raw.
func (s *site) burst(t testing.TB, texts []string) []reply {
	t.Helper()
	conn := s.dial(t, "http/1.1")
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, s.wire(strings.Join(texts, "")))
		sent <- err
	}()
	in := bufio.NewReader(conn)
	replies := make([]reply, 0, len(texts))
	for range texts {
		r, err := readReply(in, "GET")
		if err != nil {
			t.Fatalf("reading answer %d of %d: %v", len(replies)+1, len(texts), err)
		}
		replies = append(replies, r)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	return replies
}

// rawGet is a request in lines, with a Cookie header.
func rawGet(path, cookie string) string {
	return "GET " + path + " HTTP/1.1\nHost: HOST\nCookie: " + cookie + "\n\n"
}

// wire returns the bytes of a request that is written in lines.
func (s *site) wire(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "HOST", "127.0.0.1:"+s.port)
	return strings.ReplaceAll(text, "\n", "\r\n")
}

// h2Request is a request as HTTP/2 frames, sent as given: no library looks at
// its names and values.
type h2Request struct {
	fields  [][2]string // pseudo-header fields first; default for those left out: GET, /, the site
	body    string
	trailer [][2]string
}

// h2 sends a request in frames and returns its answer, or the error with which
// the server ended the stream or the connection.
func (s *site) h2(t testing.TB, r h2Request) (reply, error) {
	t.Helper()
	conn := s.dial(t, "h2")
	defer conn.Close()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return reply{}, err
	}
	framer := http2.NewFramer(conn, conn)
	framer.AllowIllegalWrites = true
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := framer.WriteSettings(); err != nil {
		return reply{}, err
	}
	scheme := "http"
	if s.tls {
		scheme = "https"
	}
	var fields [][2]string
	for _, pseudo := range [][2]string{{":method", "GET"}, {":scheme", scheme}, {":authority", "127.0.0.1:" + s.port}, {":path", "/"}} {
		if !hasField(r.fields, pseudo[0]) {
			fields = append(fields, pseudo)
		}
	}
	fields = append(fields, r.fields...)
	end := r.body == "" && len(r.trailer) == 0
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(fields), EndHeaders: true, EndStream: end}); err != nil {
		return reply{}, err
	}
	if r.body != "" {
		if err := framer.WriteData(1, len(r.trailer) == 0, []byte(r.body)); err != nil {
			return reply{}, err
		}
	}
	if len(r.trailer) > 0 {
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(r.trailer), EndHeaders: true, EndStream: true}); err != nil {
			return reply{}, err
		}
	}
	return readH2(framer)
}

func readH2(framer *http2.Framer) (reply, error) {
	got := reply{header: http.Header{}, cookies: map[string]*http.Cookie{}}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return got, err
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				if err := framer.WriteSettingsAck(); err != nil {
					return got, err
				}
			}
		case *http2.MetaHeadersFrame:
			for _, field := range frame.Fields {
				if field.Name == ":status" {
					got.status, _ = strconv.Atoi(field.Value)
					continue
				}
				got.header.Add(field.Name, field.Value)
			}
		case *http2.DataFrame:
			got.body += string(frame.Data())
		case *http2.RSTStreamFrame:
			return got, http2.StreamError{StreamID: frame.StreamID, Code: frame.ErrCode}
		case *http2.GoAwayFrame:
			return got, http2.ConnectionError(frame.ErrCode)
		}
		if header := frame.Header(); header.StreamID == 1 && header.Flags.Has(http2.FlagDataEndStream) &&
			(header.Type == http2.FrameData || header.Type == http2.FrameHeaders) {
			for _, cookie := range (&http.Response{Header: got.header}).Cookies() {
				got.cookies[cookie.Name] = cookie
			}
			return got, nil
		}
	}
}

func hasField(fields [][2]string, name string) bool {
	for _, field := range fields {
		if field[0] == name {
			return true
		}
	}
	return false
}

func block(fields [][2]string) []byte {
	var b bytes.Buffer
	encoder := hpack.NewEncoder(&b)
	for _, field := range fields {
		_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	return b.Bytes()
}
