package badgerstore

import (
	"bytes"
	"context"
	"errors"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

func secretKey(name string) []byte {
	return append([]byte{prefixSecret}, name...)
}

// Secret returns the secret of that name, and stores fresh if there is none.
// The only writer decides who is first.
func (s *Store) Secret(ctx context.Context, name string, fresh []byte) ([]byte, error) {
	record, err := sessionstore.AppendSecret(nil, name, fresh)
	if err != nil {
		return nil, err
	}
	fresh = bytes.Clone(fresh) // the caller's may change
	var secret []byte
	err = s.commit(ctx, "storing secret", &operation{
		size: len(record) + touchSize,
		apply: func(txn *badger.Txn) error {
			stored, err := value(txn, secretKey(name))
			if err != nil {
				return err
			}
			if stored != nil {
				secret, err = sessionstore.DecodeSecret(stored, name)
				switch {
				case err != nil:
					s.log.Warn("secret cannot be read and is replaced", "name", name, "error", asDamage(err))
				case !s.committer.doubt:
					return nil
				default:
					// A write has failed: it may not be on the disk.
					return txn.Set(secretKey(name), stored)
				}
			}
			secret = fresh
			return txn.Set(secretKey(name), record)
		},
	})
	// After an error secret may still be written to.
	if errors.Is(err, sessionstore.ErrNoSpace) {
		return s.storedSecret(ctx, name, err)
	}
	if err != nil {
		return nil, err
	}
	return secret, nil
}

// storedSecret returns the secret of that name, as it can still be read, or the
// error for which none can be stored.
func (s *Store) storedSecret(ctx context.Context, name string, full error) (secret []byte, err error) {
	err = s.view(ctx, func(txn *badger.Txn) error {
		stored, err := value(txn, secretKey(name))
		if err != nil || stored == nil {
			return errors.Join(full, err)
		}
		if secret, err = sessionstore.DecodeSecret(stored, name); err != nil {
			return errors.Join(full, asDamage(err))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return secret, nil
}
