package throttle

import (
	"testing"
	"time"
)

func TestKeysOfOtherParts(t *testing.T) {
	th := start(t, nil, Options{})
	seen := map[key][]string{}
	for _, parts := range [][]string{
		{useName, "a", "bc"}, {useName, "ab", "c"}, {useName, "abc", ""}, {useName, "", "abc"}, {useName, "abc"},
		{useID, "a", "bc"}, {useAlias, "a", "bc"}, {useDevice, "a", "bc"}, {useDeviceMAC, "a", "bc"}, {useSource, "a", "bc"},
	} {
		k := th.derive(parts[0], parts[1:]...)
		if other, ok := seen[k]; ok {
			t.Errorf("%q and %q have one key", parts, other)
		}
		seen[k] = parts
	}
}

func TestRoundUp(t *testing.T) {
	for ms, want := range map[int64]time.Duration{
		0: time.Second, 1: time.Second, 1000: time.Second, 1001: 2 * time.Second,
		MaxWindow.Milliseconds(): MaxWindow,
	} {
		if got := roundUp(ms); got != want {
			t.Errorf("%d ms are %v, want %v", ms, got, want)
		}
	}
}
