package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// variant is a site whose requests are measured.
type variant struct {
	name     string
	server   *server
	portion  int // requests of one turn
	settle   bool
	clients  []*client
	requests int
	times    []float64 // CPU time a request, in microseconds, of each round
}

// renewalStep is how often an active session's last-seen time is stored and its
// cookie sent again.
const renewalStep = time.Minute

// cpu reports the CPU time of the whole server for a request of a small static
// file behind each handler, over that without any. All requests are the same
// but for what a handler needs, and carry a signed-in browser's cookies.
func (b *bench) cpu(ctx context.Context) (err error) {
	rounds, turns, portion, warmUp := 15, 4, 4000, renewalStep
	if b.short {
		rounds, turns, portion, warmUp = 5, 2, 800, time.Second
	}
	if _, err := cpuTime(); err != nil {
		return err
	}
	null, err := startNull()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, null.Close()) }()
	hash, err := bcrypt.GenerateFromPassword([]byte(ldaptest.DemoPassword), bcrypt.MinCost)
	if err != nil {
		return err
	}
	s, err := b.start(ctx, config{sessions: b.folder.path, handlers: []string{
		"", protected, "pass_on", "basic_auth {\n\t\tjuan " + string(hash) + "\n\t}", "forward_auth " + null.Addr + " {\n\t\turi /\n\t}",
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	plain, err := b.start(ctx, config{handlers: []string{""}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.stop()) }()
	device, err := s.deviceCookie(1)
	if err != nil {
		return err
	}
	cookies := b.folder.cookies(device)
	basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("juan:"+ldaptest.DemoPassword)) + "\r\n"

	// Every session is loaded into memory, and at a time of its own: their
	// renewals are to be spread as those of people are, not to come together.
	b.log.Printf("every session in use is used once, in %s", warmUp)
	first, err := dial(s.ports[1], "", cookies)
	if err != nil {
		return err
	}
	err = fetchAll(first, len(cookies), warmUp/time.Duration(len(cookies)))
	hangUp(first)
	if err != nil {
		return err
	}

	var variants []*variant
	for _, v := range []struct {
		name    string
		server  *server
		site    int
		portion int
		header  string
		cookies []string
	}{
		// Larger portions where it matters; and the more of a round these take,
		// the more protected answers there are between two renewals.
		{"unprotected", s, 0, portion, "", cookies},
		{protected, s, 1, portion, "", cookies},
		{"an empty handler", s, 2, portion, "", cookies},
		{"basic_auth", s, 3, portion / 4, basic, cookies},
		{"forward_auth to an empty 200", s, 4, portion / 4, "", cookies},
		{"unprotected, without the cookies", s, 0, portion / 4, "", nil},
		// What sessions in memory cost requests that have none shows here only.
		{"a server without the plugin", plain, 0, portion, "", cookies},
	} {
		connected, err := dial(v.server.ports[v.site], v.header, v.cookies)
		if err != nil {
			return err
		}
		defer hangUp(connected)
		variants = append(variants, &variant{name: v.name, server: v.server, portion: v.portion, settle: v.name == protected, clients: connected})
	}
	gate := variants[1]

	for round := range rounds + 1 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := measureRound(variants, turns, round > 0); err != nil { // the first warms up
			return err
		}
		if round > 0 {
			b.log.Printf("round %d of %d: %s %.3f", round, rounds, protected, gate.times[round-1]/variants[0].times[round-1])
		}
	}
	if b.cpuProfile != "" {
		if err := gate.profile(b.cpuProfile); err != nil {
			return err
		}
	}

	unprotected := variants[0].times
	base := quantile(append([]float64(nil), unprotected...), 0.5)
	for _, v := range variants[1:] {
		limit, name, note := 0.0, "the same: "+v.name, ""
		if v == gate {
			limit, name = 1.06, "CPU time of a protected request of a small static file over the same unprotected"
			note = fmt.Sprintf("; %d rounds, %s requests each; 1 in %.0f answers re-sent the cookie", rounds, thousands(turns*portion), gate.renewals())
		}
		b.report.ratio(spreadOf(ratios(v.times, unprotected)), limit, name, "%.1f µs over %.1f µs%s", quantile(append([]float64(nil), v.times...), 0.5), base, note)
	}
	return nil
}

// measureRound gives every variant its turns, in small portions, so that what
// else the machine does meanwhile falls on all of them alike.
func measureRound(variants []*variant, turns int, counts bool) error {
	used := make([]int64, len(variants))
	for range turns {
		for _, at := range rand.Perm(len(variants)) { // none always comes after the same one
			portion, err := variants[at].turn()
			if err != nil {
				return err
			}
			used[at] += portion
		}
	}
	for i, v := range variants {
		if counts {
			v.times = append(v.times, float64(used[i])/float64(turns*v.portion))
		}
	}
	return nil
}

// turn returns the server's CPU time for one portion, in microseconds.
func (v *variant) turn() (int64, error) {
	before, err := v.server.used()
	if err != nil {
		return 0, err
	}
	if err := fetchAll(v.clients, v.portion, 0); err != nil {
		return 0, err
	}
	v.requests += v.portion
	if v.settle {
		// Last-seen times are stored within a quarter of a second: that belongs
		// to the requests that caused it, not to the next variant.
		time.Sleep(280 * time.Millisecond)
	}
	after, err := v.server.used()
	return after - before, err
}

// renewals tells how many answers came for each that set the cookie again.
func (v *variant) renewals() float64 {
	n := 0
	for _, c := range v.clients {
		n += c.renewed
	}
	return float64(v.requests) / float64(max(n, 1))
}

// profile writes a CPU profile of this variant's requests, after what is
// measured.
func (v *variant) profile(file string) error {
	if _, err := v.server.command("profile " + file); err != nil {
		return err
	}
	if err := fetchAll(v.clients, 40*v.portion, 0); err != nil {
		return err
	}
	_, err := v.server.command("profile")
	return err
}

// startNull starts what forward_auth asks: a server, in this process, whose
// answer says yes and nothing else.
func startNull() (*http.Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	null := &http.Server{Addr: listener.Addr().String(), Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = null.Serve(listener) }()
	return null, nil
}
