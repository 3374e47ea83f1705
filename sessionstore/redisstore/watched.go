package redisstore

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

var errOldProtocol = errors.New("the Redis server does not speak version 3 of the protocol")

// watched is a connection on which each answer is one that the command before can
// have, as far as the client relies on that.
type watched struct {
	net.Conn
	in, out framing

	mu    sync.Mutex
	asked []question // that have no answer yet

	wantsPassword *atomic.Bool // is set when the server says so
	forget        func() bool  // is called when it is closed
}

// question is what was asked.
type question struct {
	is questionKind

	// least is how long a list must be that is the answer; of a subscription, how
	// many confirmations are still to come.
	least int64
	begun bool // one has come
}

type questionKind uint8

const (
	anything questionKind = iota
	subscription

	// With each end of a subscription the client sends a PING: confirmations come
	// as often as the server likes, and it waits for the answer to that.
	unsubscription
	pong
)

func newWatched(conn net.Conn, wantsPassword *atomic.Bool, forget func() bool) *watched {
	w := &watched{Conn: conn, wantsPassword: wantsPassword, forget: forget}
	w.out.whole, w.in.whole = w.command, w.answer
	return w
}

func (w *watched) Write(b []byte) (int, error) {
	if err := w.out.read(b); err != nil { // before the answer can come
		return 0, err
	}
	return w.Conn.Write(b)
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if broken := w.in.read(b[:n]); broken != nil {
		return 0, broken
	}
	if w.in.noAuth {
		w.wantsPassword.Store(true)
	}
	return n, err
}

func (w *watched) Close() error {
	w.forget()
	return w.Conn.Close()
}

// command is called with each that is sent.
func (w *watched) command(m *message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := question{}
	switch {
	case m.word(0, "HELLO") && m.word(1, "2"):
		// In the older protocol answers and messages look alike.
		return errOldProtocol
	case m.word(0, "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"):
		q = question{is: subscription, least: m.size - 1}
	case m.word(0, "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"):
		q.is = unsubscription
	case m.word(0, "PING") && len(w.asked) > 0 && w.asked[len(w.asked)-1].is == unsubscription:
		q.is = pong
	case m.word(0, "ROLE"):
		q.least = 1
	case m.word(0, "SENTINEL") && m.word(1, "GET-MASTER-ADDR-BY-NAME"):
		q.least = 2
	}
	w.asked = append(w.asked, q)
	return nil
}

// answer is called with each message that comes.
func (w *watched) answer(m *message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case m.kind == '|':
		return nil // it stands before an answer
	case m.kind == '>':
		return w.push(m)
	case len(w.asked) == 0:
		return errUnasked
	}
	switch q := w.asked[0]; q.is {
	case subscription:
		if !m.refuses() || q.begun {
			return errUnasked
		}
	case unsubscription:
		// The answer to the PING, or two: why it is refused, and that one.
		if m.pong() && len(w.asked) > 1 {
			w.asked = w.asked[1:]
		} else if !m.refuses() {
			return errUnasked
		}
	case pong:
		if !m.pong() {
			return errUnasked
		}
	default:
		if (m.kind == '*' || m.kind == '~') && m.size >= 0 && m.size < q.least {
			return errUnasked
		}
	}
	w.asked = w.asked[1:]
	return nil
}

// push looks at a message that is no answer, unless it confirms a subscription.
func (w *watched) push(m *message) error {
	var q *question
	if len(w.asked) > 0 {
		q = &w.asked[0]
	}
	fields := bytes.Count(m.words[2], []byte(" ")) + 1
	switch {
	case m.size < 2:
	case m.word(0, "subscribe", "psubscribe", "ssubscribe"):
		if q == nil || q.is != subscription {
			return errUnasked
		}
		q.begun = true
		if q.least--; q.least < 1 {
			w.asked = w.asked[1:]
		}
	case m.word(0, "unsubscribe", "punsubscribe", "sunsubscribe"):
		if q != nil && q.begun {
			return errUnasked
		}
	case m.word(0, "message") && (m.word(1, "+switch-master") && fields < 5 || m.word(1, "+sentinel", "+reboot") && fields < 4):
		return errUnasked // the client reads that many
	}
	return nil
}

// refuses tells that the answer is an error, as commands have that give none else.
func (m *message) refuses() bool { return m.kind == '-' && !m.word(0, "QUEUED") }

// pong tells that the client takes the answer for that of a PING.
func (m *message) pong() bool {
	if m.kind == '-' {
		text := m.words[0]
		return bytes.HasPrefix(text, []byte("LOADING")) || bytes.HasPrefix(text, []byte("BUSY")) || bytes.Contains(text, []byte("'ping'"))
	}
	return (m.kind == '+' || m.kind == '$') && m.word(0, "PONG")
}
