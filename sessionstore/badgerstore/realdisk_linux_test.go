package badgerstore

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

const (
	// usedFolder and fillFile make this binary the process that uses the
	// store, and the one that fills its disk.
	usedFolder = "BADGERSTORE_USED_FOLDER"
	fillFile   = "BADGERSTORE_FILL_FILE"

	// smallDiskFolder names an empty folder on a small file system to run
	// TestRealFullDisk on, in place of a tmpfs that it mounts itself.
	smallDiskFolder = "BADGERSTORE_SMALL_DISK"
	ownNamespace    = "BADGERSTORE_OWN_NAMESPACE"

	realMinFree = 64 << 20
)

// TestRealFullDiskProcess is no test, but what the processes that
// TestRealFullDisk starts do.
func TestRealFullDiskProcess(t *testing.T) {
	if dir := os.Getenv(usedFolder); dir != "" {
		t.Fatal(useStore(dir))
	}
	if name := os.Getenv(fillFile); name != "" {
		t.Fatal(fillDisk(name))
	}
}

// fillDisk takes all the space there is, in steps, and then whatever comes
// free, until it is killed.
func fillDisk(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	full := false
	for {
		n, err := f.Write(block)
		switch {
		case err == nil:
		case !errors.Is(err, syscall.ENOSPC):
			return err
		case n == 0 && len(block) > 4<<10:
			block = block[:len(block)/2]
			continue
		case n == 0 && !full:
			full = true
			fmt.Println("full")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// user is a process with sessions, as many things at once as it can.
type user struct {
	store *Store
	mu    sync.Mutex
}

func (u *user) say(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	fmt.Printf(format+"\n", args...) // one write: the line is there or not
}

// useStore signs in, touches, reads and signs out, and prints what was
// acknowledged, until it is killed. Keys on its input it signs out.
func useStore(dir string) error {
	store, err := Open(dir, Options{MinFree: realMinFree}, nil)
	if err != nil {
		return err
	}
	u := &user{store: store}
	u.say("open")
	for range 4 {
		go u.work()
	}
	keys := bufio.NewScanner(os.Stdin)
	for keys.Scan() {
		var key sessionstore.Key
		if _, err := hex.Decode(key[:], keys.Bytes()); err != nil {
			return err
		}
		u.say("leaving %x", key)
		if _, err := store.Delete(context.Background(), key); err != nil {
			u.say("bad sign-out asked for: %v", err)
			continue
		}
		u.say("out %x", key)
	}
	select {}
}

func (u *user) work() {
	ctx := context.Background()
	var live []sessionstore.Key
	for i := 0; ; i++ {
		key := storetest.NewKey()
		session := storetest.NewSession(fmt.Sprint(i % 50))
		addWeight(session, 8<<10) // so that there is a lot to compact
		switch err := u.store.Create(ctx, key, session, nil); {
		case err == nil:
			u.say("in %x", key)
			live = append(live, key)
		case errors.Is(err, sessionstore.ErrNoSpace):
			u.say("refused")
			time.Sleep(10 * time.Millisecond)
		default:
			u.say("bad sign-in: %v", err)
		}
		if len(live) == 0 {
			continue
		}
		used := live[rand.IntN(len(live))]
		err := u.store.Touch(ctx, []sessionstore.Touch{{Key: used, Seen: session.Created.Add(time.Duration(i) * time.Second)}})
		if err != nil && !errors.Is(err, sessionstore.ErrNoSpace) {
			u.say("bad touch: %v", err)
		}
		if _, _, ok, err := u.store.Get(ctx, used); !ok || err != nil {
			u.say("bad read of a live session: ok %v, error %v", ok, err)
		}
		if i%3 > 0 || len(live) < 40 {
			continue
		}
		out := live[0]
		live = live[1:]
		u.say("leaving %x", out)
		if ok, err := u.store.Delete(ctx, out); !ok || err != nil {
			u.say("bad sign-out: ok %v, error %v", ok, err)
			continue
		}
		if _, _, ok, err := u.store.Get(ctx, out); ok || err != nil {
			u.say("bad read of an ended session: ok %v, error %v", ok, err)
		}
		u.say("out %x", out)
	}
}

// process is one of ours, and what it has said.
type process struct {
	t       *testing.T
	command *exec.Cmd
	in      io.WriteCloser
	errors  strings.Builder
	read    chan struct{} // closed at the end of its output

	mu     sync.Mutex
	said   map[string]int
	bad    []string
	state  map[string]string // key: the last word on it
	killed atomic.Bool
}

func startProcess(t *testing.T, variable, value string, state map[string]string) *process {
	t.Helper()
	p := &process{t: t, command: exec.Command(os.Args[0], "-test.run=^TestRealFullDiskProcess$"), read: make(chan struct{}), said: map[string]int{}, state: state}
	p.command.Env = append(os.Environ(), variable+"="+value)
	p.command.Stderr = &p.errors
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := p.command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	p.in = in
	go p.listen(out)
	t.Cleanup(p.kill)
	return p
}

func (p *process) listen(out io.Reader) {
	defer close(p.read)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		what, key, _ := strings.Cut(lines.Text(), " ")
		p.mu.Lock()
		p.said[what]++
		switch {
		case what == "bad":
			p.bad = append(p.bad, key)
		case len(key) == 64:
			p.state[key] = what
		}
		p.mu.Unlock()
	}
}

func (p *process) count(what string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said[what]
}

// await waits until it has said so n times more; it must live until then.
func (p *process) await(what string, n int) {
	p.t.Helper()
	p.reach(what, p.count(what)+n)
}

// reach waits until it has said so n times in all.
func (p *process) reach(what string, n int) {
	p.t.Helper()
	for end := time.Now().Add(60 * time.Second); p.count(what) < n; time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.read:
			p.command.Wait()
			p.killed.Store(true)
			p.t.Fatalf("the process has died, %v: %.3000s", p.command.ProcessState, p.errors.String())
		default:
		}
		if time.Now().After(end) {
			p.t.Fatalf("no further %q within a minute: %v", what, p.said)
		}
	}
}

// kill is kill -9. Nothing may have gone wrong until then.
func (p *process) kill() {
	if p.killed.Swap(true) {
		return
	}
	p.command.Process.Kill()
	<-p.read
	err := p.command.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != -1 || p.errors.Len() > 0 {
		p.t.Errorf("process: %v: %.3000s", err, p.errors.String())
	}
	if len(p.bad) > 0 {
		p.t.Errorf("%d things went wrong: %.1000q", len(p.bad), p.bad)
	}
}

// smallDisk returns a folder on a file system of its own. It is mounted in a
// mount namespace of a child, which runs the test in the place of this process
// (ok is false then): however that ends, the mount goes with it.
func smallDisk(t *testing.T) (dir string, ok bool) {
	t.Helper()
	if dir := os.Getenv(smallDiskFolder); dir != "" {
		return dir, true
	}
	if os.Getenv(ownNamespace) == "" {
		inOwnNamespace(t)
		return "", false
	}
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=200m,mode=0700"); err != nil {
		t.Skip("no small file system can be mounted here: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, true
}

// inOwnNamespace runs the test in a child with a mount namespace of its own,
// and one for users where mounting needs it.
func inOwnNamespace(t *testing.T) {
	t.Helper()
	// The child is told of the end of the thread that has started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var why []string
	for _, users := range []bool{false, true} {
		command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		command.Env = append(os.Environ(), ownNamespace+"=1")
		// Unsharing later than cloning, Go makes all mounts private first.
		command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		if users {
			command.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
			command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
		out, err := command.CombinedOutput()
		switch {
		case err == nil && strings.Contains(string(out), "--- PASS: "+t.Name()):
			t.Logf("in a mount namespace of its own:\n%s", out)
			return
		case strings.Contains(string(out), "=== RUN") && !strings.Contains(string(out), "--- SKIP: "+t.Name()):
			t.Fatalf("in a mount namespace of its own: %v\n%s", err, out)
		}
		why = append(why, fmt.Sprintf("%v: %.300s", err, out))
	}
	t.Skipf("no small file system can be mounted here, in namespaces of its own: %q", why)
}

func freeBytes(t *testing.T, dir string) int64 {
	t.Helper()
	free, err := freeSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	return free.bytes
}

// Another process takes all of a real, small disk while sessions come and go.
// Badger, left to itself, ends the process there with a bus error.
func TestRealFullDisk(t *testing.T) {
	disk, ok := smallDisk(t)
	if !ok {
		return
	}
	dir, fill := filepath.Join(disk, "sessions"), filepath.Join(disk, "fill")
	state := map[string]string{}

	p := startProcess(t, usedFolder, dir, state)
	p.await("in", 1500)
	filler := startProcess(t, fillFile, fill, map[string]string{})
	filler.await("full", 1)
	p.await("refused", 20)
	p.await("out", 20)
	time.Sleep(2 * time.Second) // Badger's background goes on for a while
	p.await("refused", 20)
	t.Logf("full: %d sign-ins, %d refused, %d sign-outs; %d bytes free", p.count("in"), p.count("refused"), p.count("out"), freeBytes(t, disk))
	p.kill()

	var ask []string
	for key, what := range state {
		if what == "in" && len(ask) < 5 {
			ask = append(ask, key)
		}
	}
	p = startProcess(t, usedFolder, dir, state)
	p.await("refused", 20)
	if p.count("in") > 0 {
		t.Error("it has opened the folder on a full disk")
	}
	for _, key := range ask {
		if _, err := fmt.Fprintln(p.in, key); err != nil {
			t.Fatal(err)
		}
	}
	p.reach("out", len(ask))
	p.kill()

	p = startProcess(t, usedFolder, dir, state)
	p.await("refused", 5)
	filler.kill()
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	p.await("in", 20)
	p.kill()

	s, err := Open(dir, Options{MinFree: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	check(t, s, state)
	for _, key := range ask {
		if state[key] != "out" {
			t.Errorf("a sign-out is %q", state[key])
		}
	}
}
