package sessionstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
)

// KeepNewest ends the oldest sessions of h's user until at most most are left,
// the expired ones first. ended are those that were live. It is called after a
// sign-in; what it does not do because of an error the next one does. The end of
// ctx does not stop it: a client that leaves at once must not have more.
func (s *Sessions) KeepNewest(ctx context.Context, h Handle, most int) (ended []*Session, err error) {
	if s.closed.Load() {
		return nil, fmt.Errorf("ending a user's oldest sessions: %w", ErrClosed)
	}
	if h.entry == nil || most < 1 {
		return nil, nil
	}
	ctx, cancel := settling(ctx)
	defer cancel()
	// Sign-ins of one user that come together must not each end as many.
	release, err := s.users.take(ctx, userTurn(h.User.Directory, h.User.ID))
	if err != nil {
		return nil, fmt.Errorf("ending a user's oldest sessions: %w", err)
	}
	defer release()
	var all []Listed
	for listed, err := range s.listed(ctx, h.User.Directory, h.User.ID) {
		if err != nil {
			return nil, fmt.Errorf("ending a user's oldest sessions: %w", err)
		}
		all = append(all, listed)
	}
	if len(all) <= most {
		return nil, nil
	}
	live := all[:0]
	for i := range all {
		l := all[i]
		if !s.past(&l, h.limits, 0) {
			live = append(live, l)
			continue
		}
		used, err := s.dropListed(ctx, &l, h.limits, 0)
		if err != nil {
			return nil, fmt.Errorf("ending a user's oldest sessions: %w", err)
		}
		if used {
			live = append(live, l)
		}
	}
	s.sortBySignIn(live, h.entry.key)
	for i := 0; i < len(live)-most; i++ {
		session, err := s.endKey(ctx, live[i].Key, live[i].ID)
		if err != nil {
			return ended, fmt.Errorf("ending a user's oldest sessions: %w", err)
		}
		if session != nil {
			ended = append(ended, session)
		}
	}
	return ended, nil
}

// sortBySignIn puts the oldest first. What was signed in after now, by a clock
// that was ahead, comes before what was signed in lately: else a new session
// would be the one that ends. Of two of the same moment that is not own.
func (s *Sessions) sortBySignIn(sessions []Listed, own Key) {
	now := s.nanos()
	at := func(l *Listed) int64 {
		created := l.Created.UnixNano()
		if created > now {
			created = now - int64(clockTolerance)
		}
		return created
	}
	slices.SortStableFunc(sessions, func(a, b Listed) int {
		switch order := cmp.Compare(at(&a), at(&b)); {
		case order != 0:
			return order
		case a.Key == own:
			return 1
		case b.Key == own:
			return -1
		}
		return 0
	})
}

// userTurn is a user's key among the turns.
func userTurn(directory, id string) Key {
	return sha256.Sum256(fmt.Appendf(nil, "%d %s %s", len(directory), directory, id))
}
