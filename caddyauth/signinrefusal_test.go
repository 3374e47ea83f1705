package caddyauth

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// signInsSince counts the audit lines of sign-ins with a result.
func signInsSince(t *testing.T, mark int, result string) int {
	t.Helper()
	n := 0
	for _, line := range auditSince(t, mark) {
		if line["event"] == "sign_in" && line["result"] == result {
			n++
		}
	}
	return n
}

// eventually waits for something that takes its time, and gives up far later
// than any machine is slow.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// TestRefusedSignInsKeepTheirPlaces: answers that are held back are bounded like
// sign-ins that wait for the directory, and so is the memory that they take.
func TestRefusedSignInsKeepTheirPlaces(t *testing.T) {
	s := newServer(t, setup{directory: everyState(), auth: unthrottled})
	s.setup.servers = "servers " + s.directory.URL() + "\nqueue 1\nconnections 1"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	// The directory has said no at once; the two answers leave after 300 ms. A
	// machine may be too slow to send a third sign-in meanwhile.
	found := false
	for try := 0; try < 20 && !found; try++ {
		mark := logged.mark()
		var group sync.WaitGroup
		for user, status := range map[string]int{"ac12345": 401, "expirada": 403} {
			password := map[int]string{401: wrongPassword, 403: ldaptest.DemoPassword}[status]
			group.Go(func() {
				if got, err := s.try("POST", "/api/login-ldap/", jsonBody(credentialsJSON(user, password))); err != nil || got.StatusCode != status {
					t.Errorf("%s: %v, %+v", user, err, got)
				}
			})
		}
		eventually(t, "two refusals", func() bool { return signInsSince(t, mark, "refused") == 2 })
		binds := s.directory.Binds()
		got := s.attempt("mgarcia", ldaptest.DemoPassword)
		if found = got.StatusCode == 503; found {
			want503(t, got, signInDirectoryDown)
			wantAudit(t, mark, auditLine{"event": "sign_in", "result": "unavailable", "reason": "busy", "directory": "empresa.local"})
			if s.directory.Binds() != binds {
				t.Error("the directory was asked")
			}
		}
		group.Wait()
	}
	if !found {
		t.Error("a third sign-in always had a place beside two refusals that were held back")
	}
	s.signIn("mgarcia") // the places are free again
}

// TestPlacesOfClientsThatWentAreFree: or a few of them, hanging up, would keep
// everybody out until the directory answers.
func TestPlacesOfClientsThatWentAreFree(t *testing.T) {
	s := newServer(t, setup{auth: unthrottled})
	s.setup.servers = "servers " + s.directory.URL() + "\nqueue 2\nconnections 1\ntimeout 2m"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	s.directory.Delay(time.Minute) // what is asked now is never answered
	mark := logged.mark()
	ctx, hangUp := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for i := range 3 {
		group.Go(func() {
			_, _ = s.try("POST", "/api/login-ldap/", jsonBody(credentialsJSON(fmt.Sprintf("name%d", i), wrongPassword)), func(r *http.Request) { *r = *r.WithContext(ctx) })
		})
	}
	eventually(t, "a sign-in without a place", func() bool { return s.attempt("mgarcia", ldaptest.DemoPassword).StatusCode == 503 })
	wantAudit(t, mark, auditLine{"event": "sign_in", "reason": "busy"})
	hangUp()
	group.Wait()
	s.directory.Delay(0)
	s.comesBack("mgarcia")
}

// TestWaitingForTheThrottleHoldsAPlace: or one slow answer to one name would
// let strangers pile up behind it.
func TestWaitingForTheThrottleHoldsAPlace(t *testing.T) {
	s := newServer(t, setup{auth: "throttle account 1 15m"})
	s.setup.servers = "servers " + s.directory.URL() + "\nqueue 1\nconnections 1\ntimeout 3s"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	s.directory.Stall(ldaptest.StallBind)
	// One waits for the directory, for 3 s, and whoever else has a place for the
	// one, for 2 s.
	var group sync.WaitGroup
	var quick atomic.Int64
	for range 6 {
		group.Go(func() {
			began := time.Now()
			got, err := s.try("POST", "/api/login-ldap/", jsonBody(goodJSON))
			if err != nil || got.StatusCode != 503 {
				t.Errorf("%v, %+v", err, got)
			}
			if time.Since(began) < 1500*time.Millisecond {
				quick.Add(1)
			}
		})
	}
	group.Wait()
	if quick.Load() == 0 {
		t.Error("every sign-in had a place to wait in")
	}
}
