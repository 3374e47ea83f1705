package netfault

import (
	"net"
	"sync"
	"time"
)

// link is one client connection and the one to the server that belongs to it.
type link struct {
	proxy          *Proxy
	client, server net.Conn

	ending sync.Once
	done   chan struct{} // closed by cut

	held    chan struct{} // with proxy.mu: not nil while this link is stalled
	left    int64         // with proxy.mu: bytes until it is closed; negative: never
	answers int           // with proxy.mu: chunks until it is stalled; 0: never
}

// chunk is what one read gave. An empty one stands for the end: it is delayed
// and held back as bytes are, since a lost packet may as well be the one that
// closes.
type chunk struct {
	bytes []byte
	due   time.Time // when the other side may have it
}

// queued bounds what a link holds for each side, with chunkSize.
const (
	queued    = 64
	chunkSize = 32 << 10
)

// run forwards until either side is closed, and returns when nothing of the
// link is left.
func (l *link) run() {
	up, down := make(chan chunk, queued), make(chan chunk, queued)
	var all sync.WaitGroup
	all.Go(func() { l.readClient(up) })
	all.Go(func() { l.readServer(down) })
	all.Go(func() {
		l.writeServer(up)
		l.cut()
	})
	all.Go(func() {
		l.writeClient(down)
		l.cut()
	})
	all.Wait()
}

// cut closes both connections and ends every wait.
func (l *link) cut() {
	l.ending.Do(func() {
		close(l.done)
		l.client.Close()
		l.server.Close()
	})
}

func (l *link) readClient(out chan<- chunk) {
	defer close(out)
	l.read(l.client, out, func() time.Duration { return 0 })
	// Whatever waits for the server would have been lost, and the count of open
	// connections is about what the client holds.
	if l.stalled() {
		l.cut()
	}
}

func (l *link) readServer(out chan<- chunk) {
	defer close(out)
	l.read(l.server, out, func() time.Duration {
		l.proxy.mu.Lock()
		defer l.proxy.mu.Unlock()
		return l.proxy.delay
	})
}

func (l *link) read(src net.Conn, out chan<- chunk, delay func() time.Duration) {
	buf := make([]byte, chunkSize)
	for {
		n, err := src.Read(buf)
		select {
		case out <- chunk{append([]byte(nil), buf[:n]...), time.Now().Add(delay())}:
		case <-l.done:
			return
		}
		if err != nil {
			return
		}
	}
}

func (l *link) writeServer(in <-chan chunk) {
	for c := range in {
		if !l.passable() {
			return
		}
		if _, err := l.server.Write(c.bytes); err != nil {
			return
		}
	}
}

func (l *link) writeClient(in <-chan chunk) {
	for c := range in {
		if wait := time.Until(c.due); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-l.done:
				timer.Stop()
				return
			}
		}
		if !l.passable() {
			return
		}
		allowed, last := l.allow(len(c.bytes))
		// Before it is seen: what comes after it must find the link stalled.
		l.countAnswer(allowed)
		if _, err := l.client.Write(c.bytes[:allowed]); err != nil || last {
			return
		}
	}
}

func (l *link) stalled() bool {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	select {
	case <-l.proxy.flowing:
		return l.held != nil
	default:
		return true
	}
}

// passable waits while the link is stalled. False: it was cut meanwhile.
func (l *link) passable() bool {
	for {
		l.proxy.mu.Lock()
		flowing, held := l.proxy.flowing, l.held
		l.proxy.mu.Unlock()
		select {
		case <-flowing:
		case <-l.done:
			return false
		}
		if held == nil {
			return true
		}
		select {
		case <-held:
		case <-l.done:
			return false
		}
	}
}

// countAnswer notes a chunk of n bytes that the client is about to get.
func (l *link) countAnswer(n int) {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	if n == 0 || l.answers == 0 {
		return
	}
	if l.answers--; l.answers == 0 && l.held == nil {
		l.held = make(chan struct{})
	}
}

// allow tells how many of n bytes from the server may pass, and whether the
// link ends after them.
func (l *link) allow(n int) (allowed int, last bool) {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	if n == 0 || l.left < 0 {
		return n, false
	}
	allowed = int(min(int64(n), l.left))
	l.left -= int64(allowed)
	return allowed, l.left == 0
}
