package throttle

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// Request describes an attempt before anything is asked.
type Request struct {
	// Source is the client's address. Clients without one share a budget.
	Source netip.Addr

	// Directory is the label of the directory that the name belongs to.
	Directory string

	// Name is what was typed, folded to one spelling per account as far as
	// that is known without asking. A name that does not exist counts as one
	// that does.
	Name string

	// Devices are the device cookie's values as they were sent, of which four
	// are looked at. Whatever is wrong with one, it counts as none: neighbours
	// that plant one take nothing from the others.
	Devices []string
}

// Attempt is one sign-in under way. It ends with the first of Fail, Succeed
// and Release; what is called after that does nothing. One that is never ended
// keeps its places for good: defer Release.
type Attempt struct {
	throttle  *Throttle
	limits    Limits
	directory string
	source    key
	name      key
	alias     key
	cookie    []device

	mu      sync.Mutex
	ended   bool
	refused error // why Identify has ended it: it says so again, if asked
	places  places

	// accounts are the IDs that the name may mean: the directory's if it has
	// told (identified), else that of the last success with this name.
	accounts   []key
	identified bool
	known      bool  // the name has succeeded before
	meant      alias // what it meant then
}

// Begin takes a place for an attempt in its budgets: that of the device, if the
// name is known and the cookie proves an earlier sign-in of this account there,
// or else those of source, name and account. It waits while attempts under way
// may still use up what is left. The error is a *BlockedError, ErrBusy (after
// Options.MaxWait), ErrClosed, the context's, or tells what is wrong with
// limits; then nothing may be asked, and there is no Attempt.
func (t *Throttle) Begin(ctx context.Context, r Request, limits Limits) (*Attempt, error) {
	if t.closed.Load() {
		return nil, ErrClosed
	}
	if err := limits.Check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("beginning sign-in attempt: %w", err)
	}
	t.windows.set(limits)
	now := t.millis()
	a := &Attempt{
		throttle:  t,
		limits:    limits,
		directory: r.Directory,
		source:    t.sourceKey(r.Source),
		name:      t.derive(useName, r.Directory, r.Name),
		alias:     t.derive(useAlias, r.Directory, r.Name),
		cookie:    joinDevices(r.Devices, dayOf(now)),
	}
	meant, ok, err := t.ledger.recall(ctx, a.alias, now)
	if err != nil {
		return nil, fmt.Errorf("beginning sign-in attempt: %w", err)
	}
	if ok {
		a.accounts, a.known, a.meant = []key{meant.account}, true, meant
	}
	if err := a.admit(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// Identify adds the accounts that the directory has found for the name, by
// their IDs, before the password is sent. Each of them must have room, as in
// Begin: a name that may mean two accounts counts for both, and a device cookie
// helps only if it is good for both. Errors are those of Begin; with one the
// attempt has ended, and the password must not be sent.
//
// To the client a refusal must look like Begin's: it would tell that two names
// are one account, else.
func (a *Attempt) Identify(ctx context.Context, ids ...string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refused != nil {
		return a.refused
	}
	if a.ended {
		return errEnded
	}
	if len(ids) == 0 {
		return nil
	}
	before := a.accounts
	if !a.identified {
		// What a past success has shown may be out of date: the name may have
		// gone to another account since.
		a.accounts, a.identified = nil, true
	}
	for _, id := range ids {
		if k := a.throttle.derive(useID, a.directory, id); !slices.Contains(a.accounts, k) {
			a.accounts = append(a.accounts, k)
		}
	}
	if slices.Equal(before, a.accounts) {
		return nil
	}
	return a.admit(ctx)
}

// Fail ends the attempt: wrong name or password. It counts in the budgets that
// the attempt was admitted by.
func (a *Attempt) Fail() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	a.ended = true
	a.throttle.ledger.settle(&a.places, true, nil)
}

// Spelling is what the typed name is to the account that it has signed in to.
type Spelling uint8

const (
	// Doubtful: it may be what another account is called. Somebody who is given
	// such a name must not clear the other's count with successes of their own.
	Doubtful Spelling = iota

	// Further: a name of this account, of a form that no account's own name has.
	Further

	// Own: the account's own name.
	Own
)

// Succeed ends the attempt: id is the account that the directory has proved
// ("" if it has none). It clears the failures of account and device, and those
// of the name where it is the account's own, or where Identify has told of no
// other account; never those of the source: who has one account could guess at
// others without end. It learns that the name means this account, unless that is
// doubtful, and returns the device cookie's value to send; "" if the one that
// was sent is still good.
func (a *Attempt) Succeed(id string, name Spelling) (deviceCookie string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return ""
	}
	a.ended = true
	t, now := a.throttle, a.throttle.millis()
	account := t.derive(useID, a.directory, id)
	if a.identified && slices.Equal(a.accounts, []key{account}) {
		name = Own
	}
	var cleared []claim
	if name == Own {
		cleared = append(cleared, claim{kind: kindAccount, key: a.name})
	}
	at := -1
	if id != "" {
		cleared = append(cleared, claim{kind: kindAccount, key: account})
		if at = t.find(a.cookie, account); at >= 0 {
			cleared = append(cleared, claim{kind: kindDevice, key: t.deviceKey(a.cookie[at], account)})
		}
	}
	t.ledger.settle(&a.places, false, cleared)
	if id == "" {
		return ""
	}
	if name != Doubtful {
		t.ledger.learn(a.alias, account, a.meant, now)
	}
	today := dayOf(now)
	if at == 0 {
		if age := a.cookie[0].age(today); age >= 0 && age < renewDays {
			return ""
		}
	}
	return formatDevices(t.promote(a.cookie, at, account, today))
}

// Release ends the attempt without an outcome: the password was right but the
// account may not sign in, or the directory did not answer. Nothing counts. Do
// not use it for a client that left after its password was sent: who guesses
// and hangs up would never be counted here, but in the directory.
func (a *Attempt) Release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	a.ended = true
	a.throttle.ledger.settle(&a.places, false, nil)
}

// commonClaims are the budgets of an attempt from anywhere.
func (a *Attempt) commonClaims() []claim {
	claims := []claim{
		{kind: kindSource, key: a.source, limit: a.limits.Source},
		{kind: kindAccount, key: a.name, limit: a.limits.Account, known: a.known},
	}
	for _, account := range a.accounts {
		claims = append(claims, claim{kind: kindAccount, key: account, limit: a.limits.Account, known: true})
	}
	return claims
}

// deviceClaims are the budgets of a known device; none unless the cookie is
// good for every account that the name may mean. With one of two, the owner of
// the one could guess at the other's password in the device's budget.
func (a *Attempt) deviceClaims() []claim {
	var claims []claim
	for _, account := range a.accounts {
		at := a.throttle.find(a.cookie, account)
		if at < 0 {
			return nil
		}
		claims = append(claims, claim{
			kind: kindDevice, key: a.throttle.deviceKey(a.cookie[at], account),
			limit: a.limits.Device, known: true,
		})
	}
	return claims
}
