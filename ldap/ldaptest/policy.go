package ldaptest

import (
	"slices"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

// bindWithPolicy is bind with what slapd's ppolicy overlay says beside the
// result, to clients that ask for it (draft-behera-ldap-password-policy-10).
func (c *conn) bindWithPolicy(op, message *ber.Packet) (result, []*ber.Packet) {
	answer := c.bind(op)
	if !c.tree.Plain || !asksForPolicy(message) || len(op.Children) < 3 {
		return answer, nil
	}
	key, err := dnKey(text(op.Children[1]))
	if err != nil {
		return answer, nil
	}
	e := c.tree.byDN[key]
	if e == nil || e.user == nil {
		return answer, nil
	}
	right := e.user.Password != "" && text(op.Children[2]) == e.user.Password
	switch {
	case e.user.State == Locked: // with any password
		return answer, []*ber.Packet{policyError(1)}
	case e.user.State == Expired && right:
		// The answer is a refusal, and the connection is signed in all the same.
		c.bound = e
		return answer, []*ber.Packet{policyError(0)}
	case e.user.State == MustChange && right:
		c.bound = e
		return result{}, []*ber.Packet{policyError(2)}
	}
	return answer, nil
}

func asksForPolicy(message *ber.Packet) bool {
	return len(message.Children) > 2 && slices.ContainsFunc(message.Children[2].Children, func(control *ber.Packet) bool {
		return len(control.Children) > 0 && text(control.Children[0]) == goldap.ControlTypeBeheraPasswordPolicy
	})
}

func policyError(code int) *ber.Packet {
	value := ber.NewSequence("PasswordPolicyResponseValue")
	value.AppendChild(ber.NewInteger(ber.ClassContext, ber.TypePrimitive, 1, code, "error"))
	control := ber.NewSequence("Control")
	control.AppendChild(octets(goldap.ControlTypeBeheraPasswordPolicy))
	control.AppendChild(octets(string(value.Bytes())))
	return control
}
