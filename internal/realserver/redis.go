package realserver

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Redis is a running redis-server.
type Redis struct {
	// Addr is its host:port; with RedisOptions.TLS it speaks TLS only.
	Addr string

	// BusPort is where the other nodes of its cluster reach it, if it is of one.
	BusPort string

	// CA has signed its certificate, if it has one.
	CA *CA

	folder, binary string
	ownCertificate *tls.Certificate // for the probe, if it wants one
	args           []string
	process        *process
}

// RedisOptions are what one server has differently.
type RedisOptions struct {
	// TLS has it speak TLS only, as 127.0.0.1 and redis.empresa.test.
	TLS bool

	// ClientCertificates has it want one of its CA from everybody, with TLS. Its
	// own, cert.pem and key.pem in its folder, is good for that too.
	ClientCertificates bool

	// Cluster has it be a node of a cluster, alone at first and without slots.
	Cluster bool

	// Sentinel has it watch others instead, as Config says.
	Sentinel bool

	// Config are further lines of its configuration.
	Config []string
}

// redisProgram is what runs: redis-server, or what CADDY_LDAP_REDIS_SERVER names,
// as valkey-server.
func redisProgram() string {
	if name := os.Getenv("CADDY_LDAP_REDIS_SERVER"); name != "" {
		return name
	}
	return "redis-server"
}

// NewRedis starts a server of its own for one test, or ends the test as the
// package comment says.
func NewRedis(t testing.TB, options RedisOptions) *Redis {
	t.Helper()
	s, err := StartRedis(t.TempDir(), options)
	require(t, redisProgram(), err)
	t.Cleanup(func() {
		s.Kill() // one that still writes its files refuses to end
		s.Stop()
	})
	return s
}

// RedisInstalled tells why no server can be started on this machine; nil: one can.
func RedisInstalled() error {
	_, err := program(redisProgram())
	return err
}

// StartRedis starts a server with its files in a new folder below dir, for a
// program that is no test. The caller stops it.
func StartRedis(dir string, options RedisOptions) (s *Redis, err error) {
	binary, err := program(redisProgram())
	if err != nil {
		return nil, err
	}
	// A free port can be taken by somebody else before the server has it.
	for range 3 {
		var folder string
		if folder, err = os.MkdirTemp(dir, "redis"); err != nil {
			return nil, fmt.Errorf("making the folder of redis-server: %w", err)
		}
		if s, err = startRedis(folder, binary, options); err == nil {
			return s, nil
		}
	}
	return nil, err
}

// Folder is where its files are.
func (s *Redis) Folder() string { return s.folder }

// Stop asks the server to end, and makes it end after 10 s.
func (s *Redis) Stop() { s.process.stop() }

func startRedis(dir, binary string, options RedisOptions) (*Redis, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	s := &Redis{Addr: ports[0], folder: dir, binary: binary}
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return nil, fmt.Errorf("reading the address %q: %w", s.Addr, err)
	}
	lines := []string{"bind 127.0.0.1", "protected-mode yes", "daemonize no", "dir " + dir}
	if !options.Sentinel {
		lines = append(lines, `save ""`, "appendonly yes", "appendfsync everysec")
	}
	if options.Cluster {
		// Its default is the port and 10000, which may be none.
		if _, s.BusPort, err = net.SplitHostPort(ports[1]); err != nil {
			return nil, fmt.Errorf("reading the address %q: %w", ports[1], err)
		}
		lines = append(lines, "cluster-enabled yes", "cluster-port "+s.BusPort)
	}
	if options.TLS {
		if s.CA, err = NewCA(dir); err != nil {
			return nil, err
		}
		certFile, keyFile, err := s.CA.Issue(dir, "redis.empresa.test", "127.0.0.1")
		if err != nil {
			return nil, err
		}
		authClients := "no"
		if options.ClientCertificates {
			own, err := tls.LoadX509KeyPair(certFile, keyFile)
			if err != nil {
				return nil, fmt.Errorf("reading the certificate of redis-server: %w", err)
			}
			s.ownCertificate, authClients = &own, "yes"
		}
		lines = append(lines, "port 0", "tls-port "+port, "tls-auth-clients "+authClients,
			"tls-ca-cert-file "+s.CA.File, "tls-cert-file "+certFile, "tls-key-file "+keyFile)
	} else {
		lines = append(lines, "port "+port)
	}
	config := filepath.Join(dir, "redis.conf")
	text := strings.Join(append(lines, options.Config...), "\n") + "\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("writing %q: %w", config, err)
	}
	if s.args = []string{config}; options.Sentinel {
		s.args = append(s.args, "--sentinel")
	}
	return s, s.start()
}

func (s *Redis) start() error {
	p, err := startProcess(filepath.Join(s.folder, "redis.log"), s.binary, s.args...)
	if err != nil {
		return err
	}
	if err := p.waitUntil(20*time.Second, s.probe); err != nil {
		p.stop()
		return fmt.Errorf("waiting for redis-server: %w", err)
	}
	s.process = p
	return nil
}

// probe asks for a sign of life. That it wants a password first is one.
func (s *Redis) probe() error {
	conn, err := s.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return fmt.Errorf("setting a deadline: %w", err)
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return fmt.Errorf("asking redis-server: %w", err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return fmt.Errorf("asking redis-server: %w", err)
	}
	if strings.HasPrefix(answer, "+PONG") || strings.HasPrefix(answer, "-NOAUTH") {
		return nil
	}
	return errors.New("redis-server answers " + strings.TrimSpace(answer))
}

func (s *Redis) dial() (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 2 * time.Second}
	if s.CA != nil {
		config := &tls.Config{RootCAs: s.CA.Pool()}
		if s.ownCertificate != nil {
			config.Certificates = []tls.Certificate{*s.ownCertificate}
		}
		return tls.DialWithDialer(dialer, "tcp", s.Addr, config)
	}
	return dialer.Dial("tcp", s.Addr)
}

// Kill ends the server as a crash would.
func (s *Redis) Kill() {
	terminate(s.process.cmd, true)
	<-s.process.exited
}

// Restart starts the server again, which was killed, on the same port and with
// the same files.
func (s *Redis) Restart(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatalf("starting redis-server again: %v", err)
	}
}
