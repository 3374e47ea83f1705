package caddyauth

import (
	"bufio"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
)

// references is how many configurations hold the test's store.
func (s *server) references(resource string) int {
	n, _ := stores.References(resource)
	return n
}

func TestReloadKeepsSessions(t *testing.T) {
	storage, faults := faultyStorage(t)
	s := start(t, setup{storage: storage})
	resource := "test:" + strings.TrimPrefix(storage, "storage test ")
	c := s.signIn("ac12345")

	t.Run("forced, under traffic", func(t *testing.T) {
		var wg sync.WaitGroup
		var stop atomic.Bool
		var sent, wrong atomic.Int64
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
		for range 4 {
			wg.Go(func() {
				for !stop.Load() {
					r, _ := http.NewRequest("GET", s.base+"/x", nil)
					c.cookies(r)
					response, err := client.Do(r)
					if err != nil {
						continue // the listener changed hands between dial and request
					}
					response.Body.Close()
					sent.Add(1)
					if response.StatusCode != 200 {
						wrong.Add(1)
					}
				}
			})
		}
		for range 10 {
			if err := s.load(s.caddyfile()); err != nil {
				t.Error(err)
			}
		}
		stop.Store(true)
		wg.Wait()
		if wrong.Load() != 0 || sent.Load() == 0 {
			t.Errorf("%d of %d requests were refused", wrong.Load(), sent.Load())
		}
		if faults.opened.Load() != 1 || faults.closed.Load() != 0 || s.references(resource) != 1 {
			t.Errorf("the store was opened %d times, closed %d times, has %d references", faults.opened.Load(), faults.closed.Load(), s.references(resource))
		}
	})
	t.Run("with other options", func(t *testing.T) {
		s.setup.auth, s.setup.sessions = "trusted_origins https://app.trusted.test", "same_site strict\nidle_timeout 30m"
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		got := s.do("GET", "/x", c.cookies, header("Origin", "https://app.trusted.test"))
		if got.StatusCode != 200 || got.Header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("%d %v", got.StatusCode, got.Header)
		}
		s.setup.auth, s.setup.sessions = "", ""
	})
	t.Run("a new configuration that fails in Provision", func(t *testing.T) {
		for _, edit := range []func(map[string]any){
			func(config map[string]any) { at(t, config, "apps", "ldap_auth", "sessions")["same_site"] = "x" },
			func(config map[string]any) { at(t, config, "apps", "ldap_auth")["trusted_ips"] = []any{} },
			func(config map[string]any) {
				at(t, config, "apps", "http", "servers", "srv0", "routes", 0, "handle", 0)["public"] = []any{"no-slash"}
			},
			func(config map[string]any) {
				at(t, config, "apps", "http", "servers", "srv0", "routes", 0, "handle", 0)["groups"] = []any{""}
			},
			func(config map[string]any) { delete(at(t, config, "apps"), "ldap_auth") },
		} {
			if err := s.loadJSON(s.edited(edit)); err == nil {
				t.Error("it loads")
			}
			want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
			if s.references(resource) != 1 || faults.closed.Load() != 0 {
				t.Fatalf("%d references, closed %d times", s.references(resource), faults.closed.Load())
			}
		}
	})
	t.Run("a new configuration that fails in Start", func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		for range 4 { // Caddy starts apps in any order
			mark := logged.mark()
			if err := s.loadJSON(s.edited(func(config map[string]any) {
				at(t, config, "apps", "http", "servers", "srv0")["listen"] = []any{taken.Addr().String()}
			})); err == nil {
				t.Fatal("it loads")
			}
			want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
			want(t, s.do("GET", "/x", s.signIn("mgarcia").cookies), 200, "upstream")
			wantAudit(t, mark, auditLine{"event": "sign_in", "user": "mgarcia"}) // the old logger lives
			if s.references(resource) != 1 || faults.closed.Load() != 0 || faults.opened.Load() != 1 {
				t.Fatalf("%d references, opened %d and closed %d times", s.references(resource), faults.opened.Load(), faults.closed.Load())
			}
		}
	})
	t.Run("a new configuration whose own store does not open", func(t *testing.T) {
		other, broken := faultyStorage(t)
		broken.refuse.Store(true)
		s.setup.storage = other
		if err := s.load(s.caddyfile()); err == nil || !strings.Contains(err.Error(), errStoreDown.Error()) {
			t.Errorf("the error is %v", err)
		}
		s.setup.storage = storage
		want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
		if s.references("test:"+strings.TrimPrefix(other, "storage test ")) != 0 || s.references(resource) != 1 {
			t.Error("references are left over, or lost")
		}
	})
	t.Run("a request under way", func(t *testing.T) {
		release, arrived := make(chan struct{}), make(chan struct{})
		s.upstream.answers(func(w http.ResponseWriter, _ *http.Request) {
			close(arrived)
			<-release
			w.Header().Set("Set-Cookie", "sessionid=evil")
			_, _ = w.Write([]byte("late"))
		})
		done := make(chan reply, 1)
		go func() {
			r, _ := http.NewRequest("GET", s.base+"/x", nil)
			r.Header.Set("Cookie", "sessionid="+c.token)
			response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
			if err != nil {
				t.Error(err)
				done <- reply{}
				return
			}
			defer response.Body.Close()
			text, _ := bufio.NewReader(response.Body).ReadString(0)
			done <- reply{response, text}
		}()
		<-arrived
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		s.upstream.answers(nil)
		close(release)
		got := <-done
		want(t, got, 200, "late")
		if set := got.Header["Set-Cookie"]; len(set) != 1 || !strings.HasPrefix(set[0], "csrftoken="+c.csrf) {
			t.Errorf("it set %q", set)
		}
	})
	t.Run("Caddy's validation beside the server opens nothing", func(t *testing.T) {
		other, beside := faultyStorage(t)
		for _, line := range []string{storage, other} {
			s.setup.storage = line
			text, err := adapt(s.caddyfile())
			if err != nil {
				t.Fatal(err)
			}
			config := new(caddy.Config)
			if err := caddy.StrictUnmarshalJSON(text, config); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(config); err != nil {
				t.Fatal(err)
			}
		}
		s.setup.storage = storage
		if beside.opened.Load() != 0 || faults.opened.Load() != 1 || faults.closed.Load() != 0 || s.references(resource) != 1 {
			t.Errorf("opened %d and %d times, %d references", beside.opened.Load(), faults.opened.Load(), s.references(resource))
		}
		if _, err := os.Stat(strings.TrimPrefix(other, "storage test ")); !os.IsNotExist(err) {
			t.Errorf("the folder: %v", err)
		}
		want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	})
	t.Run("the plugin taken out and put in again", func(t *testing.T) {
		without := strings.ReplaceAll(s.caddyfile(), "require_session", "")
		from, to := strings.Index(without, "ldap_auth {"), strings.Index(without, "http://:")
		without = without[:from] + "}\n" + without[to:]
		if err := s.load(without); err != nil {
			t.Fatal(err)
		}
		want(t, s.do("GET", "/x"), 200, "upstream")
		if faults.closed.Load() != 1 || s.references(resource) != 0 {
			t.Errorf("closed %d times, %d references", faults.closed.Load(), s.references(resource))
		}
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	})
	t.Run("stopped and started", func(t *testing.T) {
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
		if faults.closed.Load() != 2 || s.references(resource) != 0 {
			t.Errorf("closed %d times, %d references", faults.closed.Load(), s.references(resource))
		}
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	})
}

// TestReloadsLeakNothing: no goroutine and no store is left of many reloads.
func TestReloadsLeakNothing(t *testing.T) {
	s := newServer(t, setup{})
	if err := s.load(s.caddyfile()); err != nil { // whatever Caddy starts once
		t.Fatal(err)
	}
	s.signIn("ac12345")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	for range 30 {
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		if err := s.loadJSON(s.edited(func(config map[string]any) { at(t, config, "apps", "ldap_auth")["csrf"] = "x" })); err == nil {
			t.Fatal("a broken configuration loads")
		}
	}
	s.signIn("ac12345")
	s.client.CloseIdleConnections()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(openHandles(t)); n != 0 {
		t.Errorf("%d stores are left", n)
	}
	s.upstream.server.CloseClientConnections()
	goleak.VerifyNone(t, append(caddysGoroutines(), before)...)
}

func TestFolderInUseByAnotherProcess(t *testing.T) {
	s := newServer(t, setup{})
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command(executable)
	other.Env = append(os.Environ(), holdFolderVar+"="+s.folder)
	other.Stderr = os.Stderr
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = other.Wait()
	})
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "open\n" {
		t.Fatalf("the other process says %q", line)
	}
	err = s.load(s.caddyfile())
	if err == nil {
		t.Fatal("two processes have the folder open")
	}
	if text := err.Error(); !strings.Contains(text, `session folder "`+s.folder+`" is in use by another process`) || strings.Count(text, "\n") != 0 {
		t.Errorf("the error is %s", text)
	}
	if n := len(openHandles(t)); n != 0 {
		t.Errorf("%d stores are left", n)
	}
	_ = stdin.Close()
	_ = other.Wait()
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	s.signIn("ac12345")
}

// TestDefaultFolder: two spellings of one folder are one resource, and none is
// Caddy's own.
func TestBadgerFolder(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	resource := func(folder string) string {
		badger := &Badger{Folder: folder}
		if err := badger.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		return badger.Resource()
	}
	t.Setenv("TEST_FOLDER", dir)
	for _, spelling := range []string{filepath.Join(link, "s"), dir + "/x/../s", dir + "//s/", "{env.TEST_FOLDER}/s"} {
		if got, want := resource(spelling), resource(filepath.Join(dir, "s")); got != want {
			t.Errorf("%s is %s, not %s", spelling, got, want)
		}
	}
	if got := resource(""); !strings.HasSuffix(got, filepath.Join("caddy", "ldap_auth")) {
		t.Errorf("the default is %s", got)
	}
	if err := (&Badger{Folder: "{env.TEST_FOLDER_THAT_IS_NOT_SET}"}).Provision(caddy.Context{}); err == nil {
		t.Error("a folder whose name came out empty is accepted")
	}
}
