package sessionstore_test

import (
	"sync"
	"testing"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

func TestTheFakeStoreConforms(t *testing.T) {
	var mu sync.Mutex
	last := map[string]*sessionstore.FakeStore{}
	storetest.Run(t, func(_ *testing.T, dir string) sessionstore.Store {
		mu.Lock()
		defer mu.Unlock()
		last[dir] = sessionstore.OpenFakeStore(last[dir])
		return last[dir]
	})
}
