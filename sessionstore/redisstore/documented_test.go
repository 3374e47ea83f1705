package redisstore

import (
	"crypto/tls"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// documented is the block of docs/cluster.md that begins with some words, with a
// password where the page has none.
func documented(t *testing.T, begins string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)\n```\n("+regexp.QuoteMeta(begins)+".*?)\n```\n").FindAllSubmatch(page, -1)
	if len(found) != 1 {
		t.Fatalf("docs/cluster.md has %d blocks that begin with %q", len(found), begins)
	}
	return strings.ReplaceAll(string(found[0][1]), "…", aclPassword)
}

// documentedConfig is what the page has in redis.conf, with or without what is
// for replicas only.
func documentedConfig(t *testing.T, replicas bool) string {
	t.Helper()
	all := documented(t, "bind ")
	alone, more, ok := strings.Cut(all, "\n# With replicas only:\n")
	if !ok || !strings.Contains(more, "min-replicas-to-write") {
		t.Fatalf("docs/cluster.md has no part for replicas:\n%s", alone)
	}
	if !replicas {
		return alone
	}
	return all
}

// ofTheNetwork are the lines about addresses and TLS.
var ofTheNetwork = regexp.MustCompile(`(?m)^(?:bind|port|tls-[a-z-]+) .*\n`)

// documentedPlain is documentedConfig for a network that is trusted.
func documentedPlain(t *testing.T, replicas bool) string {
	t.Helper()
	return ofTheNetwork.ReplaceAllString(documentedConfig(t, replicas), "")
}

// adminRule is the page's user for people.
func adminRule(t *testing.T) string {
	t.Helper()
	rule := regexp.MustCompile(`(?m)^user admin on .*$`).FindString(documented(t, "user default"))
	if rule == "" {
		t.Fatal("docs/cluster.md has no user admin")
	}
	return rule
}

// administers signs in as that user.
func administers(t *testing.T, address string, config *tls.Config) rueidis.Client {
	t.Helper()
	return raw(t, Options{Addresses: []string{address}, Username: "admin", Password: aclPassword, TLS: config})
}

func infoOf(t *testing.T, c rueidis.Client, section string) string {
	t.Helper()
	info, err := c.Do(t.Context(), c.B().Info().Section(section).Build()).ToString()
	if err != nil {
		return ""
	}
	return info
}

// With the documented configuration and rights, a restart changes nothing. The
// server reads its file as the default user: one without rights would leave out
// every step of several commands.
func TestTheDocumentedServerKeepsEndsOverARestart(t *testing.T) {
	for name, restart := range map[string]func(*testing.T, *realserver.Redis){
		"kill -9": func(t *testing.T, server *realserver.Redis) {
			server.Kill()
			server.Restart(t)
		},
		"a shutdown": func(t *testing.T, server *realserver.Redis) {
			server.Stop()
			server.Restart(t)
		},
		"the file written anew, and kill -9": func(t *testing.T, server *realserver.Redis) {
			rewrite(t, server)
			server.Kill()
			server.Restart(t)
		},
		"the file written anew, and a shutdown": func(t *testing.T, server *realserver.Redis) {
			rewrite(t, server)
			server.Stop()
			server.Restart(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{
				documentedPlain(t, false), aclRules(t, "shop"), adminRule(t),
			}})
			options := Options{Addresses: []string{server.Addr}, Username: aclUser, Password: aclPassword, Prefix: "shop"}
			s := open(t, options)
			var live, ended []sessionstore.Key
			use := func() {
				stays, ends := create(t, s), create(t, s)
				if ok, err := s.Delete(t.Context(), ends); !ok || err != nil {
					t.Fatalf("Delete: %v, %v", ok, err)
				}
				live, ended = append(live, stays), append(ended, ends)
			}
			use()
			rewrite(t, server)
			use()
			// One that is in the file written anew, and ends after that.
			if ok, err := s.Delete(t.Context(), live[0]); !ok || err != nil {
				t.Fatalf("Delete: %v, %v", ok, err)
			}
			live, ended = live[1:], append(ended, live[0])
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}

			restart(t, server)
			// A store that has ended nothing, and cannot end it again.
			after := open(t, options)
			works(t, after)
			for _, key := range live {
				there(t, after, key, true)
			}
			for _, key := range ended {
				there(t, after, key, false)
			}
			if n, err := after.Count(t.Context()); n.Sessions != len(live) || err != nil {
				t.Errorf("Count: %v, %v, want %d sessions", n, err, len(live))
			}
			unavailable(t, open(t, Options{Addresses: []string{server.Addr}, Prefix: "shop"}))
			unavailable(t, open(t, Options{Addresses: []string{server.Addr}, Username: "default", Password: aclPassword, Prefix: "shop"}))
		})
	}
}

// Where the page has a replica confirm what is written, one that is missing stops
// sign-ins and ends, and no reads.
func TestTheDocumentedServerWithoutAReplica(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{
		documentedPlain(t, true), aclRules(t, "shop"), adminRule(t),
	}})
	c := administers(t, server.Addr, nil)
	demand := func(replicas string) {
		if err := c.Do(t.Context(), c.B().ConfigSet().ParameterValue().ParameterValue("min-replicas-to-write", replicas).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, Options{Addresses: []string{server.Addr}, Username: aclUser, Password: aclPassword, Prefix: "shop"})
	demand("0")
	key := create(t, s)
	demand("1")
	if _, err := tryCreate(t, s); !errors.Is(err, sessionstore.ErrUnavailable) {
		t.Errorf("Create: %v, want that it is refused", err)
	}
	if _, err := s.Delete(t.Context(), key); !errors.Is(err, sessionstore.ErrUnavailable) {
		t.Errorf("Delete: %v, want that it is refused", err)
	}
	there(t, s, key, true)
}

// rewrite has the server write its append-only file anew.
func rewrite(t *testing.T, server *realserver.Redis) {
	t.Helper()
	c := administers(t, server.Addr, nil)
	eventually(t, "begun", func() bool { return c.Do(t.Context(), c.B().Bgrewriteaof().Build()).Error() == nil })
	eventually(t, "written anew", func() bool {
		info := infoOf(t, c, "persistence")
		return strings.Contains(info, "aof_rewrite_in_progress:0") && strings.Contains(info, "aof_rewrite_scheduled:0")
	})
	if info := infoOf(t, c, "persistence"); !strings.Contains(info, "aof_last_bgrewrite_status:ok") {
		t.Fatalf("writing the file anew: %s", info)
	}
}
