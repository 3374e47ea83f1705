package badgerstore

import (
	"errors"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// TestAPanicWhileWriting: the goroutine that writes serves everybody. What it
// was asked for has failed, ends above all, and the next write works.
func TestAPanicWhileWriting(t *testing.T) {
	s := open(t, t.TempDir())
	t.Cleanup(func() { _ = s.Close() })
	stays := signIn(t, s, "ana")
	for _, after := range []bool{false, true} {
		leaves := signIn(t, s, "ana")
		s.committer.stop()
		commit, panics := s.committer.write, true
		s.committer.write = func(txn *badger.Txn) error {
			if after {
				if err := commit(txn); err != nil {
					return err
				}
			}
			if panics {
				panics = false
				panic("index out of range")
			}
			if after {
				return nil
			}
			return commit(txn)
		}
		s.committer.start()
		if ok, err := s.Delete(t.Context(), leaves); ok || !errors.Is(err, sessionstore.ErrPanicked) {
			t.Errorf("deleting: %v, error %v, want ErrPanicked", ok, err)
		}
		if _, err := s.Delete(t.Context(), leaves); err != nil {
			t.Errorf("deleting again: %v", err)
		}
		if _, _, ok, err := s.Get(t.Context(), leaves); ok || err != nil {
			t.Errorf("it is there: %v, error %v", ok, err)
		}
		if err := s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("eva"), nil); err != nil {
			t.Errorf("signing in afterwards: %v", err)
		}
		s.committer.stop()
		s.committer.write = commit
		s.committer.start()
	}
	if _, _, ok, err := s.Get(t.Context(), stays); !ok || err != nil {
		t.Errorf("the other session: %v, error %v", ok, err)
	}
}
