package throttle

import (
	"context"
	"strings"
	"testing"
	"time"
)

// signedIn returns the device cookie of a browser that has signed in.
func signedIn(t testing.TB, th *Throttle, name, id, cookie string) string {
	t.Helper()
	r := from(name)
	r.Devices = []string{cookie}
	value := begin(t, th, r, usual).Succeed(id, Own)
	if value == "" {
		t.Fatal("a new browser got no device cookie")
	}
	return value
}

func with(r Request, cookie string) Request {
	r.Devices = []string{cookie}
	return r
}

func TestKnownDevice(t *testing.T) {
	ctx := context.Background()
	t.Run("lets the owner in while somebody guesses", func(t *testing.T) {
		th := start(t, nil, Options{})
		cookie := signedIn(t, th, "juan", "id-juan", "")
		fail(t, th, from("juan"), usual, 3)
		isBlocked(t, th, from("juan"), usual, ScopeAccount)
		a := begin(t, th, with(from("juan"), cookie), usual)
		if got := a.Succeed("id-juan", Own); got != "" {
			t.Errorf("the cookie is good, and another one was made: %q", got)
		}
	})
	t.Run("also where a whole address is blocked", func(t *testing.T) {
		th := start(t, nil, Options{})
		cookie := signedIn(t, th, "juan", "id-juan", "")
		for i := range 20 {
			fail(t, th, from(strings.Repeat("x", i+1)), usual, 1)
		}
		isBlocked(t, th, from("juan"), usual, ScopeSource)
		passes(t, th, with(from("juan"), cookie), usual)
	})
	t.Run("counts in its own budget, not in the account's or the source's", func(t *testing.T) {
		th := start(t, nil, Options{})
		cookie := signedIn(t, th, "juan", "id-juan", "")
		fail(t, th, with(from("juan"), cookie), usual, 2)
		if entries, _ := size(th.sources); entries != 0 {
			t.Error("the source was counted")
		}
		fail(t, th, from("juan"), usual, 2)
		passes(t, th, from("juan"), usual)
	})
	t.Run("has the account's budget when its own is used up, and then none", func(t *testing.T) {
		c := newClock()
		th := start(t, nil, Options{Now: c.now})
		cookie := signedIn(t, th, "juan", "id-juan", "")
		fail(t, th, with(from("juan"), cookie), usual, 2)
		c.forward(5 * time.Minute)
		fail(t, th, with(from("juan"), cookie), usual, 3)
		isBlocked(t, th, from("juan"), usual, ScopeAccount)
		// There is room again where there is first.
		if got := isBlocked(t, th, with(from("juan"), cookie), usual, ScopeDevice).RetryAfter; got != 10*time.Minute {
			t.Errorf("retry after %v, want 10m", got)
		}
		c.forward(10 * time.Minute)
		fail(t, th, with(from("juan"), cookie), usual, 2)
		if got := isBlocked(t, th, with(from("juan"), cookie), usual, ScopeAccount).RetryAfter; got != 5*time.Minute {
			t.Errorf("retry after %v, want 5m", got)
		}
	})
	t.Run("has its budget cleared by a success", func(t *testing.T) {
		th := start(t, nil, Options{Now: newClock().now})
		cookie := signedIn(t, th, "juan", "id-juan", "")
		fail(t, th, with(from("juan"), cookie), usual, 1)
		begin(t, th, with(from("juan"), cookie), usual).Succeed("id-juan", Own)
		fail(t, th, from("juan"), usual, 3)
		fail(t, th, with(from("juan"), cookie), usual, 2)
		isBlocked(t, th, with(from("juan"), cookie), usual, ScopeAccount)
	})
	t.Run("is none for another account, or a name that never signed in", func(t *testing.T) {
		th := start(t, nil, Options{})
		cookie := signedIn(t, th, "eve", "id-eve", "")
		signedIn(t, th, "juan", "id-juan", "")
		fail(t, th, from("juan"), usual, 3)
		isBlocked(t, th, with(from("juan"), cookie), usual, ScopeAccount)
		fail(t, th, from("nobody"), usual, 3)
		isBlocked(t, th, with(from("nobody"), cookie), usual, ScopeAccount)
	})
	t.Run("is found once the directory has told who it is", func(t *testing.T) {
		th := start(t, nil, Options{})
		cookie := signedIn(t, th, "juan", "id-juan", "")
		for range 3 {
			a := begin(t, th, with(from("juan.perez@mail.test"), ""), usual)
			if err := a.Identify(ctx, "id-juan"); err != nil {
				t.Fatal(err)
			}
			a.Fail()
		}
		a := begin(t, th, with(from(`corp\juan`), ""), usual)
		blockedAs(t, a.Identify(ctx, "id-juan"), ScopeAccount)
		a = begin(t, th, with(from(`corp\juan`), cookie), usual)
		if err := a.Identify(ctx, "id-juan"); err != nil {
			t.Fatal(err)
		}
		a.Fail()
		if entries, _ := size(th.accounts); entries != 3 {
			t.Errorf("%d entries, want the name and the account from before, and the device", entries)
		}
	})
	t.Run("of one candidate does not open the other's account", func(t *testing.T) {
		th := start(t, nil, Options{})
		cookie := signedIn(t, th, "eve", "id-eve", "")
		for range 3 {
			a := begin(t, th, with(from("shared"), cookie), usual)
			if err := a.Identify(ctx, "id-eve", "id-victim"); err != nil {
				t.Fatal(err)
			}
			a.Fail()
		}
		a := begin(t, th, with(from("victim"), cookie), usual)
		blockedAs(t, a.Identify(ctx, "id-victim", "id-eve"), ScopeAccount)
	})
	t.Run("survives in a cookie of four accounts, newest first", func(t *testing.T) {
		th := start(t, nil, Options{})
		cookie := ""
		for _, name := range []string{"ana", "eva", "juan", "leo", "pia"} {
			cookie = signedIn(t, th, name, "id-"+name, cookie)
		}
		if n := len(parseDevices(cookie)); n != maxDevices {
			t.Errorf("%d devices, want %d", n, maxDevices)
		}
		for _, name := range []string{"eva", "juan", "leo", "pia"} {
			if th.find(parseDevices(cookie), th.derive(useID, "corp.test", "id-"+name)) < 0 {
				t.Errorf("%s is not known any more", name)
			}
		}
		cookie = signedIn(t, th, "eva", "id-eva", cookie) // not the newest: sent again
		cookie = signedIn(t, th, "ana", "id-ana", cookie)
		if at := th.find(parseDevices(cookie), th.derive(useID, "corp.test", "id-eva")); at != 1 {
			t.Errorf("eva, who came last but one, is at %d", at)
		}
		if at := th.find(parseDevices(cookie), th.derive(useID, "corp.test", "id-juan")); at >= 0 {
			t.Error("juan, who came first, was kept")
		}
	})
	t.Run("of another secret is none", func(t *testing.T) {
		th := start(t, nil, Options{})
		other, err := New(ctx, []byte("another secret of some length"), nil, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		cookie := signedIn(t, other, "juan", "id-juan", "")
		signedIn(t, th, "juan", "id-juan", "")
		fail(t, th, from("juan"), usual, 3)
		isBlocked(t, th, with(from("juan"), cookie), usual, ScopeAccount)
	})
}

func TestHostileDeviceCookies(t *testing.T) {
	th := start(t, nil, Options{Now: newClock().now})
	good := signedIn(t, th, "juan", "id-juan", "")
	fail(t, th, from("juan"), usual, 3)
	flip := func(at int) string {
		b := []byte(good)
		b[at] ^= 1
		return string(b)
	}
	for name, value := range map[string]string{
		"empty":                  "",
		"not base64":             strings.Repeat("*", len(good)),
		"cut":                    good[:len(good)-1],
		"a character more":       good + "A",
		"another nonce":          flip(0),
		"another MAC":            flip(len(good) - 2),
		"five entries":           strings.Repeat(good, 5),
		"far too long":           strings.Repeat(good, 10_000),
		"padding":                good[:len(good)-1] + "=",
		"a line break":           good[:len(good)-1] + "\n",
		"standard alphabet":      strings.Repeat("+/", len(good)/2),
		"zero bytes":             strings.Repeat("\x00", len(good)),
		"line breaks for a tail": good + strings.Repeat("\n", len(good)),
	} {
		t.Run(name, func(t *testing.T) {
			isBlocked(t, th, with(from("juan"), value), usual, ScopeAccount)
		})
	}
	t.Run("of two that are good the first is used", func(t *testing.T) {
		account := th.derive(useID, "corp.test", "id-juan")
		second := formatDevices(th.promote(nil, -1, account, 0))
		if at := th.find(parseDevices(good+second), account); at != 0 {
			t.Errorf("number %d is used", at)
		}
	})
	t.Run("four of the same are one", func(t *testing.T) {
		fail(t, th, with(from("juan"), strings.Repeat(good, 4)), usual, 2)
		isBlocked(t, th, with(from("juan"), strings.Repeat(good, 4)), usual, ScopeAccount)
	})
}

func FuzzParseDevices(f *testing.F) {
	th := start(f, nil, Options{})
	f.Add(signedIn(f, th, "juan", "id-juan", ""))
	f.Add("")
	f.Add(strings.Repeat("A", 144))
	f.Add("AAAA\nAAA")
	account := th.derive(useID, "corp.test", "nobody")
	f.Fuzz(func(t *testing.T, value string) {
		devices := parseDevices(value)
		if len(devices) > maxDevices {
			t.Fatalf("%d devices", len(devices))
		}
		if len(devices) > 0 && formatDevices(devices) != value {
			t.Fatalf("%q is another spelling of %q", value, formatDevices(devices))
		}
		if th.find(devices, account) >= 0 {
			t.Fatalf("%q is good for an account that never signed in", value)
		}
		promoted := th.promote(devices, -1, account, 0)
		if len(promoted) > maxDevices || th.find(promoted, account) != 0 {
			t.Fatalf("promoting to %d devices", len(promoted))
		}
	})
}
