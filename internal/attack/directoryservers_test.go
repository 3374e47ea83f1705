package attack

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// A domain controller that takes connections and never answers holds up neither
// those who sign in, whom another one can serve, nor those who have a session.
func TestP15OneSilentServerHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	silent := netfault.NewStalled(t)
	s := start(t, setup{block: "servers ldap://" + silent.Addr() + " DIRECTORY", auth: "throttle insecure_off"})
	var tries []signInTry
	for i := range 12 {
		tries = append(tries, signInTry{username: []string{juan, maria}[i%2], password: ldaptest.DemoPassword})
	}
	for i, r := range s.signInAll(t, tries) {
		if r.status != 200 {
			t.Errorf("sign-in %d: %d %s", i, r.status, r.body)
		}
	}
	if silent.Connections() == 0 {
		t.Error("nobody asked the silent server")
	}

	// And when all of them are silent, sessions go on as if nothing was.
	client := s.signIn(t, juan)
	s.directory.HangUp()
	s.directory.Stall(ldaptest.StallConnect)
	waiting := make(chan reply, 30)
	for range cap(waiting) {
		go func() {
			r, _ := s.send("POST", "/api/login-ldap/", signInJSON(maria, ldaptest.DemoPassword), "Content-Type", "application/json")
			waiting <- r
		}()
	}
	served := 0
	for len(waiting) < cap(waiting) && served < 300 {
		wantServed(t, client.get(t, "/"))
		served++
	}
	if served == 0 {
		t.Error("no request was tried meanwhile")
	}
	for range cap(waiting) {
		r := <-waiting
		wantCode(t, r, 503, "directory_unavailable")
	}
	wantServed(t, client.get(t, "/"))
	s.directory.Stall(ldaptest.StallNever)
	s.eventually(t, "the directory's return", func() bool { return s.trySignIn(t, maria, ldaptest.DemoPassword).status == 200 })
}

// A failed bind leaves a connection without the identity that it had: one that
// others search on is never bound with somebody's password.
func TestP49PeopleNeverBindOnTheServiceConnection(t *testing.T) {
	t.Parallel()
	directoryOfEachKind(t, func(t *testing.T, dir *ldaptest.Directory) {
		var tries []signInTry
		for i := range 50 {
			user := fmt.Sprintf("persona%d", i)
			dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: user, Surname: user, Password: ldaptest.DemoPassword})
			tries = append(tries, signInTry{username: user, password: ldaptest.DemoPassword})
			if i%5 == 0 {
				tries = append(tries, signInTry{username: "nadie", password: "x"}, signInTry{username: juan, password: "wrong"}, signInTry{username: "deshabilitada", password: ldaptest.DemoPassword})
			}
		}
		s := start(t, setup{directory: dir, block: directoryServiceLinesOf(dir), auth: "throttle insecure_off"})
		asked := directoryWatch(s.directory)
		wantCode(t, s.trySignIn(t, juan, signInWrongPassword), 401, "invalid_credentials")
		for i, r := range s.signInAll(t, tries) {
			if strings.HasPrefix(tries[i].username, "persona") != (r.status == 200) {
				t.Errorf("%s: %d %s", tries[i].username, r.status, r.body)
			}
		}
		service, person := map[int]bool{}, map[int]bool{}
		for _, r := range asked.all() {
			switch {
			case !r.Bind || r.Name == "":
			case directoryIsService(r.Name):
				service[r.Connection] = true
			default:
				person[r.Connection] = true
			}
		}
		for connection := range service {
			if person[connection] {
				t.Errorf("connection %d is the service account's and somebody's", connection)
			}
		}
		if len(service) == 0 || len(person) == 0 {
			t.Errorf("%d connections of the service account, %d of people", len(service), len(person))
		}
	})
}

// directoryReferring is a server that sends everybody elsewhere: in the result
// of each operation, or, for searches, in the place of an entry.
func directoryReferring(t *testing.T, elsewhere string, reference bool) *directoryWiretap {
	url := func(tag ber.Tag, class ber.Class) *ber.Packet {
		p := ber.Encode(class, ber.TypeConstructed, tag, nil, "")
		p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "ldap://"+elsewhere+"/dc=empresa,dc=local", ""))
		return p
	}
	return directoryTap(t, "", func(conn net.Conn) {
		for {
			request, err := ber.ReadPacket(conn)
			if err != nil || len(request.Children) < 2 {
				return
			}
			answer := func(tag ber.Tag, children ...*ber.Packet) {
				message, op := ber.NewSequence(""), ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
				message.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, request.Children[0].Value, ""))
				for _, child := range children {
					op.AppendChild(child)
				}
				message.AppendChild(op)
				_, _ = conn.Write(message.Bytes())
			}
			result := func(code int) []*ber.Packet {
				r := []*ber.Packet{
					ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""),
					ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""),
					ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""),
				}
				if code == 10 {
					r = append(r, url(3, ber.ClassContext))
				}
				return r
			}
			switch request.Children[1].Tag {
			case 0: // bind
				if reference {
					answer(1, result(0)...)
				} else {
					answer(1, result(10)...)
				}
			case 3: // search
				if reference {
					answer(19, url(ber.TagSequence, ber.ClassUniversal).Children...)
					answer(5, result(0)...)
				} else {
					answer(5, result(10)...)
				}
			}
		}
	})
}

// A server that refers to another one gets no password sent there: neither the
// person's nor the service account's.
func TestP46ReferralsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for name, reference := range map[string]bool{"referral": false, "search reference": true} {
		for kind, bind := range map[string]string{"ad": "", "openldap": "\nbind uid=svc,ou=people,dc=empresa,dc=local " + directoryServicePassword} {
			t.Run(name+" of "+kind, func(t *testing.T) {
				t.Parallel()
				elsewhere := directoryTap(t, "", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
				referring := directoryReferring(t, elsewhere.addr(), reference)
				s, text := prepare(t, setup{block: "servers ldap://" + referring.addr() + bind + "\nbase_dn dc=empresa,dc=local"})
				s.run(t, strings.Replace(text, "directory empresa.local ad {", "directory empresa.local "+kind+" {", 1))
				r := s.trySignIn(t, juan, ldaptest.DemoPassword)
				if r.status != 401 && r.status != 503 || len(r.cookies) != 0 {
					t.Errorf("got %d %s with the cookies %v", r.status, r.body, r.cookies)
				}
				if referring.connections() == 0 {
					t.Error("nobody asked the server")
				}
				time.Sleep(100 * time.Millisecond)
				if n := elsewhere.connections(); n != 0 {
					t.Errorf("%d connections to where it refers", n)
				}
				if strings.Contains(r.body, elsewhere.addr()) {
					t.Errorf("the answer names it: %s", r.body)
				}
			})
		}
	}
}

// Whoever leaves a group in the directory leaves it here as well, while signed
// in; and whoever is disabled there, or has another password now, has no session
// any more.
func TestP44ChangesInTheDirectoryReachLiveSessions(t *testing.T) {
	t.Parallel()
	dir := directoryWithService(ldaptest.Demo())
	for _, name := range []string{"deshabilita", "cambia", "borrada"} {
		dir.Users = append(dir.Users, ldaptest.User{
			SAMAccountName: name, Surname: name, Password: ldaptest.DemoPassword, MemberOf: []string{"IT Admins"},
			ExtraAttributes: map[string][]string{"pwdLastSet": {"133000000000000000"}},
		})
	}
	s := start(t, setup{directory: dir, block: directoryServiceLines + "\nrecheck 1s", site: `
	require_session "IT Admins"
	reverse_proxy UPSTREAM`})
	clients := map[string]session{}
	for _, name := range []string{maria, "deshabilita", "cambia", "borrada"} {
		clients[name] = s.signIn(t, name)
		wantServed(t, clients[name].get(t, "/"))
	}
	changed := *dir
	changed.Users = slices.Clone(dir.Users)
	for i := range changed.Users {
		switch u := &changed.Users[i]; u.SAMAccountName {
		case maria:
			u.MemberOf = nil
		case "deshabilita":
			u.State = ldaptest.Disabled
		case "cambia":
			u.Password, u.ExtraAttributes = "otra", map[string][]string{"pwdLastSet": {"133000000000000001"}}
		}
	}
	changed.Users = changed.Users[:len(changed.Users)-1]
	if err := s.directory.Replace(changed); err != nil {
		t.Fatal(err)
	}
	for name, client := range clients {
		s.eventually(t, name+" to be refused", func() bool { return client.get(t, "/").status != 200 })
		s.echo.Forget()
		if r := client.get(t, "/"); name == maria {
			wantCode(t, r, 403, "group_required")
		} else {
			wantRefused(t, r)
		}
		s.wantNothingUpstream(t)
	}
}
