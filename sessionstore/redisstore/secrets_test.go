package redisstore

import (
	"bytes"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// A server that was emptied is given back what it has forgotten, so that a node
// that starts then has the same secret as those that run.
func TestASecretThatWasForgottenIsGivenBack(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	options := Options{Addresses: []string{server.Addr}}
	ctx := t.Context()
	log := &buffer{}
	running := openLogging(t, options, log)
	ours, err := running.Secret(ctx, "throttle", []byte("the first secret"))
	if err != nil {
		t.Fatal(err)
	}
	name := running.keys.secret("throttle")
	c := raw(t, options)
	there := func() bool {
		n, err := c.Do(ctx, c.B().Exists().Key(name).Build()).AsInt64()
		return n == 1 && err == nil
	}
	reconnect := func() {
		running.lost()
		running.client.connection.Load().ask()
		eventually(t, "looked", func() bool { return !running.known.doubtful.Load() })
	}
	emptied := func(want int) {
		t.Helper()
		eventually(t, "written down", func() bool { return strings.Count(log.String(), "the Redis server was emptied") == want })
	}
	reconnect()
	emptied(0)
	for i := range 3 {
		if err := c.Do(ctx, c.B().Flushall().Build()).Error(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is given back", there)
		if i == 0 { // later others may be first to find that out
			emptied(1)
		}
		got, err := open(t, options).Secret(ctx, "throttle", []byte("the secret of one that starts"))
		if err != nil || !bytes.Equal(got, ours) {
			t.Errorf("%q, %v, want %q", got, err, ours)
		}
	}

	// Whoever stored another one meanwhile is not overruled.
	other := open(t, options)
	if err := c.Do(ctx, c.B().Del().Key(name).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	theirs, err := other.Secret(ctx, "throttle", []byte("another secret"))
	if err != nil {
		t.Fatal(err)
	}
	reconnect()
	if got, err := running.Secret(ctx, "throttle", ours); err != nil || !bytes.Equal(got, theirs) {
		t.Errorf("%q, %v, want %q", got, err, theirs)
	}
}
