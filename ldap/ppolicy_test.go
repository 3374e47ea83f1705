package ldap

import (
	"encoding/hex"
	"math"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

// control decodes a control as it comes with a result.
func control(oid string, value []byte) (goldap.Control, error) {
	packet := ber.NewSequence("control")
	packet.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, oid, ""))
	if value != nil {
		packet.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, string(value), ""))
	}
	decoded, err := ber.DecodePacketErr(packet.Bytes())
	if err != nil {
		return nil, err
	}
	return goldap.DecodeControl(decoded)
}

const (
	oidPolicy     = goldap.ControlTypeBeheraPasswordPolicy
	oidMustChange = goldap.ControlTypeVChuPasswordMustChange
	oidExpiring   = goldap.ControlTypeVChuPasswordWarning
)

func TestPolicyControls(t *testing.T) {
	// 30: PasswordPolicyResponseValue; a0: warning, of 80: timeBeforeExpiration
	// or 81: graceAuthNsRemaining; 81: error.
	behera := func(value string) [2]string {
		raw, err := hex.DecodeString(value)
		if err != nil {
			t.Fatal(err)
		}
		return [2]string{oidPolicy, string(raw)}
	}
	tests := []struct {
		what     string
		controls [][2]string
		want     policyAnswer
		warning  *PasswordWarning
	}{
		{"none", nil, noPolicy(), nil},
		{"nothing to say", [][2]string{behera("3000")}, noPolicy(), nil},
		{"expired", [][2]string{behera("3003810100")}, policyAnswer{-1, -1, policyPasswordExpired, false}, nil},
		{"locked", [][2]string{behera("3003810101")}, policyAnswer{-1, -1, policyAccountLocked, false}, nil},
		{"reset", [][2]string{behera("3003810102")}, policyAnswer{-1, -1, policyChangeAfterReset, false}, nil},
		{"an error about changing it", [][2]string{behera("3003810106")}, noPolicy(), nil},
		{"an hour left", [][2]string{behera("3006a00480020e10")}, policyAnswer{-1, 3600, -1, false}, &PasswordWarning{-1, time.Hour}},
		{"no second left", [][2]string{behera("3005a003800100")}, policyAnswer{-1, 0, -1, false}, &PasswordWarning{-1, time.Second}},
		{"two sign-ins left", [][2]string{behera("3005a003810102")}, policyAnswer{2, -1, -1, false}, &PasswordWarning{GraceSignIns: 2}},
		{"that was the last", [][2]string{behera("3005a003810100")}, policyAnswer{0, -1, -1, false}, &PasswordWarning{GraceSignIns: 0}},
		{"reset, and a warning", [][2]string{behera("3008a003810103810102")}, policyAnswer{3, -1, policyChangeAfterReset, false}, &PasswordWarning{GraceSignIns: 3}},
		{"negative numbers", [][2]string{behera("3005a0038001ff"), behera("3005a0038101ff")}, noPolicy(), nil},
		{"a number past the draft's", [][2]string{behera("300aa00880067fffffffffff")}, policyAnswer{-1, math.MaxInt32, -1, false}, &PasswordWarning{-1, math.MaxInt32 * time.Second}},
		{"twice the same", [][2]string{behera("3003810102"), behera("3003810102")}, policyAnswer{-1, -1, policyChangeAfterReset, false}, nil},
		{"twice, not the same", [][2]string{behera("3003810100"), behera("3003810102")}, policyAnswer{-1, -1, policyAccountLocked, false}, nil},
		{"older: must change", [][2]string{{oidMustChange, "0"}}, policyAnswer{-1, -1, -1, true}, nil},
		{"older: expiring", [][2]string{{oidExpiring, "86400"}}, policyAnswer{-1, 86400, -1, false}, &PasswordWarning{-1, 24 * time.Hour}},
		{"both kinds, the nearer end counts", [][2]string{behera("3006a00480020e10"), {oidExpiring, "60"}}, policyAnswer{-1, 60, -1, false}, &PasswordWarning{-1, time.Minute}},
		{"others", [][2]string{{"1.2.3.4", "x"}}, noPolicy(), nil},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			var controls []goldap.Control
			for _, c := range test.controls {
				decoded, err := control(c[0], []byte(c[1]))
				if err != nil {
					t.Fatal(err)
				}
				controls = append(controls, decoded)
			}
			got := readPolicy(controls)
			if got != test.want {
				t.Errorf("readPolicy = %+v, want %+v", got, test.want)
			}
			w := got.warning()
			if (w == nil) != (test.warning == nil) || w != nil && *w != *test.warning {
				t.Errorf("warning = %+v, want %+v", w, test.warning)
			}
		})
	}
}

func TestPolicyRequestIsNotCritical(t *testing.T) {
	packet := policyRequest().Encode()
	if len(packet.Children) != 1 || packet.Children[0].Value != "1.3.6.1.4.1.42.2.27.8.5.1" {
		t.Errorf("the request is %+v, want the OID alone", packet.Children)
	}
}

// FuzzPolicyControl has hostile values. Decoding may fail, which makes the
// answer unusable; what is decoded must read as something that can be.
func FuzzPolicyControl(f *testing.F) {
	for _, value := range []string{"3000", "3003810102", "3006a00480020e10", "3005a003810102", "", "30", "3080", "30038101ff", "a000", "3002a000", "30810381010"} {
		raw, _ := hex.DecodeString(value)
		f.Add(oidPolicy, raw)
		f.Add(oidExpiring, raw)
		f.Add(oidMustChange, raw)
	}
	f.Add(oidExpiring, []byte("-9223372036854775808"))
	f.Fuzz(func(t *testing.T, oid string, value []byte) {
		c, err := control(oid, value)
		if err != nil {
			return
		}
		for _, controls := range [][]goldap.Control{{c}, {c, c}, {nil, c}} {
			p := readPolicy(controls)
			if p.grace < -1 || p.expires < -1 || p.grace > math.MaxInt32 || p.expires > math.MaxInt32 || p.err < -1 || p.err > policyChangeAfterReset {
				t.Fatalf("%q %x reads as %+v", oid, value, p)
			}
			if w := p.warning(); w != nil && (w.GraceSignIns < -1 || w.ExpiresIn < 0 || w.GraceSignIns < 0 && w.ExpiresIn == 0) {
				t.Fatalf("%q %x warns %+v", oid, value, w)
			}
			if o := bindOutcome(nil, p); o.refused != (o.reason != "") || !o.refused && p.err >= 0 {
				t.Fatalf("%q %x: a success with %+v becomes %+v", oid, value, p, o)
			}
		}
	})
}
