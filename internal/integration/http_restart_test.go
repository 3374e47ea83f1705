package integration

import (
	"strings"
	"testing"
	"time"
)

func TestHTTPSessionsSurviveCrashAndRestart(t *testing.T) {
	dc := servers.Samba(t)
	c := newCaddy(t)
	// Groups by name and without a service account: after the start nobody has
	// asked the domain what the names stand for.
	text := c.caddyfile(adDirectory(dc), `require_session nivel-10 {
		require /ingenieria/* Ingeniería
		require /rnd/* "R&D Compras"
	}`, newEcho(t), "")
	c.run(t, text)
	site := newClient(t, c)
	kept, ended := site.signInAs(t, dc.Juan), site.signInAs(t, dc.Juan)
	ended.signOut(t)

	check := func(t *testing.T) {
		t.Helper()
		for _, path := range []string{"/", "/ingenieria/x"} {
			got := kept.echo(t, path).Header
			if got.Get("Remote-User") != "juan" || got.Get("Remote-Name") != dc.Juan.Name ||
				got.Get("Remote-Groups") != "nivel-10,Ingeniería" {
				t.Errorf("%s: the application got %v", path, got)
			}
		}
		expect(t, kept.get(t, "/rnd/x"), 403, bodyGroupRequired)
		if r := kept.do(t, "POST", "/", "", "Cookie", kept.cookies(), "X-CSRFToken", kept.csrf); r.status != 200 {
			t.Errorf("POST with the token from before: %d %s", r.status, r.body)
		}
		ended.expectRefused(t, "/")
	}
	check(t)
	restart := func(what string) {
		t.Helper()
		t.Log("starting again after", what)
		if _, err := site.send("GET", "/", ""); err == nil {
			t.Fatal("it still answers")
		}
		c.run(t, text)
		check(t)
		// What one process leaves behind, the next takes on: sign-ins too.
		next := site.signInAs(t, dc.Juan)
		next.echo(t, "/ingenieria/x")
		next.signOut(t)
		next.expectRefused(t, "/")
	}
	c.child.Kill()
	restart("kill -9")

	kept.signOut(t)
	ended, kept = kept, site.signInAs(t, dc.Juan)
	c.child.Kill()
	restart("kill -9 right after a sign-out and a sign-in")

	ended, kept = kept, site.signInAs(t, dc.Juan)
	ended.signOut(t)
	c.child.Kill()
	restart("kill -9 right after a sign-in and a sign-out")

	if err := c.child.Stop(); err != nil {
		t.Errorf("ending Caddy: %v", err)
	}
	restart("an orderly end")
}

func TestHTTPSecondServerOnTheSameFolderIsRefused(t *testing.T) {
	dc := servers.Samba(t)
	first, second := newCaddy(t), newCaddy(t)
	first.run(t, first.caddyfile(adDirectory(dc), "require_session", newEcho(t), ""))
	s := newClient(t, first).signInAs(t, dc.Juan)

	text := second.caddyfile(adDirectory(dc), "require_session", newEcho(t), "")
	text = strings.Replace(text, second.path("sessions"), first.path("sessions"), 1)
	start := time.Now()
	err := second.tell(t, text, "run")
	if err == nil {
		t.Fatal("the second server ran")
	}
	want := `storage badger: session folder "` + first.path("sessions") + `" is in use by another process; if Caddy is running, use "caddy reload"`
	// Caddy's own log is JSON.
	if n := strings.Count(strings.ReplaceAll(err.Error(), `\"`, `"`), want); n != 1 {
		t.Errorf("the sentence %q is there %d times in:\n%v", want, n, err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	s.echo(t, "/")
}
