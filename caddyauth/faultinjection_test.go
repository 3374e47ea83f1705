package caddyauth

import (
	"crypto/rand"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// What is known of a session. The model is what a client was told: a session
// whose end was acknowledged never serves again, and one whose end was asked for
// in vain may have ended or not.
type standing int

const (
	isLive standing = iota
	isEnded
	inDoubt
	isNone // expired, or never there
)

// faultRun is a life of some sessions, checked against the model at each step.
// A fault may make any answer a 503, and no other.
type faultRun struct {
	t      *testing.T
	s      *server
	a      *admin
	rig    *storeRig
	states map[string]standing
	paths  *atomic.Int64
	well   bool // no fault is set: there is no excuse
}

// send sends a request to a path that no other request has, and checks that
// what reached the upstream was let through, and nothing else.
func (f *faultRun) send(prefix string, state standing, changes ...change) int {
	f.t.Helper()
	path := fmt.Sprintf("%s%d", prefix, f.paths.Add(1))
	got, err := f.s.try("GET", path, changes...)
	if err != nil {
		f.t.Errorf("%s was not answered: %v", path, err)
		return 0
	}
	reached := f.reached(path)
	if reached != (got.StatusCode == 200) {
		f.t.Errorf("%s: %d, and reached the upstream: %v", path, got.StatusCode, reached)
	}
	switch allowed := state == isLive || state == inDoubt; {
	case reached && !allowed:
		f.t.Errorf("%s was served without a valid session (%d)", path, state)
	case got.StatusCode == 503 && f.well, got.StatusCode >= 500 && got.StatusCode != 503:
		f.t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
	case state == isLive && got.StatusCode == 401:
		f.t.Errorf("%s: a valid session was taken for none", path)
	}
	if got.StatusCode == 503 && got.Header.Get("Retry-After") == "" {
		f.t.Errorf("%s: a 503 without Retry-After", path)
	}
	return got.StatusCode
}

func (f *faultRun) reached(path string) bool {
	u := f.s.upstream
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.ContainsFunc(u.seen, func(r seenRequest) bool { return r.uri == path })
}

// use is a request with a session.
func (f *faultRun) use(c signedIn) int { return f.send("/p/", f.states[c.token], c.cookies) }

// ask is a request to a path of ours: it is answered, as wanted or by 503.
func (f *faultRun) ask(method, path string, statuses []int, changes ...change) reply {
	f.t.Helper()
	got, err := f.s.try(method, path, changes...)
	if err != nil {
		f.t.Errorf("%s %s was not answered: %v", method, path, err)
		return reply{}
	}
	if !slices.Contains(statuses, got.StatusCode) && (got.StatusCode != 503 || f.well) {
		f.t.Errorf("%s %s: %d %s", method, path, got.StatusCode, got.body)
	}
	return got
}

func (f *faultRun) signIn(user string) signedIn {
	f.t.Helper()
	got := f.ask("POST", "/api/login-ldap/", []int{200}, jsonBody(credentialsJSON(user, ldaptest.DemoPassword)))
	if got.Response == nil || got.StatusCode != 200 {
		if got.Response != nil && got.cookie("sessionid") != "" {
			f.t.Error("a sign-in that failed set a session cookie")
		}
		return signedIn{}
	}
	c := signedIn{token: got.cookie("sessionid"), csrf: got.cookie("csrftoken")}
	f.states[c.token] = isLive
	return c
}

// ended notes what the answer to an end says of the session.
func (f *faultRun) ended(c signedIn, status int) {
	if _, there := f.states[c.token]; !there || f.states[c.token] == isEnded {
		return
	}
	if f.states[c.token] = inDoubt; status == 200 {
		f.states[c.token] = isEnded
	}
}

func (f *faultRun) status(got reply) int {
	if got.Response == nil {
		return 0
	}
	return got.StatusCode
}

// life goes once through all that sessions are used for.
func (f *faultRun) life(method string) {
	f.send("/p/", isNone) // asks no store: any answer but the 401 is a fault of its own
	juan, maria, other := f.signIn("ac12345"), f.signIn("mgarcia"), f.signIn("mgarcia")
	long := f.rig.put(f.t, storedSession("long", 2*time.Minute))
	f.states[long.token] = isLive
	unseen := f.rig.put(f.t, storedSession("unseen", 2*time.Minute)) // its last-seen time is due
	f.states[unseen.token] = isLive
	expired := f.rig.put(f.t, storedSession("expired", 24*time.Hour))
	f.states[expired.token] = isNone
	for _, c := range []signedIn{juan, maria, other, long, unseen, expired} {
		if c.token != "" {
			f.use(c)
		}
	}
	if juan.token != "" && f.send("/admin/", isNone, juan.cookies) == 200 {
		f.t.Error("a group that he is not in was no hindrance")
	}
	if maria.token != "" {
		f.send("/admin/", f.states[maria.token], maria.cookies)
		f.ask("GET", listPath, []int{200}, maria.cookies)
		if other.token != "" {
			got := f.ask("POST", listPath, []int{200}, maria.shown, end(f.rig.idOf(f.t, other.token)))
			f.ended(other, f.status(got))
			f.use(other)
		}
	}
	if juan.token != "" {
		f.ended(juan, f.status(f.ask("POST", "/api/logout/", []int{200}, juan.shown)))
		f.use(juan)
	}
	f.operate(maria, long)
	switch method {
	case "Touch", "Mark":
		time.Sleep(400 * time.Millisecond)
	case "SaveCounters":
		f.ask("POST", "/api/login-ldap/", []int{401}, jsonBody(credentialsJSON("ac12345", "wrong")))
		time.Sleep(1200 * time.Millisecond)
	}
	f.useAll()
}

// operate is what operators do meanwhile.
func (f *faultRun) operate(maria, long signedIn) {
	for _, path := range []string{"/ldap_auth/sessions?limit=1", "/ldap_auth/users", "/ldap_auth/counts", "/ldap_auth/sessions/none"} {
		if got, err := f.a.once("GET", path); err != nil || got.StatusCode >= 500 && (got.StatusCode != 503 || f.well) {
			f.t.Errorf("%s: %v %d %s", path, err, got.StatusCode, got.body)
		}
	}
	if maria.token != "" {
		got, err := f.a.once("DELETE", "/ldap_auth/sessions/"+f.rig.idOf(f.t, maria.token))
		if err != nil || got.StatusCode != 200 && (got.StatusCode != 503 || f.well) {
			f.t.Errorf("ending a session: %v %d %s", err, got.StatusCode, got.body)
		} else {
			f.ended(maria, got.StatusCode)
		}
	}
	got, err := f.a.once("DELETE", "/ldap_auth/sessions?directory=empresa.local&user=long")
	if err != nil || got.StatusCode != 200 && got.StatusCode != 404 && (got.StatusCode != 503 || f.well) {
		f.t.Errorf("ending a user's sessions: %v %d %s", err, got.StatusCode, got.body)
	} else {
		f.ended(long, got.StatusCode)
	}
}

func (f *faultRun) useAll() {
	for token := range f.states {
		f.use(signedIn{token: token})
	}
}

// storedSession is a session of somebody whom no directory need know, that was
// last used so long ago.
func storedSession(user string, ago time.Duration) *sessionstore.Session {
	return &sessionstore.Session{
		ID: strings.ToLower(rand.Text()[:16]), User: sessionstore.User{Directory: "empresa.local", ID: user, Username: user},
		CSRF: sessionstore.NewCSRF(), Created: time.Now().Add(-ago).UTC(), ClientIP: "127.0.0.1",
		Limits: sessionstore.Limits{Idle: time.Hour, Absolute: 12 * time.Hour},
	}
}

const faultSite = "require_session {\nrequire /admin/* \"IT Admins\"\n}\nreverse_proxy UPSTREAM"

// settled tells whether the store says again what became of each session.
func (f *faultRun) settled() bool {
	for token, state := range f.states {
		if state != inDoubt {
			continue
		}
		switch f.use(signedIn{token: token}) {
		case 401:
			f.states[token] = isEnded
		case 200:
			f.states[token] = isLive
		default:
			return false
		}
	}
	return true
}

// ourGoroutines counts the goroutines in code of this project, once those that
// end have ended.
func ourGoroutines() int {
	least := math.MaxInt
	for range 10 {
		time.Sleep(20 * time.Millisecond)
		stacks := make([]byte, 4<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		n := 0
		for stack := range strings.SplitSeq(string(stacks), "\n\n") {
			if strings.Contains(stack, "caddyauth/caddy-ldap/") {
				n++
			}
		}
		least = min(least, n)
	}
	return least
}
