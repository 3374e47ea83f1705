package redisstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// userBatch bounds how much the server reads at a time.
const userBatch = 200

// Users returns a page of user records, by directory and ID.
func (s *Store) Users(ctx context.Context, after string, limit int) (page []sessionstore.UserRecord, next string, err error) {
	const doing = "listing users"
	if limit < 1 {
		return nil, "", fmt.Errorf("%s: a page of %d users", doing, limit)
	}
	low := "-"
	if after != "" {
		last, err := base64.RawURLEncoding.Strict().DecodeString(after)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", doing, errCursor)
		}
		if _, _, ok := decodePerson(string(last)); !ok {
			return nil, "", fmt.Errorf("%s: %w", doing, errCursor)
		}
		low = behind(string(last))
	}
	err = s.call(ctx, doing, func(ctx context.Context) error {
		var unread unreadUsers
		last := ""
		for next == "" {
			n := min(limit-len(page)+1, userBatch)
			people, err := s.members(ctx, s.keys.people, low, "+", n)
			if err != nil {
				return err
			}
			records, who, err := s.userRecords(ctx, people, &unread)
			if err != nil {
				return err
			}
			for i := range records {
				if len(page) == limit {
					next = base64.RawURLEncoding.EncodeToString([]byte(last))
					break
				}
				page, last = append(page, records[i]), who[i]
			}
			if len(people) < n {
				break
			}
			low = behind(people[len(people)-1])
		}
		if unread.damaged > 0 {
			s.log.Warn("user records cannot be read and are passed over", "number", unread.damaged)
		}
		if unread.newer > 0 {
			s.log.Warn("user records of a newer version are passed over: update this node", "number", unread.newer)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return page, next, nil
}

// unreadUsers counts the records that a listing has passed over.
type unreadUsers struct{ damaged, newer int }

// userRecords reads the records of people, and says whose they are.
func (s *Store) userRecords(ctx context.Context, people []string, unread *unreadUsers) (records []sessionstore.UserRecord, who []string, err error) {
	if len(people) == 0 {
		return nil, nil, nil
	}
	type user struct{ directory, id string }
	users := make([]user, len(people))
	names := make([]string, len(people))
	for i, p := range people {
		directory, id, _ := decodePerson(p)
		users[i], names[i] = user{directory, id}, s.keys.user(directory, id)
	}
	answer, err := s.do(ctx, func() rueidis.RedisResult {
		return s.client.Do(ctx, s.client.B().Mget().Key(names...).Build())
	})
	if err != nil {
		return nil, nil, err
	}
	values, err := answer.ToArray()
	if err != nil || len(values) != len(people) {
		return nil, nil, errAnswer
	}
	for i := range values {
		value, err := values[i].ToString()
		var record sessionstore.UserRecord
		if err == nil {
			record, err = sessionstore.DecodeUserRecord([]byte(value), users[i].directory, users[i].id)
		}
		switch {
		case errors.Is(err, sessionstore.ErrNewerRecord):
			unread.newer++
			continue
		case err != nil:
			unread.damaged++
			continue
		}
		records, who = append(records, record), append(who, people[i])
	}
	return records, who, nil
}
