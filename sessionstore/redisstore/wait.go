package redisstore

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/redis/rueidis"
)

const (
	// waitMillis is how long a deletion waits for a replica to confirm it.
	waitMillis = 200

	// maxWaiting bounds those that wait at a time, each of which holds a socket.
	maxWaiting = 32
)

var errNotReplicated = errors.New("the Redis primary has done it, but no replica has confirmed that in time")

// write runs a script that changes something, on c. durably: it ends sessions, and
// a replica must confirm it before it is acknowledged: else a failover would bring
// back who has signed out.
func (s *Store) write(ctx context.Context, c *connection, durably bool, x *script, keys, args []string) (rueidis.RedisMessage, error) {
	if !durably {
		return s.run(ctx, x, keys, args)
	}
	return aside(ctx, func() (rueidis.RedisMessage, error) { return s.confirmed(ctx, c, x, keys, args) })
}

// confirmed runs a script and waits for a replica. Without a confirmation in time
// the answer comes with errNotReplicated: it is done on the primary. The server
// waits for what this socket has written, and for all that was written anywhere
// before; so a script that finds nothing to end must write something too, or the
// second attempt would be confirmed at once, with nobody asked.
func (s *Store) confirmed(ctx context.Context, c *connection, x *script, keys, args []string) (rueidis.RedisMessage, error) {
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	case <-ctx.Done():
		return rueidis.RedisMessage{}, ctx.Err()
	case <-c.ctx.Done():
		return rueidis.RedisMessage{}, rueidis.ErrClosing
	}
	client, err := c.waitingClient()
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	var answers []rueidis.RedisResult
	attempt := func(command func(rueidis.Builder, []string, []string) rueidis.Completed) error {
		err := client.Dedicated(func(socket rueidis.DedicatedClient) error {
			// A socket for each: before the client uses one again, it ends
			// subscriptions that there never were, which the user may have no right
			// to, and takes a server that answers PING with an error, as one that
			// cannot save does, for one that has gone mad.
			defer socket.Close()
			answers = socket.DoMulti(ctx, command(socket.B(), keys, args), socket.B().Wait().Numreplicas(1).Timeout(waitMillis).Build(),
				s.scripts.health.byText(socket.B(), []string{s.keys.index}, []string{"server"}))
			return nil
		})
		if err != nil {
			return err
		}
		return answers[0].Error()
	}
	err = attempt(x.byDigest)
	if unknownScript(err) {
		err = attempt(x.byText)
	}
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	if fields, err := infoFields(answers[2].ToMessage()); err != nil {
		return rueidis.RedisMessage{}, err
	} else if fields["run_id"] != c.server.run {
		// The address leads elsewhere by now, so what has ended there goes on here.
		c.replaced.Store(true)
		c.ask()
		return rueidis.RedisMessage{}, errReplaced
	}
	replicas, err := answers[1].AsInt64()
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	s.confirmations.note(s.log, replicas > 0)
	m, err := answers[0].ToMessage()
	if err == nil && replicas < 1 {
		err = errNotReplicated
	}
	return m, err
}

// confirmations writes down that replicas do not confirm, and that they do again.
type confirmations struct {
	mu      sync.Mutex
	missing bool
}

func (c *confirmations) note(log *slog.Logger, came bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !came && !c.missing:
		log.Warn("no Redis replica confirms in time that sessions have ended: sign-outs fail, although they are done on the primary, until one does")
	case came && c.missing:
		log.Info("a Redis replica confirms again that sessions have ended")
	}
	c.missing = !came
}
