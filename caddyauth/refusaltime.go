package caddyauth

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap"
)

const (
	// refusalFloor is how long after its credentials came in the answer to a
	// refused sign-in leaves, so that nobody learns from the time which name
	// exists or why it was refused: directories answer within 1 to 20 ms,
	// depending on that. From the request's start it would not do: who sends the
	// body late has the steps of refusalTime fall where they tell names apart.
	refusalFloor = 300 * time.Millisecond

	// slowestCounted bounds what one slow answer costs those after it.
	slowestCounted = 2 * time.Second
)

// slowest is how long a directory takes to refuse somebody whose name it has,
// in nanoseconds: a maximum that goes down slowly. Where a bind takes longer
// than a look-up by more than one step of refusalTime, whoever has no name there
// is held back for as long as a bind takes.
type slowest struct{ atomic.Int64 }

// note counts one refusal. One without a bind only ever raises it: or strangers
// would bring it down with made-up names, and then try others.
func (s *slowest) note(asked time.Duration, bound bool) {
	for {
		old := s.Load()
		if now := slower(time.Duration(old), asked, bound); s.CompareAndSwap(old, int64(now)) {
			return
		}
	}
}

func slower(old, asked time.Duration, bound bool) time.Duration {
	asked = min(asked, slowestCounted)
	if !bound {
		return max(old, asked)
	}
	return max(old-old/16, asked)
}

// refusalTime is how long after its credentials the answer to a refused sign-in
// leaves. It was ready after so long, of which the directory took asked, and is
// held back as if it had taken its slowest: to the floor, or where that is later
// to the next multiple of it, so that time shows in steps only.
func refusalTime(ready, asked, slowest time.Duration) time.Duration {
	ready += max(slowest-asked, 0)
	steps := (ready + refusalFloor - 1) / refusalFloor
	return max(steps, 1) * refusalFloor
}

// holdBack returns when the answer to a refused sign-in may leave, or when the
// client goes away. Its place is given back then.
func (q *request) holdBack(ctx context.Context, p proof) {
	waitUntil(ctx, q.signing.credentialsAt.Add(refusalTime(time.Since(q.signing.credentialsAt), p.asked, time.Duration(p.directory.slowest.Load()))))
	q.signing.place.leave()
}

// noteRefusal counts the time of a refusal by the directory.
func (p *proof) noteRefusal() {
	var refused *ldap.RefusedError
	if !errors.As(p.err, &refused) || refused.Reason == ldap.ReasonNameInvalid {
		return
	}
	bound := refused.Reason != ldap.ReasonUserUnknown && refused.Reason != ldap.ReasonAmbiguousUser
	p.directory.slowest.note(p.asked, bound)
}

// waitUntil returns at a time, or when the client goes away.
func waitUntil(ctx context.Context, when time.Time) {
	left := time.Until(when)
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
