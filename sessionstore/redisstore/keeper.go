package redisstore

import (
	"math/rand/v2"
	"time"
)

const (
	// openTimeout bounds one attempt to connect.
	openTimeout = 5 * time.Second

	// The first attempt follows a failure at once, the others after a pause that
	// grows. The longest is what a failover may wait in vain.
	shortestPause = 250 * time.Millisecond
	longestPause  = time.Second

	// steadyAfter is how long a connection must work until it is said to.
	steadyAfter = time.Second
)

// keep keeps a connection until the store is closed: whatever is wrong with the
// server may be repaired there, and nobody here needs to know.
func (s *Store) keep() {
	pause := shortestPause
	for s.ctx.Err() == nil {
		c, err := s.connect()
		if err == nil {
			began := time.Now()
			s.publish(c)
			err = s.watch(c)
			steady := time.Since(began) >= steadyAfter
			s.leave(c, err, steady)
			if s.ctx.Err() != nil {
				return
			}
			s.outage.failed(err)
			// A server that answers only now and then is not asked all the time.
			if steady {
				pause = shortestPause
				continue
			}
		} else if s.ctx.Err() == nil {
			s.failure.Store(&failure{err})
			s.outage.failed(err)
			s.failures++
			s.attempted()
		}
		select {
		case <-s.ctx.Done():
		case <-time.After(pause*3/4 + rand.N(pause/2)):
		}
		pause = min(2*pause, longestPause)
	}
}

// connect returns a connection to a server on which sessions work, and on which
// what ended here has ended.
func (s *Store) connect() (*connection, error) {
	c := s.newConnection()
	opened := make(chan error, 1)
	s.background.Go(func() { opened <- c.open() })
	timer := time.NewTimer(openTimeout)
	defer timer.Stop()
	select {
	case err := <-opened:
		if err != nil {
			s.background.Go(c.close)
			return nil, explain(err)
		}
	case <-timer.C:
		s.abandon(c, opened)
		return nil, errSilent
	case <-s.ctx.Done():
		s.abandon(c, opened)
		return nil, s.ctx.Err()
	}
	if c.server.run != s.replayed.run || c.server.history != s.replayed.history {
		if err := s.replay(c); err != nil {
			s.background.Go(c.close)
			return nil, explain(err)
		}
	}
	return c, nil
}

// abandon ends an attempt, which takes a moment.
func (s *Store) abandon(c *connection, opened <-chan error) {
	c.cancel()
	s.background.Go(func() {
		<-opened
		c.close()
	})
}

// publish has calls use a connection.
func (s *Store) publish(c *connection) {
	if b := c.client.B(); s.client.builder.Load() == nil {
		s.client.builder.Store(&b)
	}
	s.client.connection.Store(c)
	s.attempted()
	if s.told.version == "" {
		s.log.Info("sessions are kept in Redis", "addresses", s.options.Addresses, "version", c.server.version,
			"prefix", s.options.Prefix, "replicas", c.replicas.Load())
	}
	s.warn(c.server, s.told)
	s.told = c.server
}

// leave has calls fail until there is another connection. Whatever was read may
// have changed unnoticed from then on; what is read after the loss was told must
// come from the next connection, so this one goes first. again: the next attempt
// follows at once.
func (s *Store) leave(c *connection, err error, again bool) {
	if err != nil {
		s.failure.Store(&failure{err})
	}
	if again {
		s.attempts(time.Now().Add(attemptLimit))
	}
	s.client.connection.Store(nil)
	s.lost()
	c.cancel()
	s.background.Go(c.close)
}

// failure is why there is no connection.
type failure struct{ error }
