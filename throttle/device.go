package throttle

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"time"
)

const (
	nonceSize  = 9 // with it an entry is a whole number of base64 groups
	stampSize  = nonceSize + 2
	deviceSize = stampSize + len(key{})

	// maxDevices is how many accounts one browser is known for.
	maxDevices = 4

	// maxCookies is how many values of the cookie are looked at: neighbours on
	// other hosts of the domain can set it as well.
	maxCookies = 4

	// deviceDays is for how long an entry is good, whatever the browser keeps;
	// renewDays is from when on a success makes a new one of it.
	deviceDays = 180
	renewDays  = 30
)

// deviceEpoch is day 0 of entries.
var deviceEpoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// device is one entry of the cookie: a nonce, the day of its making, and the MAC
// of both for one account. Whose it is, only the secret tells.
type device [deviceSize]byte

func (d device) nonce() []byte { return d[:nonceSize] }

// age is for how many days the entry has been good. It is negative after the
// clock was set back, which takes nothing from it.
func (d device) age(today uint16) int {
	return int(today) - int(binary.BigEndian.Uint16(d[nonceSize:stampSize]))
}

// dayOf returns the day of a time in milliseconds, until the year 2199.
func dayOf(now int64) uint16 {
	const day = int64(24 * time.Hour / time.Millisecond)
	return uint16(min(max((now-deviceEpoch)/day, 0), 1<<16-1))
}

// deviceEncoding is strict, so that one value has one spelling.
var deviceEncoding = base64.RawURLEncoding.Strict()

// parseDevices reads one cookie's value: one to four entries, newest first, in
// unpadded base64url. Anything else is none: a browser without a cookie may
// sign in too.
func parseDevices(value string) []device {
	// An entry is a whole number of base64 groups, so that a good value has
	// exactly this length. The decoder passes over line breaks: what had one
	// comes out shorter.
	size := deviceEncoding.EncodedLen(deviceSize)
	n := len(value) / size
	if n == 0 || n > maxDevices || len(value) != n*size {
		return nil
	}
	b, err := deviceEncoding.DecodeString(value)
	if err != nil || len(b) != n*deviceSize {
		return nil
	}
	devices := make([]device, n)
	for i := range devices {
		devices[i] = device(b[i*deviceSize:])
	}
	return devices
}

// joinDevices returns the entries of several values that are not too old: the
// first of each value, then the second ones, so that no planted value pushes
// out what another one has in front.
func joinDevices(values []string, today uint16) []device {
	values = values[:min(len(values), maxCookies)]
	var parsed [maxCookies][]device
	for i, value := range values {
		parsed[i] = parseDevices(value)
	}
	var joined []device
	for at := range maxDevices {
		for _, devices := range parsed {
			if at < len(devices) && devices[at].age(today) < deviceDays && !slices.Contains(joined, devices[at]) {
				joined = append(joined, devices[at])
			}
		}
	}
	return joined
}

// formatDevices is the reverse of parseDevices.
func formatDevices(devices []device) string {
	var b []byte
	for _, d := range devices {
		b = append(b, d[:]...)
	}
	return deviceEncoding.EncodeToString(b)
}

// deviceMAC covers the day as well: nobody makes an entry younger.
func (t *Throttle) deviceMAC(d device, account key) key {
	return t.derive(useDeviceMAC, string(account[:]), string(d[:stampSize]))
}

// deviceKey names the budget of d, which is good for account. It stays the same
// when the entry is renewed.
func (t *Throttle) deviceKey(d device, account key) key {
	return t.derive(useDevice, string(account[:]), string(d.nonce()))
}

// find returns the first of devices that is good for account, -1 if none is.
// It looks at all of them, each in constant time.
func (t *Throttle) find(devices []device, account key) int {
	found := -1
	for i, d := range devices {
		mac := t.deviceMAC(d, account)
		if hmac.Equal(mac[:], d[stampSize:]) && found < 0 {
			found = i
		}
	}
	return found
}

// promote returns devices with the one of account first, as of today: the one
// at index at, or a new one if at is negative. Those used longest ago make room.
func (t *Throttle) promote(devices []device, at int, account key, today uint16) []device {
	var own device
	if at >= 0 {
		own = devices[at]
	} else {
		rand.Read(own[:nonceSize]) // never fails: it ends the process instead
	}
	binary.BigEndian.PutUint16(own[nonceSize:], today)
	mac := t.deviceMAC(own, account)
	copy(own[stampSize:], mac[:])
	kept := []device{own}
	for i, d := range devices {
		if i != at && len(kept) < maxDevices {
			kept = append(kept, d)
		}
	}
	return kept
}
