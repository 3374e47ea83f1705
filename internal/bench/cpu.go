package main

import (
	"context"
	"encoding/base64"
	"errors"
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
	site     int
	portion  int      // requests of one turn
	header   string   // of each, beside a browser's
	cookies  []string // in rotation
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
	rounds, portion, warmUp := 15, 8000, renewalStep
	if b.short {
		rounds, portion, warmUp = 5, 1600, time.Second
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
		"respond Hola.", protected + "\n\trespond Hola.",
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
	cookies := cookieHeaders(b.folder.active, device)
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

	variants := []*variant{
		{name: "unprotected", server: s, site: 0, portion: portion, cookies: cookies},
		{name: protected, server: s, site: 1, portion: portion, cookies: cookies},
		{name: "an empty handler", server: s, site: 2, portion: portion / 2, cookies: cookies},
		{name: "basic_auth", server: s, site: 3, portion: portion / 4, header: basic, cookies: cookies},
		{name: "forward_auth to an empty 200", server: s, site: 4, portion: portion / 4, cookies: cookies},
		{name: "unprotected, without the cookies", server: s, site: 0, portion: portion / 4},
		// What sessions in memory cost requests that have none shows here only.
		{name: "a server without the plugin", server: plain, site: 0, portion: portion / 2, cookies: cookies},
		{name: "unprotected text", server: s, site: 5, portion: portion, cookies: cookies},
		{name: "protected text", server: s, site: 6, portion: portion, cookies: cookies},
	}
	unprotected, gate := variants[0], variants[1]

	// The gate alternates with the unprotected file alone: every session in use is
	// renewed once a minute, so that whatever else is measured in between makes it
	// answer fewer requests for each renewal than a busy server does.
	if err := b.alternate(ctx, variants[:2], rounds); err != nil {
		return err
	}
	b.report.ratio(spreadOf(ratios(gate.times, unprotected.times)), 1.06, "CPU time of a protected request of a small static file over the same unprotected",
		"%.1f µs over %.1f µs; %d rounds, %s requests each; 1 in %.0f answers re-sent the cookie",
		median(gate.times), median(unprotected.times), rounds, thousands(turns*portion), gate.renewals())
	// The gate sends small files in fewer steps than Caddy does: what it costs by
	// itself shows where there is no file.
	texts := variants[7:]
	if err := b.alternate(ctx, texts, rounds); err != nil {
		return err
	}
	b.report.ratio(spreadOf(ratios(texts[1].times, texts[0].times)), 0, "the same of a text that the server has in memory", "%.1f µs over %.1f µs", median(texts[1].times), median(texts[0].times))

	unprotected.times, unprotected.portion = nil, portion/2
	beside := append([]*variant{unprotected}, variants[2:7]...)
	if err := b.alternate(ctx, beside, rounds); err != nil {
		return err
	}
	for _, v := range beside[1:] {
		b.report.ratio(spreadOf(ratios(v.times, unprotected.times)), 0, "the same: "+v.name, "%.1f µs over %.1f µs", median(v.times), median(unprotected.times))
	}
	if b.cpuProfile == "" {
		return nil
	}
	return gate.profile(b.cpuProfile)
}

// alternate measures variants in rounds, of which a first one warms up.
func (b *bench) alternate(ctx context.Context, variants []*variant, rounds int) (err error) {
	for _, v := range variants {
		if v.clients, err = dial(v.server.ports[v.site], v.header, v.cookies); err != nil {
			return err
		}
		defer hangUp(v.clients)
	}
	for round := range rounds + 1 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := measureRound(variants, round > 0); err != nil {
			return err
		}
		if round > 0 {
			b.log.Printf("round %d of %d: %s %.3f", round, rounds, variants[1].name, variants[1].times[round-1]/variants[0].times[round-1])
		}
	}
	return nil
}

func median(times []float64) float64 { return quantile(append([]float64(nil), times...), 0.5) }

// turns are those of each variant in a round.
const turns = 2

// measureRound gives every variant its turns, in small portions, so that what
// else the machine does meanwhile falls on all of them alike.
func measureRound(variants []*variant, counts bool) error {
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
	// Last-seen times are stored within a quarter of a second, and garbage is
	// still collected for a moment: both belong to the requests that caused them,
	// not to the next variant.
	time.Sleep(280 * time.Millisecond)
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
func (v *variant) profile(file string) (err error) {
	if v.clients, err = dial(v.server.ports[v.site], v.header, v.cookies); err != nil {
		return err
	}
	defer hangUp(v.clients)
	if _, err := v.server.command("profile " + file); err != nil {
		return err
	}
	if err := fetchAll(v.clients, 40*v.portion, 0); err != nil {
		return err
	}
	_, err = v.server.command("profile")
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
