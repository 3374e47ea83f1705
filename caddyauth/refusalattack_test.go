package caddyauth

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// A client that sends its body late once chose where the steps of refusals fall,
// and with it whether a bind fits in before one.
func TestRefusalsAreTimedFromTheBody(t *testing.T) {
	s := start(t, setup{auth: unthrottled})
	for _, offset := range []time.Duration{0, 280 * time.Millisecond} {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		body := credentialsJSON("ac12345", wrongPassword)
		_, _ = fmt.Fprintf(conn, "POST /api/login-ldap/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
		time.Sleep(offset)
		sent := time.Now()
		_, _ = io.WriteString(conn, body)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode != 401 {
			t.Fatalf("%v, %v", answer, err)
		}
		if took := time.Since(sent); took < refusalFloor {
			t.Errorf("the body came %v after the headers, and the answer %v after it, want %v", offset, took, refusalFloor)
		}
	}
}

// Off AD nothing is bound for a name that is not there.
func TestUnknownNameWaitsAsLongAsABind(t *testing.T) {
	dir := ldaptest.Demo()
	dir.Plain = true
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "svc", Surname: "Service", Password: servicePassword})
	logged.keepSecret("bind password", servicePassword)
	s := newServer(t, setup{directory: &dir, auth: unthrottled})
	s.setup.servers = "servers " + s.directory.URL() + "\nbind uid=svc,ou=people,dc=empresa,dc=local " + servicePassword + "\nrecheck 24h"
	if err := s.load(strings.Replace(s.caddyfile(), "directory empresa.local ad {", "directory empresa.local {", 1)); err != nil {
		t.Fatal(err)
	}
	s.attempt("nobody", wrongPassword) // connects
	s.directory.Observe(func(r ldaptest.Request) ldaptest.Fault {
		if r.Bind && strings.Contains(r.Name, "mgarcia") {
			time.Sleep(400 * time.Millisecond)
		}
		return ldaptest.Fault{}
	})
	for _, user := range []string{"mgarcia", "nobody", "nobody", "nobody2"} {
		began := time.Now()
		want(t, s.attempt(user, wrongPassword), 401, bodyInvalidCredentials)
		if took := time.Since(began); took < 2*refusalFloor {
			t.Errorf("%s was refused after %v, want %v", user, took, 2*refusalFloor)
		}
	}
}

// The refusal of a name that was never tried, but is a blocked account's, comes
// from a look-up, and leaves when others do.
func TestBlockedAfterALookUpLeavesLikeARefusal(t *testing.T) {
	dir := withService(ldaptest.Demo())
	dir.Users[0].Mail = "juan@correo.test"
	s := newServer(t, setup{directory: &dir})
	s.setup.servers = "servers " + s.directory.URL() + "\n" + bindService + "\nuser_filter (|(sAMAccountName={user})(mail={user}))"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	s.fails(3, "ac12345")
	began := time.Now()
	s.throttled("juan@correo.test", wrongPassword)
	if took := time.Since(began); took < refusalFloor {
		t.Errorf("it took %v, want %v", took, refusalFloor)
	}
}

// Eve's user principal name is spelt like the victim's account name.
func TestSuccessesOfAnotherAccountGiveNoGuesses(t *testing.T) {
	dir := ldaptest.Demo()
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "eve", UPN: "victim@empresa.local", Surname: "Eve", Password: ldaptest.DemoPassword},
		ldaptest.User{SAMAccountName: "victim", UPN: "v@empresa.local", Surname: "Victim", Password: "Victims-Password-1"})
	s := start(t, setup{directory: &dir})
	guesses := 0
	for range 4 {
		for range 2 {
			if s.attempt(`EMPRESA\victim`, wrongPassword).StatusCode == 401 {
				guesses++
			}
		}
		if got := s.attempt("victim@empresa.local", ldaptest.DemoPassword); got.StatusCode != 200 && got.StatusCode != 429 {
			t.Fatalf("Eve: %d %s", got.StatusCode, got.body)
		}
	}
	if guesses != 3 {
		t.Errorf("%d guesses at the victim's password, want 3", guesses)
	}
}
