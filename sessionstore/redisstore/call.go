package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// call does what a caller has asked for. Close waits for it.
func (s *Store) call(ctx context.Context, doing string, f func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		return fmt.Errorf("%s: %w", doing, sessionstore.ErrClosed)
	}
	s.calls.Add(1)
	s.mu.Unlock()
	defer s.calls.Done()
	if err := f(ctx); err != nil {
		s.refusals.note(s.log, s.options.Addresses, doing, err)
		return fmt.Errorf("%s: %w", doing, s.reason(ctx, err))
	}
	s.refusals.over(s.log, s.options.Addresses, doing)
	return nil
}

// reason is what a caller is told of an error.
func (s *Store) reason(ctx context.Context, err error) error {
	switch ended := ctx.Err(); {
	case ended != nil:
		return ended
	case s.closed.Load():
		return sessionstore.ErrClosed
	case errors.Is(err, sessionstore.ErrInvalidRecord), errors.Is(err, sessionstore.ErrNewerRecord):
		return err
	}
	if answer, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(answer.Error(), "OOM") {
		return fmt.Errorf("%w: %w", sessionstore.ErrNoSpace, err)
	}
	// The connection was left. Why, is what matters.
	if errors.Is(err, rueidis.ErrClosing) || errors.Is(err, net.ErrClosed) {
		if f := s.failure.Load(); f != nil {
			err = f.error
		}
	}
	return fmt.Errorf("%w: %w", sessionstore.ErrUnavailable, explain(err))
}

// explain names what the client's own words do not.
func explain(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		// Of another caller, who was about to connect for all.
		return errors.New("connecting to the Redis server was given up")
	case errors.Is(err, context.DeadlineExceeded):
		return errSilent
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSilent
	case err == rueidis.ErrNoCache:
		return errOldProtocol
	case errors.Is(err, rueidis.ErrNoCache):
		// Its text goes on with advice for programmers.
		text, _, _ := strings.Cut(err.Error(), "\n")
		return fmt.Errorf("the Redis server tells of no changes: %s", text)
	}
	return err
}

var (
	errSilent = errors.New("the Redis server does not answer")
	errAnswer = errors.New("the Redis server gave an answer that none of its commands has")
)

// do sends one command.
func (s *Store) do(ctx context.Context, send func() rueidis.RedisResult) (rueidis.RedisMessage, error) {
	answers, err := s.doMulti(ctx, func() []rueidis.RedisResult { return []rueidis.RedisResult{send()} })
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	return answers[0].ToMessage()
}

// doMulti sends several.
func (s *Store) doMulti(ctx context.Context, send func() []rueidis.RedisResult) ([]rueidis.RedisResult, error) {
	if _, err := s.connected(ctx); err != nil {
		return nil, err
	}
	return send(), nil
}

// aside waits for f, at most until ctx ends. f ends when the connection that it
// uses is left.
func aside[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			// The client takes some answers apart without a look at their size.
			if cause := recover(); cause != nil {
				r.err = fmt.Errorf("%w: %v", errNotProtocol, cause)
			}
			results <- r
		}()
		r.value, r.err = f()
	}()
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// socketFailed tells whether a socket failed, and another one may do: what only
// reads then asks again.
func socketFailed(err error) bool {
	_, answered := rueidis.IsRedisErr(err)
	return !answered && !errors.Is(err, rueidis.ErrClosing) && !errors.Is(err, context.Canceled) &&
		!errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errAnswer)
}

// text is an answer that is bytes, "" for none.
func (s *Store) text(m rueidis.RedisMessage, err error) (string, error) {
	if rueidis.IsRedisNil(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return m.ToString()
}
