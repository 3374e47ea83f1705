package storetest

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

func listedPages(t *testing.T, b *bench) {
	want := map[string][]sessionstore.Listed{}
	total := 0
	for i, n := range []int{1, 2, 3, 7, 6} {
		id := fmt.Sprint(i)
		for range n {
			s := NewSession(id)
			want[id] = append(want[id], asListed(b.create(s, nil), s, s.Created))
		}
		total += n
	}
	for _, limit := range []int{1, 2, 3, 6, 7, 1 << 30} {
		for id, sessions := range want {
			query := of("empresa.local", id)
			query.Limit = limit
			b.wantListed(query, sessions...)
		}
		query := everybody
		query.Limit = limit
		if all := b.list(query); len(all) != total {
			t.Errorf("%d sessions in pages of %d, want %d", len(all), limit, total)
		} else {
			checkTogether(t, all)
		}
	}
	// A page that is just full is the last one.
	if page, next, err := b.List(t.Context(), sessionstore.ListQuery{Directory: "empresa.local", UserID: "2", Limit: 3}); len(page) != 3 || next != "" || err != nil {
		t.Errorf("%d sessions, then %q, error %v", len(page), next, err)
	}
}

// Sessions come and go between the pages, the one that the next page begins
// behind among them. Those that stay are each on one page.
func listedWhileTheyChange(t *testing.T, b *bench) {
	r := rand.New(rand.NewPCG(1, 2))
	stay := map[sessionstore.Key]bool{}
	var leave []sessionstore.Key
	add := func() {
		s := NewSession(fmt.Sprint(r.IntN(4)))
		s.Created = s.Created.Add(time.Duration(r.Int64N(int64(time.Hour))))
		leave = append(leave, b.create(s, nil))
	}
	for range 15 {
		stay[b.create(NewSession(fmt.Sprint(r.IntN(4))), nil)] = true
		add()
	}
	for _, limit := range []int{1, 2, 3} {
		counts := map[sessionstore.Key]int{}
		for query := (sessionstore.ListQuery{Limit: limit}); ; {
			page, next, err := b.List(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range page {
				counts[l.Key]++
			}
			if len(page) > 0 {
				if last := page[len(page)-1].Key; !stay[last] {
					b.delete(last, true)
					leave = slices.DeleteFunc(leave, func(k sessionstore.Key) bool { return k == last })
				}
			}
			add()
			if i := r.IntN(len(leave)); i%2 == 0 {
				b.delete(leave[i], true)
				leave = slices.Delete(leave, i, i+1)
			}
			if query.After = next; next == "" {
				break
			}
		}
		for key := range stay {
			if counts[key] != 1 {
				t.Errorf("limit %d: a session that is there all the time is on %d pages", limit, counts[key])
			}
		}
	}
}

func listedUnderLoad(t *testing.T, b *bench) {
	stay := map[sessionstore.Key]bool{}
	for i := range 24 {
		stay[b.create(NewSession(fmt.Sprint(i%3)), nil)] = true
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				key := NewKey()
				if err := b.Create(t.Context(), key, NewSession(fmt.Sprint(i%3)), nil); err != nil {
					t.Error(err)
					return
				}
				if _, err := b.Delete(t.Context(), key); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 60 {
		query := everybody
		query.Limit = 1 + i%5
		all, err := listAll(t, b, query)
		if err != nil {
			t.Error(err)
			break
		}
		counts := map[sessionstore.Key]int{}
		for _, l := range all {
			counts[l.Key]++
		}
		for key := range stay {
			if counts[key] != 1 {
				t.Errorf("a session that is there all the time is on %d pages", counts[key])
			}
		}
	}
	close(done)
	wg.Wait()
}

func listedBadly(t *testing.T, b *bench) {
	for _, user := range namesakes {
		s := NewSession(user[1])
		s.User.Directory = user[0]
		b.create(s, nil)
	}
	for _, query := range []sessionstore.ListQuery{
		{}, {Limit: -1}, {Directory: "a", UserID: "b"},
		{Directory: "a", Limit: 1}, {UserID: "b", Limit: 1},
	} {
		if page, next, err := b.List(t.Context(), query); err == nil || len(page) > 0 || next != "" {
			t.Errorf("List of %+v: %d sessions, then %q, error %v; want an error", query, len(page), next, err)
		}
	}

	// Where a page begins may come from anybody: it opens no other user's door.
	cursors := []string{
		"x", "?", "=", "AA", "AAAA", "_____", "\x00", "Ñ", "null", strings.Repeat("A", 100_000),
		base64.RawURLEncoding.EncodeToString([]byte("\x01a\x01b")),
		base64.RawURLEncoding.EncodeToString([]byte("\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01b")),
		base64.RawURLEncoding.EncodeToString(slices.Repeat([]byte{0xff}, 64)),
	}
	for query := (sessionstore.ListQuery{Limit: 1}); ; {
		_, next, err := b.List(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		if query.After = next; next == "" {
			break
		}
		if len(next) > 1000 {
			continue
		}
		cursors = append(cursors, next, next+"A", next+"=", next+"\n", " "+next)
		for i := 0; i < len(next); i += 7 {
			cursors = append(cursors, next[:i], next[:i]+"_"+next[i+1:])
		}
	}
	for _, after := range cursors {
		for _, user := range [][2]string{{"a", "b"}, {"a", "bc"}, {"\x01", "a"}, {"nobody", "here"}} {
			query := of(user[0], user[1])
			query.After = after
			page, _, err := b.List(t.Context(), query)
			if err != nil {
				continue
			}
			for _, l := range page {
				if l.Directory != user[0] || l.UserID != user[1] {
					t.Errorf("after %q the sessions of %q have one of %q of %q", after, user, l.UserID, l.Directory)
				}
			}
		}
		// Of all users an arbitrary place may be one.
		query := everybody
		query.After = after
		b.List(t.Context(), query)
	}
}
