package netfault

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy forwards TCP connections to one server and can be made to fail while
// they are open. It looks at no byte, so TLS passes unbroken.
type Proxy struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu        sync.Mutex
	target    string
	links     map[*link]struct{}
	accepted  int
	closed    bool
	refusing  bool
	delay     time.Duration
	dropAfter int64         // for new links; negative: never
	answers   int           // for new links; 0: as many as come
	flowing   chan struct{} // closed while bytes may pass
}

// NewProxy listens on a free loopback port until the test ends and forwards to
// target, a host:port.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listening for the proxy to %s: %v", target, err)
	}
	p := &Proxy{
		target:    target,
		listener:  listener,
		links:     make(map[*link]struct{}),
		dropAfter: -1,
		flowing:   make(chan struct{}),
	}
	close(p.flowing)
	p.wg.Add(1)
	go p.accept()
	t.Cleanup(p.close)
	return p
}

// Addr is the host:port to dial instead of the target.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Connections counts those accepted since the start.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Open counts the client connections that are open now.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Stall holds back every byte in both directions, on new connections too, and
// closes none: what a firewall does that drops silently.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flowing:
		p.flowing = make(chan struct{})
	default:
	}
}

// StallOpen does the same to the connections that are open now and to no
// later one: a firewall that has forgotten them.
func (p *Proxy) StallOpen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.held == nil {
			l.held = make(chan struct{})
		}
	}
}

// Delay makes whatever the server sends from now on arrive later by d; chunks
// that are on their way at the same time do not add up. Zero ends it.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// DropAfter closes each connection once n bytes from the server have passed,
// counted from now on the open ones and from the start on later ones. With 0
// the first byte that the server sends closes it, and does not arrive.
func (p *Proxy) DropAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setDropAfter(n)
}

// StallAfter makes each new connection one that is forgotten, as by StallOpen,
// once the server has sent n chunks, which most often are answers.
func (p *Proxy) StallAfter(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = n
}

// Refuse closes each new connection as soon as it was accepted; open ones
// stay.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
}

// Resume ends Stall, StallOpen and StallAfter, and lets everything pass that
// they held back; it ends Refuse and DropAfter too.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing, p.answers = false, 0
	p.setDropAfter(-1)
	select {
	case <-p.flowing:
	default:
		close(p.flowing)
	}
	for l := range p.links {
		l.answers = 0
		if l.held != nil {
			close(l.held)
			l.held = nil
		}
	}
}

// Lead has later connections forwarded to another server, as a name or a load
// balancer may that the client knows nothing of.
func (p *Proxy) Lead(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Cut closes every connection that is open now. Later ones are forwarded.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
	}
}

// setDropAfter needs p.mu.
func (p *Proxy) setDropAfter(n int64) {
	p.dropAfter = n
	for l := range p.links {
		l.left = n
	}
}

func (p *Proxy) accept() {
	defer p.wg.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.accepted++
		refusing, target := p.refusing, p.target
		p.mu.Unlock()
		if refusing {
			client.Close()
			continue
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			client.Close()
			continue
		}
		p.forward(client, server)
	}
}

func (p *Proxy) forward(client, server net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &link{proxy: p, client: client, server: server, done: make(chan struct{}), left: p.dropAfter, answers: p.answers}
	if p.closed {
		l.cut()
		return
	}
	p.links[l] = struct{}{}
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		l.run()
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
	}()
}

func (p *Proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for l := range p.links {
		l.cut()
	}
	p.mu.Unlock()
	p.wg.Wait()
}
