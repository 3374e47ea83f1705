package redisstore

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// Update stores another session under a key that has one, if that is intact. It
// is read here, as no script can do that, and changed only if it is still the
// same.
func (s *Store) Update(ctx context.Context, key sessionstore.Key, session *sessionstore.Session) (ok bool, err error) {
	value, place, err := encodeSession(key, session)
	if err != nil {
		return false, err
	}
	err = s.call(ctx, "updating session", func(ctx context.Context) error {
		name := s.keys.session(key)
		for !s.journal.has(key) {
			stored, err := s.text(s.do(ctx, func() rueidis.RedisResult { return s.client.Do(ctx, s.client.B().Get().Key(name).Build()) }))
			if err != nil || stored == "" {
				return err
			}
			before, err := decodeSession(stored, key)
			if err != nil {
				return err
			}
			// Never collected earlier than before.
			expires := expiry(session.Created, session.Limits)
			if was := expiry(before.Created, before.Limits); was == 0 || expires != 0 && was > expires {
				expires = was
			}
			answer, err := s.run(ctx, s.scripts.update, []string{s.keys.index, s.keys.ids, name}, []string{
				string(key[:]), stored, value, place, session.ID, strconv.FormatInt(expires, 10),
			})
			if err != nil {
				return err
			}
			const gone, done = 0, 1
			switch code, err := answer.AsInt64(); {
			case err != nil:
				return errAnswer
			case code == gone:
				return nil
			case code == done:
				ok = true
				return nil
			}
		}
		return nil
	})
	return ok && err == nil, err
}
