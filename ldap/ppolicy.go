package ldap

import (
	"math"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// Errors of the password policy control that say something about a bind. The
// others are about changing a password.
const (
	policyPasswordExpired  = 0
	policyAccountLocked    = 1
	policyChangeAfterReset = 2
)

// policyAnswer is what a server says of a password beside the result of the
// bind (draft-behera-ldap-password-policy-10, section 6.2). -1 means that it
// did not say.
type policyAnswer struct {
	grace   int // sign-ins left with a password that has expired
	expires int // seconds until it expires
	err     int

	// mustChange is the older control of Netscape's family
	// (draft-vchu-ldap-pwd-policy-00). With a bind that succeeded it means that
	// the password must be changed, or has expired. With one that failed it
	// means nothing: slapd sends it to locked accounts too, with any password.
	mustChange bool
}

func noPolicy() policyAnswer { return policyAnswer{grace: -1, expires: -1, err: -1} }

// policyRequest asks the server to say what it knows of the password. It is not
// critical: servers without password policies bind all the same.
func policyRequest() goldap.Control { return goldap.NewControlBeheraPasswordPolicy() }

// readPolicy reads the controls that came with a bind's result, the older ones
// included: 389-ds, after a password was reset, may send nothing else.
func readPolicy(controls []goldap.Control) policyAnswer {
	p := noPolicy()
	for _, control := range controls {
		switch c := control.(type) {
		case *goldap.ControlBeheraPasswordPolicy:
			p.grace = fewest(p.grace, c.Grace)
			p.expires = fewest(p.expires, c.Expire)
			switch code := int(c.Error); {
			case code < policyPasswordExpired, code > policyChangeAfterReset, code == p.err:
			case p.err < 0:
				p.err = code
			default:
				// Two answers that differ: "locked" refuses, and tells the
				// client nothing.
				p.err = policyAccountLocked
			}
		case *goldap.ControlVChuPasswordWarning:
			p.expires = fewest(p.expires, c.Expire)
		case *goldap.ControlVChuPasswordMustChange:
			p.mustChange = true
		}
	}
	return p
}

// fewest takes the smaller of two counts, of which either may not be known.
func fewest(known int, said int64) int {
	if said < 0 {
		return known
	}
	count := int(min(said, math.MaxInt32)) // the draft's maxInt
	if known < 0 {
		return count
	}
	return min(known, count)
}

// objection is why a bind that succeeded signs nobody in, or "". slapd and
// 389-ds let somebody in whose password was reset, for nothing but to change it:
// the result alone does not say so.
func (p policyAnswer) objection() Reason {
	switch {
	case p.err == policyAccountLocked:
		return ReasonAccountLocked
	case p.err == policyChangeAfterReset, p.mustChange && p.grace < 0:
		return ReasonPasswordMustChange
	case p.err == policyPasswordExpired:
		return ReasonPasswordExpired
	default:
		return ""
	}
}

// warning is what the person should know of a password that was accepted, or
// nil.
func (p policyAnswer) warning() *PasswordWarning {
	if p.grace < 0 && p.expires < 0 {
		return nil
	}
	w := &PasswordWarning{GraceSignIns: p.grace}
	if p.expires >= 0 {
		w.ExpiresIn = max(time.Duration(p.expires)*time.Second, time.Second) // 0 stands for unknown
	}
	return w
}
