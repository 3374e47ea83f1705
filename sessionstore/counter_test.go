package sessionstore

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestCounterRecordRoundTrip(t *testing.T) {
	for name, c := range map[string]Counter{
		"short":       {Value: []byte{0}, Expires: time.Unix(1, 0).UTC()},
		"longest":     {Key: [16]byte{1, 15: 2}, Value: []byte(strings.Repeat("\xff", MaxCounterValue)), Expires: time.Unix(maxSeconds, 999999999).UTC()},
		"nanoseconds": {Key: [16]byte{255}, Value: []byte("x"), Expires: time.Unix(1763763423, 123456789).UTC()},
	} {
		b, err := AppendCounter([]byte("p"), &c)
		if err != nil || string(b[:1]) != "p" {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b = b[1:]
		got, err := DecodeCounter(b, c.Key)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s: error %v\n got %+v\nwant %+v", name, err, got, c)
		}
		if _, err := DecodeCounter(b, [16]byte{9}); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("%s, of another key: %v", name, err)
		}
	}
	good, err := AppendCounter(nil, &Counter{Value: []byte("value"), Expires: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if _, err := DecodeCounter(good[:i], [16]byte{}); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("cut to %d: %v", i, err)
		}
		bad := append([]byte(nil), good...)
		bad[i] ^= 64
		if _, err := DecodeCounter(bad, [16]byte{}); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	head := append([]byte{counterFormat}, make([]byte, 16)...)
	for name, b := range map[string][]byte{
		"without a value":      seal(append(append([]byte(nil), head...), 1, 0, 0)),
		"with a long value":    seal(append(append(append([]byte(nil), head...), 1, 0, 0x81, 0x20), make([]byte, MaxCounterValue+1)...)),
		"without expiry":       seal(append(append([]byte(nil), head...), 0, 0, 1, 'x')),
		"something at the end": seal(append(append([]byte(nil), head...), 1, 0, 1, 'x', 0)),
	} {
		if _, err := DecodeCounter(b, [16]byte{}); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("%s: %v, want ErrInvalidRecord", name, err)
		}
	}
	for name, c := range map[string]Counter{
		"too long":       {Value: make([]byte, MaxCounterValue+1), Expires: time.Unix(1, 0)},
		"without expiry": {Value: []byte("x")},
		"too far ahead":  {Value: []byte("x"), Expires: time.Unix(maxSeconds+1, 0)},
	} {
		if b, err := AppendCounter([]byte("p"), &c); err == nil || string(b) != "p" {
			t.Errorf("%s: %d bytes, error %v", name, len(b), err)
		}
	}
	if err := CheckCounter(&Counter{}); err != nil {
		t.Errorf("a counter to delete: %v", err)
	}
}

func TestSecretRecordRoundTrip(t *testing.T) {
	good, err := AppendSecret(nil, "device", []byte("\x00secret"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeSecret(good, "device"); err != nil || string(got) != "\x00secret" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, name := range []string{"", "devic", "other!"} {
		if got, err := DecodeSecret(good, name); got != nil || !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("as %q: %q, %v", name, got, err)
		}
	}
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 64
		for _, b := range [][]byte{good[:i], bad} {
			if got, err := DecodeSecret(b, "device"); got != nil || !errors.Is(err, ErrInvalidRecord) {
				t.Errorf("damaged at %d: %q, %v", i, got, err)
			}
		}
	}
	for name, b := range map[string][]byte{
		"empty":                seal([]byte{secretFormat, 1, 'n', 0}),
		"long":                 seal(append([]byte{secretFormat, 1, 'n', 0x81, 0x08}, make([]byte, maxSecret+1)...)),
		"something at the end": seal([]byte{secretFormat, 1, 'n', 1, 's', 0}),
		"nameless":             seal([]byte{secretFormat, 0, 1, 's'}),
	} {
		if got, err := DecodeSecret(b, "n"); got != nil || !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestCountersAndSecretsOfSessions(t *testing.T) {
	w := newWorld(t, Options{})
	ctx := t.Context()
	c := Counter{Key: [16]byte{1}, Value: []byte("3"), Expires: time.Now().Add(time.Hour)}
	if err := w.SaveCounters(ctx, []Counter{c}); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Secret(ctx, "device", []byte("first")); err != nil || string(got) != "first" {
		t.Errorf("secret %q, %v", got, err)
	}

	// After a reload, and after a crash.
	next := w.restart()
	var got []Counter
	if err := next.Counters(ctx, func(c Counter) error { got = append(got, c); return nil }); err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], c) {
		t.Errorf("counters %v, %v", got, err)
	}
	if got, err := next.Secret(ctx, "device", []byte("second")); err != nil || string(got) != "first" {
		t.Errorf("secret %q, %v", got, err)
	}
	down := errors.New("disk on fire")
	calls := func() []error {
		_, _, regroup := w.Regroup(ctx, Handle{}, nil, "")
		_, revoke := w.Revoke(ctx, Handle{})
		_, secret := w.Secret(ctx, "device", []byte("x"))
		return []error{
			w.SaveCounters(ctx, nil), secret,
			w.Counters(ctx, func(Counter) error { return nil }), regroup, revoke,
		}
	}
	w.store.fail("", down)
	for i, err := range calls()[:3] {
		if !errors.Is(err, down) {
			t.Errorf("call %d: %v, want the store's error", i, err)
		}
	}
	w.store.fail("", nil)
	w.Close()
	for i, err := range calls() {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("call %d: %v, want ErrClosed", i, err)
		}
	}
}
