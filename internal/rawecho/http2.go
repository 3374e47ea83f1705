package rawecho

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// serveHTTP2 answers the requests of one connection, frame by frame.
func (s *Server) serveHTTP2(conn net.Conn, in *bufio.Reader) {
	framer := http2.NewFramer(conn, in)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if framer.WriteSettings() != nil {
		return
	}
	open := map[uint32]*Request{}
	for {
		_ = conn.SetReadDeadline(time.Now().Add(idle))
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		id, ended := frame.Header().StreamID, false
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				err = framer.WritePing(true, frame.Data)
			}
		case *http2.MetaHeadersFrame:
			fields := make([]Field, 0, len(frame.Fields))
			for _, field := range frame.Fields {
				fields = append(fields, Field{field.Name, field.Value})
			}
			if r := open[id]; r != nil {
				r.Trailer = fields
			} else {
				open[id] = newHTTP2Request(fields)
			}
			ended = frame.StreamEnded()
		case *http2.DataFrame:
			if r := open[id]; r != nil && len(r.Body)+len(frame.Data()) <= limit {
				r.Body += string(frame.Data())
			}
			if n := frame.Header().Length; n > 0 {
				if err = framer.WriteWindowUpdate(0, n); err == nil {
					err = framer.WriteWindowUpdate(id, n)
				}
			}
			ended = frame.StreamEnded()
		case *http2.RSTStreamFrame:
			delete(open, id)
		}
		if r := open[id]; err == nil && ended && r != nil {
			delete(open, id)
			err = writeHTTP2(framer, id, s.take(*r))
		}
		if err != nil {
			return
		}
	}
}

func newHTTP2Request(fields []Field) *Request {
	r := &Request{Protocol: 2, Header: fields}
	method, path := valuesOf(fields, ":method"), valuesOf(fields, ":path")
	r.Line = strings.Join(append(method, path...), " ")
	return r
}

// writeHTTP2 sends an answer that is given as HTTP/1 has it.
func writeHTTP2(framer *http2.Framer, id uint32, text string) error {
	response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var body, block bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil {
		return err
	}
	encoder := hpack.NewEncoder(&block)
	_ = encoder.WriteField(hpack.HeaderField{Name: ":status", Value: strconv.Itoa(response.StatusCode)})
	for name, values := range response.Header {
		for _, value := range values {
			_ = encoder.WriteField(hpack.HeaderField{Name: strings.ToLower(name), Value: value})
		}
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: body.Len() == 0,
	}); err != nil || body.Len() == 0 {
		return err
	}
	return framer.WriteData(id, true, body.Bytes())
}
