package attack

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

const soakUsers = 200

// soakTime is for how long people come and go.
func soakTime() time.Duration {
	switch {
	case os.Getenv("CADDY_LDAP_ATTACK") == "long":
		return 5 * time.Minute
	case os.Getenv("CADDY_LDAP_REQUIRE_SERVERS") == "1":
		return time.Minute
	}
	return 10 * time.Second
}

// soakDirectory has people whose every attribute differs; each second one may
// use /admin/.
func soakDirectory() *ldaptest.Directory {
	dir := ldaptest.Demo()
	for i := range soakUsers {
		name := fmt.Sprintf("soak%03d", i)
		user := ldaptest.User{
			SAMAccountName: name, UPN: name + "@empresa.local", Password: "clave-" + name, GivenName: "G" + name, Surname: "S" + name,
			DisplayName: "D" + name, Mail: name + "@example.org", MemberOf: []string{"Empleados"},
		}
		if i%2 == 0 {
			user.MemberOf = append(user.MemberOf, "IT Admins")
		}
		dir.Users = append(dir.Users, user)
	}
	return &dir
}

// soak is a site with many people at once.
type soak struct {
	*site
	t     *testing.T
	until time.Time

	used, signIns, busy, sockets atomic.Int64
	left                         atomic.Int64 // sessions that nobody has ended
}

// judge is the upstream: whoever asks for a path is told of in its second
// segment, and what is asked for below /ended/ must never come.
func (s *soak) judge(r rawecho.Request) string {
	_, path, _ := strings.Cut(r.Target(), "/of/")
	name, _, _ := strings.Cut(path, "/")
	told := r.CGI()
	if strings.Contains(r.Target(), "/ended/") {
		s.t.Errorf("a session that was signed out reached the upstream: %s", r.Line)
	}
	for header, want := range map[string]string{"REMOTE_USER": name, "REMOTE_NAME": "D" + name, "REMOTE_EMAIL": name + "@example.org"} {
		if got := told[header]; len(got) != 1 || got[0] != want {
			s.t.Errorf("%s: the upstream was told of %s %q, want %q", r.Line, header, got, want)
		}
	}
	body := strings.Join(told["REMOTE_USER"], ",")
	if strings.HasSuffix(r.Target(), "/socket") {
		return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	}
	if strings.HasSuffix(r.Target(), "/slow") {
		time.Sleep(time.Second)
	}
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// think lets some time pass, so that the machine is busy and not stuck.
func (s *soak) think() { time.Sleep(500*time.Millisecond + rand.N(time.Second)) }

// browser signs somebody in and out, again and again.
func (s *soak) browser(name string) {
	time.Sleep(rand.N(4 * time.Second))
	var c session // of the last time, if it was not signed out
	for life := 0; life == 0 || time.Now().Before(s.until); life++ {
		before := c
		if c = s.soakSignIn(name, before); c.token == "" {
			c = before
			s.think()
			continue
		}
		if before.token != "" {
			s.isOut(name, before) // replaced by this sign-in
		}
		closed := s.socket(name, c)
		for range 2 + rand.IntN(5) {
			s.think()
			s.use(name, c)
		}
		switch rand.IntN(10) {
		case 0, 1: // leaves without a word
			closed(false)
			continue
		case 2, 3, 4:
			s.leaveInFlight(name, c)
		default:
			s.leave(name, c)
		}
		s.isOut(name, c)
		closed(true)
		c = session{}
		s.think()
	}
	if c.token != "" {
		s.left.Add(1)
	}
}

// soakSignIn gives a session, the zero one where too many come at once. Now and
// then somebody mistypes the password.
func (s *soak) soakSignIn(name string, before session) session {
	fields := []string{"Content-Type", "application/json"}
	if before.token != "" {
		fields = append(fields, "Cookie", before.cookie())
	}
	try := func(password string) reply {
		r, err := s.send("POST", "/api/login-ldap/", fmt.Sprintf(`{"username":%q,"password":%q}`, name, password), fields...)
		if err != nil {
			s.t.Errorf("%s signs in: %v", name, err)
		}
		return r
	}
	if rand.IntN(20) == 0 {
		if r := try("wrong"); r.status != http.StatusUnauthorized && r.status != http.StatusServiceUnavailable || r.cookies["sessionid"] != nil {
			s.t.Errorf("%s signs in with a wrong password: %d %s", name, r.status, r.body)
		}
	}
	r := try("clave-" + name)
	token, csrf := r.cookies["sessionid"], r.cookies["csrftoken"]
	switch {
	case r.status == http.StatusServiceUnavailable:
		s.busy.Add(1)
		return session{}
	case r.status != http.StatusOK || token == nil || csrf == nil || !strings.Contains(r.body, `"first_name":"G`+name+`"`):
		s.t.Errorf("%s signs in: %d %s", name, r.status, r.body)
		return session{}
	}
	s.signIns.Add(1)
	return session{s.site, token.Value, csrf.Value}
}

// use asks for something, as whoever is signed in.
func (s *soak) use(name string, c session) {
	path, want, status := "/of/"+name+"/page", name, http.StatusOK
	switch rand.IntN(12) {
	case 0:
		path = "/of/" + name + "/slow"
	case 1, 2:
		path = "/admin/of/" + name + "/page"
		if (name[len(name)-1]-'0')%2 != 0 {
			want, status = "group_required", http.StatusForbidden
		}
	case 3:
		path, want = "/api/session/", `"username":"`+name+`"`
	case 4:
		path, want = "/accounts/sessions/", `"current":true`
	}
	r, err := s.send("GET", path, "", "Cookie", c.cookie())
	if err != nil || r.status != status || !strings.Contains(r.body, want) {
		s.t.Errorf("%s asks for %s: %d %q %v", name, path, r.status, r.body, err)
	}
	s.noOther(name, r)
	s.used.Add(1)
}

var soakName = regexp.MustCompile(`soak[0-9]{3}`)

// noOther looks for other people in an answer.
func (s *soak) noOther(name string, r reply) {
	for _, found := range soakName.FindAllString(r.body, -1) {
		if found != name {
			s.t.Errorf("%s was shown %q", name, found)
		}
	}
}

func (s *soak) leave(name string, c session) {
	r, err := s.send("POST", "/api/logout/", "", "Cookie", c.cookie(), "X-CSRFToken", c.csrf)
	if err != nil || r.body != signedOut {
		s.t.Errorf("%s signs out: %d %q %v", name, r.status, r.body, err)
	}
}

// leaveInFlight signs out while requests are answered: each is served as its
// user's own, or refused, or cut.
func (s *soak) leaveInFlight(name string, c session) {
	var flying sync.WaitGroup
	for _, page := range []string{"slow", "page", "page"} {
		flying.Go(func() {
			r, err := s.send("GET", "/of/"+name+"/"+page, "", "Cookie", c.cookie())
			if err == nil && !(r.status == http.StatusOK && r.body == name) && r.status != http.StatusUnauthorized && r.status < 500 {
				s.t.Errorf("%s while signing out: %d %q", name, r.status, r.body)
			}
			s.noOther(name, r)
		})
	}
	time.Sleep(rand.N(50 * time.Millisecond))
	s.leave(name, c)
	s.isOut(name, c)
	flying.Wait()
}

// isOut shows an old token.
func (s *soak) isOut(name string, c session) {
	r, err := s.send("GET", "/ended/of/"+name+"/page", "", "Cookie", c.cookie())
	if err != nil || r.status != http.StatusUnauthorized {
		s.t.Errorf("%s after signing out: %d %q %v", name, r.status, r.body, err)
	}
}

// Two hundred people sign in, use, mistype, sign out while answers are under
// way and leave, some with two browsers: nobody ever sees another's identity,
// and nothing is served to a session that was signed out.
func TestNobodySeesAnothersIdentity(t *testing.T) {
	t.Parallel()
	dir := soakDirectory()
	s := &soak{t: t, until: time.Now().Add(soakTime()), site: start(t, setup{
		directory: dir,
		auth:      "throttle account 1000 15m\nthrottle source 1000 15m",
		site:      "require_session {\nrequire /admin/* \"IT Admins\"\n}\nreverse_proxy UPSTREAM",
	})}
	s.until = time.Now().Add(soakTime())
	s.echo.Answer(s.judge)
	var people sync.WaitGroup
	for i := range soakUsers {
		name := fmt.Sprintf("soak%03d", i)
		people.Go(func() { s.browser(name) })
		if i%4 == 0 {
			people.Go(func() { s.browser(name) })
		}
	}
	over := make(chan struct{})
	go func() { people.Wait(); close(over) }()
	for done := false; !done; {
		select {
		case <-over:
			done = true
		case <-time.After(time.Second):
			s.echo.Forget() // each was judged when it came
		}
	}
	counts := s.sessionCounts(t)
	t.Logf("%d sign-ins (%d too many at once), %d uses, %d WebSockets; %d sessions left", s.signIns.Load(), s.busy.Load(), s.used.Load(), s.sockets.Load(), counts.Sessions)
	if counts.Sessions != int(s.left.Load()) {
		t.Errorf("%d sessions are stored, want the %d that nobody has ended", counts.Sessions, s.left.Load())
	}
	if s.signIns.Load() < soakUsers/2 || counts.Users > soakUsers {
		t.Errorf("%d sign-ins of %d people: that shows little", s.signIns.Load(), counts.Users)
	}
}
