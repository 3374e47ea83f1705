package caddyauth

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestServerNames(t *testing.T) {
	t.Setenv("TEST_REDIS_NAME", "redis.example.com")
	for written, want := range map[string]string{
		"redis.example.com":                      "",
		"redis":                                  "",
		"Redis-1.Example.com.":                   "",
		"redis_1.example.com":                    "",
		"xn--rseau-bsa.example":                  "",
		"7.redis.example.com":                    "",
		"redis7":                                 "",
		"10.0.0.7":                               "",
		"2001:db8::1":                            "",
		"[2001:db8::1]":                          "",
		strings.Repeat("a", 63) + ".example.com": "",
		"{env.TEST_REDIS_NAME}":                  "redis.example.com",
		"new-{env.TEST_REDIS_NAME}":              "new-redis.example.com",
		"{env.TEST_REDIS_NAME}:6379":             "!",
		"https://{env.TEST_REDIS_NAME}":          "!",
		"redis:6379":                             "!",
		"redis.example.com:6379":                 "!",
		"10.0.0.7:6379":                          "!",
		"[2001:db8::1]:6379":                     "!",
		"[redis]":                                "!",
		"https://redis":                          "!",
		"rediss://redis.example.com":             "!",
		"caddy@redis":                            "!",
		"a b":                                    "!",
		" redis":                                 "!",
		"redis ":                                 "!",
		" ":                                      "!",
		"redis\n":                                "!",
		"redis/0":                                "!",
		"redis,redis2":                           "!",
		"*.example.com":                          "!",
		".example.com":                           "!",
		"redis..example.com":                     "!",
		".":                                      "!",
		"-redis":                                 "!",
		"redis-.example.com":                     "!",
		"10.0.0.256":                             "!",
		"10.0.0":                                 "!",
		"fe80::1%eth0":                           "!",
		"réseau.example":                         "!",
		"redis{":                                 "!",
		`\{redis\}`:                              "!",
		"{redis}":                                "!",
		"{env.TEST_UNSET_REDIS}":                 "!",
		strings.Repeat("a", 64) + ".example.com": "!",
		strings.Repeat("a.", 127) + "example.com": "!",
	} {
		if want == "" {
			want = written
		}
		r := &Redis{Addresses: []string{"a.example"}, ServerName: written}
		switch err := r.Provision(caddy.Context{}); {
		case err == nil && r.options.TLS.ServerName != want:
			t.Errorf("%q is %q, want %q", written, r.options.TLS.ServerName, want)
		case err != nil && (want != "!" || !strings.HasPrefix(err.Error(), "storage redis: server_name")):
			t.Errorf("%q: %v, want %q", written, err, want)
		}
	}
}

func TestNamesOfPrimaries(t *testing.T) {
	t.Setenv("TEST_SENTINEL", "mymaster")
	for written, want := range map[string]string{
		"mymaster":                    "mymaster",
		"Site.A_1-b":                  "Site.A_1-b",
		"{env.TEST_SENTINEL}":         "mymaster",
		"{env.TEST_SENTINEL}-2":       "mymaster-2",
		"{env.TEST_UNSET_SENTINEL}":   "",
		"a{env.TEST_UNSET_SENTINEL}b": "",
		"{env.TEST_SENTINEL":          "",
		"{mymaster}":                  "",
		"my master":                   "",
		" ":                           "",
		"mymaster\n":                  "",
	} {
		r := &Redis{Addresses: []string{"a.example"}, Sentinel: written}
		err := r.Provision(caddy.Context{})
		if r.options.Sentinel != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v, want %q", written, r.options.Sentinel, err, want)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "storage redis: sentinel: ") {
			t.Errorf("%q: %v", written, err)
		}
	}
}

// TestNamesOfRedisInTheCaddyfile: what can be seen in the Caddyfile is refused
// there, and what placeholders lead to when it is loaded.
func TestNamesOfRedisInTheCaddyfile(t *testing.T) {
	t.Setenv("TEST_REDIS_NAME", "redis.example.com:6379")
	for _, row := range []struct {
		option string
		at     int
		want   []string
	}{
		{"server_name redis:6379", 10, []string{"server_name", `"redis:6379"`, "host's name", "IP address"}},
		{"server_name https://redis", 10, []string{"server_name", "URL"}},
		{`server_name "a b"`, 10, []string{"server_name", `"a b"`}},
		{"server_name *.example.com", 10, []string{"server_name", `"*.example.com"`}},
		{"server_name réseau.example", 10, []string{"server_name", "xn--"}},
		{"server_name {env.TEST_REDIS_NAME}", 0, []string{"server_name", `"redis.example.com:6379"`}},
		{"server_name {env.TEST_UNSET_REDIS}", 0, []string{"server_name", "env.TEST_UNSET_REDIS"}},
		{`sentinel "my master"`, 10, []string{"sentinel", `"my master"`, "sentinel monitor"}},
		{"sentinel {env.TEST_UNSET_REDIS}", 0, []string{"sentinel", "env.TEST_UNSET_REDIS"}},
		{"ca_file {env.TEST_UNSET_REDIS}", 0, []string{"ca_file", "env.TEST_UNSET_REDIS"}},
		{"client_cert {env.TEST_UNSET_REDIS} /k.pem", 0, []string{"client_cert", "env.TEST_UNSET_REDIS"}},
		{"client_cert /c.pem {env.TEST_UNSET_REDIS}", 0, []string{"client_cert", "env.TEST_UNSET_REDIS"}},
	} {
		t.Run(row.option, func(t *testing.T) {
			config, err := adapt(aConfig("sessions", "storage redis a.example {\n"+row.option+"\n}"))
			if (err == nil) != (row.at == 0) {
				t.Fatalf("adapting: %v", err)
			}
			if err == nil {
				err = validate(t, config)
			} else if !strings.Contains(err.Error(), fmt.Sprintf("Caddyfile:%d", row.at)) {
				t.Errorf("the error does not name Caddyfile:%d: %v", row.at, err)
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(row.want, "storage redis") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not have %s: %v", want, err)
				}
			}
		})
	}
}

// TestFilesOfRedisByPlaceholder: other certificates in the files that
// placeholders lead to are another store.
func TestFilesOfRedisByPlaceholder(t *testing.T) {
	certificate, key := testCertificate(t)
	t.Setenv("TEST_REDIS_FOLDER", filepath.Dir(certificate))
	t.Setenv("TEST_REDIS_KEY", key)
	written := Redis{
		Addresses: []string{"a.example"}, CAFile: "{env.TEST_REDIS_FOLDER}/ca.pem",
		ClientCert: &ClientCert{Certificate: "{env.TEST_REDIS_FOLDER}/ca.pem", Key: "{env.TEST_REDIS_KEY}"},
	}
	r := provisioned(t, written)
	if r.options.TLS.RootCAs == nil || len(r.options.TLS.Certificates) != 1 {
		t.Errorf("%+v", r.options.TLS)
	}
	if *written.ClientCert != (ClientCert{Certificate: "{env.TEST_REDIS_FOLDER}/ca.pem", Key: "{env.TEST_REDIS_KEY}"}) {
		t.Errorf("the configuration was changed: %+v", written.ClientCert)
	}
	plain := Redis{Addresses: written.Addresses, CAFile: certificate, ClientCert: &ClientCert{Certificate: certificate, Key: key}}
	if provisioned(t, plain).Resource() != r.Resource() {
		t.Error("the same files by name are another store")
	}
	other, otherKey := testCertificate(t)
	t.Setenv("TEST_REDIS_FOLDER", filepath.Dir(other))
	t.Setenv("TEST_REDIS_KEY", otherKey)
	if provisioned(t, written).Resource() == r.Resource() {
		t.Error("other files are the same store")
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := written.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), other) {
		t.Errorf("%v, want the missing file's name", err)
	}

	t.Setenv("TEST_REDIS_NAME", "redis.example.com")
	byName := Redis{Addresses: written.Addresses, ServerName: "{env.TEST_REDIS_NAME}"}
	r = provisioned(t, byName)
	t.Setenv("TEST_REDIS_NAME", "redis2.example.com")
	if provisioned(t, byName).Resource() == r.Resource() {
		t.Error("another server_name is the same store")
	}
}
