package caddyauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/redisstore"
)

// Redis keeps sessions in Redis (7.0 or newer) or Valkey, where several Caddys
// share them: a session of one is one of all that have the same server and
// prefix, and so is its end.
type Redis struct {
	// The server, as host:port, or the host alone for port 6379. With sentinel
	// the addresses are those of the sentinels (port 26379), with cluster those of
	// some nodes; else there is one. Supports placeholders, as in `{env.REDIS}`; a
	// literal brace is written `\{`. Required.
	Addresses []string `json:"addresses,omitempty"`

	// The user at the server. Supports placeholders. Default: the server's
	// default user
	Username string `json:"username,omitempty"`

	// The user's password. Supports placeholders, as in
	// `{file./run/secrets/redis}` or `{env.REDIS_PASSWORD}`; a literal brace is
	// written `\{`. Default: none is sent
	Password string `json:"password,omitempty"`

	// Encrypts the connections, and checks the servers' certificates. Default:
	// false, unless another option is about certificates
	TLS bool `json:"tls,omitempty"`

	// A PEM file with the certificates that the servers' are verified by; sets
	// tls. Supports placeholders. Default: the system's
	CAFile string `json:"ca_file,omitempty"`

	// The host name, or IP address, that the servers' certificates must carry;
	// sets tls. Sentinels and clusters name their servers by IP address, which
	// certificates seldom do. Supports placeholders. Default: the host of each
	// address
	ServerName string `json:"server_name,omitempty"`

	// PEM files with a certificate and its key, for servers that ask for one, as
	// Redis with TLS does unless it is told otherwise; sets tls. The files' names
	// support placeholders. Default: none
	ClientCert *ClientCert `json:"client_cert,omitempty"`

	// What the names of all keys begin with: those with another one share
	// nothing. It has no braces. Default: ldap_auth
	Prefix string `json:"prefix,omitempty"`

	// The name of the primary that the sentinels watch. Supports placeholders.
	// Default: no sentinels are asked
	Sentinel string `json:"sentinel,omitempty"`

	// The user at the sentinels. Supports placeholders. Default: the default user
	SentinelUsername string `json:"sentinel_username,omitempty"`

	// The password at the sentinels. Supports placeholders. Default: none, and
	// where they want one, that of the server
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// The addresses are those of a Redis Cluster. It keeps all sessions on one of
	// its nodes and their replicas. Default: false
	Cluster bool `json:"cluster,omitempty"`

	options  redisstore.Options
	resource string
	exposed  bool // the password and the sessions can be read on the way
}

// CaddyModule returns the Caddy module information.
func (Redis) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ldap_auth.storage.redis",
		New: func() caddy.Module { return new(Redis) },
	}
}

// Provision fills in placeholders and reads files. It dials nothing: it also
// runs for `caddy validate`.
func (r *Redis) Provision(caddy.Context) error {
	if err := r.provision(); err != nil {
		return fmt.Errorf("storage redis: %w", err)
	}
	return nil
}

func (r *Redis) provision() error {
	if err := r.check(); err != nil {
		return err
	}
	o := redisstore.Options{Prefix: r.Prefix, Cluster: r.Cluster}
	for _, configured := range r.Addresses {
		filled, err := replaceAll(configured)
		if err != nil {
			return fmt.Errorf("reading an address: %w", err)
		}
		address, err := parseRedisAddress(filled, r.defaultPort())
		if err != nil {
			return err // it names the address
		}
		o.Addresses = append(o.Addresses, address.String())
		// Sentinels and clusters name servers on other machines.
		elsewhere := r.Sentinel != "" || r.Cluster || !address.isLoopback()
		r.exposed = r.exposed || !r.encrypted() && elsewhere
	}
	for _, text := range []struct {
		option, configured string
		filled             *string
	}{
		{"sentinel", r.Sentinel, &o.Sentinel},
		{"username", r.Username, &o.Username},
		{"password", r.Password, &o.Password},
		{"sentinel_username", r.SentinelUsername, &o.SentinelUsername},
		{"sentinel_password", r.SentinelPassword, &o.SentinelPassword},
	} {
		var err error
		if *text.filled, err = replaceAll(text.configured); err != nil {
			return fmt.Errorf("%s: %w", text.option, err)
		}
	}
	if r.Sentinel != "" {
		if err := checkSentinel(o.Sentinel); err != nil {
			return err
		}
	}
	config, pem, err := r.tlsConfig()
	if err != nil {
		return err
	}
	o.TLS = config
	r.options, r.resource = o, redisResource(o, pem)
	return nil
}

// check finds what is wrong whatever the placeholders and the files hold.
func (r *Redis) check() error {
	switch {
	case len(r.Addresses) == 0:
		return errors.New("an address is missing: write one as in storage redis redis.example.com:6379")
	case r.Sentinel != "" && r.Cluster:
		return errors.New("sentinel and cluster exclude each other: remove one of them")
	case r.Sentinel == "" && !r.Cluster && len(r.Addresses) > 1:
		return fmt.Errorf("%d addresses: several are for sentinel or cluster only, and a port is written as in redis.example.com:6379", len(r.Addresses))
	case r.Username != "" && r.Password == "":
		return errors.New("username is there without password: write both")
	case r.Sentinel == "" && r.SentinelUsername != "":
		return errors.New("sentinel_username is for sentinel only")
	case r.Sentinel == "" && r.SentinelPassword != "":
		return errors.New("sentinel_password is for sentinel only")
	case r.SentinelUsername != "" && r.SentinelPassword == "":
		return errors.New("sentinel_username is there without sentinel_password: write both")
	}
	for _, address := range r.Addresses {
		if err := checkRedisAddress(address); err != nil {
			return err
		}
	}
	return r.checkNames()
}

// checkNames finds what is wrong with the names. Those that may have
// placeholders are looked at again when these are filled in.
func (r *Redis) checkNames() error {
	if r.Sentinel != "" && !strings.ContainsAny(r.Sentinel, "{}") {
		if err := checkSentinel(r.Sentinel); err != nil {
			return err
		}
	}
	if r.ServerName != "" && !strings.ContainsAny(r.ServerName, "{}") {
		if err := checkServerName(r.ServerName); err != nil {
			return err
		}
	}
	return r.checkPrefix()
}

func (r *Redis) checkPrefix() error {
	if strings.ContainsAny(r.Prefix, "{}") {
		return fmt.Errorf("prefix: %q has a brace: it is written as it is, without placeholders", r.Prefix)
	}
	return nil
}

func (r *Redis) defaultPort() string {
	if r.Sentinel != "" {
		return "26379"
	}
	return "6379"
}

// redisResources is the key of the hashes that name what is open. They are of
// passwords, and of this process only: one that gets out tells nothing.
var redisResources = newRedisResources()

func newRedisResources() []byte {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails: it ends the process instead
	return key
}

// redisResource tells all options apart, with what their files and placeholders
// hold now. Two open stores on one Redis do each other no harm, so that another
// password, address or certificate is simply another store: it is used from the
// reload on, and the old one is closed.
func redisResource(o redisstore.Options, pem []byte) string {
	hash := hmac.New(sha256.New, redisResources)
	serverName := ""
	if o.TLS != nil {
		serverName = o.TLS.ServerName
	}
	_, _ = fmt.Fprintf(hash, "%q %q %q %q %q %q %q %t %t %q %q", o.Addresses, o.Username, o.Password, o.Prefix,
		o.Sentinel, o.SentinelUsername, o.SentinelPassword, o.Cluster, o.TLS != nil, serverName, pem)
	return fmt.Sprintf("redis:%x", hash.Sum(nil))
}

// Resource implements Storage.
func (r *Redis) Resource() string { return r.resource }

// Open implements Storage. A server that cannot be reached is no error: Caddy
// starts without it, and requests with a session are answered 503 until it is
// there.
func (r *Redis) Open(logger *slog.Logger) (sessionstore.Store, error) {
	store, err := redisstore.Open(r.options, logger)
	if err != nil {
		return nil, fmt.Errorf("storage redis: %w", err)
	}
	return store, nil
}

func (*Redis) shared() {}

// warn implements warningStorage.
func (r *Redis) warn(logger *slog.Logger) {
	if r.exposed {
		logger.Warn("storage redis has no tls: the password and the sessions' records go over the network unencrypted; set tls",
			"addresses", r.options.Addresses)
	}
}

// Interface guards
var (
	_ Storage           = (*Redis)(nil)
	_ sharedStorage     = (*Redis)(nil)
	_ warningStorage    = (*Redis)(nil)
	_ caddy.Provisioner = (*Redis)(nil)
)
