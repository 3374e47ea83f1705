package redisstore

import (
	"context"
	"sync/atomic"

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
	if now := c.connection.Load(); now != nil {
		return now.client.Do(ctx, command)
	}
	return rueidis.NewErrorResult(rueidis.ErrClosing)
}

func (c *client) DoMulti(ctx context.Context, commands ...rueidis.Completed) []rueidis.RedisResult {
	if now := c.connection.Load(); now != nil {
		return now.client.DoMulti(ctx, commands...)
	}
	failed := make([]rueidis.RedisResult, len(commands))
	for i := range failed {
		failed[i] = rueidis.NewErrorResult(rueidis.ErrClosing)
	}
	return failed
}

// connected returns the connection that works now. It waits for the first
// attempt to connect, which the start of the process has just begun; later, while
// there is none, it fails at once: an outage must not hold up every request.
func (s *Store) connected(ctx context.Context) (*connection, error) {
	if c := s.client.connection.Load(); c != nil {
		return c, nil
	}
	select {
	case <-s.tried:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ctx.Done():
		return nil, rueidis.ErrClosing
	}
	if c := s.client.connection.Load(); c != nil {
		return c, nil
	}
	return nil, rueidis.ErrClosing
}
