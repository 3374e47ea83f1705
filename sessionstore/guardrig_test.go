package sessionstore

import (
	"context"
	"sync"
	"time"
)

// riggedStore is a store whose calls a test has fail, one after the other.
type riggedStore struct {
	Store

	mu    sync.Mutex
	calls map[string]int // by method

	// fault is what happens in the place of a call, or, if late, after it; nil:
	// nothing. n is 1 for the first call of that method.
	fault func(ctx context.Context, method string, n int) error
	late  bool
}

func rig(store Store) *riggedStore { return &riggedStore{Store: store, calls: map[string]int{}} }

func (s *riggedStore) call(ctx context.Context, method string, do func() error) error {
	s.mu.Lock()
	s.calls[method]++
	n, fault, late := s.calls[method], s.fault, s.late
	s.mu.Unlock()
	if fault == nil {
		return do()
	}
	if late {
		if err := do(); err != nil {
			return err
		}
		return fault(ctx, method, n)
	}
	if err := fault(ctx, method, n); err != nil {
		return err
	}
	return do()
}

func (s *riggedStore) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = nil
}

func (s *riggedStore) Create(ctx context.Context, key Key, session *Session, replaces *Key) error {
	return s.call(ctx, "Create", func() error { return s.Store.Create(ctx, key, session, replaces) })
}

func (s *riggedStore) Get(ctx context.Context, key Key) (session *Session, seen time.Time, ok bool, err error) {
	err = s.call(ctx, "Get", func() (err error) { session, seen, ok, err = s.Store.Get(ctx, key); return err })
	return session, seen, ok && err == nil, err
}

func (s *riggedStore) Update(ctx context.Context, key Key, session *Session) (ok bool, err error) {
	err = s.call(ctx, "Update", func() (err error) { ok, err = s.Store.Update(ctx, key, session); return err })
	return ok && err == nil, err
}

func (s *riggedStore) Touch(ctx context.Context, touches []Touch) error {
	return s.call(ctx, "Touch", func() error { return s.Store.Touch(ctx, touches) })
}

func (s *riggedStore) Delete(ctx context.Context, key Key) (ok bool, err error) {
	err = s.call(ctx, "Delete", func() (err error) { ok, err = s.Store.Delete(ctx, key); return err })
	return ok && err == nil, err
}

func (s *riggedStore) Drop(ctx context.Context, keys []Key) error {
	return s.call(ctx, "Drop", func() error { return s.Store.Drop(ctx, keys) })
}

func (s *riggedStore) DeleteUser(ctx context.Context, directory, id string, keep *Key) (deleted []Listed, err error) {
	err = s.call(ctx, "DeleteUser", func() (err error) { deleted, err = s.Store.DeleteUser(ctx, directory, id, keep); return err })
	if err != nil {
		return nil, err
	}
	return deleted, nil
}

func (s *riggedStore) List(ctx context.Context, query ListQuery) (page []Listed, next string, err error) {
	err = s.call(ctx, "List", func() (err error) { page, next, err = s.Store.List(ctx, query); return err })
	return page, next, err
}

func (s *riggedStore) Find(ctx context.Context, id string) (key Key, ok bool, err error) {
	err = s.call(ctx, "Find", func() (err error) { key, ok, err = s.Store.Find(ctx, id); return err })
	return key, ok && err == nil, err
}

func (s *riggedStore) Count(ctx context.Context) (counts Counts, err error) {
	err = s.call(ctx, "Count", func() (err error) { counts, err = s.Store.Count(ctx); return err })
	return counts, err
}

func (s *riggedStore) User(ctx context.Context, directory, id string) (record UserRecord, ok bool, err error) {
	err = s.call(ctx, "User", func() (err error) { record, ok, err = s.Store.User(ctx, directory, id); return err })
	return record, ok && err == nil, err
}

func (s *riggedStore) Users(ctx context.Context, after string, limit int) (page []UserRecord, next string, err error) {
	err = s.call(ctx, "Users", func() (err error) { page, next, err = s.Store.Users(ctx, after, limit); return err })
	return page, next, err
}

func (s *riggedStore) Mark(ctx context.Context, at time.Time) (latest time.Time, err error) {
	err = s.call(ctx, "Mark", func() (err error) { latest, err = s.Store.Mark(ctx, at); return err })
	return latest, err
}

func (s *riggedStore) SaveCounters(ctx context.Context, counters []Counter) error {
	return s.call(ctx, "SaveCounters", func() error { return s.Store.SaveCounters(ctx, counters) })
}

func (s *riggedStore) Counters(ctx context.Context, yield func(Counter) error) error {
	return s.call(ctx, "Counters", func() error { return s.Store.Counters(ctx, yield) })
}

func (s *riggedStore) Secret(ctx context.Context, name string, fresh []byte) (secret []byte, err error) {
	err = s.call(ctx, "Secret", func() (err error) { secret, err = s.Store.Secret(ctx, name, fresh); return err })
	return secret, err
}

func (s *riggedStore) Close() error {
	return s.call(context.Background(), "Close", s.Store.Close)
}
