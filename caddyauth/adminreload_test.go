package caddyauth

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

func TestAdminWhileTheStoreFails(t *testing.T) {
	storage, faults := faultyStorage(t)
	s, a := startAdmin(t, setup{storage: storage})
	c := s.signIn("ac12345")
	id := s.idOf(c)
	requests := map[string]string{
		"/ldap_auth/sessions/" + id:        "DELETE",
		"/ldap_auth/sessions?user=ac12345": "DELETE",
	}
	faults.down.Store(true)
	mark := logged.mark()
	got := a.do("DELETE", "/ldap_auth/sessions/"+id)
	a.refused(got, 503, "the session store failed")
	if strings.Contains(got.body, errStoreDown.Error()) || got.Header.Get("Retry-After") != retryAfter {
		t.Errorf("got %v %s", got.Header, got.body)
	}
	wantLog(t, mark, `"logger":"ldap_auth"`, "session store failed", errStoreDown.Error())
	faults.down.Store(false)
	if lines := endsByOperator(t, mark); len(lines) != 0 {
		t.Errorf("audit lines of ends that did not happen: %v", lines)
	}
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")

	_, sessions := a.live()
	if err := sessions.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/ldap_auth/sessions", "/ldap_auth/sessions?user=ac12345", "/ldap_auth/sessions/" + id, "/ldap_auth/users", "/ldap_auth/counts"} {
		requests[path+"#"] = "GET"
	}
	for path, method := range requests {
		got := a.do(method, strings.TrimSuffix(path, "#"))
		a.refused(got, 503, "closed")
		if got.Header.Get("Retry-After") != retryAfter {
			t.Errorf("%s %s: no Retry-After", method, path)
		}
	}
}

func TestAdminBeforeTheStoreIsOpen(t *testing.T) {
	handle, err := acquireStore("test:never opened")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = stores.Delete("test:never opened") })
	_, err = answerAdmin(t.Context(), &App{store: handle}, adminAction{answer: countSessions}, adminCall{})
	if got := storeFailure(err); !errors.Is(err, errStoreNotReady) || got.HTTPStatus != 503 || !strings.Contains(got.Error(), "not open yet") {
		t.Errorf("got %v", err)
	}
	for err, words := range map[error]string{
		fmt.Errorf("x: %w", sessionstore.ErrNoSpace):     "no space",
		fmt.Errorf("x: %w", sessionstore.ErrClosed):      "closed",
		fmt.Errorf("x: %w", sessionstore.ErrUnavailable): "cannot be reached",
		errStoreDown: "the log of ldap_auth",
	} {
		if got := storeFailure(err); got.HTTPStatus != 503 || !strings.Contains(got.Error(), words) || strings.Contains(got.Error(), "x: ") {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// TestAdminAfterReloads: whatever becomes of a load, the API speaks of the
// configuration that runs.
func TestAdminAfterReloads(t *testing.T) {
	refused, faults := faultyStorage(t)
	faults.refuse.Store(true)
	s, a := startAdmin(t, setup{})
	c := s.signIn("ac12345")
	listed := func(what string) {
		t.Helper()
		if page := a.sessions("?user=ac12345"); len(page.Sessions) != 1 {
			t.Errorf("%s: %+v", what, page)
		}
	}
	listed("at first")
	cursorOf := func() string {
		s.signIn("mgarcia")
		return a.sessions("?limit=1").Next
	}
	cursor := cursorOf()
	if err := s.load(strings.Replace(a.text, "ldap_auth {", "ldap_auth {\nthrottle account 4 15m", 1)); err != nil {
		t.Fatal(err)
	}
	listed("after a reload")
	if page := a.sessions("?cursor=" + cursor); len(page.Sessions) != 1 {
		t.Errorf("the rest of a listing after a reload: %+v", page)
	}

	config, err := adapt(a.text)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.loadJSON(bytes.Replace(config, []byte(`"sessions":{`), []byte(`"sessions":{"same_site":"x",`), 1)); err == nil {
		t.Fatal("a bad same_site is taken")
	}
	listed("after a load that could not be provisioned")
	if err := s.load(strings.Replace(a.text, "storage badger "+s.folder, refused, 1)); err == nil {
		t.Fatal("a storage that does not open is taken")
	}
	listed("after a load that could not be started")

	mark := logged.mark()
	got := a.do("DELETE", "/ldap_auth/sessions?user=ac12345")
	if got.StatusCode != 200 || !strings.HasPrefix(got.body, `{"ended":1,`) {
		t.Errorf("got %d %s", got.StatusCode, got.body)
	}
	want(t, s.do("GET", "/x", c.cookies), 401, bodyAuthenticationRequired)
	wantAudit(t, mark, auditLine{"event": "session_end", "reason": "ended_by_operator", "user": "ac12345"})

	// Without the plugin in the configuration, and back again.
	bare := fmt.Sprintf("{\nadmin %s\npersist_config off\nskip_install_trust\n}\nhttp://127.0.0.1:%d {\nrespond bare\n}", a.address, s.port)
	if err := s.load(bare); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/ldap_auth/sessions", "/ldap_auth/sessions/x", "/ldap_auth/users", "/ldap_auth/counts"} {
		a.refused(a.do("GET", path), 404, "no configuration with ldap_auth")
	}
	a.refused(a.do("DELETE", "/ldap_auth/sessions?user=mgarcia"), 404, "no configuration with ldap_auth")
	if err := s.load(a.text); err != nil {
		t.Fatal(err)
	}
	if page := a.sessions("?user=mgarcia"); len(page.Sessions) != 1 {
		t.Errorf("after it came back: %+v", page)
	}
	if page := a.sessions("?cursor=" + cursor); len(page.Sessions) > 1 {
		t.Errorf("the rest of a listing after a restart: %+v", page)
	}
}

// TestAdminWhileCaddyReloads: every end that was acknowledged holds and is in
// the audit log once.
func TestAdminWhileCaddyReloads(t *testing.T) {
	s, a := startAdmin(t, setup{sessions: "per_user 1000"})
	texts := []string{a.text, strings.Replace(a.text, "ldap_auth {", "ldap_auth {\nthrottle account 4 15m", 1)}
	app, sessions := a.live()
	type one struct {
		id    string
		token sessionstore.Token
	}
	var all []one
	for i := range 120 {
		user := sessionstore.User{Directory: "empresa.local", ID: fmt.Sprintf("id-%03d", i/2), Username: fmt.Sprintf("u%03d", i/2)}
		token, id := a.signInAs(user)
		all = append(all, one{id, token})
	}
	mark := logged.mark()
	var reloads atomic.Int64
	var reloading sync.WaitGroup
	stop := make(chan struct{})
	finish := sync.OnceFunc(func() {
		close(stop)
		reloading.Wait()
	})
	defer finish()
	reloading.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			config, err := adapt(texts[(reloads.Add(1))%2])
			if err == nil {
				err = caddy.Load(config, true)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	var want []string
	for i := 0; i < len(all); i += 2 {
		if listed, _ := a.all(url.Values{"user": {fmt.Sprintf("u%03d", i/2)}}, 1); len(listed) != 2 {
			t.Errorf("listed: %+v", listed)
		}
		path := "/ldap_auth/sessions/" + all[i].id
		if got := a.do("DELETE", path); got.StatusCode != 200 {
			t.Errorf("DELETE %s: %d %s", path, got.StatusCode, got.body)
		}
		path = fmt.Sprintf("/ldap_auth/sessions?user=u%03d", i/2)
		if got := a.do("DELETE", path); got.StatusCode != 200 || !strings.HasPrefix(got.body, `{"ended":1,`) {
			t.Errorf("DELETE %s: %d %s", path, got.StatusCode, got.body)
		}
		want = append(want, all[i].id, all[i+1].id)
		for _, ended := range all[i : i+2] {
			if _, result, err := sessions.Lookup(t.Context(), ended.token, app.limits, false); err != nil || result == sessionstore.Live {
				t.Errorf("an ended session: %v, %v", result, err)
			}
		}
	}
	finish()
	if n := reloads.Load(); n < 2 {
		t.Errorf("only %d reloads", n)
	}
	slices.Sort(want)
	if got := endsByOperator(t, mark); !slices.Equal(got, want) {
		t.Errorf("%d audit lines of %d ends", len(got), len(want))
	}
	s.signIn("ac12345")
}
