package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

const (
	// counterSlack keeps the collection of counters clear of an expiry that it
	// must not decide.
	counterSlack = time.Hour

	// counterBatch and counterBytes bound one script that stores counters.
	counterBatch = 200
	counterBytes = 128 << 10

	// dropBatch is how many expired counters go with each that stores some: more
	// than it can store, so that strangers cannot make them pile up.
	dropBatch = 2 * counterBatch
)

// SaveCounters stores counters, in parts, so that no request waits for all of
// them. The server can only expire whole keys, so whoever stores counters
// collects those that have expired.
func (s *Store) SaveCounters(ctx context.Context, counters []sessionstore.Counter) error {
	records := make([]string, len(counters))
	for i := range counters {
		if len(counters[i].Value) == 0 {
			continue
		}
		record, err := sessionstore.AppendCounter(nil, &counters[i])
		if err != nil {
			return err
		}
		records[i] = string(record)
	}
	// The caller's may change once the call is given up.
	type parts struct{ args []string }
	var batches []parts
	size := 0
	for i := range counters {
		c := &counters[i]
		if n := len(batches); n == 0 || len(batches[n-1].args) >= 3*counterBatch || size >= counterBytes {
			batches, size = append(batches, parts{}), 0
		}
		b := &batches[len(batches)-1]
		b.args = append(b.args, string(c.Key[:]), records[i], strconv.FormatInt(c.Expires.Add(counterSlack).Unix()+1, 10))
		size += len(records[i])
	}
	return s.call(ctx, "storing counters", func(ctx context.Context) error {
		names := []string{s.keys.counters, s.keys.expiries}
		newer := int64(0)
		for _, b := range batches {
			answer, err := s.run(ctx, s.scripts.saveCounters, names, b.args)
			if err != nil {
				return err
			}
			left, err := answer.AsInt64()
			if err != nil {
				return errAnswer
			}
			newer += left
			now := strconv.FormatInt(time.Now().Unix(), 10)
			if _, err := s.run(ctx, s.scripts.dropCounters, names, []string{now, strconv.Itoa(dropBatch)}); err != nil {
				return err
			}
		}
		if newer > 0 {
			return fmt.Errorf("%w: it has the counters that %d of these were to replace", sessionstore.ErrNewerRecord, newer)
		}
		return nil
	})
}

// counterPage is about how many counters one read takes.
const counterPage = 500

// Counters calls yield for the counters that have not expired. It reads them in
// pages and yields between: yield may take long and call the store, and must
// not hold up Close.
func (s *Store) Counters(ctx context.Context, yield func(sessionstore.Counter) error) error {
	now := time.Now()
	damaged := 0
	told := make(map[[16]byte]bool) // the server may say one twice
	for cursor := uint64(0); ; {
		var page []sessionstore.Counter
		err := s.call(ctx, "reading counters", func(ctx context.Context) error {
			answer, err := s.do(ctx, func() rueidis.RedisResult {
				return s.client.Do(ctx, s.client.B().Hscan().Key(s.keys.counters).Cursor(cursor).Count(counterPage).Build())
			})
			if err != nil {
				return err
			}
			entry, err := answer.AsScanEntry()
			if err != nil {
				return errAnswer
			}
			cursor = entry.Cursor
			page, err = decodeCounters(entry.Elements, &damaged)
			return err
		})
		if err != nil {
			return err
		}
		for _, c := range page {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("reading counters: %w", err)
			}
			if told[c.Key] || !c.Expires.After(now) {
				continue
			}
			told[c.Key] = true
			if err := yield(c); err != nil {
				return err
			}
		}
		if cursor == 0 {
			break
		}
	}
	if damaged > 0 {
		s.log.Warn("counters cannot be read and are passed over", "number", damaged)
	}
	return nil
}

// decodeCounters reads names and values in turn. One of a newer version is an
// error: without it there would be more guesses than there are.
func decodeCounters(elements []string, damaged *int) (page []sessionstore.Counter, err error) {
	for i := 0; i+1 < len(elements); i += 2 {
		var key [16]byte
		whole := len(elements[i]) == len(key)
		copy(key[:], elements[i])
		c, err := sessionstore.DecodeCounter([]byte(elements[i+1]), key)
		switch {
		case errors.Is(err, sessionstore.ErrNewerRecord):
			return nil, err
		case !whole || err != nil:
			*damaged++
			continue
		}
		page = append(page, c)
	}
	return page, nil
}
