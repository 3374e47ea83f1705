package redisstore

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// client sends commands on the connection that works now. Without one they fail.
type client struct {
	connection atomic.Pointer[connection]

	// builder is the same for all connections, and there from the first one on.
	builder atomic.Pointer[rueidis.Builder]
}

// B is called once there has been a connection.
func (c *client) B() rueidis.Builder { return *c.builder.Load() }

func (c *client) Do(ctx context.Context, command rueidis.Completed) rueidis.RedisResult {
	now := c.connection.Load()
	if now == nil {
		return rueidis.NewErrorResult(rueidis.ErrClosing)
	}
	losses, ok := now.trust.holds()
	if !ok && now.elsewhere() {
		return rueidis.NewErrorResult(errSocketLost)
	}
	return now.believed(losses, now.client.Do(ctx, command))
}

func (c *client) DoMulti(ctx context.Context, commands ...rueidis.Completed) []rueidis.RedisResult {
	now := c.connection.Load()
	if now == nil {
		return allFailed(len(commands), rueidis.ErrClosing)
	}
	losses, ok := now.trust.holds()
	if !ok && now.elsewhere() {
		return allFailed(len(commands), errSocketLost)
	}
	results := now.client.DoMulti(ctx, commands...)
	for i := range results {
		results[i] = now.believed(losses, results[i])
	}
	return results
}

// elsewhere tells whether a new socket may lead to a server that nobody has looked
// at. With sentinels or a cluster it has said that it is the primary, or that it has
// the slot, and sockets to others come and go.
func (c *connection) elsewhere() bool { return c.options.Sentinel == "" && !c.options.Cluster }

// believed is the result of what was sent when there were that many losses.
func (c *connection) believed(losses uint64, result rueidis.RedisResult) rueidis.RedisResult {
	if result.NonRedisError() == nil && c.elsewhere() && c.trust.losses.Load() != losses {
		return rueidis.NewErrorResult(errSocketLost)
	}
	return result
}

func allFailed(n int, err error) []rueidis.RedisResult {
	failed := make([]rueidis.RedisResult, n)
	for i := range failed {
		failed[i] = rueidis.NewErrorResult(err)
	}
	return failed
}

// attempt is an attempt to connect.
type attempt struct {
	over  chan struct{}
	until time.Time // calls wait for it; zero: as long as they have
}

// attemptLimit is long for a server that takes connections, and short enough for
// one that swallows everything not to hold up every request.
const attemptLimit = 250 * time.Millisecond

// connected returns the connection that works now. It waits for the first
// attempt to connect, which the start of the process has just begun, and shortly
// for the one that follows the loss of a connection that has worked. During an
// outage it fails at once: that must not hold up every request.
func (s *Store) connected(ctx context.Context) (*connection, error) {
	for {
		tried := s.tried.Load()
		if c := s.client.connection.Load(); c != nil {
			if _, ok := c.trust.holds(); ok {
				return c, nil
			}
			if err := c.trust.wait(ctx, c.ctx.Done()); err != nil {
				return nil, err
			}
			continue
		}
		var limit <-chan time.Time
		if !tried.until.IsZero() {
			limit = time.After(time.Until(tried.until))
		}
		select {
		case <-tried.over:
			if s.client.connection.Load() == nil && s.tried.Load() == tried {
				return nil, rueidis.ErrClosing
			}
		case <-limit:
			return nil, rueidis.ErrClosing
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.ctx.Done():
			return nil, rueidis.ErrClosing
		}
	}
}

// attempts is called by the keeper: the next attempt begins at once.
func (s *Store) attempts(until time.Time) {
	s.tried.Store(&attempt{make(chan struct{}), until})
}

// attempted is called by the keeper after each attempt.
func (s *Store) attempted() {
	tried := s.tried.Load()
	select {
	case <-tried.over:
	default:
		close(tried.over)
	}
}
