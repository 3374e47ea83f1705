package redisstore

import "context"

// turns lets the sign-ins of one user come one after the other, as far as they
// come through this process: at once, all but one would find at the server that
// the user's record has changed, and begin again. Users whose digests begin alike
// share a turn, so that there are no more locks for more users.
type turns [64]chan struct{}

func newTurns() *turns {
	t := &turns{}
	for i := range t {
		t[i] = make(chan struct{}, 1)
	}
	return t
}

// take waits for the turn of a user, at most until ctx ends.
func (t *turns) take(ctx context.Context, directory, id string) (release func(), err error) {
	turn := t[int(userDigest(directory, id)[0])%len(t)]
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
