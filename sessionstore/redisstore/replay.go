package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

const (
	// replayTimeout bounds one part of a replay.
	replayTimeout = 2 * time.Second

	// replayEvery is how often a server is told again that has refused to be.
	replayEvery = time.Second

	replaying = "ending sessions again that have ended"
)

// replay has a server end all sessions of the journal, before anybody here reads
// from it: so what it has lost ends on the other nodes too. Once is enough for a
// process with one history. A server that refuses to change anything, as one whose
// replicas are all gone may, is read all the same: this node knows by its journal
// what has ended, and the server is told again until it takes it (replayDue).
func (s *Store) replay(c *connection) error {
	s.journal.late.Store(false)
	keys := s.journal.all()
	for batch := range slices.Chunk(keys, endBatch) {
		sessions := make([]sessionstore.Listed, len(batch))
		for i, key := range batch {
			sessions[i].Key = key
		}
		if err := s.replayPart(c, sessions); err != nil {
			return s.replayFailed(c, err)
		}
	}
	if len(keys) > 0 {
		s.refusals.over(s.log, s.options.Addresses, replaying)
	}
	if len(keys) > 0 && c.replicas.Load() {
		// One confirmation is for all that came before. That it is missing or refused
		// is no reason to serve nobody: the ends hold on this server, and stay here.
		err := s.replayPart(c, nil)
		if _, refused := refusal(err); err != nil && !refused && !errors.Is(err, errNotReplicated) {
			return s.replayFailed(c, err)
		}
	}
	s.replayed = c.server
	return nil
}

// replayFailed has the rest made later, and says whether the connection is of use
// until then.
func (s *Store) replayFailed(c *connection, err error) error {
	s.journal.late.Store(true)
	if _, refused := refusal(err); !refused {
		return err
	}
	s.refusals.note(s.log, s.options.Addresses, replaying, err)
	s.replayed, s.replayRefused = c.server, time.Now()
	return nil
}

// replayDue tells that the server with this history has something to be told.
func (s *Store) replayDue(history string) bool {
	return history != s.replayed.history || s.journal.late.Load() && time.Since(s.replayRefused) >= replayEvery
}

// replayPart ends some; none: it waits for a replica.
func (s *Store) replayPart(c *connection, sessions []sessionstore.Listed) error {
	ctx, cancel := context.WithTimeout(c.ctx, replayTimeout)
	defer cancel()
	_, err := aside(ctx, func() (struct{}, error) {
		names, args := s.endArguments(sessions == nil, sessions, nil)
		var err error
		if sessions == nil {
			_, err = s.confirmed(ctx, c, s.scripts.end, names, args)
		} else {
			_, err = c.run(ctx, s.scripts.end, names, args)
		}
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", replaying, explain(err))
	}
	return nil
}
