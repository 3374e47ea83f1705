package redisstore

import (
	"context"
	"errors"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// What became of a session that was to end (placeFunctions).
const (
	codeMissing = 0
	codeLost    = 2
)

// endBatch bounds how long one script holds up the server.
const endBatch = 200

// Delete removes the session under key.
func (s *Store) Delete(ctx context.Context, key sessionstore.Key) (ok bool, err error) {
	err = s.call(ctx, "deleting session", func(ctx context.Context) error {
		ended, err := s.end(ctx, true, []sessionstore.Listed{{Key: key}}, nil)
		ok = len(ended) > 0
		return err
	})
	return ok && err == nil, err
}

// Drop removes sessions, and waits for no replica.
func (s *Store) Drop(ctx context.Context, keys []sessionstore.Key) error {
	return s.call(ctx, "dropping sessions", func(ctx context.Context) error {
		for len(keys) > 0 {
			n := min(len(keys), endBatch)
			batch := make([]sessionstore.Listed, n)
			for i := range batch {
				batch[i].Key = keys[i]
			}
			if _, err := s.end(ctx, false, batch, nil); err != nil {
				return err
			}
			keys = keys[n:]
		}
		return nil
	})
}

// DeleteUser removes the sessions of a user but keep. It goes through them once,
// in the order of the index: whatever stood there before the call is met, however
// many sign-ins come meanwhile.
func (s *Store) DeleteUser(ctx context.Context, directory, id string, keep *sessionstore.Key) (deleted []sessionstore.Listed, err error) {
	err = s.call(ctx, "deleting a user's sessions", func(ctx context.Context) error {
		var unconfirmed error
		low, high := userRange(directory, id)
		for more := true; more; {
			var places []string
			if places, err = s.places(ctx, low, high, endBatch); err != nil {
				return err
			}
			if more = len(places) == endBatch; more {
				low = behind(places[len(places)-1])
			}
			var batch []sessionstore.Listed
			var hints []string
			for _, place := range places {
				l, ok := decodePlace(place)
				switch {
				case !ok:
					s.log.Warn("a place in the list of a user's sessions is damaged and passed over", "directory", directory)
				case l.Directory != directory || l.UserID != id || keep != nil && l.Key == *keep:
				default:
					batch, hints = append(batch, l), append(hints, place)
				}
			}
			ended, err := s.end(ctx, true, batch, hints)
			if unconfirmed = err; err != nil && !errors.Is(err, errNotReplicated) {
				return err
			}
			deleted = append(deleted, ended...)
		}
		// The last one is for all before it.
		return unconfirmed
	})
	if err != nil {
		return nil, err
	}
	return deleted, nil
}

// end removes sessions, at most endBatch, and returns those that were there.
// hints are their places in the index; nil: not known. forGood: they never come
// back. Then a replica, where there is one, confirms it; and that they are gone
// already, or that there are none to remove, too: whoever asks has ended them
// before, and may not have been told that a replica knows.
func (s *Store) end(ctx context.Context, forGood bool, sessions []sessionstore.Listed, hints []string) (ended []sessionstore.Listed, err error) {
	c, err := s.connected(ctx)
	if err != nil {
		return nil, err
	}
	durably := forGood && c.replicas.Load()
	if len(sessions) == 0 && !durably {
		return nil, nil
	}
	var gone, missing, lost []sessionstore.Key
	if forGood {
		under := s.journal.begin()
		defer func() { s.remember(c, under, gone, missing) }()
	}
	names, args := s.endArguments(durably, sessions, hints)
	answer, failed := s.write(ctx, c, durably, s.scripts.end, names, args)
	if failed != nil && !errors.Is(failed, errNotReplicated) {
		return nil, failed
	}
	codes, err := answer.ToArray()
	if err != nil || len(codes) != len(sessions) {
		return nil, errAnswer
	}
	for i := range codes {
		parts, err := codes[i].ToArray()
		if err != nil || len(parts) != 2 {
			return nil, errAnswer
		}
		code, err := parts[0].AsInt64()
		if err != nil {
			return nil, errAnswer
		}
		l := sessions[i]
		if code == codeMissing {
			missing = append(missing, l.Key)
			continue
		}
		gone = append(gone, l.Key)
		if code == codeLost {
			lost = append(lost, l.Key)
		}
		l.LastSeen = l.Created
		if text, err := parts[1].ToString(); err == nil {
			if at, ok := decodeTime(text); ok && at.After(l.Created) {
				l.LastSeen = at
			}
		}
		ended = append(ended, l)
	}
	s.purgeLost(ctx, lost)
	return ended, failed
}

// endArguments are what the script wants. fence: it writes something whatever it
// finds.
func (s *Store) endArguments(fence bool, sessions []sessionstore.Listed, hints []string) (names, args []string) {
	names, args = []string{s.keys.index, s.keys.ids, s.keys.seen, s.keys.fence}, []string{""}
	if fence {
		args[0] = "1"
	}
	for i := range sessions {
		key, hint := sessions[i].Key, ""
		if hints != nil {
			hint = hints[i]
		}
		names, args = append(names, s.keys.session(key)), append(args, string(key[:]), hint)
	}
	return names, args
}

// remember notes what c has told of sessions that end for good.
func (s *Store) remember(c *connection, under *ending, gone, missing []sessionstore.Key) {
	s.journal.end(under, gone, missing)
	if s.client.connection.Load() != c {
		s.journal.late.Store(true)
	}
}

// lostBatches bounds how much of the index is read because of one end.
const lostBatches = 10

// purgeLost takes sessions out of the index that have ended and whose values
// could not say where they stand there. It looks for them in the beginning of the
// index only, and does not say whether it has found them: nobody depends on it.
// Listings leave out what has ended, and take it away where they meet it.
func (s *Store) purgeLost(ctx context.Context, keys []sessionstore.Key) {
	if len(keys) == 0 {
		return
	}
	wanted := make(map[sessionstore.Key]bool, len(keys))
	for _, key := range keys {
		wanted[key] = true
	}
	low := "-"
	for range lostBatches {
		places, err := s.places(ctx, low, "+", listBatch)
		if err != nil {
			return
		}
		var found []string
		for _, place := range places {
			if l, ok := decodePlace(place); ok && wanted[l.Key] {
				found = append(found, place)
			}
		}
		if err := s.purge(ctx, found); err != nil || len(places) < listBatch {
			return
		}
		low = behind(places[len(places)-1])
	}
}

// purge takes places out of the index that lead to no session any more.
func (s *Store) purge(ctx context.Context, places []string) error {
	for len(places) > 0 {
		names := []string{s.keys.index, s.keys.ids, s.keys.seen}
		var args []string
		n := min(len(places), endBatch)
		for _, place := range places[:n] {
			if l, ok := decodePlace(place); ok {
				names, args = append(names, s.keys.session(l.Key)), append(args, string(l.Key[:]), place)
			}
		}
		if _, err := s.run(ctx, s.scripts.purge, names, args); err != nil {
			return err
		}
		places = places[n:]
	}
	return nil
}
