package badgerstore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// largeSession fills Badger's log soon.
func largeSession(user string) *sessionstore.Session {
	session := storetest.NewSession(user)
	for i := range 1000 {
		session.User.Groups = append(session.User.Groups, sessionstore.Group{ID: fmt.Sprint(i), DN: rand.Text() + rand.Text() + rand.Text() + rand.Text()})
	}
	return session
}

// fillLog signs in until Badger needs another log and fails.
func fillLog(t *testing.T, s *Store) {
	t.Helper()
	for range 1000 {
		if s.Create(t.Context(), storetest.NewKey(), largeSession("large"), nil) != nil {
			return
		}
	}
	t.Fatal("no log was needed")
}

// breakDown has Badger fail to make its next log. What is in the way of it goes
// with the function that is returned.
func breakDown(t *testing.T, s *Store) (clear func()) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(s.committer.dir, "*"+logSuffix))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	last, ok := fileNumber(filepath.Base(slices.Max(logs)))
	if !ok {
		t.Fatal(logs)
	}
	obstacle := filepath.Join(s.committer.dir, fmt.Sprintf("%05d%s", last+1, logSuffix))
	mkdir(t, obstacle, 0o700)
	t.Cleanup(func() { os.Remove(obstacle) })
	fillLog(t, s)
	return func() {
		if err := os.Remove(obstacle); err != nil {
			t.Error(err)
		}
	}
}

// A quota or a file system that has become read-only looks like this. Badger, left
// to itself, ends the process at the next call.
func TestBadgerWithoutALog(t *testing.T) {
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "sessions")
	d, log := newTestDisk(plenty), new(testLog)
	s := d.open(t, dir, log)
	stays, leaves := signIn(t, s, "ana"), signIn(t, s, "ana")
	clear := breakDown(t, s)
	for name, call := range map[string]func() error{
		"Get":    func() error { _, _, _, err := s.Get(ctx, stays); return err },
		"List":   func() error { _, _, err := s.List(ctx, sessionstore.ListQuery{Limit: 1}); return err },
		"Create": func() error { return s.Create(ctx, storetest.NewKey(), storetest.NewSession("1"), nil) },
		"Drop":   func() error { return s.Drop(ctx, []sessionstore.Key{stays}) },
		"DeleteUser": func() error {
			_, err := s.DeleteUser(ctx, storetest.NewSession("ana").User.Directory, "ana", nil)
			return err
		},
	} {
		if call() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for range 2 {
		if ok, err := s.Delete(ctx, leaves); ok || err != nil {
			t.Errorf("Delete: ok %v, error %v, want done, and not known to have been there", ok, err)
		}
	}
	asked := d.asked.Load()
	await(t, "attempts", func() bool { return d.asked.Load() > asked+2*retryLooks })
	if ok, err := s.Delete(ctx, storetest.NewKey()); ok || err != nil {
		t.Errorf("Delete between the attempts: ok %v, error %v", ok, err)
	}
	clear()
	awaitWritable(t, s)
	if there(t, s, leaves) || !there(t, s, stays) {
		t.Error("the wrong sessions have ended")
	}
	if s.committer.doubt {
		t.Error("what was read from the disk is doubted")
	}
	if n := log.count("is written to again"); n != 1 {
		t.Errorf("%d lines of the recovery:\n%s", n, log.b.String())
	}
}

// The sign-outs that share their transaction with what needs a new log.
func TestSignOutThatMeetsABreakdown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	d := newTestDisk(plenty)
	s := d.open(t, dir, nil)
	var keys []sessionstore.Key
	for range 200 {
		keys = append(keys, signIn(t, s, "ana"))
	}
	stays := signIn(t, s, "ana")
	stop, ended := make(chan struct{}), make(chan []sessionstore.Key, 1)
	go func() {
		var out []sessionstore.Key
		defer func() { ended <- out }()
		for _, key := range keys {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			if _, err := s.Delete(t.Context(), key); err != nil {
				t.Errorf("Delete: %v", err)
				return
			}
			out = append(out, key)
		}
	}()
	clear := breakDown(t, s)
	close(stop)
	out := <-ended
	clear()
	awaitWritable(t, s)
	for _, key := range out {
		if there(t, s, key) {
			t.Fatal("a session that was signed out is back")
		}
	}
	if !there(t, s, stays) {
		t.Error("another session is gone")
	}
}

func TestBreakdownOnAFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	d := newTestDisk(plenty)
	s := d.open(t, dir, nil)
	stays, leaves := signIn(t, s, "ana"), signIn(t, s, "ana")
	s.committer.stop()
	commit := s.committer.write
	s.committer.write = func(txn *badger.Txn) error {
		err := commit(txn)
		if err != nil {
			d.bytes.Store(nothing)
		}
		return err
	}
	s.committer.start()
	clear := breakDown(t, s)
	asked := d.asked.Load()
	await(t, "looking", func() bool { return d.asked.Load() > asked+5 })
	if !isOpened(dir) {
		t.Error("it is closed while the disk is full")
	}
	if lock, err := lockFolder(dir); lock != nil || err != nil && !errors.Is(err, ErrInUse) {
		t.Errorf("it was closed while the disk is full: %v", err)
	}
	if ok, err := s.Delete(t.Context(), leaves); ok || err != nil {
		t.Errorf("Delete: ok %v, error %v", ok, err)
	}
	if err := s.Close(); err != nil || !isParked(dir) {
		t.Fatalf("Close: error %v", err)
	}
	s = d.open(t, dir, nil)
	if ok, err := s.Delete(t.Context(), storetest.NewKey()); ok || err != nil {
		t.Errorf("taken: Delete: ok %v, error %v", ok, err)
	}
	if _, _, _, err := s.Get(t.Context(), stays); !errors.Is(err, sessionstore.ErrNoSpace) {
		t.Errorf("taken: Get: %v", err)
	}
	clear()
	d.bytes.Store(plenty)
	awaitWritable(t, s)
	if there(t, s, leaves) || !there(t, s, stays) {
		t.Error("the wrong sessions have ended")
	}
}

// Closed for good while broken: the folder is closed when that is possible.
func TestCloseAfterABreakdown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	s := newTestDisk(plenty).open(t, dir, nil)
	stays, leaves := signIn(t, s, "ana"), signIn(t, s, "ana")
	clear := breakDown(t, s)
	if ok, err := s.Delete(t.Context(), leaves); ok || err != nil {
		t.Errorf("Delete: ok %v, error %v", ok, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	awaitUnparked(t, dir)
	clear()
	s = newTestDisk(plenty).open(t, dir, nil)
	if there(t, s, leaves) || !there(t, s, stays) {
		t.Error("the wrong sessions have ended")
	}
}

// The mark cannot be removed, so that Badger must not be closed.
func TestCloseThatCannotUnmark(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	s := newTestDisk(plenty).open(t, dir, nil)
	key := signIn(t, s, "1")
	mark := filepath.Join(dir, openedName)
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	mkdir(t, mark, 0o700)
	mkdir(t, filepath.Join(mark, "in the way"), 0o700)
	for range 2 {
		if err := s.Close(); err != nil || !isParked(dir) {
			t.Fatalf("Close: error %v", err)
		}
		s = newTestDisk(plenty).open(t, dir, nil)
		if !there(t, s, key) {
			t.Error("the session is gone")
		}
		signIn(t, s, "1")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(mark); err != nil {
		t.Fatal(err)
	}
	awaitUnparked(t, dir)
	if s = newTestDisk(plenty).open(t, dir, nil); !there(t, s, key) {
		t.Error("the session is gone")
	}
}
