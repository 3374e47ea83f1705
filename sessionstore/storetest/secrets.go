package storetest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func (b *bench) secret(name, fresh, want string) {
	b.t.Helper()
	got, err := b.Secret(b.t.Context(), name, []byte(fresh))
	if err != nil || string(got) != want {
		b.t.Errorf("secret %q: %q, error %v, want %q", name, got, err, want)
	}
}

func secretKept(t *testing.T, b *bench) {
	b.secret("device", "first", "first")
	b.secret("device", "second", "first")
	b.secret("other", "\x00\xff", "\x00\xff")
	b.secret("dev", "short name", "short name")
	long, longest := strings.Repeat("n", 255), strings.Repeat("s", 1024)
	b.secret(long, longest, longest)
	for range 2 {
		b.reopen()
		b.secret("device", "third", "first")
		b.secret("other", "third", "\x00\xff")
		b.secret("dev", "third", "short name")
		b.secret(long, "third", longest)
	}

	// What was given and what was got is the caller's.
	fresh := []byte("mine")
	got, err := b.Secret(t.Context(), "mine", fresh)
	if err != nil {
		t.Fatal(err)
	}
	fresh[0], got[1] = 'X', 'Y'
	b.secret("mine", "again", "mine")
}

func secretsAtOnce(t *testing.T, b *bench) {
	const callers, names = 16, 8
	var mu sync.Mutex
	got := map[string]map[string]bool{}
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for n := range names {
				name := fmt.Sprint("name ", n)
				secret, err := b.Secret(t.Context(), name, fmt.Appendf(nil, "%d of %d", n, c))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if got[name] == nil {
					got[name] = map[string]bool{}
				}
				got[name][string(secret)] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	b.reopen()
	for name, secrets := range got {
		if len(secrets) != 1 {
			t.Errorf("%s: callers got %v, want one", name, secrets)
		}
		for secret := range secrets {
			if !strings.HasPrefix(secret, strings.TrimPrefix(name, "name ")+" of ") {
				t.Errorf("%s: secret %q is of another name", name, secret)
			}
			b.secret(name, "too late", secret)
		}
	}
}

func secretRefused(t *testing.T, b *bench) {
	for what, test := range map[string]struct{ name, fresh string }{
		"no name":               {"", "fresh"},
		"an empty secret":       {"empty", ""},
		"a name that is long":   {strings.Repeat("n", 256), "fresh"},
		"a secret that is long": {"long", strings.Repeat("s", 1025)},
	} {
		got, err := b.Secret(t.Context(), test.name, []byte(test.fresh))
		if err == nil || got != nil {
			t.Errorf("%s: %q, error %v, want an error", what, got, err)
		}
		if err != nil && test.fresh != "" && strings.Contains(err.Error(), test.fresh) {
			t.Errorf("%s: the error shows the secret: %v", what, err)
		}
	}
	b.secret("empty", "now", "now")
	b.secret("long", "now", "now")
}
