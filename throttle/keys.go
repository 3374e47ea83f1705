package throttle

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"
)

// key names a budget or an alias: an HMAC under the throttle's secret, cut.
// Without the secret nobody finds two names with one key, or a key's name.
type key = [16]byte

// kind of a budget.
type kind uint8

const (
	kindAccount kind = iota
	kindDevice
	kindSource
	kinds
)

// scope is the kind's name outside.
func (k kind) scope() Scope {
	switch k {
	case kindDevice:
		return ScopeDevice
	case kindSource:
		return ScopeSource
	}
	return ScopeAccount
}

// windows are the windows that were last asked for, in milliseconds: an entry
// is kept as long as the configuration of today could want it.
type windows [kinds]atomic.Int64

func (w *windows) set(limits Limits) {
	for k, limit := range [kinds]Limit{kindAccount: limits.Account, kindDevice: limits.Device, kindSource: limits.Source} {
		if ms := limit.Window.Milliseconds(); w[k].Load() != ms {
			w[k].Store(ms)
		}
	}
}

// What is derived, so that no two uses of the secret can give the same bytes.
const (
	useSource    = "source"
	useName      = "name"
	useAlias     = "alias"
	useID        = "id"
	useDevice    = "device"
	useDeviceMAC = "device mac"
)

// derive returns the key of parts. Each part has its length before it, or
// directory "a" with name "bc" would be directory "ab" with name "c".
func (t *Throttle) derive(use string, parts ...string) key {
	mac := hmac.New(sha256.New, t.secret)
	var length [8]byte
	write := func(part string) {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	write(use)
	for _, part := range parts {
		write(part)
	}
	var sum [sha256.Size]byte
	return key(mac.Sum(sum[:0])[:len(key{})])
}

// sourceKey is the key of an address. One IPv6 user commonly has a whole /64,
// so that its lower half must not count. Clients without an address (a socket
// on this machine) share one key: no limit at all would be theirs otherwise.
func (t *Throttle) sourceKey(source netip.Addr) key {
	source = source.Unmap().WithZone("")
	bits := 32
	if source.Is6() {
		bits = 64
	}
	prefix, err := source.Prefix(bits)
	if err != nil {
		return t.derive(useSource, "")
	}
	return t.derive(useSource, prefix.Addr().String())
}

// roundUp gives d milliseconds in whole seconds, at least one.
func roundUp(d int64) time.Duration {
	return max((time.Duration(d)*time.Millisecond + time.Second - 1).Truncate(time.Second), time.Second)
}
