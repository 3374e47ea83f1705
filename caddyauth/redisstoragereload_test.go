package caddyauth

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// redisConsole is an operator's client of a test's Redis.
type redisConsole struct {
	t      *testing.T
	client rueidis.Client
}

func newRedisConsole(t *testing.T, server *realserver.Redis) redisConsole {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{server.Addr}, ClientName: "console", ForceSingleClient: true, DisableCache: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return redisConsole{t, client}
}

// say runs a command, its words with single blanks between them.
func (c redisConsole) say(command string) string {
	c.t.Helper()
	answer, err := c.client.Do(c.t.Context(), c.client.B().Arbitrary(strings.Fields(command)...).Build()).ToAny()
	if err != nil {
		c.t.Fatalf("%s: %v", command, err)
	}
	return fmt.Sprint(answer)
}

// ours are the connections of the plugin, one line each.
func (c redisConsole) ours() []string {
	c.t.Helper()
	var lines []string
	for line := range strings.Lines(c.say("CLIENT LIST")) {
		if strings.Contains(line, " name=caddy-ldap ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// users are the names of those who are connected, each once.
func (c redisConsole) users() map[string]bool {
	c.t.Helper()
	users := make(map[string]bool)
	for _, line := range c.ours() {
		_, rest, _ := strings.Cut(line, " user=")
		name, _, _ := strings.Cut(rest, " ")
		users[name] = true
	}
	return users
}

// until waits for what comes by itself.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func redisLine(server *realserver.Redis, options ...string) string {
	return "storage redis " + server.Addr + " {\n" + strings.Join(options, "\n") + "\n}"
}

// onlyHandle is the one store that is held.
func onlyHandle(t *testing.T) *storeHandle {
	t.Helper()
	handles := openHandles(t)
	if len(handles) != 1 {
		t.Fatalf("%d stores are held", len(handles))
	}
	return handles[0]
}

func TestReloadsShareOneRedisStore(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	console := newRedisConsole(t, server)
	s := start(t, setup{storage: redisLine(server)})
	c, out := s.signIn("ac12345"), s.signIn("mgarcia")
	want(t, s.do("GET", "/api/logout/", out.cookies), 200, bodySignedOut)
	handle := onlyHandle(t)
	for _, auth := range []string{"", "throttle account 4 15m", "trusted_origins https://a.example"} {
		s.setup.auth = auth
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		if onlyHandle(t) != handle || s.references(handle.resourceOf(t)) != 1 {
			t.Error("it is another store")
		}
		want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
		want(t, s.do("GET", "/x", out.cookies), 401, bodyAuthenticationRequired)
	}

	// What Caddy ends and starts again finds them too.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	until(t, "no connection is left", func() bool { return len(console.ours()) == 0 })
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	want(t, s.do("GET", "/x", out.cookies), 401, bodyAuthenticationRequired)
}

// resourceOf is the name under which the pool holds a store.
func (h *storeHandle) resourceOf(t *testing.T) string {
	t.Helper()
	name := ""
	stores.Range(func(key, value any) bool {
		if value == h {
			name = key.(string)
		}
		return true
	})
	return name
}

// TestReloadWithAnotherRedisUser: it takes effect without a restart, and nobody
// is signed out.
func TestReloadWithAnotherRedisUser(t *testing.T) {
	const first, second = "clave-primera", "clave-segunda"
	logged.keepSecret("password of Redis", first)
	logged.keepSecret("password of Redis", second)
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{
		"user one on >" + first + " ~* &* +@all", "user two on >" + second + " ~* &* +@all",
	}})
	console := newRedisConsole(t, server)
	t.Setenv("TEST_REDIS_PASSWORD", first)
	s := start(t, setup{storage: redisLine(server, "username one", "password {env.TEST_REDIS_PASSWORD}")})
	c, out := s.signIn("ac12345"), s.signIn("mgarcia")
	if users := console.users(); !users["one"] || len(users) != 1 {
		t.Fatalf("connected are %v", users)
	}

	reload := func(options ...string) {
		t.Helper()
		s.setup.storage = redisLine(server, options...)
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
	}
	reload("username two", "password "+second)
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	want(t, s.do("GET", "/api/logout/", out.cookies), 200, bodySignedOut)
	want(t, s.do("GET", "/x", out.cookies), 401, bodyAuthenticationRequired)
	s.signIn("mgarcia")
	onlyHandle(t)
	until(t, "the old user has left", func() bool {
		users := console.users()
		return users["two"] && len(users) == 1
	})

	// A password that only the placeholder changes: the Caddyfile is the same.
	reload("username one", "password {env.TEST_REDIS_PASSWORD}")
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	console.say("ACL SETUSER one resetpass >" + second)
	t.Setenv("TEST_REDIS_PASSWORD", second)
	reload("username one", "password {env.TEST_REDIS_PASSWORD}")
	console.say("ACL SETUSER one <" + second + " >" + first) // connections that are open stay so
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	want(t, s.do("GET", "/x", s.signIn("mgarcia").cookies), 200, "upstream")

	// One that is wrong says so in requests, and the next that is right cures it.
	mark := logged.mark()
	reload("username two", "password "+first)
	want503(t, s.do("GET", "/x", c.cookies), bodyStore)
	want(t, s.do("GET", "/x"), 401, bodyAuthenticationRequired)
	wantLog(t, mark, "WRONGPASS", `"level":"error"`)
	reload("username two", "password "+second)
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	onlyHandle(t)
}

// TestReloadWithAnotherRedisUserForgetsNoOpenAnswer: a stream that was opened
// under the configuration before does not outlive its session.
func TestReloadWithAnotherRedisUserForgetsNoOpenAnswer(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"user two on nopass ~* &* +@all"}})
	console := newRedisConsole(t, server)
	s := start(t, setup{storage: redisLine(server)})
	c := s.signIn("ac12345")
	stream := s.openEvents(c)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, stream)
	}()
	s.setup.storage = redisLine(server, "username two", "password x")
	if err := s.load(strings.Replace(s.caddyfile(), "grace_period 3s", "grace_period 1m", 1)); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/api/logout/", c.cookies), 200, bodySignedOut)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the stream outlives its session")
	}
	until(t, "the old user has left", func() bool { return !console.users()["default"] })
}

func TestRedisPrefixesShareNothing(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	s := start(t, setup{storage: redisLine(server, "prefix one")})
	c := s.signIn("ac12345")
	s.setup.storage = redisLine(server, "prefix two")
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	got := s.do("GET", "/x", c.cookies)
	want(t, got, 401, bodyAuthenticationRequired)
	if cookies := got.setCookies("sessionid"); len(cookies) != 1 || cookies[0] != goneCookie {
		t.Errorf("it set %q", cookies)
	}
	s.setup.storage = redisLine(server, "prefix one")
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
}

func TestRedisWithoutTLSIsWarnedOfAtEachStart(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	const warning = "storage redis has no tls"
	count := func(mark int) (n int) {
		for _, line := range logged.since(mark) {
			if strings.Contains(line, warning) {
				n++
			}
		}
		return n
	}
	mark := logged.mark()
	s := start(t, setup{storage: redisLine(server)})
	if n := count(mark); n != 0 {
		t.Errorf("%d warnings of an address of this machine", n)
	}
	// It leads to this machine, which nobody can know from it.
	s.setup.storage = strings.Replace(redisLine(server), "127.0.0.1", "0.0.0.0", 1)
	for range 2 {
		mark := logged.mark()
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		if n := count(mark); n != 1 {
			t.Errorf("%d warnings", n)
		}
	}
}

// TestStorageMovedToRedisAndBack: under traffic, and with requests under way,
// no request is lost. Sessions of the other storage are signed out; a request
// that has not asked before its storage is closed is told to come again.
func TestStorageMovedToRedisAndBack(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	s := start(t, setup{site: heldSite})
	there := s.signIn("ac12345") // in the folder
	reload := func(storage string) {
		s.setup.storage = storage
		if err := s.load(s.caddyfile()); err != nil {
			t.Error(err)
		}
	}

	var stop atomic.Bool
	var served, refused, crossed, visits atomic.Int64
	var workers sync.WaitGroup
	work := func(step func() error) {
		workers.Go(func() {
			for !stop.Load() {
				if err := step(); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	// A request that no handler has seen is sent again, as clients do when a
	// server that goes closes their connection; one that was seen is lost.
	var names atomic.Int64
	send := func(method, path string, changes ...change) (got reply, err error) {
		for range 50 {
			name := fmt.Sprint("moved ", names.Add(1))
			if got, err = s.once(method, path, append(changes, header("X-Name", name), header("Connection", "close"))...); err == nil {
				reached.Delete(name)
				return got, nil
			}
			time.Sleep(50 * time.Millisecond) // a handler may have it right now
			if _, seen := reached.LoadAndDelete(name); seen {
				return got, fmt.Errorf("%s %s: %w", method, path, err)
			}
		}
		return got, fmt.Errorf("%s %s: no handler ever saw it: %w", method, path, err)
	}
	expect := func(token string) error {
		got, err := send("GET", "/x", header("Cookie", "sessionid="+token))
		cookies := got.setCookies
		switch {
		case err != nil:
			return err
		case got.StatusCode == 200 && got.body == "upstream":
			served.Add(1)
		case got.StatusCode == 503 && got.body == bodyStore && got.Header.Get("Retry-After") != "" && len(cookies("sessionid")) == 0:
			crossed.Add(1) // its storage was closed before it had asked
		case got.StatusCode == 401 && len(cookies("sessionid")) == 1 && cookies("sessionid")[0] == goneCookie:
			refused.Add(1)
		default:
			return fmt.Errorf("GET /x: %d %s %v", got.StatusCode, got.body, got.Header)
		}
		return nil
	}
	for range 3 {
		work(func() error { return expect(there.token) })
	}
	work(func() error {
		visits.Add(1)
		got, err := send("POST", "/api/login-ldap/", jsonBody(credentialsJSON("mgarcia", ldaptest.DemoPassword)))
		if err == nil && got.StatusCode == 503 && got.body == signInStoreDown {
			crossed.Add(1)
			return nil
		}
		if err != nil || got.StatusCode != 200 {
			return fmt.Errorf("signing in: %d %s %v", got.StatusCode, got.body, err)
		}
		token := got.cookie("sessionid")
		if err := expect(token); err != nil {
			return err
		}
		if got, err = send("GET", "/api/logout/", header("Cookie", "sessionid="+token)); err != nil || got.StatusCode != 200 && got.body != signInStoreDown {
			return fmt.Errorf("signing out: %d %s %v", got.StatusCode, got.body, err)
		}
		return nil
	})

	folder := "storage badger " + s.folder
	for range 2 {
		held := hold(t, 2)
		answers := make(chan reply, 2)
		for range 2 {
			go func() {
				got, err := s.try("GET", "/x", there.cookies, held.mark)
				if err != nil {
					t.Errorf("a request under way: %v", err)
				}
				answers <- got
			}()
		}
		held.wait()
		reloaded := make(chan struct{})
		go func() {
			defer close(reloaded)
			reload(redisLine(server))
		}()
		time.Sleep(100 * time.Millisecond) // some of the reload is behind, or all but what waits for the requests
		held.release()
		for range 2 {
			if got := <-answers; got.StatusCode != 200 {
				want503(t, got, bodyStore)
			}
		}
		<-reloaded
		onlyHandle(t)
		got := s.do("GET", "/x", there.cookies)
		want(t, got, 401, bodyAuthenticationRequired)
		here := s.signIn("mgarcia")
		want(t, s.do("GET", "/x", here.cookies), 200, "upstream")
		reload(folder)
		onlyHandle(t)
		want(t, s.do("GET", "/x", there.cookies), 200, "upstream")
		want(t, s.do("GET", "/x", here.cookies), 401, bodyAuthenticationRequired)
	}
	stop.Store(true)
	workers.Wait()
	t.Logf("%d requests served and %d refused, %d came across a change, %d visits", served.Load(), refused.Load(), crossed.Load(), visits.Load())
	if served.Load() == 0 || refused.Load() == 0 || visits.Load() == 0 {
		t.Error("too little happened for the test to mean anything")
	}
}
