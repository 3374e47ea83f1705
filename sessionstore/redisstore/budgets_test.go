package redisstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

func TestBudgets(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	var prefixes atomic.Int32
	storetest.RunBudgets(t, func(t *testing.T) storetest.BudgetsRig {
		options := Options{Addresses: []string{server.Addr}, Prefix: fmt.Sprint("budgets", prefixes.Add(1))}
		d := &budgetData{c: plain(t, options), keys: newKeys(options.Prefix)}
		return storetest.BudgetsRig{
			Open:   func(t *testing.T) sessionstore.Store { return open(t, options) },
			Age:    d.age,
			Damage: d.damage,
			Keys: func(t *testing.T) (accounts, sources int) {
				return d.count(t, d.keys.accounts, d.keys.accountEnds), d.count(t, d.keys.sources, d.keys.sourceEnds)
			},
		}
	})
}

// budgetData changes what is stored of budgets, behind the stores' backs.
type budgetData struct {
	c    rueidis.Client
	keys keys
}

func plain(t testing.TB, options Options) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(options.client())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (d *budgetData) do(t *testing.T, command ...string) *rueidis.RedisMessage {
	t.Helper()
	m, err := d.c.Do(t.Context(), d.c.B().Arbitrary(command...).Build()).ToMessage()
	if err != nil {
		t.Fatalf("%s: %v", command[0], err)
	}
	return &m
}

func (d *budgetData) count(t *testing.T, hash, ends string) int {
	t.Helper()
	n, err := d.do(t, "HLEN", hash).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	if listed, err := d.do(t, "ZCARD", ends).AsInt64(); listed != n || err != nil {
		t.Errorf("%d keys, and the expiry of %d (error %v)", n, listed, err)
	}
	return int(n)
}

// age takes d from all times, which is what a clock that is d ahead sees.
func (d *budgetData) age(t *testing.T, by time.Duration) {
	t.Helper()
	for _, space := range [][2]string{{d.keys.accounts, d.keys.accountEnds}, {d.keys.sources, d.keys.sourceEnds}} {
		all, err := d.do(t, "HGETALL", space[0]).AsStrMap()
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range all {
			d.do(t, "HSET", space[0], key, aged([]byte(value), by))
			d.do(t, "ZINCRBY", space[1], fmt.Sprint(-by.Milliseconds()), key)
		}
	}
}

func aged(value []byte, by time.Duration) string {
	shift := func(at []byte) {
		var b [8]byte
		copy(b[2:], at)
		binary.BigEndian.PutUint64(b[:], binary.BigEndian.Uint64(b[:])-uint64(by.Milliseconds()))
		copy(at, b[2:])
	}
	rest := value[7:]
	for range binary.BigEndian.Uint16(value[5:7]) {
		shift(rest[:6])
		rest = rest[6:]
	}
	for ; len(rest) > 0; rest = rest[22:] {
		shift(rest[:6])
	}
	return string(value)
}

func (d *budgetData) damage(t *testing.T, b sessionstore.Budget, value string) {
	t.Helper()
	hash, ends := d.keys.accounts, d.keys.accountEnds
	if b.Source {
		hash, ends = d.keys.sources, d.keys.sourceEnds
	}
	d.do(t, "HSET", hash, string(b.Key[:]), value)
	d.do(t, "ZADD", ends, fmt.Sprint(time.Now().Add(time.Hour).UnixMilli()), string(b.Key[:]))
}

func testBudget(name string) sessionstore.Budget {
	b := sessionstore.Budget{Limit: 3, Window: 15 * time.Minute, Room: 1 << 20}
	copy(b.Key[:], name)
	return b
}

func TestDamagedBudgetsAreWarnedOfOnce(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	log := &buffer{}
	options := Options{Addresses: []string{server.Addr}}
	s, err := Open(options, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := &budgetData{c: plain(t, options), keys: s.keys}
	before := strings.Count(log.String(), "cannot be read")
	for i := range 5 {
		b := testBudget(fmt.Sprint(i))
		d.damage(t, b, "<html>")
		if _, err := s.Reserve(t.Context(), sessionstore.Reservation{Groups: [][]sessionstore.Budget{{b}}}); err != nil {
			t.Error(err)
		}
		d.do(t, "HSET", s.keys.counters, string(b.Key[:]), "<html>")
		if _, ok, err := s.Counter(t.Context(), b.Key); ok || err != nil {
			t.Errorf("a damaged counter: %v, %v", ok, err)
		}
	}
	if n := strings.Count(log.String(), "cannot be read") - before; n != 1 {
		t.Errorf("%d lines, want 1:\n%s", n, log)
	}
}

// The rights that the documentation asks for are enough.
func TestBudgetsWithTheLeastRights(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{aclRules(t, "shop")}})
	s := open(t, Options{Addresses: []string{server.Addr}, Username: "caddy", Password: aclPassword, Prefix: "shop"})
	b := testBudget("juan")
	b.Room = 1
	for range 4 {
		attempt := sessionstore.Reservation{Attempt: [16]byte{1}, Held: []sessionstore.Budget{b}, Groups: [][]sessionstore.Budget{{b}}}
		if _, err := s.Reserve(t.Context(), attempt); err != nil {
			t.Error(err)
		}
		if _, err := s.Settle(t.Context(), sessionstore.Settlement{Attempt: attempt.Attempt, Held: attempt.Held, Failed: true}); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Settle(t.Context(), sessionstore.Settlement{Cleared: []sessionstore.Budget{b}}); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Counter(t.Context(), b.Key); err != nil {
		t.Error(err)
	}
}

// What is counted survives a crash of the server, and its scripts are sent anew.
func TestBudgetsOutliveTheServer(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"appendfsync always"}})
	s := open(t, Options{Addresses: []string{server.Addr}})
	b := testBudget("juan")
	b.Limit = 1
	groups := [][]sessionstore.Budget{{b}}
	if r, err := s.Reserve(t.Context(), sessionstore.Reservation{Groups: groups}); err != nil || !r.Taken {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := s.Settle(t.Context(), sessionstore.Settlement{Held: groups[0], Failed: true}); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if r, err := s.Reserve(t.Context(), sessionstore.Reservation{Groups: groups}); err == nil || r.Taken {
		t.Errorf("without a server: %+v, %v", r, err)
	}
	server.Restart(t)
	eventually(t, "works again", func() bool {
		r, err := s.Reserve(t.Context(), sessionstore.Reservation{Groups: groups})
		if err == nil && (r.Taken || r.Standings[0].Blocked == 0) {
			t.Fatalf("the failure is forgotten: %+v", r)
		}
		return err == nil
	})
}

// BenchmarkBudgets is a wrong password: a source, a name and its account.
func BenchmarkBudgets(b *testing.B) {
	server := realserver.NewRedis(b, realserver.RedisOptions{})
	s := open(b, Options{Addresses: []string{server.Addr}})
	n := 0
	for b.Loop() {
		n++
		source, name, account := testBudget(""), testBudget(""), testBudget("")
		source.Source = true
		for i, budget := range []*sessionstore.Budget{&source, &name, &account} {
			binary.BigEndian.PutUint64(budget.Key[:], uint64(3*n+i))
		}
		held := []sessionstore.Budget{source, name, account}
		attempt := [16]byte(bytes.Repeat([]byte{byte(n)}, 16))
		r, err := s.Reserve(b.Context(), sessionstore.Reservation{Attempt: attempt, Groups: [][]sessionstore.Budget{nil, held}})
		if err != nil || !r.Taken {
			b.Fatalf("%+v, %v", r, err)
		}
		if _, err := s.Settle(b.Context(), sessionstore.Settlement{Attempt: attempt, Held: held, Failed: true}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBudgetSize reports what a key with failures costs the server.
func BenchmarkBudgetSize(b *testing.B) {
	server := realserver.NewRedis(b, realserver.RedisOptions{})
	options := Options{Addresses: []string{server.Addr}}
	s, c := open(b, options), plain(b, options)
	used := func() (n float64) {
		memory, err := c.Do(b.Context(), c.B().Info().Section("memory").Build()).ToString()
		if err != nil {
			b.Fatal(err)
		}
		_, line, _ := strings.Cut(memory, "used_memory:")
		if _, err := fmt.Sscan(line, &n); err != nil {
			b.Fatal(err)
		}
		return n
	}
	for _, failures := range []int{1, 3} {
		b.Run(fmt.Sprint(failures, " failures"), func(b *testing.B) {
			const n, batch = 50_000, 50
			for b.Loop() {
				if err := c.Do(b.Context(), c.B().Flushall().Build()).Error(); err != nil {
					b.Fatal(err)
				}
				before := used()
				for i := 0; i < n; i += batch {
					held := make([]sessionstore.Budget, batch)
					for j := range held {
						held[j] = testBudget("")
						binary.BigEndian.PutUint64(held[j].Key[:], uint64(i+j))
					}
					for range failures {
						if _, err := s.Settle(b.Context(), sessionstore.Settlement{Held: held, Failed: true}); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric((used()-before)/n, "bytes/key")
			}
		})
	}
}
