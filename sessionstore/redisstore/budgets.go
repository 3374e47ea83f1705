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

// Reserve takes places for an attempt, for all processes at once.
func (s *Store) Reserve(ctx context.Context, r sessionstore.Reservation) (reserved sessionstore.Reserved, err error) {
	args := []string{string(r.Attempt[:]), millis(sessionstore.PlaceLease)}
	args = appendBudgets(args, r.Held)
	args = append(args, strconv.Itoa(len(r.Groups)))
	for _, group := range r.Groups {
		args = appendBudgets(args, group)
	}
	err = s.call(ctx, "reserving places", func(ctx context.Context) error {
		answer, err := s.run(ctx, s.scripts.reserve, s.keys.budgets(), args)
		if err != nil {
			return err
		}
		reserved, err = s.decodeReserved(answer, r.Groups)
		return err
	})
	if err != nil {
		return sessionstore.Reserved{}, err
	}
	return reserved, nil
}

// Settle ends the places of an attempt.
func (s *Store) Settle(ctx context.Context, settled sessionstore.Settlement) (overflow []int, err error) {
	failed := "0"
	if settled.Failed {
		failed = "1"
	}
	args := []string{string(settled.Attempt[:]), millis(sessionstore.PlaceLease), failed}
	args = appendBudgets(args, settled.Held)
	args = appendBudgets(args, settled.Cleared)
	err = s.call(ctx, "settling places", func(ctx context.Context) error {
		answer, err := s.run(ctx, s.scripts.settle, s.keys.budgets(), args)
		if err != nil {
			return err
		}
		numbers, err := answer.AsIntSlice()
		if err != nil || len(numbers) < 1 {
			return errAnswer
		}
		if numbers[0] == newerBudget {
			return errNewerBudget
		}
		s.warnOfDamage(numbers[0])
		overflow, err = indices(numbers[1:], len(settled.Held))
		return err
	})
	if err != nil {
		return nil, err
	}
	return overflow, nil
}

// Counter reads one counter that SaveCounters has stored.
func (s *Store) Counter(ctx context.Context, key [16]byte) (c sessionstore.Counter, ok bool, err error) {
	err = s.call(ctx, "reading a counter", func(ctx context.Context) error {
		value, err := s.text(s.do(ctx, func() rueidis.RedisResult {
			return s.client.Do(ctx, s.client.B().Hget().Key(s.keys.counters).Field(string(key[:])).Build())
		}))
		if err != nil || value == "" {
			return err
		}
		c, err = sessionstore.DecodeCounter([]byte(value), key)
		if errors.Is(err, sessionstore.ErrNewerRecord) {
			return err
		}
		if err != nil {
			s.warnOfDamage(1)
			return nil
		}
		ok = c.Expires.After(time.Now())
		return nil
	})
	if err != nil || !ok {
		return sessionstore.Counter{}, false, err
	}
	return c, true, nil
}

// budgets are the keys of both scripts.
func (k *keys) budgets() []string {
	return []string{k.accounts, k.accountEnds, k.sources, k.sourceEnds}
}

func appendBudgets(args []string, list []sessionstore.Budget) []string {
	args = append(args, strconv.Itoa(len(list)))
	for i := range list {
		b := &list[i]
		space := "1"
		if b.Source {
			space = "2"
		}
		args = append(args, string(b.Key[:]), space, strconv.Itoa(b.Limit),
			millis(b.Window), strconv.Itoa(b.Room))
	}
	return args
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func (s *Store) decodeReserved(answer rueidis.RedisMessage, groups [][]sessionstore.Budget) (reserved sessionstore.Reserved, err error) {
	parts, err := answer.ToArray()
	if err != nil || len(parts) < 2 || len(parts)-2 > len(groups) {
		return reserved, errAnswer
	}
	taken, err := parts[0].AsInt64()
	if err != nil {
		return reserved, errAnswer
	}
	damaged, err := parts[1].AsInt64()
	if err != nil {
		return reserved, errAnswer
	}
	if damaged == newerBudget {
		return reserved, errNewerBudget
	}
	s.warnOfDamage(damaged)
	reserved.Taken = taken == 1
	for g, part := range parts[2:] {
		numbers, err := part.AsIntSlice()
		if err != nil || len(numbers) < 3 || numbers[0] < 0 {
			return reserved, errAnswer
		}
		standing := sessionstore.Standing{Blocked: time.Duration(numbers[0]) * time.Millisecond, Full: numbers[2] == 1}
		if standing.Blocked > 0 {
			by, err := indices(numbers[1:2], len(groups[g]))
			if err != nil {
				return reserved, err
			}
			standing.By = by[0]
		}
		if standing.Overflow, err = indices(numbers[3:], len(groups[g])); err != nil {
			return reserved, err
		}
		reserved.Standings = append(reserved.Standings, standing)
	}
	if reserved.Taken && len(reserved.Standings) == 0 || !reserved.Taken && len(reserved.Standings) != len(groups) {
		return reserved, errAnswer
	}
	return reserved, nil
}

// newerBudget is the scripts' answer, in place of how many values were damaged, that
// a budget's value is of a newer format.
const newerBudget = -1

// errNewerBudget: what such a value counts is not known, and must not count as
// nothing.
var errNewerBudget = fmt.Errorf("%w: it has counts of failed sign-ins", sessionstore.ErrNewerRecord)

// indices are numbers that must be places in a list of n.
func indices(numbers []int64, n int) ([]int, error) {
	var at []int
	for _, i := range numbers {
		if i < 0 || i >= int64(n) {
			return nil, fmt.Errorf("%w: %d is no place in a list of %d", errAnswer, i, n)
		}
		at = append(at, int(i))
	}
	return at, nil
}

// warnOfDamage says once that values could not be read.
func (s *Store) warnOfDamage(n int64) {
	if n > 0 && !s.budgetsDamaged.Swap(true) {
		s.log.Warn("counts of failed sign-ins in Redis cannot be read and begin anew; more of them are not told of", "number", n)
	}
}

var _ sessionstore.Budgets = (*Store)(nil)
