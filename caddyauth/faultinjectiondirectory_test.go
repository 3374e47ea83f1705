package caddyauth

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// riggedDirectory has the calls into a directory fail.
type riggedDirectory struct {
	directoryCalls
	fault atomic.Pointer[func(ctx context.Context, method string) error]
	calls sync.Map // by method: *atomic.Int64
}

func (d *riggedDirectory) call(ctx context.Context, method string) error {
	n, _ := d.calls.LoadOrStore(method, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	if fault := d.fault.Load(); fault != nil {
		return (*fault)(ctx, method)
	}
	return nil
}

func (d *riggedDirectory) counted(method string) int64 {
	n, _ := d.calls.LoadOrStore(method, new(atomic.Int64))
	return n.(*atomic.Int64).Load()
}

func (d *riggedDirectory) SignIn(ctx context.Context, username, password string, checks ...ldap.Check) (*ldap.Identity, error) {
	if err := d.call(ctx, "SignIn"); err != nil {
		return nil, err
	}
	return d.directoryCalls.SignIn(ctx, username, password, checks...)
}

func (d *riggedDirectory) Recheck(ctx context.Context, ids []string) ([]ldap.AccountState, error) {
	if err := d.call(ctx, "Recheck"); err != nil {
		return nil, err
	}
	return d.directoryCalls.Recheck(ctx, ids)
}

func (d *riggedDirectory) Lockout(ctx context.Context) ([]ldap.LockoutPolicy, error) {
	if err := d.call(ctx, "Lockout"); err != nil {
		return nil, err
	}
	return d.directoryCalls.Lockout(ctx)
}

func (d *riggedDirectory) GroupState(ref string) (ldap.Group, ldap.GroupState) {
	if err := d.call(context.Background(), "GroupState"); err != nil {
		return ldap.Group{}, ldap.GroupUnknown
	}
	return d.directoryCalls.GroupState(ref)
}

// startRigged is a server whose first directory is rigged before anybody asks
// it.
func startRigged(t *testing.T, c setup, options string) (*server, *riggedDirectory) {
	t.Helper()
	c.directory = rechecked()
	s := newServer(t, c)
	s.setup.servers = "servers " + s.directory.URL() + "\n" + bindService + "\n" + options
	text, err := adapt(s.caddyfile())
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Apps struct {
			Auth App `json:"ldap_auth"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	handle, key, err := config.Apps.Auth.Directories[0].acquire()
	if err != nil {
		t.Fatal(err)
	}
	rigged := &riggedDirectory{directoryCalls: handle.Directory}
	handle.calls = rigged
	t.Cleanup(func() { _, _ = directories.Delete(key) })
	if err := s.loadJSON(text); err != nil {
		t.Fatal(err)
	}
	return s, rigged
}

// TestEachDirectoryCallFailsInTurn: with an error, by taking long and with a
// panic, in requests and in the re-checks, which are nobody's request.
func TestEachDirectoryCallFailsInTurn(t *testing.T) {
	s, rigged := startRigged(t, setup{auth: unthrottled, site: faultSite}, "recheck 1s\ntimeout 2s")
	keeper, plain := s.signIn("mgarcia"), s.signIn("ac12345")
	want(t, s.do("GET", "/admin/x", keeper.cookies), 200, "upstream")
	eventually(t, "accounts are re-checked", func() bool { return rigged.counted("Recheck") > 0 })
	for _, method := range []string{"SignIn", "Recheck", "Lockout", "GroupState"} {
		for _, kind := range []string{"error", "delay", "panic"} {
			if method == "GroupState" && kind == "delay" {
				continue // it asks nobody
			}
			t.Run(method+" "+kind, func(t *testing.T) {
				before, over := rigged.counted(method), make(chan struct{})
				rigged.fault.Store(new(func(ctx context.Context, called string) error {
					switch {
					case called != method:
						return nil
					case kind == "panic":
						panic("injected")
					case kind == "delay":
						select {
						case <-ctx.Done():
						case <-over:
						}
						return &ldap.UnavailableError{Reason: ldap.ReasonDirectoryUnavailable, Err: errors.New("no answer")}
					}
					return &ldap.UnavailableError{Reason: ldap.ReasonDirectoryUnavailable, Err: errors.New("injected")}
				}))
				defer rigged.fault.Store(nil)
				if method == "SignIn" {
					want503(t, s.do("POST", "/api/login-ldap/", jsonBody(goodJSON)), signInDirectoryDown)
				}
				if method == "Recheck" {
					eventually(t, "accounts are to be re-checked", func() bool { return rigged.counted(method) > before })
				}
				hits := s.upstream.count()
				group := s.do("GET", "/admin/x", keeper.cookies)
				switch {
				case method != "GroupState":
					want(t, group, 200, "upstream")
				case kind == "panic":
					if group.StatusCode != 500 || s.upstream.count() != hits {
						t.Errorf("a panic in a group decision: %d %s", group.StatusCode, group.body)
					}
				default:
					// What the directory said at the sign-in counts as long as it says nothing.
					want(t, group, 200, "upstream")
				}
				hits = s.upstream.count()
				if got := s.do("GET", "/admin/x", plain.cookies); got.StatusCode != 403 && got.StatusCode != 500 || s.upstream.count() != hits {
					t.Errorf("somebody who is not in the group: %d %s", got.StatusCode, got.body)
				}
				hits = s.upstream.count()
				if got := s.do("GET", "/x", keeper.cookies); (got.StatusCode == 200) != (s.upstream.count() == hits+1) || got.StatusCode != 200 && method+kind != "GroupStatepanic" {
					t.Errorf("what needs no group: %d %s", got.StatusCode, got.body)
				}
				want(t, s.do("GET", "/x"), 401, bodyAuthenticationRequired)
				rigged.fault.Store(nil)
				close(over)
				want(t, s.do("GET", "/admin/x", s.signIn("mgarcia").cookies), 200, "upstream")
			})
		}
	}
	before := rigged.counted("Recheck")
	s.replace(func(dir *ldaptest.Directory) { account(t, dir, "ac12345").State = ldaptest.Disabled })
	eventually(t, "re-checks work again", func() bool { return s.do("GET", "/x", plain.cookies).StatusCode == 401 })
	if rigged.counted("Recheck") == before {
		t.Error("nobody has looked")
	}
}

// TestAPanicThatLastsEndsTheGrace: re-checks that only panic are re-checks that
// do not take place.
func TestAPanicThatLastsEndsTheGrace(t *testing.T) {
	s, rigged := startRigged(t, setup{}, "recheck 1s\nrecheck_grace 2s")
	rigged.fault.Store(new(func(_ context.Context, called string) error {
		if called == "Recheck" {
			panic("injected")
		}
		return nil
	}))
	c := s.signIn("ac12345")
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	eventually(t, "the grace is over", func() bool { return s.do("GET", "/x", c.cookies).StatusCode == 503 })
	rigged.fault.Store(nil)
	eventually(t, "all is well again", func() bool { return s.do("GET", "/x", c.cookies).StatusCode == 200 })
}
