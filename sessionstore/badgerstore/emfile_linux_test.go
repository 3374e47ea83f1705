package badgerstore

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// crowdedFolder makes this binary the process that has no file descriptor left.
const crowdedFolder = "BADGERSTORE_CROWDED_FOLDER"

// crowd takes all file descriptors but those that are open.
func crowd(t *testing.T) (leave func()) {
	t.Helper()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = 200
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	var taken []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		taken = append(taken, f)
	}
	return func() {
		for _, f := range taken {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	}
}

// alone runs a test in a process of its own, which a folder is named to.
func alone(t *testing.T, name string) (dir string, inside bool) {
	t.Helper()
	if dir := os.Getenv(crowdedFolder); dir != "" {
		return dir, true
	}
	c := exec.Command(os.Args[0], "-test.run=^"+name+"$", "-test.v")
	c.Env = append(os.Environ(), crowdedFolder+"="+filepath.Join(t.TempDir(), "sessions"))
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+name) {
		t.Errorf("%v:\n%.3000s", err, out)
	}
	return "", false
}

// TestFloodOfConnections: a flood of connections leaves no file descriptor for
// Badger's next log. Badger, left to itself, ends the process.
func TestFloodOfConnections(t *testing.T) {
	dir, inside := alone(t, "TestFloodOfConnections")
	if !inside {
		return
	}
	ctx := t.Context()
	fast := realDisk()
	fast.every = 10 * time.Millisecond
	log := new(testLog)
	s, err := openOn(fast, dir, Options{MinFree: 1 << 20}, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	stays, leaves, later := signIn(t, s, "ana"), signIn(t, s, "ana"), signIn(t, s, "ana")
	flooded := crowd(t)

	stop := make(chan struct{})
	var readers sync.WaitGroup
	defer readers.Wait()
	leave := sync.OnceFunc(func() { close(stop) })
	defer leave()
	readers.Go(func() { // that are under way when it happens
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, _, ok, err := s.Get(ctx, stays); err == nil && !ok {
				t.Error("a session is said to be gone")
			}
			if _, _, err := s.List(ctx, sessionstore.ListQuery{Limit: 10}); err != nil && !errors.Is(err, sessionstore.ErrNoSpace) {
				t.Error(err)
			}
		}
	})
	fillLog(t, s)
	if log.count("too many open files") == 0 {
		t.Errorf("it has failed for another reason:\n%s", log.b.String())
	}
	if _, _, _, err := s.Get(ctx, stays); err == nil {
		t.Error("Get: no error from a broken database")
	}
	if err := s.Create(ctx, storetest.NewKey(), storetest.NewSession("1"), nil); err == nil {
		t.Error("Create: no error from a broken database")
	}
	if _, err := s.DeleteUser(ctx, storetest.NewSession("ana").User.Directory, "ana", nil); err == nil {
		t.Error("DeleteUser: no error from a broken database")
	}
	for range 2 {
		if ok, err := s.Delete(ctx, leaves); ok || err != nil {
			t.Errorf("Delete: ok %v, error %v", ok, err)
		}
	}

	flooded()
	awaitWritable(t, s)
	leave()
	readers.Wait()
	if there(t, s, leaves) || !there(t, s, stays) {
		t.Error("the wrong sessions have ended")
	}
	if ok, err := s.Delete(ctx, later); !ok || err != nil {
		t.Errorf("after it: Delete: ok %v, error %v", ok, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if s, err = Open(dir, Options{MinFree: 1 << 20}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if there(t, s, leaves) || there(t, s, later) || !there(t, s, stays) {
		t.Error("opened again: the wrong sessions have ended")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
