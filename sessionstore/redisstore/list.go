package redisstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// listBatch bounds how much the server reads at a time.
const listBatch = 500

var errCursor = errors.New("the place where the page begins is none")

// userRange are the places in the index that a user's sessions can have.
func userRange(directory, id string) (low, high string) {
	digest := []byte(userDigest(directory, id))
	low, high = "["+string(digest), "+"
	for i := len(digest) - 1; i >= 0; i-- {
		if digest[i]++; digest[i] != 0 {
			return low, "(" + string(digest)
		}
	}
	return low, high
}

// behind is where the places begin that follow one.
func behind(place string) string { return "(" + place }

// places reads a part of the index.
func (s *Store) places(ctx context.Context, low, high string, n int) ([]string, error) {
	return s.members(ctx, s.keys.index, low, high, n)
}

func (s *Store) members(ctx context.Context, set, low, high string, n int) ([]string, error) {
	answer, err := s.do(ctx, func() rueidis.RedisResult {
		return s.client.Do(ctx, s.client.B().Zrange().Key(set).Min(low).Max(high).Bylex().Limit(0, int64(n)).Build())
	})
	if err != nil {
		return nil, err
	}
	return answer.AsStrSlice()
}

// List returns a page of sessions, from the index and the last-seen times.
func (s *Store) List(ctx context.Context, query sessionstore.ListQuery) (page []sessionstore.Listed, next string, err error) {
	low, high, err := listRange(&query)
	if err != nil {
		return nil, "", fmt.Errorf("listing sessions: %w", err)
	}
	err = s.call(ctx, "listing sessions", func(ctx context.Context) error {
		damaged := 0
		last := "" // the place of the last one on the page
		for {
			// One more than the page has, to know whether there is a next one.
			n := min(query.Limit-len(page)+1, listBatch)
			places, err := s.places(ctx, low, high, n)
			if err != nil {
				return err
			}
			listed, where, err := s.listed(ctx, places, &damaged)
			if err != nil {
				return err
			}
			for i := range listed {
				if query.UserID != "" && (listed[i].Directory != query.Directory || listed[i].UserID != query.UserID) {
					continue
				}
				if len(page) == query.Limit {
					next = base64.RawURLEncoding.EncodeToString([]byte(last))
					break
				}
				page, last = append(page, listed[i]), where[i]
			}
			if next != "" || len(places) < n {
				break
			}
			low = behind(places[len(places)-1])
		}
		if damaged > 0 {
			s.log.Warn("places of sessions cannot be read and are passed over", "number", damaged)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return page, next, nil
}

// listRange is where a listing goes through the index: the user's part alone,
// whatever the cursor says.
func listRange(query *sessionstore.ListQuery) (low, high string, err error) {
	switch {
	case query.Limit < 1:
		return "", "", fmt.Errorf("a page of %d sessions", query.Limit)
	case (query.Directory == "") != (query.UserID == ""):
		return "", "", fmt.Errorf("directory %q without a user, or user %q without a directory", query.Directory, query.UserID)
	}
	low, high = "-", "+"
	if query.UserID != "" {
		low, high = userRange(query.Directory, query.UserID)
	}
	if query.After == "" {
		return low, high, nil
	}
	last, err := base64.RawURLEncoding.Strict().DecodeString(query.After)
	if err != nil {
		return "", "", errCursor
	}
	l, ok := decodePlace(string(last))
	if !ok || query.UserID != "" && (l.Directory != query.Directory || l.UserID != query.UserID) {
		return "", "", errCursor
	}
	return behind(string(last)), high, nil
}

// listed is what places and last-seen times tell, and the places of those that
// are there.
func (s *Store) listed(ctx context.Context, places []string, damaged *int) (listed []sessionstore.Listed, where []string, err error) {
	var all []sessionstore.Listed
	var fields, of []string
	for _, place := range places {
		l, ok := decodePlace(place)
		if !ok {
			*damaged++
			continue
		}
		all, of, fields = append(all, l), append(of, place), append(fields, string(l.Key[:]))
	}
	if len(all) == 0 {
		return nil, nil, nil
	}
	answer, err := s.do(ctx, func() rueidis.RedisResult {
		return s.client.Do(ctx, s.client.B().Hmget().Key(s.keys.seen).Field(fields...).Build())
	})
	if err != nil {
		return nil, nil, err
	}
	times, err := answer.ToArray()
	if err != nil || len(times) != len(all) {
		return nil, nil, errAnswer
	}
	gone, err := s.collected(ctx, all, of, times)
	if err != nil {
		return nil, nil, err
	}
	for i := range all {
		if times[i].IsNil() || gone[all[i].Key] {
			continue // deleted since the places were read
		}
		// A damaged time counts as none: whoever reads the session finds that out.
		if text, err := times[i].ToString(); err == nil {
			if at, ok := decodeTime(text); ok && at.After(all[i].Created) {
				all[i].LastSeen = at
			}
		}
		listed, where = append(listed, all[i]), append(where, of[i])
	}
	return listed, where, nil
}

// collected looks for sessions whose records the server has collected because
// nobody has swept them in time, and removes what is left of them: the server
// knows nothing of that. Nor did the end of one find its place if its record was
// damaged; only its last-seen time is gone then.
func (s *Store) collected(ctx context.Context, all []sessionstore.Listed, places []string, times []rueidis.RedisMessage) (gone map[sessionstore.Key]bool, err error) {
	now := time.Now().UnixMilli()
	var due []sessionstore.Listed
	var of []string
	for i := range all {
		if at := expiry(all[i].Created, all[i].Limits); at != 0 && at <= now || times[i].IsNil() {
			due, of = append(due, all[i]), append(of, places[i])
		}
	}
	if len(due) == 0 {
		return nil, nil
	}
	answers, err := s.doMulti(ctx, func() []rueidis.RedisResult {
		commands := make(rueidis.Commands, len(due))
		for i := range due {
			commands[i] = s.client.B().Exists().Key(s.keys.session(due[i].Key)).Build()
		}
		return s.client.DoMulti(ctx, commands...)
	})
	if err != nil {
		return nil, err
	}
	gone = make(map[sessionstore.Key]bool)
	var left []string
	for i := range answers {
		n, err := answers[i].AsInt64()
		if err != nil {
			return nil, err
		}
		if n == 0 {
			gone[due[i].Key] = true
			left = append(left, of[i])
		}
	}
	return gone, s.purge(ctx, left)
}

// Find asks the server for the public id.
func (s *Store) Find(ctx context.Context, id string) (key sessionstore.Key, ok bool, err error) {
	err = s.call(ctx, "finding session", func(ctx context.Context) error {
		found, err := s.text(s.do(ctx, func() rueidis.RedisResult {
			return s.client.Do(ctx, s.client.B().Hget().Key(s.keys.ids).Field(id).Build())
		}))
		if ok = err == nil && len(found) == len(key); ok {
			copy(key[:], found)
		}
		return err
	})
	return key, ok, err
}

// Count asks the server how long its lists are.
func (s *Store) Count(ctx context.Context) (counts sessionstore.Counts, err error) {
	err = s.call(ctx, "counting sessions", func(ctx context.Context) error {
		for _, part := range []struct {
			set string
			n   *int
		}{{s.keys.index, &counts.Sessions}, {s.keys.people, &counts.Users}} {
			answer, err := s.do(ctx, func() rueidis.RedisResult {
				return s.client.Do(ctx, s.client.B().Zcard().Key(part.set).Build())
			})
			if err != nil {
				return err
			}
			n, err := answer.AsInt64()
			if err != nil {
				return errAnswer
			}
			*part.n = int(n)
		}
		return nil
	})
	if err != nil {
		return sessionstore.Counts{}, err
	}
	return counts, nil
}
