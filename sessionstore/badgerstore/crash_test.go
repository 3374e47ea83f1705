package badgerstore

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

const (
	crashFolder    = "BADGERSTORE_CRASH_FOLDER"
	crashEncrypted = "BADGERSTORE_CRASH_ENCRYPTED"

	// changedMark is the PasswordSet of a session that was updated.
	changedMark = "changed"
)

// TestMain is also the process that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashFolder); dir != "" {
		options := Options{}
		if os.Getenv(crashEncrypted) != "" {
			options = encrypted
		}
		c := &crasher{}
		for {
			if err := c.round(dir, options); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
	goleak.VerifyTestMain(m)
}

// crasher is a process that prints what was acknowledged, and what it is about
// to do, until it is killed.
type crasher struct{ mu sync.Mutex }

func (c *crasher) say(what string, key ...sessionstore.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// One write: the line is there or not, whenever the kill comes.
	if len(key) == 0 {
		fmt.Printf("%s\n", what)
	} else {
		fmt.Printf("%s %x\n", what, key[0])
	}
}

// round opens the folder, works on it for a while, and closes it.
func (c *crasher) round(dir string, options Options) error {
	c.say("opening")
	store, err := Open(dir, options, nil)
	if err != nil {
		return err
	}
	c.say("opened")
	n := rand.IntN(20)
	if rand.IntN(2) == 0 {
		n *= 8 // memtables change too
	}
	errs := make(chan error)
	for range 4 {
		go func() {
			var err error
			for i := 0; i < n && err == nil; i++ {
				err = c.signInAndOut(store, i)
			}
			errs <- err
		}()
	}
	for range 4 {
		err = errors.Join(err, <-errs)
	}
	c.say("closing")
	err = errors.Join(err, store.Close())
	c.say("closed")
	return err
}

// signInAndOut signs in, touches, changes and, every other time, signs out.
func (c *crasher) signInAndOut(store *Store, i int) error {
	ctx := context.Background()
	key := storetest.NewKey()
	session := storetest.NewSession(fmt.Sprint(i % 7))
	addWeight(session, 1+rand.IntN(30<<10))
	if err := store.Create(ctx, key, session, nil); err != nil {
		return err
	}
	c.say("in", key)
	err := store.Touch(ctx, []sessionstore.Touch{{Key: key, Seen: session.Created.Add(time.Second)}})
	if err != nil {
		return err
	}
	session.User.PasswordSet = changedMark
	if ok, err := store.Update(ctx, key, session); err != nil || !ok {
		return fmt.Errorf("updating: ok %v, %w", ok, err)
	}
	c.say("changed", key)
	if i%2 == 0 {
		return nil
	}
	c.say("leaving", key)
	if ok, err := store.Delete(ctx, key); err != nil || !ok {
		return fmt.Errorf("deleting: ok %v, %w", ok, err)
	}
	c.say("out", key)
	return nil
}

func TestKill(t *testing.T) {
	for name, options := range bothKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "sessions")
			state, moments := map[string]string{}, map[string]int{}
			const rounds = 12
			for round := range rounds {
				moments[kill(t, dir, options, state)]++
				if round%4 != 3 {
					continue // the next child opens what this one has left
				}
				store, err := Open(dir, options, nil)
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				check(t, store, state)
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
				if t.Failed() {
					return
				}
			}
			counts := map[string]int{}
			for _, what := range state {
				counts[what]++
			}
			t.Logf("%d rounds: killed %v, sessions %v", rounds, moments, counts)
			if counts["changed"] == 0 || counts["out"] == 0 {
				t.Errorf("nothing was tested: %v", counts)
			}
		})
	}
}

// kill runs a child on dir, kills it at some moment, and adds what it had
// acknowledged by then to state. It returns what the child was about then.
func kill(t *testing.T, dir string, options Options, state map[string]string) (doing string) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), crashFolder+"="+dir)
	if options.EncryptionKey != nil {
		child.Env = append(child.Env, crashEncrypted+"=1")
	}
	var complaint strings.Builder
	child.Stderr = &complaint
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	moment := []string{"opening", "opened", "in", "closing", "closed"}[rand.IntN(5)]
	after := time.Duration(rand.IntN(60)) * time.Millisecond
	if moment == "in" {
		after *= 4
	}
	lines := bufio.NewScanner(out)
	var timer *time.Timer
	for lines.Scan() {
		what, key, ok := strings.Cut(lines.Text(), " ")
		if timer == nil && what == moment {
			timer = time.AfterFunc(after, func() { child.Process.Kill() })
		}
		switch {
		case !ok:
			doing = what
		case len(key) == 64: // else cut short by the kill
			state[key] = what
			doing = "working"
		}
	}
	if timer == nil {
		child.Process.Kill()
	}
	err = child.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != -1 || complaint.Len() > 0 {
		t.Fatalf("child: %v: %s", err, complaint.String())
	}
	return doing
}

// check compares the store with what was acknowledged.
func check(t *testing.T, store *Store, state map[string]string) {
	t.Helper()
	listed := map[sessionstore.Key]bool{}
	for query := (sessionstore.ListQuery{Limit: 1000}); ; {
		page, next, err := store.List(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for i := range page {
			listed[page[i].Key] = true
			if _, _, ok, err := store.Get(t.Context(), page[i].Key); !ok || err != nil {
				t.Errorf("session that is listed: %v, %v", ok, err)
			}
		}
		if query.After = next; next == "" {
			break
		}
	}
	if counts, err := store.Count(t.Context()); err != nil || counts.Sessions != len(listed) {
		t.Errorf("Count: %+v, error %v, want %d", counts, err, len(listed))
	}
	for text, what := range state {
		var key sessionstore.Key
		if _, err := hex.Decode(key[:], []byte(text)); err != nil {
			t.Fatal(err)
		}
		session, _, ok, err := store.Get(t.Context(), key)
		switch {
		case err != nil:
			t.Errorf("session that was %q: %v", what, err)
		case what == "in" && !ok:
			t.Error("an acknowledged sign-in is gone")
		case what == "changed" && (!ok || session.User.PasswordSet != changedMark):
			t.Error("an acknowledged change is gone")
		case what == "out" && ok:
			t.Error("an acknowledged sign-out was undone")
		case ok != listed[key]:
			t.Errorf("session that was %q: there %v, listed %v", what, ok, listed[key])
		}
	}
}
