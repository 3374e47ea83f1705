package redisstore

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// closeTimeout bounds how long Close waits for calls under way.
const closeTimeout = time.Second

// Open returns a store at once, and fails for wrong options only: it connects in
// the background, and goes on trying while that fails, for whatever reason. Calls
// wait for the first attempt; as long as there is no connection they fail, with
// sessionstore.ErrUnavailable. logger is told when the server fails and works
// again, and of what endangers the sessions. nil: nobody. The caller closes the
// store.
func Open(options Options, logger *slog.Logger) (*Store, error) {
	if options.Prefix == "" {
		options.Prefix = defaultPrefix
	}
	if err := options.check(); err != nil {
		return nil, fmt.Errorf("opening the session store on Redis: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	// Connections are opened for as long as the store is.
	options.Addresses, options.TLS = slices.Clone(options.Addresses), options.TLS.Clone()
	if options.resolver == nil {
		options.resolver = net.DefaultResolver
	}
	s := &Store{
		options: options, keys: newKeys(options.Prefix), scripts: newScripts(), turns: newTurns(), log: logger,
		journal: newJournal(), outage: newOutage(logger, options.Addresses),
	}
	s.attempts(time.Time{})
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.background.Go(s.keep)
	return s, nil
}

// Close releases the connections. Calls under way have a second to finish.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		return sessionstore.ErrClosed
	}
	s.closed.Store(true)
	s.mu.Unlock()

	finished := make(chan struct{})
	go func() {
		s.calls.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-time.After(closeTimeout):
	}
	s.cancel()
	s.names.close()
	s.background.Wait()
	<-finished
	return nil
}
