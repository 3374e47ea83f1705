package redisstore

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

const (
	// The server is asked every healthEvery how it is. When it does not say
	// within healthTimeout, what it has to tell of changes does not come either.
	healthEvery   = 250 * time.Millisecond
	healthTimeout = 500 * time.Millisecond
)

// listener is who wants to know of changes.
type listener struct{ functions atomic.Pointer[functions] }

type functions struct {
	changed func(sessionstore.Key)
	lost    func()
	heard   func(time.Time)
}

// Notify has changed and lost called, as sessionstore.Shared says. The server
// tells every connection of every record that any of them, or a script, changes,
// on the socket on which it answers: so what changed before an answer was told
// before it.
func (s *Store) Notify(changed func(sessionstore.Key), lost func(), heard func(time.Time)) {
	s.listener.functions.Store(&functions{changed, lost, heard})
}

func (s *Store) lost() {
	s.known.doubtful.Store(true)
	if f := s.listener.functions.Load(); f != nil && s.ctx.Err() == nil {
		f.lost()
	}
}

func (s *Store) heard(asked time.Time) {
	if f := s.listener.functions.Load(); f != nil {
		f.heard(asked)
	}
}

// invalidated is called with the names of records that have changed; nil: with
// those of all, or because a socket is gone. The client tells that before any
// call can learn it, but the next socket may be open by then (dialAgain).
func (c *connection) invalidated(names []rueidis.RedisMessage) {
	if c.ctx.Err() != nil {
		return // it was left, and the loss told
	}
	if names == nil {
		c.lost()
		return
	}
	f := c.store.listener.functions.Load()
	if f == nil {
		return
	}
	for i := range names {
		name, err := names[i].ToString()
		if err != nil {
			c.lost()
			return
		}
		if key, ok := c.store.keys.sessionOf(name); ok {
			f.changed(key)
		}
	}
}

func (c *connection) lost() {
	c.trust.lose()
	c.store.lost()
	c.ask()
}

// watch asks the server how it is until that fails, or the store is closed. It is
// the first to know of one that went silent without closing its sockets.
func (s *Store) watch(c *connection) error {
	began := time.Now()
	ticker := time.NewTicker(healthEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return nil
		case <-ticker.C:
		case <-c.wake:
		}
		if err := s.look(c); err != nil {
			return explain(err)
		}
		if time.Since(began) >= steadyAfter {
			s.outage.works()
		}
	}
}

// look asks once. A socket may take longer to open than the answer may, so
// somebody else waits for it.
func (s *Store) look(c *connection) error {
	losses, asked := c.trust.losses.Load(), time.Now()
	ctx, cancel := context.WithTimeout(s.ctx, healthTimeout)
	defer cancel()
	fields, err := aside(ctx, func() (map[string]string, error) { return c.info(ctx, "server", "replication") })
	if err != nil {
		return err
	}
	if err := c.note(fields); err != nil {
		return err
	}
	// The client follows sentinels, a cluster and a server that comes back within
	// one connection, so for up to healthEvery others may read from a server that
	// has lost the end of a session. This node does not (journal.go).
	if fields["run_id"] != c.server.run || c.replaced.Load() {
		return errReplaced
	}
	if history := fields["master_replid"]; s.replayDue(history) {
		c.server.history = history
		if err := s.replay(c); err != nil {
			return err
		}
	}
	s.giveBack(ctx, c)
	c.trust.confirm(losses)
	s.heard(asked)
	return nil
}

var _ sessionstore.Shared = (*Store)(nil)
