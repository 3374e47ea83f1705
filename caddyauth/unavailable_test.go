package caddyauth

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

func want503(t *testing.T, got reply, body string) {
	t.Helper()
	want(t, got, 503, body)
	if got.Header.Get("Retry-After") != retryAfter || len(got.setCookies("sessionid")) != 0 {
		t.Errorf("a 503 with the headers %v", got.Header)
	}
}

const (
	signInStoreDown     = `{"status":"error","message":"Almacén de sesiones no disponible","code":"store_unavailable"}`
	signInDirectoryDown = `{"status":"error","message":"Directorio no disponible","code":"directory_unavailable"}`
)

// TestStoreDown: a store that cannot say is a 503, never a 401, a redirect or
// a page of the site.
func TestStoreDown(t *testing.T) {
	storage, faults := faultyStorage(t)
	s := start(t, setup{storage: storage, site: "require_session {\npublic /public/*\n}\nreverse_proxy UPSTREAM"})
	unknown := header("Cookie", "sessionid="+strings.Repeat("A", 43))
	c := s.signIn("ac12345")

	t.Run("requests without our cookie never ask the store", func(t *testing.T) {
		reads := faults.reads.Load()
		s.do("GET", "/x")
		s.do("GET", "/x", navigation)
		s.do("GET", "/x", header("Cookie", "sessionid=malformed; a=b"))
		s.do("GET", "/public/x")
		s.do("GET", "/public/x", unknown)
		s.do("GET", "/accounts/login/")
		s.do("GET", "/api/session/")
		s.do("GET", "/api/logout/")
		if now := faults.reads.Load(); now != reads {
			t.Errorf("the store was read %d times", now-reads)
		}
		s.do("GET", "/x", unknown)
		if faults.reads.Load() == reads {
			t.Error("the store was not read for a token that is not in memory")
		}
	})

	faults.down.Store(true)
	mark := logged.mark()
	t.Run("gate", func(t *testing.T) {
		before := s.upstream.count()
		want503(t, s.do("GET", "/x", unknown), bodyStore)
		got := s.do("GET", "/x", unknown, navigation)
		if got.StatusCode != 503 || got.Header.Get("Location") != "" || got.Header.Get("Retry-After") == "" || len(got.Header["Set-Cookie"]) != 0 {
			t.Errorf("a navigation: %d %v", got.StatusCode, got.Header)
		}
		if s.upstream.count() != before {
			t.Error("the upstream was reached")
		}
		want(t, s.do("GET", "/x"), 401, bodyAuthenticationRequired)
		want(t, s.do("GET", "/public/x", unknown), 200, "upstream")
		want(t, s.do("GET", "/x", c.cookies), 200, "upstream") // in memory
	})
	t.Run("sign-in", func(t *testing.T) {
		mark := logged.mark()
		want503(t, s.do("POST", "/api/login-ldap/", jsonBody(goodJSON)), signInStoreDown)
		wantAudit(t, mark, auditLine{"event": "sign_in", "result": "unavailable", "reason": "store_unavailable", "user": "ac12345"})
		want503(t, s.do("POST", "/api/login-ldap/", jsonBody(goodJSON), unknown), signInStoreDown)
		got := s.do("POST", "/accounts/login/", navigation, form("username=ac12345&password="+ldaptest.DemoPassword))
		if got.StatusCode != 503 || got.Header.Get("Location") != "" || len(got.setCookies("sessionid")) != 0 {
			t.Errorf("a form: %d %v", got.StatusCode, got.Header)
		}
	})
	t.Run("sign-in page, session, logout", func(t *testing.T) {
		if got := s.do("GET", "/accounts/login/", unknown); got.StatusCode != 503 || got.Header.Get("Retry-After") == "" || strings.Contains(got.body, `name="password"`) {
			t.Errorf("the page: %d %s", got.StatusCode, got.body)
		}
		want503(t, s.do("GET", "/api/session/", unknown), bodyStore)
		want503(t, s.do("GET", "/api/logout/", unknown), signInStoreDown)
		want503(t, s.do("GET", "/api/logout/", c.cookies), signInStoreDown)
		want503(t, s.do("POST", "/api/logout/", unknown), signInStoreDown)
	})
	wantLog(t, mark, "session store failed", errStoreDown.Error(), `"level":"error"`)
	faults.down.Store(false)
	want(t, s.do("GET", "/x", unknown), 401, bodyAuthenticationRequired)
	s.signIn("ac12345")

	t.Run("a record that cannot be trusted is a 401", func(t *testing.T) {
		faults.invalid.Store(true)
		defer faults.invalid.Store(false)
		mark := logged.mark()
		got := s.do("GET", "/x", unknown)
		want(t, got, 401, bodyAuthenticationRequired)
		if cookies := got.setCookies("sessionid"); len(cookies) != 1 || cookies[0] != goneCookie {
			t.Errorf("it set %q", cookies)
		}
		wantAudit(t, mark, auditLine{"event": "session_end", "reason": "invalid_record"})
	})
	t.Run("a store that was closed", func(t *testing.T) {
		c := s.signIn("ac12345")
		for _, handle := range openHandles(t) {
			_ = handle.sessions.Load().Close()
		}
		want503(t, s.do("GET", "/x", c.cookies), bodyStore)
		want503(t, s.do("GET", "/api/session/", c.cookies), bodyStore)
		want503(t, s.do("GET", "/api/logout/", c.cookies), signInStoreDown)
		want503(t, s.do("POST", "/api/login-ldap/", jsonBody(goodJSON)), signInStoreDown)
		want(t, s.do("GET", "/x"), 401, bodyAuthenticationRequired)
		want(t, s.do("GET", "/public/x"), 200, "upstream")
	})
}

// openHandles are the pool's stores.
func openHandles(t *testing.T) []*storeHandle {
	t.Helper()
	var handles []*storeHandle
	stores.Range(func(_, value any) bool {
		if handle, ok := value.(*storeHandle); ok {
			handles = append(handles, handle)
		}
		return true
	})
	return handles
}

// TestDirectoryDown: a directory that accepts and never answers ends in 503
// within 10 s, and slows nobody who has a session.
func TestDirectoryDown(t *testing.T) {
	s := start(t, setup{})
	c := s.signIn("ac12345")
	s.directory.Stall(ldaptest.StallBind)
	done := make(chan reply)
	began, mark := time.Now(), logged.mark()
	go func() {
		got, _ := s.try("POST", "/api/login-ldap/", jsonBody(goodJSON))
		done <- got
	}()
	time.Sleep(100 * time.Millisecond)
	for range 20 {
		at := time.Now()
		want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
		if took := time.Since(at); took > time.Second {
			t.Errorf("a request with a session took %s", took)
		}
	}
	got := <-done
	if got.Response == nil {
		t.Fatal("no answer")
	}
	want503(t, got, signInDirectoryDown)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the answer took %s", took)
	}
	wantAudit(t, mark, auditLine{"event": "sign_in", "result": "unavailable", "reason": "directory_unavailable", "directory": "empresa.local"})
	wantLog(t, mark, "the directory could not decide on a sign-in", s.directory.URL())

	s.directory.Stall(ldaptest.StallNever)
	want(t, s.do("POST", "/api/login-ldap/", jsonBody(goodJSON)), 200, bodySignedIn)
	if err := s.directory.Close(); err != nil {
		t.Fatal(err)
	}
	want503(t, s.do("POST", "/api/login-ldap/", jsonBody(goodJSON)), signInDirectoryDown)
	page := s.do("POST", "/accounts/login/", navigation, form("username=ac12345&password="+ldaptest.DemoPassword))
	if page.StatusCode != 503 || page.Header.Get("Retry-After") == "" || strings.Contains(page.body, ldaptest.DemoPassword) {
		t.Errorf("a form: %d %s", page.StatusCode, page.body)
	}
	want(t, s.do("POST", "/api/login-ldap/", jsonBody(credentialsJSON("", ""))), 401, bodyInvalidCredentials)
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
}

// TestRequestsWaitForTheStore: Caddy starts apps in any order, so requests may
// come before the store is open.
func TestRequestsWaitForTheStore(t *testing.T) {
	t.Run("until it is open", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := &storeHandle{ready: make(chan struct{})}
			sessions := new(sessionstore.Sessions)
			got := make(chan *sessionstore.Sessions)
			go func() {
				waited, err := h.wait(t.Context())
				if err != nil {
					t.Error(err)
				}
				got <- waited
			}()
			time.Sleep(readyTimeout - time.Second)
			synctest.Wait()
			select {
			case <-got:
				t.Fatal("a request did not wait")
			default:
			}
			h.sessions.Store(sessions)
			close(h.ready)
			if <-got != sessions {
				t.Error("a request got other sessions")
			}
		})
	})
	t.Run("but not for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, began := &storeHandle{ready: make(chan struct{})}, time.Now()
			if sessions, err := h.wait(t.Context()); !errors.Is(err, errStoreNotReady) || sessions != nil || time.Since(began) != readyTimeout {
				t.Errorf("wait = %v, %v after %s", sessions, err, time.Since(began))
			}
		})
	})
	t.Run("nor longer than the client", func(t *testing.T) {
		h := &storeHandle{ready: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if sessions, err := h.wait(ctx); !errors.Is(err, context.Canceled) || sessions != nil {
			t.Errorf("wait = %v, %v", sessions, err)
		}
	})
}

// TestWaitUntil: the floor of a refusal ends with the client.
func TestWaitUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		waitUntil(t.Context(), began.Add(refusalFloor))
		if took := time.Since(began); took != refusalFloor {
			t.Errorf("it took %s", took)
		}
		waitUntil(t.Context(), began)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		waitUntil(ctx, time.Now().Add(time.Hour))
		if took := time.Since(began); took != refusalFloor+time.Millisecond {
			t.Errorf("all took %s", took)
		}
	})
}
