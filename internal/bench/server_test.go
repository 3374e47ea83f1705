package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"golang.org/x/crypto/bcrypt"

	_ "github.com/caddyauth/caddy-ldap"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// configVariable holds the Caddyfile of the child process that is the server:
// only then its CPU time is its own.
const configVariable = "CADDY_LDAP_BENCH_CADDYFILE"

func TestMain(m *testing.M) {
	caddy.RegisterModule(passOn{})
	httpcaddyfile.RegisterHandlerDirective("pass_on", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return passOn{}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("pass_on", httpcaddyfile.Before, "header")
	if file := os.Getenv(configVariable); file != "" {
		if err := serve(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// passOn is the handler that does nothing: what any handler costs.
type passOn struct{}

func (passOn) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bench_pass_on", New: func() caddy.Module { return new(passOn) }}
}

func (passOn) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return next.ServeHTTP(w, r)
}

// serve is the child: for each line on standard input it prints the CPU time
// used so far, in microseconds.
func serve(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": file})
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			return err
		}
		fmt.Println(time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Microseconds())
	}
	return caddy.Stop()
}

// A round goes through the variants many times in small portions, so that what
// else the machine does meanwhile falls on all of them alike.
const (
	rounds   = 15
	portions = 24
	portion  = 250 // requests of each client in one portion
	clients  = 2
)

// BenchmarkServerCPU reports the CPU time of the whole server per request of a
// small static file behind each handler, over the time without any: the median
// of alternating rounds, and the 10th and 90th percentile as the spread.
func BenchmarkServerCPU(b *testing.B) {
	server := startServer(b)
	credentials := base64.StdEncoding.EncodeToString([]byte("juan:" + ldaptest.DemoPassword))
	variants := []struct {
		name    string
		clients []*client
	}{
		{"unprotected", dial(b, server.ports[0], nil)},
		{"empty handler", dial(b, server.ports[1], nil)},
		{"basic_auth", dial(b, server.ports[2], http.Header{"Authorization": {"Basic " + credentials}})},
		{"require_session", dial(b, server.ports[3], http.Header{"Cookie": {server.signIn(b, server.ports[3])}})},
	}
	for b.Loop() {
		times := make([][]float64, len(variants))
		for round := range rounds + 1 {
			used := make([]int64, len(variants))
			for turn := range portions {
				for i := range variants {
					at := (i + turn) % len(variants) // no variant always comes first
					used[at] += server.measure(b, variants[at].clients)
				}
			}
			if round > 0 { // the first warms up
				for i := range variants {
					times[i] = append(times[i], float64(used[i])/(portions*portion*clients))
				}
			}
		}
		for i, v := range variants {
			ratios := make([]float64, rounds)
			for round := range ratios {
				ratios[round] = times[i][round] / times[0][round]
			}
			slices.Sort(ratios)
			slices.Sort(times[i])
			b.Logf("%-16s %6.1f µs/request, ratio %.3f (%.3f to %.3f)", v.name, times[i][rounds/2], ratios[rounds/2], ratios[rounds/10], ratios[rounds-1-rounds/10])
			b.ReportMetric(ratios[rounds/2], strings.ReplaceAll(v.name, " ", "-")+"-ratio")
		}
	}
}

// server is the child process.
type server struct {
	ports []string
	in    io.Writer
	out   *bufio.Scanner
}

func startServer(b *testing.B) *server {
	b.Helper()
	dir := b.TempDir()
	directory, err := ldaptest.Start("127.0.0.1:0", ldaptest.Demo())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = directory.Close() })
	if err := os.WriteFile(filepath.Join(dir, "page.html"), bytes.Repeat([]byte("Hola. "), 170), 0o600); err != nil {
		b.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("secreto"), bcrypt.MinCost)
	if err != nil {
		b.Fatal(err)
	}
	s := &server{ports: freePorts(b, 4)}
	var text strings.Builder
	fmt.Fprintf(&text, `{
	admin off
	persist_config off
	skip_install_trust
	log {
		level ERROR
	}
	ldap_auth {
		directory empresa.local ad {
			servers %s
		}
		sessions {
			storage badger %s
		}
	}
}
`, directory.URL(), filepath.Join(dir, "sessions"))
	for i, handler := range []string{"", "pass_on", "basic_auth {\n\t\tjuan " + string(hash) + "\n\t}", "require_session"} {
		fmt.Fprintf(&text, "http://:%s {\n\tbind 127.0.0.1\n\t%s\n\troot * %s\n\tfile_server\n}\n", s.ports[i], handler, dir)
	}
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	child := exec.CommandContext(ctx, os.Args[0])
	child.Env = append(os.Environ(), configVariable+"="+file, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		done := time.AfterFunc(10*time.Second, cancel)
		_ = child.Wait()
		done.Stop()
		cancel()
	})
	s.in, s.out = in, bufio.NewScanner(out)
	if !s.out.Scan() || s.out.Text() != "ready" {
		b.Fatalf("the server did not start: %q", s.out.Text())
	}
	return s
}

// freePorts returns ports that were free a moment ago.
func freePorts(b *testing.B, count int) []string {
	b.Helper()
	var ports []string
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		// Held until all are chosen, so that they differ.
		defer func() { _ = listener.Close() }()
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		ports = append(ports, port)
	}
	return ports
}

// signIn returns the Cookie header of a session.
func (s *server) signIn(b *testing.B, port string) string {
	b.Helper()
	body := strings.NewReader(`{"username":"ac12345","password":"` + ldaptest.DemoPassword + `"}`)
	response, err := http.Post("http://127.0.0.1:"+port+"/api/login-ldap/", "application/json", body)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var cookies []string
	for _, cookie := range response.Cookies() {
		cookies = append(cookies, cookie.Name+"="+cookie.Value)
	}
	if response.StatusCode != http.StatusOK || len(cookies) != 3 {
		b.Fatalf("sign-in answered %s with %d cookies", response.Status, len(cookies))
	}
	return strings.Join(cookies, "; ")
}

// measure returns the server's CPU time for a portion of requests of each
// client, in microseconds.
func (s *server) measure(b *testing.B, of []*client) int64 {
	b.Helper()
	before := s.used(b)
	var wait sync.WaitGroup
	failed := make(chan error, len(of))
	for _, c := range of {
		wait.Go(func() {
			if err := c.fetch(portion); err != nil {
				failed <- err
			}
		})
	}
	wait.Wait()
	select {
	case err := <-failed:
		b.Fatal(err)
	default:
	}
	return s.used(b) - before
}

func (s *server) used(b *testing.B) int64 {
	b.Helper()
	if _, err := fmt.Fprintln(s.in); err != nil {
		b.Fatal(err)
	}
	var microseconds int64
	if !s.out.Scan() {
		b.Fatal("the server went away")
	}
	if _, err := fmt.Sscan(s.out.Text(), &microseconds); err != nil {
		b.Fatal(err)
	}
	return microseconds
}

// client is one connection that sends one request after the other, with as
// little work of its own as it can: it shares the machine with the server.
type client struct {
	conn    net.Conn
	in      *bufio.Reader
	request []byte
}

// dial opens the connections of one variant.
func dial(b *testing.B, port string, header http.Header) []*client {
	b.Helper()
	var request bytes.Buffer
	fmt.Fprintf(&request, "GET /page.html HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nUser-Agent: bench\r\nAccept: text/html\r\nAccept-Language: es\r\n", port)
	if err := header.Write(&request); err != nil {
		b.Fatal(err)
	}
	request.WriteString("\r\n")
	var all []*client
	for range clients {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		all = append(all, &client{conn: conn, in: bufio.NewReader(conn), request: request.Bytes()})
	}
	return all
}

func (c *client) fetch(requests int) error {
	for range requests {
		if _, err := c.conn.Write(c.request); err != nil {
			return err
		}
		response, err := http.ReadResponse(c.in, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answered %s", c.conn.RemoteAddr(), response.Status)
		}
	}
	return nil
}
