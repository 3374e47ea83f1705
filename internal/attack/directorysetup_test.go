package attack

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// The service account of the tests' directories, and the lines that use it in an
// Active Directory.
const (
	directoryServicePassword = "clave-del-servicio-7Q"
	directoryServiceLines    = "servers DIRECTORY\nbind svc@empresa.local " + directoryServicePassword
)

// directoryServiceLinesOf are the lines for either kind of directory.
func directoryServiceLinesOf(dir *ldaptest.Directory) string {
	if dir.Plain {
		return "servers DIRECTORY\nbind uid=svc,ou=people,dc=empresa,dc=local " + directoryServicePassword
	}
	return directoryServiceLines
}

// signInWrongPassword is nobody's.
const signInWrongPassword = "una-clave-que-no-es"

// Refused sign-ins, as they are for every reason that must not show.
const (
	signInRefused   = `{"status":"error","message":"Credenciales inválidas","code":"invalid_credentials"}`
	signInThrottled = `{"status":"error","message":"Demasiados intentos","code":"too_many_attempts"}`
)

// throttleBehindProxy makes the test a trusted proxy: every attempt may come from an
// address of its own.
var throttleBehindProxy = setup{
	server: "trusted_proxies static 127.0.0.1\ntrusted_proxies_strict",
	auth:   "insecure_http",
}

// directoryWithService is a directory with a service account.
func directoryWithService(dir ldaptest.Directory) *ldaptest.Directory {
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "svc", UPN: "svc@" + dir.Domain, Password: directoryServicePassword})
	return &dir
}

// directoryOfEachKind runs a test with an Active Directory and with an OpenLDAP,
// each with a service account.
func directoryOfEachKind(t *testing.T, run func(t *testing.T, dir *ldaptest.Directory)) {
	t.Helper()
	for name, plain := range map[string]bool{"active directory": false, "openldap": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := directoryWithService(ldaptest.Demo())
			dir.Plain = plain
			run(t, dir)
		})
	}
}

// directorySeen is what a directory was asked.
type directorySeen struct {
	mu       sync.Mutex
	requests []ldaptest.Request
}

// directoryWatch notes every request that reaches the directory from now on.
func directoryWatch(directory *ldaptest.Server) *directorySeen {
	w := new(directorySeen)
	directory.Observe(func(r ldaptest.Request) ldaptest.Fault {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.requests = append(w.requests, r)
		return ldaptest.Fault{}
	})
	return w
}

// all returns what the directory was asked so far.
func (w *directorySeen) all() []ldaptest.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]ldaptest.Request(nil), w.requests...)
}

// people are the binds with somebody's password: neither anonymous nor of the
// service account.
func (w *directorySeen) people() []ldaptest.Request {
	var binds []ldaptest.Request
	for _, r := range w.all() {
		if r.Bind && r.Name != "" && !directoryIsService(r.Name) {
			binds = append(binds, r)
		}
	}
	return binds
}

func directoryIsService(name string) bool {
	return strings.HasPrefix(name, "svc@") || strings.HasPrefix(strings.ToLower(name), "uid=svc,")
}

// signInTry is one sign-in to try.
type signInTry struct {
	username, password string
	from               string // X-Forwarded-For; "" for none
}

// signInAll tries sign-ins, many at a time as attackers do, and returns their
// answers in order.
func (s *site) signInAll(t testing.TB, tries []signInTry) []reply {
	t.Helper()
	replies := make([]reply, len(tries))
	errs := make([]error, len(tries))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i, g := range tries {
		wg.Add(1)
		go func() {
			defer wg.Done()
			slots <- struct{}{}
			defer func() { <-slots }()
			fields := []string{"Content-Type", "application/json"}
			if g.from != "" {
				fields = append(fields, "X-Forwarded-For", g.from)
			}
			replies[i], errs[i] = s.send("POST", "/api/login-ldap/", signInJSON(g.username, g.password), fields...)
		}()
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("signing in as %q: %v", tries[i].username, err)
		}
	}
	return replies
}

// throttleGuesses are guesses with wrong passwords, each from an address of its own.
func throttleGuesses(names ...string) []signInTry {
	tries := make([]signInTry, len(names))
	for i, name := range names {
		tries[i] = signInTry{name, fmt.Sprintf("%s-%d", signInWrongPassword, i), fmt.Sprintf("198.51.%d.%d", 100+i/250, 1+i%250)}
	}
	return tries
}

// throttleWantTried fails unless exactly n were tried and refused, and all others not
// tried: what has its own budget for every spelling or place lets more through.
func throttleWantTried(t testing.TB, replies []reply, n int) {
	t.Helper()
	tried := 0
	for _, r := range replies {
		switch {
		case r.status == 401 && r.body == signInRefused:
			tried++
		case r.status == 429 && r.body == signInThrottled && r.header.Get("Retry-After") != "":
		default:
			t.Errorf("got %d %q", r.status, r.body)
		}
	}
	if tried != n {
		t.Errorf("%d of %d guesses were tried, want %d", tried, len(replies), n)
	}
}
