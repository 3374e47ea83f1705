package redisstore

import (
	"bytes"
	"errors"
	"strconv"
)

// The client trusts what the server sends: it makes room for as much as a length
// announces, takes lists apart without a look at how long they are, and panics in
// a goroutine of its own on an answer that nobody asked for. Any of that would end
// the process, and all sites with it. So connections are watched (watched.go), and
// one on which it would happen fails.
const (
	// maxBytes and maxElements bound one message: the longest are a page of the
	// index and a batch of counters. maxDepth bounds how deep lists stand in
	// lists: the client reads each in a call of its own.
	maxBytes    = 64 << 20
	maxElements = 1 << 20
	maxDepth    = 32

	// maxLine bounds a part without a length: errors, numbers, short texts.
	maxLine = 64 << 10

	// maxWord is how much of a text is kept to look at.
	maxWord = 1 << 10
)

var (
	errTooLong     = errors.New("the Redis server announces more than any answer has")
	errUnasked     = errors.New("the Redis server answers what nobody asked")
	errNotProtocol = errors.New("what answers is no Redis server")
)

// framing follows the messages of the Redis protocol (RESP3) in a stream, byte by
// byte for what describes them; what they contain is skipped. What the client
// would read in another way is refused, whether the protocol has it or not:
// lengths of nothing where it makes room for them, messages within others.
type framing struct {
	line []byte  // of the part that began, without its end
	skip int64   // bytes of content that are still to come
	open []int64 // elements still to come, of each list that is not whole
	keep *[]byte // where that content is kept

	begun           bool
	bytes, elements int64 // of the message that began
	message         message

	whole  func(*message) error // is called with each message
	noAuth bool                 // one says that a password is wanted
}

// message is what is known of one.
type message struct {
	kind  byte
	size  int64     // of a list; -1: there is none
	words [3][]byte // the texts that it begins with, or that it is
}

func (m *message) word(i int, of ...string) bool {
	for _, text := range of {
		if string(m.words[i]) == text {
			return true
		}
	}
	return false
}

func (f *framing) read(b []byte) error {
	for len(b) > 0 {
		if f.skip > 0 {
			n := min(f.skip, int64(len(b)))
			if f.keep != nil {
				// Its last two bytes are the end of the line.
				text := b[:min(n, max(f.skip-2, 0))]
				*f.keep = append(*f.keep, text[:min(len(text), maxWord-len(*f.keep))]...)
			}
			b = b[n:]
			if f.skip -= n; f.skip == 0 {
				f.keep = nil
				if err := f.end(); err != nil {
					return err
				}
			}
			continue
		}
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			end = len(b)
		}
		if len(f.line)+end > maxLine {
			return errTooLong
		}
		f.line = append(f.line, b[:end]...)
		if err := f.begins(); err != nil {
			return err
		}
		if end == len(b) {
			return nil
		}
		b = b[end+1:]
		n := len(f.line)
		if n < 2 || f.line[n-1] != '\r' {
			return errNotProtocol
		}
		if err := f.part(f.line[0], f.line[1:n-1]); err != nil {
			return err
		}
		f.line = f.line[:0]
	}
	return nil
}

// begins looks at a line that may not be whole. The client does not wait for the
// end of some.
func (f *framing) begins() error {
	if len(f.line) == 0 {
		return nil
	}
	most := maxLine
	switch f.line[0] {
	case '_':
		most = len("_\r")
	case '#':
		most = len("#t\r")
	case '-', '+', ',', '(', ':', '$', '=', '*', '~', '>', '%', '|':
	default:
		return errNotProtocol
	}
	if len(f.line) > most {
		return errNotProtocol
	}
	return nil
}

// part is called with the line that describes one.
func (f *framing) part(kind byte, rest []byte) error {
	first := !f.begun
	if first {
		f.begun, f.bytes, f.elements = true, 0, 0
		f.message.kind, f.message.size = kind, 0
		for i := range f.message.words {
			f.message.words[i] = f.message.words[i][:0]
		}
	} else {
		f.open[len(f.open)-1]--
	}
	var word *[]byte
	if first {
		word = &f.message.words[0]
	} else if at := f.message.size - f.open[0] - 1; len(f.open) == 1 && at < int64(len(f.message.words)) {
		word = &f.message.words[at]
	}
	switch kind {
	case '-', '+', ',', '(':
		if kind == '-' {
			if err := f.refusal(rest); err != nil {
				return err
			}
		}
		if word != nil {
			*word = append(*word, rest[:min(len(rest), maxWord)]...)
		}
	case ':':
		if _, err := strconv.ParseInt(string(rest), 10, 64); err != nil {
			return errNotProtocol
		}
	case '_', '#':
		// The client skips a number of bytes.
		if kind == '_' && len(rest) != 0 || kind == '#' && len(rest) != 1 {
			return errNotProtocol
		}
	case '$', '=':
		n, err := length(rest, maxBytes-f.bytes)
		if err != nil {
			return err
		}
		if n >= 0 {
			f.bytes += n
			f.skip, f.keep = n+2, word
			return nil
		}
	case '*', '~', '>', '%', '|':
		n, err := length(rest, maxElements-f.elements)
		if err != nil {
			return err
		}
		if n < 0 && kind != '*' && kind != '~' || !first && (kind == '>' || kind == '|') {
			return errNotProtocol
		}
		if kind == '%' || kind == '|' {
			n *= 2
		}
		f.elements += max(n, 0)
		if first {
			f.message.size = n
		}
		if n > 0 {
			if len(f.open) == maxDepth {
				return errTooLong
			}
			f.open = append(f.open, n)
			return nil
		}
	default:
		return errNotProtocol
	}
	return f.end()
}

// end is called when a part is whole, and so may be those that it is in.
func (f *framing) end() error {
	for n := len(f.open); n > 0 && f.open[n-1] == 0; n-- {
		f.open = f.open[:n-1]
	}
	if len(f.open) > 0 {
		return nil
	}
	f.begun = false
	return f.whole(&f.message)
}

// refusal looks at an error. The client reads the address in one that leads
// elsewhere.
func (f *framing) refusal(text []byte) error {
	f.noAuth = f.noAuth || bytes.HasPrefix(text, []byte("NOAUTH"))
	for _, elsewhere := range []string{"MOVED", "ASK", "REDIRECT"} {
		if bytes.HasPrefix(text, []byte(elsewhere)) && bytes.Count(text, []byte(" ")) < 2 {
			return errNotProtocol
		}
	}
	return nil
}

// length reads a length; -1 is that of nothing.
func length(b []byte, most int64) (int64, error) {
	n, err := strconv.ParseInt(string(b), 10, 64)
	switch {
	case err != nil || n < -1:
		return 0, errNotProtocol
	case n > most:
		return 0, errTooLong
	}
	return n, nil
}
