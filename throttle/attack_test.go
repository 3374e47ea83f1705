package throttle

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// Eve's user principal name is spelt like the victim's account name: her own
// successes must not give her further guesses at the victim.
func TestSuccessesOfAnotherAccountClearNoName(t *testing.T) {
	th := start(t, nil, Options{Now: newClock().now})
	guesses := 0
	for i := range 60 {
		r := Request{Source: netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), Directory: "corp.test", Name: "victim"}
		a, err := th.Begin(context.Background(), r, usual)
		if err != nil {
			break
		}
		if i%3 == 2 {
			a.Succeed("eve", Doubtful)
			continue
		}
		a.Fail()
		guesses++
	}
	if guesses != 3 {
		t.Errorf("%d guesses at one account within the window, want 3", guesses)
	}
}

func TestSpellings(t *testing.T) {
	ctx := context.Background()
	t.Run("a doubtful name is not learned", func(t *testing.T) {
		th := start(t, nil, Options{})
		cookie := signedIn(t, th, "victim", "id-victim", "")
		begin(t, th, with(from("victim"), cookie), usual).Succeed("id-eve", Doubtful)
		if id, _ := th.aliases.get(th.derive(useAlias, "corp.test", "victim"), th.millis()); id != th.derive(useID, "corp.test", "id-victim") {
			t.Error("the name means somebody else now: the victim's device is of no use")
		}
	})
	t.Run("a further name is learned, and keeps its count", func(t *testing.T) {
		th := start(t, nil, Options{})
		fail(t, th, from("juan@mail.test"), usual, 2)
		begin(t, th, from("juan@mail.test"), usual).Succeed("id-juan", Further)
		if _, ok := th.aliases.get(th.derive(useAlias, "corp.test", "juan@mail.test"), th.millis()); !ok {
			t.Error("the name was not learned")
		}
		fail(t, th, from("juan@mail.test"), usual, 1)
		isBlocked(t, th, from("juan@mail.test"), usual, ScopeAccount)
	})
	t.Run("a name of which the directory has told one account is its own", func(t *testing.T) {
		th := start(t, nil, Options{})
		fail(t, th, from("juan@mail.test"), usual, 2)
		a := begin(t, th, from("juan@mail.test"), usual)
		if err := a.Identify(ctx, "id-juan"); err != nil {
			t.Fatal(err)
		}
		a.Succeed("id-juan", Doubtful)
		fail(t, th, from("juan@mail.test"), usual, 2)
		passes(t, th, from("juan@mail.test"), usual)
	})
	t.Run("a name of two accounts is nobody's own", func(t *testing.T) {
		th := start(t, nil, Options{})
		fail(t, th, from("victim"), usual, 2)
		a := begin(t, th, from("victim"), usual)
		if err := a.Identify(ctx, "id-victim", "id-eve"); err != nil {
			t.Fatal(err)
		}
		a.Succeed("id-eve", Doubtful)
		fail(t, th, from("victim"), usual, 1)
		isBlocked(t, th, from("victim"), usual, ScopeAccount)
	})
}

// A neighbour on another host of the domain plants device cookies.
func TestPlantedDeviceCookies(t *testing.T) {
	th := start(t, nil, Options{Now: newClock().now})
	good := signedIn(t, th, "juan", "id-juan", "")
	other := signedIn(t, th, "eve", "id-eve", "")
	full := strings.Repeat(other, maxDevices)
	fail(t, th, from("juan"), usual, 3)
	for name, row := range map[string]struct {
		values []string
		passes bool
	}{
		"beside a malformed one":    {[]string{"x", good}, true},
		"behind three that are not": {[]string{full, full, other, good}, true},
		"behind four":               {[]string{other, "x", full, other, good}, false},
		"alone":                     {[]string{good}, true},
		"none that is good":         {[]string{other, full}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := from("juan")
			r.Devices = row.values
			if row.passes {
				passes(t, th, r, usual)
			} else {
				isBlocked(t, th, r, usual, ScopeAccount)
			}
		})
	}
	t.Run("what is planted pushes no account out", func(t *testing.T) {
		both := signedIn(t, th, "ana", "id-ana", good)
		planted := formatDevices([]device{{1}, {2}, {3}, {4}})
		r := from("pia")
		r.Devices = []string{planted, both}
		kept := parseDevices(begin(t, th, r, usual).Succeed("id-pia", Own))
		if th.find(kept, th.derive(useID, "corp.test", "id-ana")) < 0 || th.find(kept, th.derive(useID, "corp.test", "id-pia")) != 0 {
			t.Error("the account that the browser used last is not known any more")
		}
	})
}

// The browser's Max-Age is a wish: what is copied out of it, or kept, ends here.
func TestDeviceEntriesEnd(t *testing.T) {
	const day = 24 * time.Hour
	c := newClock()
	th := start(t, nil, Options{Now: c.now})
	account := th.derive(useID, "corp.test", "id-juan")
	first := signedIn(t, th, "juan", "id-juan", "")
	signIn := func(cookie string) string {
		t.Helper()
		return begin(t, th, with(from("juan"), cookie), usual).Succeed("id-juan", Own)
	}
	c.forward(29 * day)
	if renewed := signIn(first); renewed != "" {
		t.Errorf("after 29 days it was sent again: %q", renewed)
	}
	c.forward(day)
	renewed := signIn(first)
	if renewed == "" || renewed == first {
		t.Fatalf("after 30 days %q was sent, want it renewed", renewed)
	}
	if th.deviceKey(parseDevices(first)[0], account) != th.deviceKey(parseDevices(renewed)[0], account) {
		t.Error("renewing an entry gives a budget of its own")
	}
	younger := parseDevices(first)
	younger[0][stampSize-1]++
	c.forward(149 * day) // the first one is 179 days old
	fail(t, th, from("juan"), usual, 3)
	passes(t, th, with(from("juan"), first), usual)
	isBlocked(t, th, with(from("juan"), formatDevices(younger)), usual, ScopeAccount)
	c.forward(day)
	fail(t, th, from("juan"), usual, 3)
	isBlocked(t, th, with(from("juan"), first), usual, ScopeAccount)
	passes(t, th, with(from("juan"), renewed), usual)
	c.forward(-145 * day) // the clock was set back, to the renewed one's fifth day
	if back := signIn(renewed); back != "" {
		t.Errorf("it was sent again: %q", back)
	}
	c.forward(-100 * day)
	if back := signIn(renewed); back == "" {
		t.Error("an entry of a later day was not renewed")
	}
}

func TestDaysOfEntries(t *testing.T) {
	for text, want := range map[string]uint16{
		"1999-01-01T00:00:00Z": 0, "2020-01-01T23:59:59Z": 0, "2020-01-02T00:00:00Z": 1, "2026-03-01T12:00:00Z": 2251, "3000-01-01T00:00:00Z": 65535,
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		if got := dayOf(at.UnixMilli()); got != want {
			t.Errorf("%s is day %d, want %d", text, got, want)
		}
	}
	if joined := joinDevices([]string{formatDevices([]device{{1}, {1}}), formatDevices([]device{{1}})}, 0); !slices.Equal(joined, []device{{1}}) {
		t.Errorf("the same entry is looked at %d times", len(joined))
	}
}
