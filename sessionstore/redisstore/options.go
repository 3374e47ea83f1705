package redisstore

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// Options of Open, which keeps a copy.
type Options struct {
	// Addresses, host:port. One server's; with Sentinel those of the sentinels,
	// with Cluster those of some nodes.
	Addresses []string

	// Username and Password of the server. Without a password: none is sent.
	Username, Password string

	// TLS, if not nil: connections are encrypted, and the server's certificate
	// is checked as it says. TLS 1.2 at least.
	TLS *tls.Config

	// Prefix of all keys, so that several may use one server. Default: ldap_auth
	Prefix string

	// Sentinel is the name of the primary that the sentinels watch. Empty: no
	// sentinels are asked. TLS is for them too.
	Sentinel string

	// SentinelUsername and SentinelPassword are for the sentinels. Without a
	// password none is sent, and those of the server only if they want one.
	SentinelUsername, SentinelPassword string

	// Cluster tells that the addresses are those of a Redis Cluster.
	Cluster bool

	// resolver looks names up. nil: the default one, as it is at Open.
	resolver *net.Resolver
}

const defaultPrefix = "ldap_auth"

// How soon a server that has gone silent is noticed: after a second at the most,
// which is what a sign-out on another node may take.
const (
	dialTimeout = time.Second

	// A connection on which nothing comes is asked after pingEvery, and closed
	// when that has no answer within pingTimeout.
	pingEvery   = 200 * time.Millisecond
	pingTimeout = 600 * time.Millisecond

	bufferSize = 64 << 10
)

func (o *Options) check() error {
	switch {
	case len(o.Addresses) == 0:
		return errors.New("no address of a Redis server")
	case o.Sentinel != "" && o.Cluster:
		return fmt.Errorf("sentinel %q and cluster exclude each other", o.Sentinel)
	case o.Sentinel == "" && !o.Cluster && len(o.Addresses) > 1:
		return fmt.Errorf("%d addresses %q: several are for sentinel or cluster only", len(o.Addresses), o.Addresses)
	case o.Username != "" && o.Password == "":
		return fmt.Errorf("username %q without a password", o.Username)
	case o.Sentinel == "" && (o.SentinelUsername != "" || o.SentinelPassword != ""):
		return errors.New("a user or password for sentinels without a sentinel's name")
	case o.SentinelUsername != "" && o.SentinelPassword == "":
		return fmt.Errorf("sentinel username %q without a password", o.SentinelUsername)
	case strings.ContainsAny(o.Prefix, "{}"):
		return fmt.Errorf("prefix %q has a brace, which ends the hash tag", o.Prefix)
	}
	for _, address := range o.Addresses {
		host, port, err := net.SplitHostPort(address)
		if err == nil && (host == "" || port == "") {
			err = errors.New("host or port is missing")
		}
		if err != nil {
			return fmt.Errorf("address %q: %w", address, err)
		}
	}
	return nil
}

// client are the options of a client without tracking. There is one connection
// to a server, on which all commands follow each other: what was changed is told
// on the same one, so that it cannot overtake an answer or come behind it.
func (o *Options) client() rueidis.ClientOption {
	c := rueidis.ClientOption{
		InitAddress: o.Addresses,
		Username:    o.Username, Password: o.Password,
		ClientName:          "caddy-ldap",
		ClientSetInfo:       rueidis.DisableClientSetInfo,
		Dialer:              net.Dialer{Timeout: dialTimeout, KeepAlive: pingEvery, Resolver: o.resolver},
		ConnWriteTimeout:    pingTimeout,
		PipelineMultiplex:   -1,
		ReadBufferEachConn:  bufferSize,
		WriteBufferEachConn: bufferSize,
		AlwaysPipelining:    true, // else a call does not see that its context is cancelled
		DisableRetry:        true, // a server that is down is an error now, not in five seconds
		DisableCache:        true,
		ForceSingleClient:   o.Sentinel == "" && !o.Cluster,
	}
	if o.TLS != nil {
		c.TLSConfig = o.TLS.Clone()
		c.TLSConfig.MinVersion = max(c.TLSConfig.MinVersion, tls.VersionTLS12)
	}
	if o.Sentinel != "" {
		c.Sentinel = rueidis.SentinelOption{
			MasterSet: o.Sentinel, Username: o.SentinelUsername, Password: o.SentinelPassword,
			TLSConfig: c.TLSConfig, Dialer: c.Dialer, ClientName: c.ClientName,
			// An event that was missed would leave us with the old primary.
			TopologyRefreshInterval: time.Second,
		}
	}
	return c
}

// waiting are the options of a client for writes that wait for a replica, which
// have a socket each.
func (o *Options) waiting() rueidis.ClientOption {
	c := o.client()
	c.BlockingPoolSize = maxWaiting
	c.ReadBufferEachConn, c.WriteBufferEachConn = 4<<10, 4<<10
	c.RingScaleEachConn = 2 // four commands
	return c
}

// tracking are the options of a client that is told of every record that
// changes: by prefix, so that the server keeps no list of what we have read.
func (o *Options) tracking(changed func([]rueidis.RedisMessage)) rueidis.ClientOption {
	c := o.client()
	c.DisableCache = false
	k := newKeys(o.Prefix)
	c.ClientTrackingOptions = []string{"BCAST", "PREFIX", k.sessions}
	c.OnInvalidations = changed
	return c
}

// asksSentinelsWithout tells that the sentinels are asked without a password
// although there is one that they may want.
func (o *Options) asksSentinelsWithout() bool {
	return o.Sentinel != "" && o.SentinelPassword == "" && o.Password != ""
}
