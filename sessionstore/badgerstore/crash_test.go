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
	crashFolder = "BADGERSTORE_CRASH_FOLDER"

	// changedMark is the PasswordSet of a session that was updated.
	changedMark = "changed"
)

// TestMain is also the process that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashFolder); dir != "" {
		fmt.Fprintln(os.Stderr, signInAndOut(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// signInAndOut signs in, touches, changes and signs out as fast as it can and prints
// what was acknowledged, until it is killed.
func signInAndOut(dir string) error {
	store, err := Open(dir, nil)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(what string, key sessionstore.Key) error {
		mu.Lock()
		defer mu.Unlock()
		// One write: the line is there or not, whenever the kill comes.
		_, err := fmt.Printf("%s %x\n", what, key)
		return err
	}
	worker := func() error {
		ctx := context.Background()
		for i := 0; ; i++ {
			key := storetest.NewKey()
			session := storetest.NewSession(fmt.Sprint(i % 7))
			for j := range 100 { // some weight, so that memtables change too
				session.User.Groups = append(session.User.Groups, sessionstore.Group{ID: fmt.Sprint(j), DN: strings.Repeat("d", 200)})
			}
			if err := store.Create(ctx, key, session, nil); err != nil {
				return err
			}
			if err := say("in", key); err != nil {
				return err
			}
			err := store.Touch(ctx, []sessionstore.Touch{{Key: key, Seen: session.Created.Add(time.Second)}})
			if err != nil {
				return err
			}
			session.User.PasswordSet = changedMark
			if ok, err := store.Update(ctx, key, session); err != nil || !ok {
				return fmt.Errorf("updating: ok %v, %w", ok, err)
			}
			if err := say("changed", key); err != nil {
				return err
			}
			if i%2 == 0 {
				continue
			}
			if err := say("leaving", key); err != nil {
				return err
			}
			if ok, err := store.Delete(ctx, key); err != nil || !ok {
				return fmt.Errorf("deleting: ok %v, %w", ok, err)
			}
			if err := say("out", key); err != nil {
				return err
			}
		}
	}
	errs := make(chan error)
	for range 4 {
		go func() { errs <- worker() }()
	}
	return <-errs
}

func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	state := map[string]string{}
	const rounds = 10
	for round := range rounds {
		kill(t, dir, state, time.Duration(100+rand.IntN(400))*time.Millisecond)
		store, err := Open(dir, nil)
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
	t.Logf("%d rounds: %v", rounds, counts)
	if counts["changed"] == 0 || counts["out"] == 0 {
		t.Errorf("nothing was tested: %v", counts)
	}
}

// kill runs a child on dir, kills it after a while, and adds what it had
// acknowledged by then to state.
func kill(t *testing.T, dir string, state map[string]string, after time.Duration) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), crashFolder+"="+dir)
	var complaint strings.Builder
	child.Stderr = &complaint
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var timer *time.Timer
	for lines.Scan() {
		if timer == nil { // it has opened the folder
			timer = time.AfterFunc(after, func() { child.Process.Kill() })
		}
		what, key, ok := strings.Cut(lines.Text(), " ")
		if !ok || len(key) != 64 {
			continue // cut short by the kill
		}
		state[key] = what
	}
	if timer == nil {
		child.Process.Kill()
	}
	err = child.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != -1 || complaint.Len() > 0 {
		t.Fatalf("child: %v: %s", err, complaint.String())
	}
}

// check compares the store with what was acknowledged.
func check(t *testing.T, store *Store, state map[string]string) {
	t.Helper()
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
		}
	}
}
