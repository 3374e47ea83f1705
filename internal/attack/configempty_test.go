package attack

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A Caddyfile cannot say a list without members, JSON can, and templates that
// came out empty do: such a list is an error, not the feature switched off.
func TestR14EmptyListsAreNotTheFeatureSwitchedOff(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{auth: "trusted_ips 127.0.0.1\ntrusted_origins https://app.trusted.test", site: `
	@it session_group "IT Admins"
	require_session "IT Admins" {
		public /open/*
		require /group/* Empleados
		forward_groups Ingenieria
		directories empresa.local
	}
	respond @it ok`})
	adapted, err := s.command(t, "adapt", "--config", s.config(t, text), "--adapter", "caddyfile").Output()
	if err != nil {
		t.Fatalf("adapting: %v", err)
	}
	validate := func(t *testing.T, text string) (string, error) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		before := len(s.read("caddy.json"))
		out, err := s.command(t, "validate", "--config", file).CombinedOutput()
		return strings.ReplaceAll(string(out)+s.read("caddy.json")[before:], file, ""), err
	}
	if out, err := validate(t, string(adapted)); err != nil {
		t.Fatalf("the whole configuration is refused: %s", out)
	}
	for _, list := range []struct{ name, found, named string }{
		{"trusted_ips", `"trusted_ips":\[[^\]]*\]`, "trusted_ips"},
		{"trusted_origins", `"trusted_origins":\[[^\]]*\]`, "trusted_origins"},
		{"groups of the handler", `"groups":\["IT Admins"\],"handler"`, "require_session: groups"},
		{"groups of a path", `"groups":\["Empleados"\]`, "require /group/*"},
		{"groups of the matcher", `"session_group":\{"groups":\[[^\]]*\]`, "session_group"},
		{"public", `"public":\[[^\]]*\]`, "public"},
		{"forward_groups", `"forward_groups":\[[^\]]*\]`, "forward_groups"},
		{"directories of the handler", `"directories":\["empresa.local"\]`, "directories"},
		{"the servers of the directory", `"servers":\["ldap://[^\]]*\]`, "servers"},
	} {
		t.Run(list.name, func(t *testing.T) {
			member := regexp.MustCompile(`\["[^\]]*\]`)
			found := 0
			edited := regexp.MustCompile(list.found).ReplaceAllStringFunc(string(adapted), func(part string) string {
				found++
				return member.ReplaceAllString(part, "[]")
			})
			if found != 1 {
				t.Fatalf("the list is there %d times in %s", found, adapted)
			}
			if out, err := validate(t, edited); err == nil || !strings.Contains(out, list.named) {
				t.Errorf("an empty list: %v\n%s", err, out)
			}
		})
	}
}
