package caddyauth

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/sessionstore/redisstore"
)

// provisioned is a storage after Provision.
func provisioned(t *testing.T, r Redis) *Redis {
	t.Helper()
	if err := r.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return &r
}

func TestRedisAddresses(t *testing.T) {
	t.Setenv("TEST_REDIS_HOST", "redis.example.com")
	t.Setenv("TEST_REDIS", "10.0.0.7:7000")
	for _, row := range []struct {
		written, want string
		local         bool
	}{
		{"redis.example.com", "redis.example.com:6379", false},
		{"redis.example.com:6380", "redis.example.com:6380", false},
		{"redis_1", "redis_1:6379", false},
		{"réseau.example", "réseau.example:6379", false},
		{"{env.TEST_REDIS_HOST}", "redis.example.com:6379", false},
		{"{env.TEST_REDIS_HOST}:7000", "redis.example.com:7000", false},
		{"{env.TEST_REDIS}", "10.0.0.7:7000", false},
		{"10.0.0.7", "10.0.0.7:6379", false},
		{"0.0.0.0:6379", "0.0.0.0:6379", false},
		{"127.0.0.1:7000", "127.0.0.1:7000", true},
		{"127.9.9.9", "127.9.9.9:6379", true},
		{"localhost", "localhost:6379", true},
		{"localhost.example.com", "localhost.example.com:6379", false},
		{"::1", "[::1]:6379", true},
		{"[::1]", "[::1]:6379", true},
		{"[::1]:7000", "[::1]:7000", true},
		{"::ffff:127.0.0.1", "[::ffff:127.0.0.1]:6379", true},
		{"[2001:db8::1]:7000", "[2001:db8::1]:7000", false},
		{"[fe80::1%eth0]:7000", "[fe80::1%eth0]:7000", false},
	} {
		t.Run(row.written, func(t *testing.T) {
			r := provisioned(t, Redis{Addresses: []string{row.written}})
			if got := fmt.Sprint(r.options.Addresses); got != "["+row.want+"]" || r.exposed == row.local {
				t.Errorf("got %s, exposed %v", got, r.exposed)
			}
			if r := provisioned(t, Redis{Addresses: []string{row.written}, TLS: true}); r.exposed {
				t.Error("exposed with TLS")
			}
		})
	}
	for _, written := range []string{"", " ", "a b", "a:b:c", "[::1", "::1]", "[::1]x", "[]:1", "a:6379x", "a:+1", "a:00000", "a:99999", "http://a", "@a", "unix:/x", "a?b", "a#b", `a"`} {
		if r := (&Redis{Addresses: []string{written}}); r.Provision(caddy.Context{}) == nil {
			t.Errorf("%q is taken for %q", written, r.options.Addresses)
		}
	}
}

func TestRedisOptions(t *testing.T) {
	certificate, key := testCertificate(t)
	files := &ClientCert{Certificate: certificate, Key: key}
	t.Setenv("TEST_REDIS_PASSWORD", "p w")
	address := []string{"redis.example.com"}
	for _, row := range []struct {
		what  string
		redis Redis
		right func(redisstore.Options) bool
	}{
		{"the shortest", Redis{Addresses: address}, func(o redisstore.Options) bool {
			return o.TLS == nil && o.Username == "" && o.Password == "" && o.Prefix == "" && o.Sentinel == "" && !o.Cluster
		}},
		{"user", Redis{Addresses: address, Username: "caddy", Password: "{env.TEST_REDIS_PASSWORD}", Prefix: "a"}, func(o redisstore.Options) bool {
			return o.Username == "caddy" && o.Password == "p w" && o.Prefix == "a"
		}},
		{"password alone", Redis{Addresses: address, Password: `a\{b`}, func(o redisstore.Options) bool {
			return o.Username == "" && o.Password == "a{b"
		}},
		{"sentinels", Redis{Addresses: []string{"a", "b:1"}, Sentinel: "m"}, func(o redisstore.Options) bool {
			return o.Sentinel == "m" && fmt.Sprint(o.Addresses) == "[a:26379 b:1]"
		}},
		{"cluster", Redis{Addresses: []string{"a", "b:1"}, Cluster: true}, func(o redisstore.Options) bool {
			return o.Cluster && fmt.Sprint(o.Addresses) == "[a:6379 b:1]"
		}},
		{"tls", Redis{Addresses: address, TLS: true}, func(o redisstore.Options) bool {
			return o.TLS != nil && o.TLS.RootCAs == nil && o.TLS.ServerName == "" && len(o.TLS.Certificates) == 0 && !o.TLS.InsecureSkipVerify
		}},
		{"ca_file alone", Redis{Addresses: address, CAFile: certificate}, func(o redisstore.Options) bool {
			return o.TLS != nil && o.TLS.RootCAs != nil
		}},
		{"server_name alone", Redis{Addresses: address, ServerName: "r.example"}, func(o redisstore.Options) bool {
			return o.TLS != nil && o.TLS.ServerName == "r.example"
		}},
		{"client_cert alone", Redis{Addresses: address, ClientCert: files}, func(o redisstore.Options) bool {
			return o.TLS != nil && len(o.TLS.Certificates) == 1
		}},
	} {
		t.Run(row.what, func(t *testing.T) {
			if o := provisioned(t, row.redis).options; !row.right(o) {
				t.Errorf("%+v", o)
			}
		})
	}
}

// TestRedisResource: whatever is different is used from the next reload on,
// because it is another store.
func TestRedisResource(t *testing.T) {
	const secret = "kE7-geheim"
	authority := testCA(t)
	certificate, key := testCertificate(t)
	base := func() Redis {
		return Redis{Addresses: []string{"a.example", "b.example"}, Sentinel: "m", Username: "u", Password: secret,
			SentinelUsername: "w", SentinelPassword: "v", CAFile: authority, Prefix: "p"}
	}
	resource := func(change func(*Redis)) string {
		r := base()
		change(&r)
		return provisioned(t, r).Resource()
	}
	same := resource(func(*Redis) {})
	if strings.Contains(same, secret) || strings.Contains(same, "a.example") {
		t.Errorf("it tells what is configured: %s", same)
	}
	for what, change := range map[string]func(*Redis){
		"again":                  func(*Redis) {},
		"with the default port":  func(r *Redis) { r.Addresses = []string{"a.example:26379", "b.example"} },
		"with tls, which was on": func(r *Redis) { r.TLS = true },
	} {
		if got := resource(change); got != same {
			t.Errorf("%s: it is another one", what)
		}
	}
	other := resource(func(r *Redis) {
		renewed := testCA(t)
		text, err := os.ReadFile(renewed)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(authority, text, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if other == same {
		t.Error("another certificate in the same file is not noticed")
	}
	found := map[string]string{same: "the one before", other: "with another certificate"}
	for what, change := range map[string]func(*Redis){
		"an address":         func(r *Redis) { r.Addresses = []string{"a.example", "c.example"} },
		"the addresses":      func(r *Redis) { r.Addresses = []string{"a.example"} },
		"the port":           func(r *Redis) { r.Addresses = []string{"a.example:1", "b.example"} },
		"the user":           func(r *Redis) { r.Username = "x" },
		"the password":       func(r *Redis) { r.Password = secret + "x" },
		"no user":            func(r *Redis) { r.Username = "" },
		"no password":        func(r *Redis) { r.Username, r.Password = "", "" },
		"the prefix":         func(r *Redis) { r.Prefix = "q" },
		"the sentinel":       func(r *Redis) { r.Sentinel = "n" },
		"sentinel_username":  func(r *Redis) { r.SentinelUsername = "x" },
		"sentinel_password":  func(r *Redis) { r.SentinelPassword = "x" },
		"the server's name":  func(r *Redis) { r.ServerName = "x" },
		"a certificate":      func(r *Redis) { r.ClientCert = &ClientCert{Certificate: certificate, Key: key} },
		"no TLS":             func(r *Redis) { r.CAFile = "" },
		"the system's CAs":   func(r *Redis) { r.CAFile, r.TLS = "", true },
		"a cluster":          func(r *Redis) { r.Sentinel, r.SentinelUsername, r.SentinelPassword, r.Cluster = "", "", "", true },
		"parts moved around": func(r *Redis) { r.Prefix, r.Sentinel = "m", "p" },
	} {
		got := resource(change)
		if before, taken := found[got]; taken {
			t.Errorf("%s: the same as %s", what, before)
		}
		found[got] = what
	}
}

func TestRedisWithoutTLSIsWarnedOf(t *testing.T) {
	for _, row := range []struct {
		what    string
		redis   Redis
		warning bool
	}{
		{"another machine", Redis{Addresses: []string{"10.0.0.7"}}, true},
		{"this machine", Redis{Addresses: []string{"127.0.0.1"}}, false},
		{"another machine, with TLS", Redis{Addresses: []string{"10.0.0.7"}, TLS: true}, false},
		{"one of two on another machine", Redis{Addresses: []string{"localhost", "10.0.0.7"}, Cluster: true}, true},
	} {
		t.Run(row.what, func(t *testing.T) {
			var text bytes.Buffer
			row.redis.Password = "kE7-geheim"
			provisioned(t, row.redis).warn(slog.New(slog.NewTextHandler(&text, nil)))
			if warned := strings.Count(text.String(), "\n"); warned != 1 && row.warning || warned != 0 && !row.warning {
				t.Errorf("%d lines: %s", warned, &text)
			}
			if strings.Contains(text.String(), "geheim") || row.warning && !strings.Contains(text.String(), "set tls") {
				t.Errorf("it says %s", &text)
			}
		})
	}
}

// TestRedisErrorsShowNoSecret has the password where people put it.
func TestRedisErrorsShowNoSecret(t *testing.T) {
	const secret = "kE7-geheim"
	t.Setenv("TEST_REDIS_URL", "redis://:"+secret+"@redis.example.com")
	t.Setenv("TEST_REDIS_USER", secret+"@redis.example.com")
	for what, line := range map[string]string{
		"in a URL":                        "redis://:" + secret + "@redis.example.com:6379/0",
		"in a URL of a placeholder":       "{env.TEST_REDIS_URL}",
		"before the host":                 "default:" + secret + "@redis.example.com:6379",
		"before the host, by placeholder": "{env.TEST_REDIS_USER}",
		"in a Unix socket's URL":          "unix://:" + secret + "@/run/redis.sock",
		"beside a placeholder":            "a.example {\npassword " + secret + "{env.TEST_UNSET_PASSWORD}\n}",
		"in two words":                    "a.example {\npassword " + secret + " " + secret + "\n}",
		"of the sentinels":                "a.example {\nsentinel_password " + secret + "\n}",
		"twice":                           "a.example {\npassword " + secret + "\npassword " + secret + "\n}",
	} {
		t.Run(what, func(t *testing.T) {
			config, err := adapt(aConfig("sessions", "storage redis "+line))
			if err == nil {
				err = validate(t, config)
			}
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

// TestWrongRedisInJSONIsRefused has what the Caddyfile refuses already, with the
// same words.
func TestWrongRedisInJSONIsRefused(t *testing.T) {
	const config = `{"apps":{"ldap_auth":{"directories":[{"label":"corp.example.com","servers":["ldaps://dc1.corp.example.com"]}],
		"sessions":{"storage":{"module":"redis"%s}}}}}`
	for _, row := range []struct{ name, storage, want string }{
		{"no addresses", ``, "an address is missing"},
		{"empty addresses", `,"addresses":[]`, "an address is missing"},
		{"blank address", `,"addresses":[" "]`, "an address is empty"},
		{"null address", `,"addresses":[null]`, "an address is empty"},
		{"URL", `,"addresses":["redis://a.example"]`, "an address is a URL"},
		{"path", `,"addresses":["/run/redis.sock"]`, "Unix socket"},
		{"bad port", `,"addresses":["a.example:70000"]`, `"70000"`},
		{"two addresses", `,"addresses":["a.example","b.example"]`, "2 addresses: several are for sentinel or cluster only"},
		{"sentinel and cluster", `,"addresses":["a.example"],"sentinel":"m","cluster":true`, "sentinel and cluster exclude each other"},
		{"username alone", `,"addresses":["a.example"],"username":"u"`, "username is there without password"},
		{"sentinel_password alone", `,"addresses":["a.example"],"sentinel_password":"u"`, "sentinel_password is for sentinel only"},
		{"brace in the prefix", `,"addresses":["a.example"],"prefix":"a}b"`, `prefix: "a}b" has a brace`},
		{"empty client_cert", `,"addresses":["a.example"],"client_cert":{}`, "client_cert: it needs a certificate and a key"},
		{"missing ca_file", `,"addresses":["a.example"],"ca_file":"/nowhere/ca.pem"`, "ca_file: reading the certificates"},
		{"unknown field", `,"addresses":["a.example"],"database":1`, "database"},
		{"one address as text", `,"addresses":"a.example"`, "addresses"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := validate(t, fmt.Appendf(nil, config, row.storage))
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "storage") {
				t.Errorf("got %v, want an error with %s", err, row.want)
			}
		})
	}
	if err := validate(t, fmt.Appendf(nil, config, `,"addresses":["a.example"]`)); err != nil {
		t.Errorf("and without any of them: %v", err)
	}
}

// TestValidateDialsNoRedis has a server that would notice.
func TestValidateDialsNoRedis(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	asked := make(chan struct{})
	go func() {
		if conn, err := listener.Accept(); err == nil {
			conn.Close()
			close(asked)
		}
	}()
	for _, options := range []string{"", "tls", "cluster", "sentinel m"} {
		config, err := adapt(aConfig("sessions", "storage redis "+listener.Addr().String()+" {\npassword x\n"+options+"\n}"))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, config); err != nil {
			t.Error(err)
		}
	}
	select {
	case <-asked:
		t.Error("it was dialled")
	case <-time.After(200 * time.Millisecond):
	}
	if n := len(openHandles(t)); n != 0 {
		t.Errorf("%d stores are held", n)
	}
}
