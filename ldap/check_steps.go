package ldap

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// serviceBind binds as the service account.
func (k *check) serviceBind(s *CheckStep) error {
	if k.d.service == nil {
		if k.kind != KindAD {
			return &UnavailableError{Reason: ReasonDirectoryUnavailable, Server: k.service.server.url, Err: errNeedsService}
		}
		s.Skipped = true
		s.Detail = "none configured: Active Directory signs people in without one, but nobody looks at an account after its sign-in, and a bare name is not looked up in several directories"
		return nil
	}
	if err := k.bindAndLook(); err != nil {
		return err
	}
	s.Detail = k.d.service.user
	if k.base != "" {
		return nil
	}
	var err error
	if k.base, err = k.d.userBase(k.service.root); err != nil {
		return err
	}
	s.Detail += fmt.Sprintf("; base_dn %q", printable(k.base))
	return nil
}

// bindAndLook is what asService does on a lease, without the pool.
func (k *check) bindAndLook() error {
	c := k.service
	if err := k.d.bindService(c); err != nil {
		return err
	}
	if c.root.hidden {
		if err := c.readHiddenRoot(); err != nil {
			return err
		}
		k.kind = k.d.learnKind(c)
	}
	if k.kind == KindAD {
		k.d.learnNames(c)
	}
	return nil
}

var errNeedsService = errors.New("the server is no Active Directory, and without a service account nobody can be found on it")

// search finds whom the name stands for, as the service account.
func (k *check) search(s *CheckStep) error {
	typed, err := normalizeName(k.request.Username)
	if err != nil {
		return &RefusedError{Reason: ReasonNameInvalid, Err: err}
	}
	k.attempt.typed = typed
	if k.kind != KindAD {
		return k.searchPlain(s)
	}
	if k.who, err = k.d.parseADName(typed); err != nil {
		return &RefusedError{Reason: ReasonNameInvalid, Err: err}
	}
	if k.d.service == nil {
		s.Skipped = true
		s.Detail = "without a service account the entry is searched as the user, after the bind"
		k.undecided = k.request.Password == nil
		return nil
	}
	filter := k.d.config.UserFilter
	if filter == "" {
		filter = defaultADFilter
	}
	s.Detail = shown(fillFilter(filter, k.who))
	if k.entries, err = k.d.candidates(k.service, k.base, k.who); err != nil {
		return fmt.Errorf("searching user below %q: %w", k.base, err)
	}
	s.Detail += " finds " + dnsOf(k.entries)
	switch {
	case len(k.entries) > 1:
		s.Warnings = append(s.Warnings, "the name stands for several people: the one whose password it is signs in, as the bind shows")
	case len(k.entries) == 0:
		return &RefusedError{Reason: ReasonUserUnknown, Err: fmt.Errorf("searching user below %q: no entry", k.base)}
	}
	return nil
}

// searchPlain searches off AD, where exactly one entry must be found.
func (k *check) searchPlain(s *CheckStep) error {
	filter := k.d.config.UserFilter
	if filter == "" {
		filter = "(" + k.d.attributes(k.kind).Username + "={user})"
	}
	var asked []string
	var err error
	for _, who := range k.d.parseGenericName(k.attempt.typed) {
		asked = append(asked, shown(fillFilter(filter, who)))
		s.Detail = strings.Join(asked, ", then ")
		var e *goldap.Entry
		if e, err = k.d.findEntry(k.service, k.kind, k.base, []login{who}); err == nil {
			k.entries = []*goldap.Entry{e}
			break
		}
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Reason != ReasonUserUnknown {
			break
		}
	}
	if err != nil {
		return err
	}
	s.Detail += " finds " + dnsOf(k.entries)
	return nil
}

// shown is a filter on one line. Those of the configuration are mostly longer
// than what printable leaves of a server's text.
func shown(filter string) string {
	if cleanLine(filter) {
		return filter
	}
	return printable(filter)
}

func dnsOf(entries []*goldap.Entry) string {
	if len(entries) == 0 {
		return "no entry"
	}
	dns := make([]string, len(entries))
	for i, e := range entries {
		dns[i] = fmt.Sprintf("%q", printable(e.DN))
	}
	return strings.Join(dns, " and ")
}

// bind sends the user's password, once.
func (k *check) bind(s *CheckStep) error {
	if k.request.Password == nil {
		s.Skipped = true
		s.Detail = "no password was given"
		return nil
	}
	if err := checkPassword(k.attempt.password); err != nil {
		return &RefusedError{Reason: ReasonNameInvalid, Err: err}
	}
	name, username := k.who.bind, ""
	if len(k.entries) == 1 {
		e := k.entries[0]
		username = value(e, k.d.attributes(k.kind).Username)
		if isDN(e.DN) {
			name = e.DN
		}
	}
	if k.kind != KindAD {
		if why := k.futile(); why != "" {
			s.Skipped = true
			s.Detail = "not sent: " + why
			return nil
		}
	}
	if k.d.service == nil {
		k.user, k.service = k.service, nil
	} else {
		c, err := k.d.dial(k.ctx, k.service.server)
		if err != nil {
			return fmt.Errorf("opening a second connection, for the user's bind: %w", err)
		}
		k.user = c
		c.lend(k.ctx)
	}
	var err error
	if k.policy, err = k.attempt.bindUser(k.user, name, username, k.kind != KindAD); err != nil {
		return atServer(k.user.server, err)
	}
	k.proven = true
	s.Detail = fmt.Sprintf("the password is right for %q", printable(name))
	if w := k.policy.warning(); w != nil {
		if w.GraceSignIns >= 0 {
			s.Warnings = append(s.Warnings, fmt.Sprintf("the password has expired: %d sign-ins are left", w.GraceSignIns))
		}
		if w.ExpiresIn > 0 {
			s.Warnings = append(s.Warnings, fmt.Sprintf("the password expires in %d days", int(w.ExpiresIn/(24*time.Hour))))
		}
	}
	return nil
}

// futile says why no password signs in off AD, and is "" where one may. A
// sign-in binds before it looks at the ID; here that would cost an attempt that
// counts, for nothing.
func (k *check) futile() string {
	if _, err := k.d.identity(k.entries[0], k.kind); err != nil {
		return "the entry cannot become an identity"
	}
	var refused *RefusedError
	if _, err := k.plainGroups(); err != nil && !errors.As(err, &refused) {
		return "the groups cannot be read, which a sign-in does before the bind"
	}
	return ""
}

// proveIdentity shows whose entry the sign-in takes, and that it can be one's.
func (k *check) proveIdentity(s *CheckStep) error {
	switch {
	case !k.proven && len(k.entries) != 1:
		s.Skipped = true
		s.Detail = "only the bind shows whose entry it is"
		return nil
	case !k.proven || k.kind != KindAD:
		id, err := k.d.identity(k.entries[0], k.kind)
		if err != nil {
			return err
		}
		k.identity = id
		s.Detail = describeIdentity(id)
		if !k.proven {
			s.Detail += "; not proven without the password"
			return nil
		}
		s.Detail += "; proven: the bind was with the DN of this entry"
		return nil
	}
	root, err := k.user.rootDSE("tokenGroups")
	if err != nil {
		return err
	}
	if k.token, err = tokenOf(root); err != nil {
		return err
	}
	if k.d.service == nil || k.base == "" {
		if k.base, err = k.d.userBase(k.user.root); err != nil {
			return err
		}
	}
	candidates := k.entries
	if len(candidates) == 0 {
		if candidates, err = k.d.candidates(k.user, k.base, k.who); err != nil {
			return err
		}
	}
	entry, sid, err := k.d.proveEntry(k.user, k.base, k.who, candidates, k.token)
	if err != nil {
		return err
	}
	if k.identity, err = k.d.identity(entry, KindAD); err != nil {
		return err
	}
	k.sid = sid
	s.Detail = fmt.Sprintf("%s; proven: objectSid %s is in the connection's token of %d SIDs", describeIdentity(k.identity), sid, len(k.token))
	if !slices.ContainsFunc(candidates, func(e *goldap.Entry) bool { return userSID(e) == sid }) {
		s.Warnings = append(s.Warnings, "the search finds another entry than the one that the password is of: the latter signs in")
	}
	return nil
}

func describeIdentity(id *Identity) string {
	return fmt.Sprintf("username %q, id %q, DN %q", printable(id.Username), printable(id.ID), printable(id.DN))
}
