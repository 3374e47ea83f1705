package caddyauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/throttle"
)

// proof is what came of asking a directory who somebody is.
type proof struct {
	identity  *ldap.Identity
	directory *configuredDirectory // that was asked; where none was, the one that the name says, or the first
	device    string               // the device cookie to send, "" for none
	err       error                // why there is no identity

	// asked is how long the directory took to say no. Zero: it was not asked.
	asked time.Duration

	// heldBack: err is to leave when a refusal by the directory does.
	heldBack bool
}

// place is a sign-in's place in a directory's queue. It is kept while a refusal
// is held back, so that those count too, and never while something is written:
// a client that does not read would hold it for as long as it likes.
type place struct {
	in       *configuredDirectory // nil: none yet
	giveBack func()
}

// signingIn is what a request has for as long as it signs in.
type signingIn struct {
	place         place     // in the directory's queue
	credentialsAt time.Time // when they had come in
}

// take takes a place at a directory, for the one that was held before.
func (p *place) take(d *configuredDirectory) error {
	if p.in == d {
		return nil
	}
	giveBack, err := d.Reserve()
	if err != nil {
		return err
	}
	p.leave()
	p.in, p.giveBack = d, giveBack
	return nil
}

// leave gives the place back, if there is one still.
func (p *place) leave() {
	if p.giveBack != nil {
		p.giveBack()
	}
	p.in, p.giveBack = nil, nil
}

// storeError is a store that cannot say what was counted, or keep what comes.
type storeError struct{ error }

func (e storeError) Unwrap() error { return e.error }

var errSignInTime = errors.New("the time for one sign-in is over")

// prove has the directory of the person judge the credentials, unless too many
// wrong ones came before. Without a store to count in, nobody is asked.
func (s *site) prove(ctx context.Context, r *http.Request, q *request, creds credentials) (p proof) {
	app := s.app
	// Waiting, choosing and signing in each have a time of their own: together
	// they must not take longer than one of them may.
	ctx, cancel := context.WithTimeoutCause(ctx, app.signInTimeout(), errSignInTime)
	defer cancel()

	owner := app.ownerOf(creds.username)
	p.directory = owner
	if owner == nil {
		p.directory = app.directories[0]
	}
	if _, err := app.sessions(ctx); err != nil {
		p.err = storeError{err}
		return p
	}
	if p.err = q.signing.place.take(p.directory); p.err != nil {
		return p
	}

	var attempt *throttle.Attempt // nil: the throttle is off
	defer func() {
		if attempt != nil {
			attempt.Release()
		}
	}()
	if app.throttled {
		s.warnOfLooseProxies(r)
		if attempt, p.err = app.beginAttempt(ctx, r, q, owner, creds.username); p.err != nil {
			return p
		}
	}

	var checks []ldap.Check
	var waited time.Duration // for the throttle
	chosen, err := ldap.Choose(ctx, app.ldapDirectories(), creds.username)
	if err == nil {
		p.directory = app.directoryOf(chosen.Label())
		err = q.signing.place.take(p.directory)
	}
	if err == nil && attempt != nil {
		if owner == nil && !chosen.HasService() {
			// Nobody is going to look up whose name it is: it counts as the
			// same name with the directory's suffix does.
			attempt.Release()
			attempt, err = app.beginAttempt(ctx, r, q, p.directory, creds.username)
		}
		checks = append(checks, func(ctx context.Context, id string) error {
			began := time.Now()
			defer func() { waited += time.Since(began) }()
			err := attempt.Identify(ctx, accountID(chosen.Label(), id))
			// What the look-up has cost would tell that there is somebody.
			p.heldBack = p.heldBack || err != nil
			return err
		})
	}
	if err == nil {
		began := time.Now()
		p.identity, err = p.directory.SignIn(ctx, creds.username, creds.password, checks...)
		p.asked = time.Since(began) - waited
		p.err = err
		p.noteRefusal()
	}
	p.err = err
	switch {
	case attempt == nil:
	case err == nil:
		p.device = attempt.Succeed(accountID(p.identity.Directory, p.identity.ID), spellingOf(p.directory, creds.username, p.identity))
	case countsAsFailure(err):
		attempt.Fail()
	}
	return p
}

// beginAttempt has the throttle admit a sign-in by its name, before the
// directory has said whose it is. owner is the directory of the name, nil while
// that is not known.
//
// The throttle is not told of directories: an account's ID has its directory in
// it, and must be one however its name was typed.
func (app *App) beginAttempt(ctx context.Context, r *http.Request, q *request, owner *configuredDirectory, username string) (*throttle.Attempt, error) {
	label, reader := "", app.directories[0]
	if owner != nil {
		label, reader = owner.Label(), owner
	}
	attempts, err := app.store.agreedThrottle(ctx)
	if err != nil {
		return nil, err
	}
	return attempts.Begin(ctx, throttle.Request{
		Source: clientIP(r), Name: accountID(label, reader.AccountName(username)), Devices: app.cookies.devices(&q.cookies, q.tls),
	}, app.throttleLimits)
}

// spellingOf tells whether a typed name is the account's own. Where nobody was
// looked up, a name with the directory's own suffix may be the user principal
// name of one person and the account name of another: the two count as one.
func spellingOf(d *configuredDirectory, typed string, identity *ldap.Identity) throttle.Spelling {
	name := d.AccountName(typed)
	switch {
	case name == d.AccountName(identity.Username):
		return throttle.Own
	case strings.ContainsAny(name, `@\`): // a foreign suffix: no account's own name has one
		return throttle.Further
	}
	return throttle.Doubtful
}

// ownerOf is the directory that a name is of, as far as nobody need be asked, or
// nil.
func (app *App) ownerOf(username string) *configuredDirectory {
	if len(app.directories) == 1 {
		return app.directories[0]
	}
	var owners []*configuredDirectory
	blind := true
	for _, d := range app.directories {
		blind = blind && !d.HasService()
		if d.Owns(username) {
			owners = append(owners, d)
		}
	}
	if len(owners) == 1 {
		return owners[0]
	}
	if blind { // there is nobody to ask
		if chosen, err := ldap.Choose(context.Background(), app.ldapDirectories(), username); err == nil {
			return app.directoryOf(chosen.Label())
		}
	}
	return nil
}

// signInTimeout is how long one sign-in may take, whichever directory it is of.
func (app *App) signInTimeout() time.Duration {
	var longest time.Duration
	for _, d := range app.directories {
		longest = max(longest, d.timeout)
	}
	return longest
}

// accountID is an account's ID, or its name, among those of all directories.
func accountID(label, id string) string { return label + "\x00" + id }

// userOf makes the session's user of what the directory proved. With several
// directories the name says which, so that two people never share one.
func (app *App) userOf(identity *ldap.Identity) sessionstore.User {
	user := sessionstore.User{
		Directory: identity.Directory, ID: identity.ID, Username: identity.Username, DN: identity.DN,
		FirstName: identity.FirstName, LastName: identity.LastName, DisplayName: identity.DisplayName,
		Email: identity.Email, UPN: identity.UPN, Title: identity.Title, Manager: identity.Manager,
		PasswordSet: identity.PasswordSet,
		Groups:      storedGroups(identity.Groups),
	}
	user.Username = app.fullName(identity.Username, identity.Directory)
	return user
}

// fullName is a user name as it goes into records, headers and logs.
func (app *App) fullName(username, label string) string {
	if len(app.directories) > 1 {
		return username + "@" + label
	}
	return username
}

// storedGroups are sorted by ID: records are smaller, and memberships need no
// copy.
func storedGroups(groups []ldap.Group) []sessionstore.Group {
	stored := make([]sessionstore.Group, len(groups))
	for i, group := range groups {
		stored[i] = sessionstore.Group(group)
	}
	slices.SortStableFunc(stored, func(a, b sessionstore.Group) int { return strings.Compare(a.ID, b.ID) })
	return stored
}
