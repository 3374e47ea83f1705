// Package redisstore keeps sessions in Redis (7.0 or newer) or Valkey, for
// several processes on several machines at once.
//
// All keys share one hash tag, {prefix}: so each step is one script, which the
// server does whole or not at all, in a cluster too. The price is that a cluster
// keeps all sessions on one of its nodes: it adds no capacity here, only
// availability. That is enough: a million sessions with 20 groups each take one
// and a half gigabytes, and requests are served from the memory of each process.
//
// What is acknowledged is as durable as the server was told to make it: without
// an append-only file a crash of the server loses what came since its last
// snapshot, with one that is synced once a second a power cut loses about that
// second, and where replicas take over they may lack what the primary has
// acknowledged. Who loses a sign-in makes it again. A sign-out must not be lost:
// so a deletion waits for a replica, where there is one, and each process
// remembers for ten minutes which sessions have ended through it, refuses them
// whatever the server says by then, and ends them again on the server that takes
// over. What remains is a server that forgets while the process does too.
package redisstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// Store is a sessionstore.Store on a Redis server.
type Store struct {
	client  client
	options Options
	keys    keys
	scripts scripts
	turns   *turns
	log     *slog.Logger

	budgetsDamaged atomic.Bool // it has been told of

	known         knownSecrets
	listener      listener
	names         names
	journal       *journal
	confirmations confirmations
	refusals      refusals

	// tried is the last attempt to connect that calls wait for; failure is why there
	// was no connection last.
	tried   atomic.Pointer[attempt]
	failure atomic.Pointer[failure]

	// The keeper's own: what the log was told, where the journal was replayed last.
	outage         *outage
	told, replayed server
	replayRefused  time.Time // when a server refused to be told last
	failures       int       // attempts to connect that have failed

	mu     sync.Mutex
	closed atomic.Bool // changes under mu
	calls  sync.WaitGroup
	ctx    context.Context // ends at Close
	cancel context.CancelFunc

	// background are the keeper, and connections that open and close.
	background sync.WaitGroup
}

// Create stores a new session, its place in the index, the record of its user
// and the deletion of the session that it replaces, all or nothing.
func (s *Store) Create(ctx context.Context, key sessionstore.Key, session *sessionstore.Session, replaces *sessionstore.Key) error {
	value, place, err := encodeSession(key, session)
	if err != nil {
		return err
	}
	created, ok := encodeTime(session.Created)
	if !ok {
		return fmt.Errorf("storing session: created at %q, which is out of range", session.Created.Format(time.RFC3339))
	}
	return s.call(ctx, "storing session", func(ctx context.Context) error {
		c, err := s.connected(ctx)
		if err != nil {
			return err
		}
		u := &session.User
		userKey := s.keys.user(u.Directory, u.ID)
		names := []string{s.keys.index, s.keys.ids, s.keys.seen, s.keys.people, userKey, s.keys.session(key)}
		old := ""
		if replaces != nil {
			names = append(names, s.keys.session(*replaces), s.keys.replacedBy(*replaces))
			old = string(replaces[:])
		}
		release, err := s.turns.take(ctx, u.Directory, u.ID)
		if err != nil {
			return err
		}
		defer release()
		user, err := s.text(s.do(ctx, func() rueidis.RedisResult { return s.client.Do(ctx, s.client.B().Get().Key(userKey).Build()) }))
		if err != nil {
			return err
		}
		under := s.journal.begin()
		defer s.journal.end(under, nil, nil)
		// Only the server knows the order of two sign-ins of one user: the
		// later one begins again, with the record that the other has left.
		for {
			next, err := s.nextUserRecord(user, session)
			if err != nil {
				return err
			}
			answer, failed := s.write(ctx, c, replaces != nil && c.replicas.Load(), s.scripts.create, names, []string{
				string(key[:]), value, place, session.ID, created,
				strconv.FormatInt(expiry(session.Created, session.Limits), 10),
				user, next, person(u.Directory, u.ID), old, millis(replacedFor),
			})
			if failed != nil && !errors.Is(failed, errNotReplicated) {
				return failed
			}
			parts, err := answer.ToArray()
			if err != nil || len(parts) != 2 {
				return errAnswer
			}
			if code, err := parts[0].AsInt64(); err != nil {
				return errAnswer
			} else if code == 0 {
				s.journal.created(key)
				if replaces != nil {
					s.remember(c, under, []sessionstore.Key{*replaces}, nil)
				}
				if code, err := parts[1].AsInt64(); err == nil && code == codeLost {
					s.purgeLost(ctx, []sessionstore.Key{*replaces})
				}
				return failed
			}
			if user, err = parts[1].ToString(); err != nil {
				return errAnswer
			}
		}
	})
}

// nextUserRecord is the user's record after the sign-in. One that is damaged
// begins anew: it is a memory of past sign-ins, and no reason to refuse this one.
// One of a newer version is whole, and not ours to throw away.
func (s *Store) nextUserRecord(stored string, session *sessionstore.Session) (string, error) {
	u := &session.User
	var record sessionstore.UserRecord
	if stored != "" {
		var err error
		record, err = sessionstore.DecodeUserRecord([]byte(stored), u.Directory, u.ID)
		if errors.Is(err, sessionstore.ErrNewerRecord) {
			return "", err
		}
		if err != nil {
			s.log.Warn("user record cannot be read and begins anew", "directory", u.Directory, "error", err)
			record = sessionstore.UserRecord{}
		}
	}
	record = record.SignedIn(session)
	b, err := sessionstore.AppendUserRecord(nil, &record)
	return string(b), err
}

// Get returns the session under key and when it was last seen.
func (s *Store) Get(ctx context.Context, key sessionstore.Key) (session *sessionstore.Session, lastSeen time.Time, ok bool, err error) {
	err = s.call(ctx, "reading session", func(ctx context.Context) error {
		if s.journal.has(key) {
			return nil
		}
		value, seen, err := s.read(ctx, key)
		if err != nil || value == "" {
			return err
		}
		if session, err = decodeSession(value, key); err != nil {
			return err
		}
		lastSeen = session.Created
		// Without a time the session is being deleted right now.
		if seen != "" {
			at, whole := decodeTime(seen)
			if !whole {
				return fmt.Errorf("%w: its last-seen time is damaged", sessionstore.ErrInvalidRecord)
			}
			if at.After(lastSeen) {
				lastSeen = at
			}
		}
		ok = true
		return nil
	})
	if err != nil {
		return nil, time.Time{}, false, err
	}
	return session, lastSeen, ok, nil
}

// read returns the value of a session, "" if there is none, and its last-seen
// time. An answer that takes longer than a second is not used: it may be older
// than a sign-out elsewhere is allowed to go unnoticed.
func (s *Store) read(ctx context.Context, key sessionstore.Key) (value, seen string, err error) {
	limited, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	began := time.Now()
	for again := false; ; again = true {
		var answers []rueidis.RedisResult
		answers, err = s.doMulti(limited, func() []rueidis.RedisResult {
			return s.client.DoMulti(limited,
				s.client.B().Get().Key(s.keys.session(key)).Build(),
				s.client.B().Hget().Key(s.keys.seen).Field(string(key[:])).Build())
		})
		if err != nil {
			return "", "", err
		}
		if value, err = s.text(answers[0].ToMessage()); err == nil {
			seen, err = s.text(answers[1].ToMessage())
		}
		if err == nil || again || !socketFailed(err) || time.Since(began) > attemptLimit {
			return value, seen, err
		}
	}
}

// Replaced tells whether a sign-in has just replaced the session of key.
func (s *Store) Replaced(ctx context.Context, key sessionstore.Key) (replaced bool, err error) {
	err = s.call(ctx, "looking for a session that was replaced", func(ctx context.Context) error {
		answer, err := s.do(ctx, func() rueidis.RedisResult {
			return s.client.Do(ctx, s.client.B().Exists().Key(s.keys.replacedBy(key)).Build())
		})
		if err != nil {
			return err
		}
		n, err := answer.AsInt64()
		if err != nil {
			return errAnswer
		}
		replaced = n > 0
		return nil
	})
	return replaced && err == nil, err
}

// Touch stores last-seen times of sessions that are there.
func (s *Store) Touch(ctx context.Context, touches []sessionstore.Touch) error {
	latest := make(map[sessionstore.Key]time.Time, len(touches))
	for _, t := range touches {
		if t.Seen.After(latest[t.Key]) {
			latest[t.Key] = t.Seen
		}
	}
	var keys, times []string
	for key, seen := range latest {
		if text, ok := encodeTime(seen); ok {
			keys, times = append(keys, string(key[:])), append(times, text)
		}
	}
	return s.call(ctx, "storing last-seen times", func(ctx context.Context) error {
		for len(keys) > 0 {
			n := min(len(keys), touchBatch)
			args := append(append(make([]string, 0, 2*n), keys[:n]...), times[:n]...)
			if _, err := s.run(ctx, s.scripts.touch, []string{s.keys.seen}, args); err != nil {
				return err
			}
			keys, times = keys[n:], times[n:]
		}
		return nil
	})
}

const (
	// touchBatch bounds how long one script holds up the server.
	touchBatch = 500

	readTimeout = time.Second

	// replacedFor is how long other nodes can learn that a session was replaced.
	replacedFor = time.Minute
)

// User returns a user's record.
func (s *Store) User(ctx context.Context, directory, id string) (record sessionstore.UserRecord, ok bool, err error) {
	err = s.call(ctx, "reading user record", func(ctx context.Context) error {
		value, err := s.text(s.do(ctx, func() rueidis.RedisResult {
			return s.client.Do(ctx, s.client.B().Get().Key(s.keys.user(directory, id)).Build())
		}))
		if err != nil || value == "" {
			return err
		}
		record, err = sessionstore.DecodeUserRecord([]byte(value), directory, id)
		ok = err == nil
		return err
	})
	if err != nil {
		return sessionstore.UserRecord{}, false, err
	}
	return record, ok, nil
}

var _ sessionstore.Store = (*Store)(nil)
