package ldap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// Steps of Directory.Check, in their order. The set is closed: exit codes and
// scripts depend on the names.
const (
	CheckDNS          = "dns"
	CheckConnect      = "connect"
	CheckCertificate  = "certificate"
	CheckKind         = "kind"
	CheckServiceBind  = "service_bind"
	CheckSearch       = "search"
	CheckAccountState = "account_state"
	CheckBind         = "bind"
	CheckIdentity     = "identity"
	CheckGroups       = "groups"
)

// CheckRequest says what Directory.Check looks at.
type CheckRequest struct {
	// Username as it would be typed. Without one the check ends with the service
	// account.
	Username string

	// Password returns the user's; nil means that nobody binds as the user. It is
	// a function because fmt prints those as addresses.
	Password func() string
}

// CheckStep is what came of one step. No text in it holds a password.
type CheckStep struct {
	Name string

	// OK and Skipped tell how it ended: a step that is neither has failed.
	// Skipped ones were not needed, not asked for, or come after a failure.
	OK, Skipped bool

	Took     time.Duration
	Detail   string
	Warnings []string

	// Cause and Cure are of a failure, in words for the operator.
	Cause, Cure string
}

// CheckResult is what a sign-in would have come to.
type CheckResult struct {
	// Failed is the step that failed, "" for none.
	Failed string

	// Reason is that of SignIn's error, "" where a sign-in would have had none,
	// whatever has failed. Refused tells a *RefusedError from an *UnavailableError.
	Reason  Reason
	Refused bool

	// Proven means that the password was judged, and right.
	Proven bool

	// Undecided means that nothing was learned of the user: without a service
	// account, only a bind says something.
	Undecided bool
}

// Check goes through the steps of a sign-in, one by one and with the code that
// a sign-in runs, and reports each as it ends. It sends at most one bind with
// the user's password, and none where it is known before that no password signs
// the user in.
//
// It asks every server, where a sign-in asks the next one only when it must.
// The directory's state (servers that are down, connections that are kept) is
// neither used nor changed; only its kind and names are remembered.
func (d *Directory) Check(ctx context.Context, request CheckRequest, report func(CheckStep)) CheckResult {
	k := &check{d: d, request: request, attempt: &attempt{}}
	var hidden Redaction
	if d.service != nil {
		hidden.Hide(d.service.password())
	}
	if request.Password != nil {
		k.attempt.password = request.Password()
		hidden.Hide(k.attempt.password)
	}
	defer k.close()
	k.ctx = ctx
	var result CheckResult
	for _, step := range k.steps() {
		s := CheckStep{Name: step.name}
		if result.Failed != "" {
			s.Skipped, s.Detail = true, "not reached: "+result.Failed+" failed"
			report(s)
			continue
		}
		started := time.Now()
		err := step.run(&s)
		s.Took = time.Since(started)
		if err != nil && over(k.ctx) {
			err = fmt.Errorf("%w: %w", k.whyOver(), err)
		}
		if s.OK = err == nil && !s.Skipped; err != nil {
			s.Skipped = false
			result.Failed = s.Name
			result.Reason, result.Refused = k.verdict(s.Name, err)
			s.Cause, s.Cure = causeAndCure(s.Name, k.kind, err)
		}
		report(hidden.Step(s))
	}
	result.Proven, result.Undecided = k.proven, k.undecided && result.Failed == ""
	return result
}

// check is one run of the steps, and what they have found.
type check struct {
	d       *Directory
	request CheckRequest
	attempt *attempt

	ctx  context.Context // of the caller; then, from the first connection on, with a sign-in's budget
	stop context.CancelFunc
	from context.Context // the caller's

	servers []server
	reached []*reach

	service *connection // to the server that was chosen; bound where there is a service account
	user    *connection // bound as the user
	kind    Kind
	base    string

	who      login
	entries  []*goldap.Entry
	proven   bool
	policy   policyAnswer
	identity *Identity
	sid      string   // of the user's, on AD
	token    []string // of the user's connection

	// See plainGroups.
	groupsRead bool
	held       []Group
	groupsErr  error

	undecided bool
}

// checkPart is a step and what does it.
type checkPart struct {
	name string
	run  func(s *CheckStep) error
}

func (k *check) steps() []checkPart {
	parts := []checkPart{
		{CheckDNS, k.dns}, {CheckConnect, k.connect}, {CheckCertificate, k.certificate}, {CheckKind, k.findKind}, {CheckServiceBind, k.serviceBind},
	}
	if k.request.Username == "" {
		return parts
	}
	return append(parts, checkPart{CheckSearch, k.search}, checkPart{CheckAccountState, k.accountState}, checkPart{CheckBind, k.bind},
		checkPart{CheckIdentity, k.proveIdentity}, checkPart{CheckGroups, k.groups})
}

// begin starts the time that a sign-in has, once there is a connection.
func (k *check) begin() {
	k.from = k.ctx
	k.ctx, k.stop = k.d.bounded(k.ctx)
}

func (k *check) close() {
	for _, c := range []*connection{k.service, k.user} {
		if c != nil {
			c.takeBack()
			c.close()
		}
	}
	for _, r := range k.reached {
		r.close()
	}
	if k.stop != nil {
		k.stop()
	}
}

// whyOver tells the end of a sign-in's time from that of the caller's patience.
func (k *check) whyOver() error {
	if cause := context.Cause(k.ctx); cause != nil {
		return cause
	}
	return errBudget
}

// verdict is what SignIn returns for a step's error. Groups of the
// configuration that cannot be looked up refuse no sign-in, only requests.
func (k *check) verdict(step string, err error) (reason Reason, refused bool) {
	var lookup *groupLookupError
	if errors.As(err, &lookup) {
		return "", false
	}
	var state *stateError
	if errors.As(err, &state) {
		return state.reason, true
	}
	from := k.from
	if from == nil {
		from = k.ctx
	}
	err = verdictOn(from, k.ctx, k.attempt, err)
	var no *RefusedError
	if errors.As(err, &no) {
		return no.Reason, true
	}
	var u *UnavailableError
	switch {
	case !errors.As(err, &u):
		return ReasonDirectoryUnavailable, false
	case step == CheckServiceBind && k.kind == KindAD && u.Reason != ReasonCancelled:
		return "", false // sign-ins go on without it
	}
	return u.Reason, false
}

// Knows looks a typed name up as the service account, without which it knows
// nobody. It is what Choose asks each directory.
func (d *Directory) Knows(ctx context.Context, username string) (bool, error) {
	typed, err := normalizeName(username)
	if err != nil || d.service == nil {
		return false, nil
	}
	return d.has(ctx, typed)
}

// all returns the servers that are known, in the order of the configuration.
func (p *pool) all() []server {
	p.mu.Lock()
	defer p.mu.Unlock()
	servers := make([]server, len(p.hosts))
	for i, h := range p.hosts {
		servers[i] = h.server
	}
	return servers
}

// all returns copies of the references, in a lasting order.
func (t *groupTable) all() []groupRef {
	t.mu.RLock()
	defer t.mu.RUnlock()
	refs := make([]groupRef, 0, len(t.refs))
	for _, r := range t.refs {
		refs = append(refs, *r)
	}
	slices.SortFunc(refs, func(a, b groupRef) int { return strings.Compare(a.ref, b.ref) })
	return refs
}
