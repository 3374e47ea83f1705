package redisstore

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// Secret returns the secret of that name, and stores fresh if there is none. The
// server decides who is first.
func (s *Store) Secret(ctx context.Context, name string, fresh []byte) (secret []byte, err error) {
	record, err := sessionstore.AppendSecret(nil, name, fresh)
	if err != nil {
		return nil, err
	}
	err = s.call(ctx, "storing secret", func(ctx context.Context) error {
		damaged := ""
		for {
			stored, err := s.text(s.run(ctx, s.scripts.secret, []string{s.keys.secret(name)}, []string{string(record), damaged}))
			if err != nil {
				return err
			}
			if secret, err = sessionstore.DecodeSecret([]byte(stored), name); err == nil {
				s.known.keep(name, stored)
				return nil
			}
			if errors.Is(err, sessionstore.ErrNewerRecord) {
				return err
			}
			s.log.Warn("secret cannot be read and is replaced", "name", name, "error", err)
			damaged = stored
		}
	})
	if err != nil {
		return nil, err
	}
	return secret, nil
}

// knownSecrets are the secrets that calls have got. A server that was emptied has
// forgotten them, and all that is kept by them would be lost with the first new
// one; so a node that has them gives them back.
type knownSecrets struct {
	mu      sync.Mutex
	records map[string]string // by name

	doubtful atomic.Bool // the server may have forgotten them
}

func (k *knownSecrets) keep(name, record string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.records == nil {
		k.records = make(map[string]string)
	}
	k.records[name] = record
}

func (k *knownSecrets) all() map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.records)
}

// giveBack stores the secrets that the server has forgotten. One that has another
// by now keeps that: whoever asks next learns of it. What fails is tried again at
// the next look.
func (s *Store) giveBack(ctx context.Context, c *connection) {
	if !s.known.doubtful.Swap(false) {
		return
	}
	emptied := false
	for name, record := range s.known.all() {
		key := s.keys.secret(name)
		missing, err := aside(ctx, func() (bool, error) {
			answer, err := c.run(ctx, s.scripts.giveBack, []string{key}, []string{record})
			if err != nil {
				return false, err
			}
			n, err := answer.AsInt64()
			return n == 1, err
		})
		if err != nil {
			s.known.doubtful.Store(true)
			return
		}
		emptied = emptied || missing
	}
	if emptied {
		s.log.Warn("the Redis server was emptied: everybody is signed out", "addresses", s.options.Addresses, "prefix", s.options.Prefix)
	}
}
