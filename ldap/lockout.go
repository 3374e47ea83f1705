package ldap

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// maxPolicies bounds the password policies that are read.
const maxPolicies = 200

// LockoutPolicy is one by which a directory locks accounts itself.
type LockoutPolicy struct {
	DN        string
	Threshold int           // wrong passwords; at least 1
	Window    time.Duration // without a wrong one, after which they are forgotten; 0: never
}

// Lockout returns the policies of that kind that the service account sees.
func (d *Directory) Lockout(parent context.Context) ([]LockoutPolicy, error) {
	if d.service == nil {
		return nil, errNoService
	}
	ctx, cancel := d.bounded(parent)
	defer cancel()
	var policies []LockoutPolicy
	_, err := d.lookup(ctx, nil, func(c *connection, base string) (err error) {
		if d.learnKind(c) == KindAD {
			policies, err = lockoutOnAD(c)
		} else {
			policies, err = lockoutElsewhere(c, base)
		}
		return err
	})
	if err != nil {
		return nil, verdictOn(parent, ctx, &attempt{}, err)
	}
	return policies, nil
}

// lockoutOnAD reads the domain's policy, and the finer ones (MS-ADTS 3.1.1.4.4
// msDS-PasswordSettings), which few may read.
func lockoutOnAD(c *connection) ([]LockoutPolicy, error) {
	domain, err := c.search(c.root.base, goldap.ScopeBaseObject, 1, "(objectClass=*)", "lockoutThreshold", "lockOutObservationWindow")
	if err != nil {
		return nil, fmt.Errorf("reading the domain's lockoutThreshold: %w", err)
	}
	finer, err := c.search("CN=Password Settings Container,CN=System,"+c.root.base, goldap.ScopeSingleLevel, maxPolicies,
		"(objectClass=msDS-PasswordSettings)", "msDS-LockoutThreshold", "msDS-LockoutObservationWindow")
	if err != nil && err != errTooMany && searchReason(err) != ReasonBaseDN {
		return nil, fmt.Errorf("reading password settings objects: %w", err)
	}
	var policies []LockoutPolicy
	for _, e := range append(domain, finer...) {
		threshold, window := "lockoutThreshold", "lockOutObservationWindow"
		if hasClass(e, "msDS-PasswordSettings") || value(e, threshold) == "" {
			threshold, window = "msDS-LockoutThreshold", "msDS-LockoutObservationWindow"
		}
		n, _ := strconv.Atoi(value(e, threshold))
		if n > 0 {
			policies = append(policies, LockoutPolicy{DN: e.DN, Threshold: n, Window: interval(value(e, window))})
		}
	}
	return policies, nil
}

// interval reads a length of time of AD: 100 ns, negative. 0 stands for what is
// none, and for what is so long that it may as well be for ever.
func interval(text string) time.Duration {
	const longest = 1000 * 24 * 36_000_000_000
	ticks, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ticks >= 0 || ticks < -longest {
		return 0
	}
	return time.Duration(-ticks) * 100
}

// lockoutElsewhere reads password policies of the form of
// draft-behera-ldap-password-policy.
func lockoutElsewhere(c *connection, base string) ([]LockoutPolicy, error) {
	entries, err := c.search(base, goldap.ScopeWholeSubtree, maxPolicies, "(objectClass=pwdPolicy)", "pwdLockout", "pwdMaxFailure", "pwdFailureCountInterval")
	if err != nil && err != errTooMany && searchReason(err) != ReasonBaseDN {
		return nil, fmt.Errorf("reading password policies: %w", err)
	}
	var policies []LockoutPolicy
	for _, e := range entries {
		n, _ := strconv.Atoi(value(e, "pwdMaxFailure"))
		seconds, _ := strconv.Atoi(value(e, "pwdFailureCountInterval"))
		if n > 0 && strings.EqualFold(value(e, "pwdLockout"), "TRUE") {
			policies = append(policies, LockoutPolicy{DN: e.DN, Threshold: n, Window: time.Duration(max(seconds, 0)) * time.Second})
		}
	}
	return policies, nil
}
