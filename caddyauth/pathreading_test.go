package caddyauth

import (
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/pathreaders"
)

// FuzzPublicPath compares with what other servers make of a path. Whatever is
// public, all of them see under a public line and none under a require line;
// and what one of them sees under a require line needs its group.
func FuzzPublicPath(f *testing.F) {
	for _, seed := range pathreaders.Corpus() {
		f.Add(seed)
	}
	check := newDifference(f)
	f.Fuzz(func(t *testing.T, target string) { check.compare(t, target) })
}

// A thousand of them at every run, because the fuzzer itself only runs when
// somebody asks it to.
func TestReadersAgreeOnMadeUpPaths(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	check, random := newDifference(t), rand.New(rand.NewPCG(seed, 0))
	for range 1000 {
		check.compare(t, pathreaders.Target(random))
	}
}

// difference compares the rules of one handler with a list of readers.
type difference struct {
	rules   pathRules
	written pathreaders.Rules
	readers []pathreaders.Reader
}

func newDifference(t testing.TB) difference {
	t.Helper()
	d := difference{
		written: pathreaders.Rules{
			Public:  []string{"/static/*", "/health", "/admin/logo"},
			Require: []string{"/admin/*", "/hr/list", "/static/inner/", "/café/*"},
		},
		readers: pathreaders.All(),
	}
	var require []PathRequirement
	for _, line := range d.written.Require {
		require = append(require, PathRequirement{Path: line, Groups: []string{line}})
	}
	var err error
	if d.rules, err = compilePathRules(d.written.Public, require); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d difference) compare(t testing.TB, target string) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil || u.Host != "" || u.Scheme != "" || target == "*" {
		return // net/http refuses it, or has the path from a URL with a host
	}
	path, _, _ := strings.Cut(target, "?")
	reached := d.written.Of(d.readers, path)
	public, ambiguous, required := d.rules.judge(u)
	if public && (reached.Outside != "" || len(reached.Required) > 0) {
		t.Errorf("%q is public, but outside for %q, under require for %q", target, reached.Outside, reached.Required)
	}
	if ambiguous && len(required) != len(d.rules.require) {
		t.Errorf("%q is ambiguous and needs only %v", target, required)
	}
	for line, witness := range reached.Required {
		if !slices.ContainsFunc(required, func(r requireLine) bool { return r.groups[0] == line }) {
			t.Errorf("%q does not need the group of %s, which matters to %s", target, line, witness)
		}
	}
}
