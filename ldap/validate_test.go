package ldap

import (
	"log/slog"
	"strings"
	"testing"
)

func TestNewRefuses(t *testing.T) {
	ok := func() Config {
		return Config{Label: "corp.test", Servers: []string{"ldaps://dc1.corp.test"}, Logger: slog.New(slog.DiscardHandler)}
	}
	servers := func(urls ...string) func(*Config) { return func(c *Config) { c.Servers = urls } }
	tests := []struct {
		what string
		edit func(*Config)
		text string // "" for accepted
	}{
		{"the least", func(*Config) {}, ""},
		{"no logger", func(c *Config) { c.Logger = nil }, "Logger"},
		{"no label", func(c *Config) { c.Label = "" }, "label"},
		{"label with a space", func(c *Config) { c.Label = "a b" }, `"a b"`},
		{"label with an at sign", func(c *Config) { c.Label = "a@b" }, "label"},
		{"unknown kind", func(c *Config) { c.Kind = "novell" }, `"novell"`},
		{"no servers", servers(), ""},
		{"no servers, and no domain to ask DNS for", func(c *Config) { c.Servers, c.Label = nil, "corp" }, "servers"},
		{"another scheme", servers("https://x"), `"https://x"`},
		{"ldapi", servers("ldapi:///run/x"), "servers"},
		{"no scheme", servers("dc1.corp.test"), "servers"},
		{"no host", servers("ldaps://:636"), "no host"},
		{"path", servers("ldaps://x/dc=corp"), "servers"},
		{"query", servers("ldaps://x?a"), "servers"},
		{"userinfo", servers("ldaps://bob:geheim@x"), "servers"},
		{"no URL, with userinfo", servers("ldaps://bob:geheim@[::1"), "servers"},
		{"port 0", servers("ldaps://x:0"), "port"},
		{"port too high", servers("ldaps://x:65536"), "port"},
		{"second server wrong", servers("ldaps://x", "x"), "servers"},
		{"plain text", servers("ldap://dc1.corp.test"), "insecure_plaintext"},
		{"plain text, name of a loopback look", servers("ldap://127.0.0.1.corp.test"), "insecure_plaintext"},
		{"plain text to loopback", servers("ldap://127.0.0.2:3890"), ""},
		{"plain text to loopback, IPv6", servers("ldap://[::1]:389"), ""},
		{"plain text to localhost", servers("LDAP://LOCALHOST"), ""},
		{"plain text, allowed", func(c *Config) { c.Servers, c.InsecurePlaintext = []string{"ldap://x"}, true }, ""},
		{"start_tls", func(c *Config) { c.Servers, c.StartTLS = []string{"ldap://x"}, true }, ""},
		{"start_tls with ldaps", func(c *Config) { c.StartTLS = true }, "start_tls"},
		{"generic without bind", func(c *Config) { c.Kind = KindGeneric }, "bind"},
		{"generic with bind", func(c *Config) { c.Kind, c.BindUser, c.BindPassword = KindGeneric, "cn=x", "geheim" }, ""},
		{"generic with a bind that is no DN", func(c *Config) { c.Kind, c.BindUser, c.BindPassword = KindGeneric, "x@corp", "geheim" }, "bind"},
		{"bind without a password", func(c *Config) { c.BindUser = "svc" }, "bind"},
		{"bind without a user", func(c *Config) { c.BindPassword = "geheim" }, "bind"},
		{"bind password with NUL", func(c *Config) { c.BindUser, c.BindPassword = "svc", "geheim\x00" }, "bind"},
		{"base_dn", func(c *Config) { c.BaseDN = "corp" }, `base_dn "corp"`},
		{"group_base", func(c *Config) { c.GroupBase = "dc=" + `\` }, "group_base"},
		{"user_filter without a name", func(c *Config) { c.UserFilter = "(uid=x)" }, "user_filter"},
		{"user_filter that does not compile", func(c *Config) { c.UserFilter = "(uid={user}" }, "user_filter"},
		{"email attribute", func(c *Config) { c.Attributes.Email = "mail)(x" }, `email "mail)(x"`},
		{"no email attribute", func(c *Config) { c.Attributes.Email = "-" }, ""},
		{"empty group", func(c *Config) { c.Groups = []string{"a", " "} }, "group"},
		{"broken SID", func(c *Config) { c.Groups = []string{"S-1-5-x"} }, `"S-1-5-x"`},
		{"group with a newline", func(c *Config) { c.Groups = []string{"a\nb"} }, "group"},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			config := ok()
			test.edit(&config)
			_, err := New(config)
			switch {
			case test.text == "" && err != nil:
				t.Errorf("New: %v, want it accepted", err)
			case test.text != "" && err == nil:
				t.Error("New accepted it")
			case test.text != "" && !strings.Contains(err.Error(), test.text):
				t.Errorf("error %q does not say %q", err, test.text)
			case err != nil && strings.Contains(err.Error(), "geheim"):
				t.Errorf("error %q shows a password", err)
			}
		})
	}
}
