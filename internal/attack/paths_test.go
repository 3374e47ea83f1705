package attack

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/pathreaders"
)

// pathRules is a site with public and require lines. Juan meets the line of /hr,
// María that of /admin.
const pathRules = `
	require_session {
		public /static/* /health
		require /admin/* "IT Admins"
		require /hr/* Empleados
	}
	reverse_proxy UPSTREAM`

// pathVisitors are those who come to such a site: nobody, Juan, María.
type pathVisitors struct {
	*site
	nobody, juan, maria string // their Cookie headers
}

func startPathSite(t *testing.T, setup setup) pathVisitors {
	t.Helper()
	s := start(t, setup)
	return pathVisitors{s, "", s.signIn(t, juan).cookie(), s.signIn(t, maria).cookie()}
}

// ask sends a target as it is. What it returns beside the answer are the paths
// to judge by: the one sent, and the one that the upstream got, if any.
func (v pathVisitors) ask(t testing.TB, target, cookie string) (r reply, served bool, paths []string) {
	t.Helper()
	v.echo.Forget()
	head := "GET " + target + " HTTP/1.1\nHost: HOST\nConnection: close\n"
	if cookie != "" {
		head += "Cookie: " + cookie + "\n"
	}
	r, err := v.tryRaw(t, head+"\n")
	if err != nil {
		t.Fatalf("%q: %v", target, err)
	}
	return v.seen(r, target)
}

func (v pathVisitors) seen(r reply, target string) (reply, bool, []string) {
	cut := func(target string) string { path, _, _ := strings.Cut(target, "?"); return path }
	paths := []string{cut(target)}
	for _, request := range v.echo.Requests() {
		paths = append(paths, cut(request.Target()))
	}
	return r, len(paths) > 1, paths
}

// pathTargets are known spellings and made-up ones, whose seed is logged.
func pathTargets(t testing.TB, madeUp int) []string {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	targets := pathreaders.Corpus()
	for range madeUp {
		targets = append(targets, pathreaders.Target(random))
	}
	return targets
}

// pathLines are those of pathRules.
func pathLines() pathreaders.Rules {
	return pathreaders.Rules{Public: []string{"/static/*", "/health"}, Require: []string{"/admin/*", "/hr/*"}}
}

// Whatever a stranger is served, every server reads below a public line and none
// below a require line.
func TestB14PublicPathsAreTheSameForEveryReader(t *testing.T) {
	t.Parallel()
	v := startPathSite(t, setup{site: pathRules})
	lines, readers, public := pathLines(), pathreaders.All(), 0
	check := func(target string, served bool, paths []string) {
		if !served {
			return
		}
		public++
		for _, path := range paths {
			if reached := lines.Of(readers, path); reached.Outside != "" || len(reached.Required) > 0 {
				t.Errorf("%q is served to nobody, as %q: outside for %q, under require for %q", target, path, reached.Outside, reached.Required)
			}
		}
	}
	for _, target := range pathTargets(t, 400) {
		r, served, paths := v.ask(t, target, v.nobody)
		if !served && r.status != 400 && r.status != 401 {
			t.Errorf("%q: %d %s", target, r.status, r.body)
		}
		check(target, served, paths)
	}
	if public < 10 {
		t.Errorf("only %d targets were public: the comparison says little", public)
	}
	for _, target := range pathTargets(t, 60) {
		v.echo.Forget()
		r, err := v.h2(t, h2Request{fields: [][2]string{{":path", target}}})
		if err == nil {
			_, served, paths := v.seen(r, target)
			check(target, served, paths)
		}
	}
}

// Whatever a user is served, no server reads below a require line whose group
// the user is not in.
func TestB13GroupsOfAPathAreTheSameForEveryReader(t *testing.T) {
	t.Parallel()
	v := startPathSite(t, setup{site: pathRules})
	lines, readers := pathLines(), pathreaders.All()
	for _, target := range pathTargets(t, 250) {
		for _, who := range []struct{ name, cookie, forbidden string }{{"Juan", v.juan, "/admin/*"}, {"María", v.maria, "/hr/*"}} {
			r, served, paths := v.ask(t, target, who.cookie)
			if !served {
				if code := r.code(); r.status != 400 && (r.status != 403 || code != "path_ambiguous" && code != "group_required") {
					t.Errorf("%q for %s: %d %s", target, who.name, r.status, r.body)
				}
				continue
			}
			for _, path := range paths {
				if witness := lines.Of(readers, path).Required[who.forbidden]; witness != "" {
					t.Errorf("%q is served to %s, as %q, which is under %s for %s", target, who.name, path, who.forbidden, witness)
				}
			}
		}
	}
	for target, want := range map[string]string{
		"/other": "200 200", "/a.b/c-d_e~f!$&'()*+,=:@": "200 200", "/caf%C3%A9": "200 200", "/x/": "200 200",
		"/admin": "403 200", "/%61dmin/x": "403 200", "/ADMIN/x": "403 200", "/administrator": "200 200", "/hr/x": "200 403",
	} {
		juan, _, _ := v.ask(t, target, v.juan)
		maria, _, _ := v.ask(t, target, v.maria)
		if got := fmt.Sprint(juan.status, maria.status); got != want {
			t.Errorf("%s for Juan and María: %s, want %s", target, got, want)
		}
	}
}

// wantHidden fails unless strangers are told to sign in, and signed-in people
// without every group are told that the path is ambiguous.
func (v pathVisitors) wantHidden(t testing.TB, targets ...string) {
	t.Helper()
	for _, target := range targets {
		for _, cookie := range []string{v.nobody, v.juan, v.maria} {
			r, served, _ := v.ask(t, target, cookie)
			switch {
			case served:
				t.Errorf("%q was served", target)
			case r.status == 400:
			case cookie == "":
				wantRefused(t, r)
			default:
				wantCode(t, r, 403, "path_ambiguous")
			}
		}
	}
}

func TestP12PublicFolderIsLeftByDots(t *testing.T) {
	t.Parallel()
	v := startPathSite(t, setup{site: pathRules})
	v.wantHidden(t, "/static/../admin", "/static/%2e%2e/admin", "/static/.%2E/admin", "/static/x/../../admin", "/static/..", "/static/./x", "/health/../admin", "/../static/x")
	r, served, _ := v.ask(t, "/static/..a/b..c/.d", v.nobody)
	if !served {
		t.Errorf("a name with dots: %d %s", r.status, r.body)
	}
}

func TestP29MatcherAndHandlerReadThePathOtherwise(t *testing.T) {
	t.Parallel()
	v := startPathSite(t, setup{site: pathRules})
	v.wantHidden(t, "//admin/x", "/static//../admin", "/static//x", "/static/..%2fadmin", "/static%2f..%2fadmin", "/static/%2e%2e%2fadmin", "/static/..;/admin", "/static/x;/../../admin", "/static/%252e%252e/admin", "/static/x%00")
}

// What stands in a query or a fragment opens nothing.
func TestP31QueryIsNoPartOfAPath(t *testing.T) {
	t.Parallel()
	v := startPathSite(t, setup{site: pathRules})
	for _, target := range []string{"/secret?/static/x", "/secret?x=/health", "/secret?/../static/x", "/secret/?/health", "/?/static/", "/secret?x#/health"} {
		if r, served, _ := v.ask(t, target, v.nobody); served {
			t.Errorf("%q was served", target)
		} else {
			wantRefused(t, r)
		}
	}
	for _, target := range []string{"/static/x?/admin", "/health?a=/../admin;//"} {
		if r, served, _ := v.ask(t, target, v.nobody); !served {
			t.Errorf("%q was refused: %d %s", target, r.status, r.body)
		}
	}
	for _, target := range []string{"/admin?/static/x", "/admin/x?/hr/y"} {
		r, _, _ := v.ask(t, target, v.juan)
		wantCode(t, r, 403, "group_required")
	}
}

// HTTP/1 and HTTP/2 both carry a # to the server, which some cut and some do
// not.
func TestP33FragmentIsNoPartOfAPath(t *testing.T) {
	t.Parallel()
	v := startPathSite(t, setup{site: pathRules})
	v.wantHidden(t, "/admin#/health", "/health#/admin", "/static/x#/../admin", "/admin%23/health", "/health%23", "/admin%3f/health", "/static/%3f")
	for _, path := range []string{"/admin#/health", "/health#/admin", "/static/#x", "/secret#/static/x"} {
		for _, cookie := range []string{v.nobody, v.juan} {
			v.echo.Forget()
			fields := [][2]string{{":path", path}}
			if cookie != "" {
				fields = append(fields, [2]string{"cookie", cookie})
			}
			r, err := v.h2(t, h2Request{fields: fields})
			if err == nil && r.status != 400 && r.status != 401 && r.status != 403 {
				t.Errorf("%s: %d %s", path, r.status, r.body)
			}
			v.wantNothingUpstream(t)
		}
	}
}
