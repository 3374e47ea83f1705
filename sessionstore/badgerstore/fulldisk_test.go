package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

const (
	testMinFree = 100 << 20
	plenty      = testMinFree + testMinFree/4
	nothing     = 0
)

// testDisk is a disk whose free space the test says.
type testDisk struct {
	bytes atomic.Int64
	files atomic.Int64
	asked atomic.Int64
	fails atomic.Bool
}

func newTestDisk(free int64) *testDisk {
	d := new(testDisk)
	d.bytes.Store(free)
	d.files.Store(-1)
	return d
}

func (d *testDisk) disk() disk {
	return disk{every: 5 * time.Millisecond, free: func(string) (space, error) {
		d.asked.Add(1)
		if d.fails.Load() {
			return space{}, errors.New("nobody knows")
		}
		return space{bytes: d.bytes.Load(), files: d.files.Load()}, nil
	}}
}

// testLog collects what is logged at info level and above.
type testLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *testLog) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *testLog) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (d *testDisk) open(t testing.TB, dir string, log *testLog) *Store {
	t.Helper()
	if log == nil {
		log = new(testLog)
	}
	s, err := openOn(d.disk(), dir, Options{MinFree: testMinFree}, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.bytes.Store(plenty) // so that nothing stays open
		d.files.Store(-1)
		d.fails.Store(false)
		if err := s.Close(); err != nil && !errors.Is(err, sessionstore.ErrClosed) {
			t.Error(err)
		}
		awaitUnparked(t, dir)
	})
	return s
}

func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

func isParked(dir string) bool {
	parked.mu.Lock()
	defer parked.mu.Unlock()
	return parked.places[place(dir)] != nil
}

func awaitUnparked(t testing.TB, dir string) {
	t.Helper()
	await(t, "closing the parked folder", func() bool { return !isParked(dir) })
}

// awaitWritable waits until the store takes a session.
func awaitWritable(t testing.TB, s *Store) {
	t.Helper()
	await(t, "taking sessions again", func() bool {
		return s.Create(context.Background(), storetest.NewKey(), storetest.NewSession("id-w"), nil) == nil
	})
}

func signIn(t testing.TB, s *Store, user string) sessionstore.Key {
	t.Helper()
	key := storetest.NewKey()
	if err := s.Create(t.Context(), key, storetest.NewSession(user), nil); err != nil {
		t.Fatal(err)
	}
	return key
}

func there(t testing.TB, s *Store, key sessionstore.Key) bool {
	t.Helper()
	_, _, ok, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// crash copies the folder as a crash would leave it.
func crash(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "sessions")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, 0o700); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestFullDisk(t *testing.T) {
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "sessions")
	d, log := newTestDisk(testMinFree), new(testLog)
	s := d.open(t, dir, log)
	ana, ben := storetest.NewSession("ana"), storetest.NewSession("ben")
	stays, leaves, bens, other := storetest.NewKey(), storetest.NewKey(), storetest.NewKey(), storetest.NewKey()
	for key, session := range map[sessionstore.Key]*sessionstore.Session{stays: ana, bens: ben} {
		if err := s.Create(ctx, key, session, nil); err != nil {
			t.Fatal(err)
		}
	}
	leaving, others := storetest.NewSession("ana"), storetest.NewSession("ben")
	for key, session := range map[sessionstore.Key]*sessionstore.Session{leaves: leaving, other: others} {
		if err := s.Create(ctx, key, session, nil); err != nil {
			t.Fatal(err)
		}
	}
	secret, err := s.Secret(ctx, "known", []byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	mark := time.Now().UTC()
	if _, err := s.Mark(ctx, mark); err != nil {
		t.Fatal(err)
	}

	before := version(s)
	d.bytes.Store(testMinFree - 1)
	counter := storetest.NewCounter("x")
	counter.Expires = time.Now().Add(time.Hour)
	for name, call := range map[string]func() error{
		"Create":           func() error { return s.Create(ctx, storetest.NewKey(), storetest.NewSession("new"), nil) },
		"Create, replaces": func() error { return s.Create(ctx, storetest.NewKey(), storetest.NewSession("new"), &stays) },
		"Update":           func() error { _, err := s.Update(ctx, stays, ana); return err },
		"Touch": func() error {
			return s.Touch(ctx, []sessionstore.Touch{{Key: stays, Seen: ana.Created.Add(time.Second)}})
		},
		"Drop":         func() error { return s.Drop(ctx, []sessionstore.Key{stays}) },
		"SaveCounters": func() error { return s.SaveCounters(ctx, []sessionstore.Counter{counter}) },
		"Mark":         func() error { _, err := s.Mark(ctx, mark.Add(time.Hour)); return err },
		"a new Secret": func() error { _, err := s.Secret(ctx, "new", []byte("0123456789abcdef0123456789abcdef")); return err },
	} {
		if err := call(); !errors.Is(err, sessionstore.ErrNoSpace) {
			t.Errorf("%s: error %v, want ErrNoSpace", name, err)
		} else if name == "Create" && !strings.Contains(err.Error(), "99 MB are free") {
			t.Errorf("%s: %v", name, err)
		}
	}

	if !there(t, s, stays) || !there(t, s, leaves) {
		t.Error("sessions cannot be read")
	}
	if got, err := s.Secret(ctx, "known", []byte("another secret of the same length")); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("a stored secret: %v", err)
	}
	if got, err := s.Mark(ctx, time.Time{}); err != nil || !got.Equal(mark) {
		t.Errorf("the stored mark: %v, %v", got, err)
	}

	for _, want := range []bool{true, false} { // the second time it is gone
		if ok, err := s.Delete(ctx, leaves); ok != want || err != nil {
			t.Errorf("Delete: ok %v, error %v, want %v", ok, err, want)
		}
	}
	if ok, err := s.Delete(ctx, storetest.NewKey()); ok || err != nil {
		t.Errorf("Delete of a missing one: ok %v, error %v", ok, err)
	}
	deleted, err := s.DeleteUser(ctx, ben.User.Directory, "ben", &bens)
	if err != nil || len(deleted) != 1 || deleted[0].Key != other {
		t.Errorf("DeleteUser: %v, %v", deleted, err)
	}
	if deleted, err = s.DeleteUser(ctx, ben.User.Directory, "ben", &bens); err != nil || len(deleted) != 0 {
		t.Errorf("DeleteUser again: %v, %v", deleted, err)
	}
	if n := len(s.committer.journal.keys); n != 2 {
		t.Errorf("%d records in the journal, want one for each that was there", n)
	}
	gone := func(t *testing.T, s *Store) {
		t.Helper()
		for name, key := range map[string]sessionstore.Key{"Delete": leaves, "DeleteUser": other} {
			if there(t, s, key) {
				t.Errorf("ended by %s, and still there", name)
			}
		}
		if !there(t, s, stays) || !there(t, s, bens) {
			t.Error("another session is gone")
		}
		page, _, err := s.List(ctx, sessionstore.ListQuery{Directory: ana.User.Directory, UserID: "ana", Limit: 10})
		if err != nil || len(page) != 1 || page[0].Key != stays {
			t.Errorf("List: %v, %v", page, err)
		}
		if _, ok, err := s.Find(ctx, leaving.ID); ok || err != nil {
			t.Errorf("Find: ok %v, error %v", ok, err)
		}
		if _, ok, err := s.Find(ctx, ana.ID); !ok || err != nil {
			t.Errorf("Find of another: ok %v, error %v", ok, err)
		}
	}
	gone(t, s)
	if n, err := s.Count(ctx); err != nil || n.Sessions != 2 {
		t.Errorf("Count: %v, %v", n, err)
	}
	if after := version(s); after != before {
		t.Errorf("Badger was written to: version %d, before %d", after, before)
	}

	t.Run("after a crash", func(t *testing.T) {
		copied := crash(t, dir)
		again := newTestDisk(plenty).open(t, copied, nil)
		gone(t, again)
		if n := len(again.committer.journal.keys); n != 0 {
			t.Errorf("%d records left in the journal", n)
		}
	})

	// A little more is not enough.
	d.bytes.Store(plenty - 1)
	asked := d.asked.Load()
	await(t, "looking", func() bool { return d.asked.Load() > asked+3 })
	if err := s.Create(ctx, storetest.NewKey(), ana, nil); !errors.Is(err, sessionstore.ErrNoSpace) {
		t.Errorf("just above the limit: %v", err)
	}
	d.bytes.Store(plenty)
	awaitWritable(t, s)
	gone(t, s)
	if s.committer.ended.Load() != nil {
		t.Error("the ends are still kept aside")
	}
	if keys, err := journalKeys(t, dir); err != nil || len(keys) != 0 {
		t.Errorf("journal: %d keys, %v", len(keys), err)
	}
	if err := s.Touch(ctx, []sessionstore.Touch{{Key: leaves, Seen: time.Now()}}); err != nil || there(t, s, leaves) {
		t.Errorf("a touch after it: %v", err)
	}
	if a, b := log.count("level=ERROR"), log.count("is written to again"); a != 1 || b != 1 {
		t.Errorf("%d error lines, %d of the recovery, want one each:\n%s", a, b, log.b.String())
	}
	// While there is space nobody looks.
	asked = d.asked.Load()
	time.Sleep(50 * time.Millisecond)
	if n := d.asked.Load() - asked; n != 0 {
		t.Errorf("free space was asked for %d times for no reason", n)
	}
}

func TestNoFreeInodesIsAFullDisk(t *testing.T) {
	d := newTestDisk(plenty)
	s := d.open(t, filepath.Join(t.TempDir(), "sessions"), nil)
	d.files.Store(minFreeFiles - 1)
	err := s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("1"), nil)
	if !errors.Is(err, sessionstore.ErrNoSpace) || !strings.Contains(err.Error(), "63 more files") {
		t.Errorf("error %v", err)
	}
}

// Nothing is short yet, but something else writes faster than Badger gets quiet.
func TestDiskThatFillsFast(t *testing.T) {
	const gb = 1 << 30
	d := newTestDisk(2 * gb)
	s := d.open(t, filepath.Join(t.TempDir(), "sessions"), nil)
	stop := make(chan struct{})
	var filler sync.WaitGroup
	filler.Go(func() {
		for d.bytes.Load() > gb/4 {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				d.bytes.Add(-gb / 500)
			}
		}
	})
	await(t, "refusing", func() bool {
		err := s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("1"), nil)
		if err != nil && (!errors.Is(err, sessionstore.ErrNoSpace) || !strings.Contains(err.Error(), "and it fills by")) {
			t.Fatal(err)
		}
		return err != nil
	})
	if free := d.bytes.Load(); free < gb/4 || free >= paceFloor*testMinFree {
		t.Errorf("when %d bytes were free", free)
	}
	close(stop)
	filler.Wait()
	awaitWritable(t, s)
}

// Something else takes a large part of a disk at once, again and again, and all
// the same there is plenty.
func TestLargeFilesOnAHealthyDisk(t *testing.T) {
	const gb = 1 << 30
	dir := filepath.Join(t.TempDir(), "sessions")
	d := newTestDisk(300 * gb)
	s := d.open(t, dir, nil)
	for range 20 {
		d.bytes.Add(-10 * gb)
		signIn(t, s, "1")
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil || isParked(dir) {
		t.Errorf("Close: parked %v, error %v", isParked(dir), err)
	}
}

// How fast a disk fills is no reason to leave Badger open.
func TestCloseOnADiskThatFillsFast(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	d := newTestDisk(10 * testMinFree)
	s := d.open(t, dir, nil)
	await(t, "refusing", func() bool {
		if d.bytes.Load() > 2*testMinFree {
			d.bytes.Add(-1 << 20)
		}
		time.Sleep(time.Millisecond)
		return s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("1"), nil) != nil
	})
	if err := s.Close(); err != nil || isParked(dir) {
		t.Errorf("Close: parked %v, error %v", isParked(dir), err)
	}
}

func TestPace(t *testing.T) {
	const mb = 1 << 20
	start := time.Now()
	var p pace
	for _, row := range []struct {
		after time.Duration // since the start
		free  int64
		want  int64
	}{
		{0, 1000 * mb, 0},
		{50 * time.Millisecond, 0, 0},         // too soon to tell
		{100 * time.Millisecond, 990 * mb, 0}, // once is no pace
		{150 * time.Millisecond, 10 * mb, 0},
		{200 * time.Millisecond, 890 * mb, 100 * mb},
		{300 * time.Millisecond, 790 * mb, 1000 * mb},
		{10300 * time.Millisecond, 690 * mb, 10 * mb},
		{11 * time.Second, 2000 * mb, 0}, // it empties
		{12 * time.Second, 1000 * mb, 0},
		{13 * time.Second, 990 * mb, 10 * mb},
	} {
		if got := p.observe(start.Add(row.after), row.free, 100*time.Millisecond); max(got-row.want, row.want-got) > mb {
			t.Errorf("after %s: %d, want %d", row.after, got, row.want)
		}
	}
}

func TestUnknownSpace(t *testing.T) {
	d := newTestDisk(plenty)
	s := d.open(t, filepath.Join(t.TempDir(), "sessions"), nil)
	d.fails.Store(true)
	signIn(t, s, "unknown is not full")
	d.fails.Store(false)
	d.bytes.Store(nothing)
	full := func() bool {
		return errors.Is(s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("1"), nil), sessionstore.ErrNoSpace)
	}
	if !full() {
		t.Error("not full")
	}
	d.fails.Store(true)
	asked := d.asked.Load()
	await(t, "looking", func() bool { return d.asked.Load() > asked+3 })
	if !full() {
		t.Error("what was full is not, without knowing")
	}
}

func TestJournalIsFull(t *testing.T) {
	d := newTestDisk(plenty)
	s := d.open(t, filepath.Join(t.TempDir(), "sessions"), nil)
	a, b, c := signIn(t, s, "1"), signIn(t, s, "2"), signIn(t, s, "2")
	d.bytes.Store(nothing)
	s.committer.stop()
	if err := s.committer.toJournal(newKeys(journalRoom - 1)); err != nil {
		t.Fatal(err)
	}
	s.committer.start()
	if _, err := s.DeleteUser(t.Context(), storetest.NewSession("2").User.Directory, "2", nil); !errors.Is(err, errJournalFull) {
		t.Errorf("two ends for one place: %v", err)
	}
	if !there(t, s, b) || !there(t, s, c) {
		t.Error("ended without a place in the journal")
	}
	if ok, err := s.Delete(t.Context(), a); !ok || err != nil {
		t.Errorf("the last place: ok %v, error %v", ok, err)
	}
	for range 2 { // the second time too, it is not taken for ended
		if ok, err := s.Delete(t.Context(), b); ok || !errors.Is(err, sessionstore.ErrNoSpace) {
			t.Errorf("no place: ok %v, error %v", ok, err)
		}
	}
	d.bytes.Store(plenty)
	awaitWritable(t, s)
	if there(t, s, a) || !there(t, s, b) {
		t.Error("replayed wrongly")
	}
	if ok, err := s.Delete(t.Context(), b); !ok || err != nil {
		t.Errorf("after it: ok %v, error %v", ok, err)
	}
}

// Deletes of one session at once: none may be told that another one has ended
// it while that one fails.
func TestEndsShareTheFailureOfTheJournal(t *testing.T) {
	d := newTestDisk(plenty)
	s := d.open(t, filepath.Join(t.TempDir(), "sessions"), nil)
	key := signIn(t, s, "1")
	s.committer.stop()
	d.bytes.Store(nothing)
	s.committer.holdForSpace(sessionstore.ErrNoSpace)
	if err := s.committer.journal.close(); err != nil {
		t.Fatal(err)
	}
	var operations []*operation
	for range 3 {
		operations = append(operations, &operation{ends: true, key: &key, apply: func(txn *badger.Txn) error {
			_, err := s.delete(txn, key, nil)
			return err
		}})
	}
	s.committer.onlyEnds(operations)
	for i, o := range operations {
		if !errors.Is(o.err, os.ErrClosed) {
			t.Errorf("operation %d: %v, want the error of the journal", i, o.err)
		}
	}
	var err error
	if s.committer.journal, err = readJournal(s.committer.dir); err != nil {
		t.Fatal(err)
	}
	s.committer.start()
	if !there(t, s, key) {
		t.Error("ended, though nobody was told")
	}
	if ok, err := s.Delete(t.Context(), key); !ok || err != nil {
		t.Errorf("Delete: ok %v, error %v", ok, err)
	}
}

// failing makes commits fail, as a broken disk does, until it is called.
func failing(s *Store) (mend func()) {
	var broken atomic.Bool
	broken.Store(true)
	s.committer.stop()
	commit := s.committer.write
	s.committer.write = func(txn *badger.Txn) error {
		if broken.Load() {
			return errors.New("input/output error")
		}
		return commit(txn)
	}
	s.committer.start()
	return func() { broken.Store(false) }
}

func TestEndsHoldThoughBadgerFailsToWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	d, log := newTestDisk(plenty), new(testLog)
	s := d.open(t, dir, log)
	key, bens := signIn(t, s, "ana"), signIn(t, s, "ben")
	stays := signIn(t, s, "ana")
	mend := failing(s)
	if err := s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("1"), nil); err == nil {
		t.Error("a sign-in that was not written was acknowledged")
	}
	if ok, err := s.Delete(t.Context(), key); !ok || err != nil {
		t.Errorf("Delete: ok %v, error %v", ok, err)
	}
	if err := s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("1"), nil); err == nil || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("while the journal is not empty: %v", err)
	}
	// Whatever the index knew before the failed write may be wrong.
	if _, err := s.DeleteUser(t.Context(), storetest.NewSession("1").User.Directory, "ben", nil); err == nil {
		t.Error("DeleteUser in doubt")
	}
	if ok, err := s.Delete(t.Context(), storetest.NewKey()); ok || err == nil {
		t.Errorf("a missing session in doubt: ok %v, error %v", ok, err)
	}
	if ok, err := s.Delete(t.Context(), key); ok || err != nil {
		t.Errorf("an ended session in doubt: ok %v, error %v", ok, err)
	}
	if there(t, s, key) || !there(t, s, bens) || !there(t, s, stays) {
		t.Error("the wrong sessions have ended")
	}
	if again := newTestDisk(plenty).open(t, crash(t, dir), nil); there(t, again, key) || !there(t, again, stays) {
		t.Error("after a crash: the wrong sessions have ended")
	}
	await(t, "a second attempt", func() bool {
		return s.committer.ended.Load() != nil && d.asked.Load() > 20
	})
	mend()
	awaitWritable(t, s)
	if there(t, s, key) || !there(t, s, stays) {
		t.Error("after it is mended: the wrong sessions have ended")
	}
	if n := log.count("level=ERROR"); n == 0 || n > 2 {
		t.Errorf("%d error lines, want one for each text:\n%s", n, log.b.String())
	}
}

// The journal is still full when its contents are in Badger already.
func TestReplayTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	d := newTestDisk(plenty)
	s := d.open(t, dir, nil)
	key, stays := signIn(t, s, "ana"), signIn(t, s, "ana")
	d.bytes.Store(nothing)
	if ok, err := s.Delete(t.Context(), key); !ok || err != nil {
		t.Fatal(ok, err)
	}
	old, err := os.ReadFile(filepath.Join(dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	d.bytes.Store(plenty)
	awaitWritable(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, journalName), string(old))
	write(t, filepath.Join(dir, journalNewName), "begun by a crash")
	again := d.open(t, dir, nil)
	if there(t, again, key) || !there(t, again, stays) {
		t.Error("the wrong sessions have ended")
	}
	if n, err := again.Count(t.Context()); err != nil || n.Sessions != 2 {
		t.Errorf("Count: %v, %v", n, err)
	}
}

// Names so long that the ends of a chunk do not fit in one transaction.
func TestReplayOfMoreThanOneTransactionTakes(t *testing.T) {
	d := newTestDisk(plenty)
	s := d.open(t, filepath.Join(t.TempDir(), "sessions"), nil)
	long := strings.Repeat("x", 8000)
	session := func() *sessionstore.Session {
		session := storetest.NewSession(long)
		session.User.Directory = long
		return session
	}
	for range replayChunk {
		if err := s.Create(t.Context(), storetest.NewKey(), session(), nil); err != nil {
			t.Fatal(err)
		}
	}
	d.bytes.Store(nothing)
	if deleted, err := s.DeleteUser(t.Context(), long, long, nil); err != nil || len(deleted) != replayChunk {
		t.Fatalf("%d ended, error %v", len(deleted), err)
	}
	d.bytes.Store(plenty)
	awaitWritable(t, s)
	if n, err := s.Count(t.Context()); err != nil || n.Sessions != 1 {
		t.Errorf("Count: %v, %v", n, err)
	}
}

// The journal was replaced, and that was reported as an error.
func TestEndsAreForgottenWithTheJournal(t *testing.T) {
	d := newTestDisk(plenty)
	s := d.open(t, filepath.Join(t.TempDir(), "sessions"), nil)
	s.committer.stop()
	s.committer.ended.Store(newEndedSet(newKeys(3)))
	if err := s.committer.replay(); err != nil {
		t.Error(err)
	}
	if s.committer.ended.Load() != nil {
		t.Error("the ends are still kept aside")
	}
	// It cannot be replaced: they are kept.
	keys := newKeys(2)
	if err := s.committer.toJournal(keys); err != nil {
		t.Fatal(err)
	}
	obstacle := filepath.Join(s.committer.dir, journalNewName)
	mkdir(t, obstacle, 0o700)
	if err := s.committer.replay(); err == nil {
		t.Error("replaced")
	}
	if j := s.committer.journal; j == nil || len(j.keys) != 2 || !s.committer.ended.Load().has(keys[1]) {
		t.Error("the ends are lost")
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	if err := s.committer.replay(); err != nil || s.committer.ended.Load() != nil {
		t.Errorf("replay: %v", err)
	}
	s.committer.start()
}

func TestCloseOnAFullDisk(t *testing.T) {
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "sessions")
	d := newTestDisk(plenty)
	s := d.open(t, dir, nil)
	first, second, stays := signIn(t, s, "1"), signIn(t, s, "1"), signIn(t, s, "1")
	d.bytes.Store(nothing)
	if ok, err := s.Delete(ctx, first); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, sessionstore.ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
	if _, _, _, err := s.Get(ctx, stays); !errors.Is(err, sessionstore.ErrClosed) {
		t.Errorf("a closed store: %v", err)
	}
	if !isParked(dir) {
		t.Fatal("Badger was closed on a full disk")
	}
	if _, err := openOn(d.disk(), dir, Options{MinFree: testMinFree, EncryptionKey: make([]byte, 32)}, nil); err == nil || !strings.Contains(err.Error(), "another encryption key") {
		t.Errorf("with another key: %v", err)
	}
	s = d.open(t, dir, nil)
	if there(t, s, first) || !there(t, s, stays) {
		t.Error("opened again: the wrong sessions have ended")
	}
	if ok, err := s.Delete(ctx, second); !ok || err != nil {
		t.Errorf("opened again: Delete: ok %v, error %v", ok, err)
	}
	if err := s.Create(ctx, storetest.NewKey(), storetest.NewSession("1"), nil); !errors.Is(err, sessionstore.ErrNoSpace) {
		t.Errorf("opened again: Create: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d.bytes.Store(plenty)
	awaitUnparked(t, dir)
	s = d.open(t, dir, nil)
	if there(t, s, first) || there(t, s, second) || !there(t, s, stays) {
		t.Error("after it was closed: the wrong sessions have ended")
	}
	signIn(t, s, "1")
}

// Space comes back at the moment when the folder is opened again.
func TestParkedFolderIsClosedOrTaken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	d := newTestDisk(plenty)
	s := d.open(t, dir, nil)
	key := signIn(t, s, "1")
	for i := range 20 {
		d.bytes.Store(nothing)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(i%5)*2*time.Millisecond, func() { d.bytes.Store(plenty) })
		time.Sleep(time.Duration(i%7) * 2 * time.Millisecond)
		s = d.open(t, dir, nil)
		awaitWritable(t, s)
		if !there(t, s, key) {
			t.Fatal("the session is gone")
		}
	}
}

func TestOpenOnAFullDisk(t *testing.T) {
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "sessions")
	d := newTestDisk(plenty)
	s := d.open(t, dir, nil)
	before, after, stays := signIn(t, s, "1"), signIn(t, s, "1"), signIn(t, s, "1")
	d.bytes.Store(nothing)
	if ok, err := s.Delete(ctx, before); !ok || err != nil {
		t.Fatal(ok, err)
	}
	dir = crash(t, dir)

	files := snapshot(t, dir)
	log := new(testLog)
	s = d.open(t, dir, log)
	for name, call := range map[string]func() error{
		"Get":    func() error { _, _, _, err := s.Get(ctx, stays); return err },
		"Create": func() error { return s.Create(ctx, storetest.NewKey(), storetest.NewSession("1"), nil) },
		"Drop":   func() error { return s.Drop(ctx, []sessionstore.Key{stays}) },
		"DeleteUser": func() error {
			_, err := s.DeleteUser(ctx, storetest.NewSession("1").User.Directory, "1", nil)
			return err
		},
		"List":     func() error { _, _, err := s.List(ctx, sessionstore.ListQuery{Limit: 1}); return err },
		"Count":    func() error { _, err := s.Count(ctx); return err },
		"Mark":     func() error { _, err := s.Mark(ctx, time.Time{}); return err },
		"Secret":   func() error { _, err := s.Secret(ctx, "x", []byte("0123456789abcdef0123456789abcdef")); return err },
		"Counters": func() error { return s.Counters(ctx, func(sessionstore.Counter) error { return nil }) },
	} {
		if err := call(); !errors.Is(err, sessionstore.ErrNoSpace) {
			t.Errorf("%s: error %v, want ErrNoSpace", name, err)
		}
	}
	if now := snapshot(t, dir); now != files {
		t.Errorf("the folder was changed:\nbefore %s\nafter %s", files, now)
	}
	if _, err := openOn(d.disk(), dir, Options{MinFree: testMinFree}, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	for range 2 {
		if ok, err := s.Delete(ctx, after); ok || err != nil {
			t.Errorf("Delete: ok %v, error %v, want done, and not known to have been there", ok, err)
		}
	}

	t.Run("and crashed again", func(t *testing.T) {
		s := newTestDisk(plenty).open(t, crash(t, dir), nil)
		if there(t, s, before) || there(t, s, after) || !there(t, s, stays) {
			t.Error("the wrong sessions have ended")
		}
	})
	t.Run("and closed", func(t *testing.T) {
		d := newTestDisk(nothing)
		dir := crash(t, dir)
		if err := d.open(t, dir, nil).Close(); err != nil {
			t.Error(err)
		}
		if s := d.open(t, dir, nil); s.Close() != nil || isParked(dir) {
			t.Error("not closed")
		}
	})
	d.bytes.Store(plenty)
	awaitWritable(t, s)
	if there(t, s, before) || there(t, s, after) || !there(t, s, stays) {
		t.Error("the wrong sessions have ended")
	}
	if a, b := log.count("level=ERROR"), log.count("is written to again"); a != 1 || b != 1 {
		t.Errorf("%d error lines, %d of the recovery, want one each:\n%s", a, b, log.b.String())
	}
}

func TestOpenANewFolderOnAFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	d := newTestDisk(nothing)
	s := d.open(t, dir, nil)
	if ok, err := s.Delete(t.Context(), storetest.NewKey()); ok || !errors.Is(err, sessionstore.ErrNoSpace) {
		t.Errorf("without a journal: ok %v, error %v", ok, err)
	}
	d.bytes.Store(plenty)
	awaitWritable(t, s)
}

func TestFolderIsCheckedOnAFullDisk(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    string
	}{
		{"open to others", func(t *testing.T, dir string) { mkdir(t, dir, 0o750); write(t, filepath.Join(dir, "x"), "x") }, "is open to other users"},
		{"a newer format", func(t *testing.T, dir string) { setFormat(t, dir, formatMagic+1) }, "written by a newer version"},
		{"a lost journal", func(t *testing.T, dir string) {
			killed := filepath.Join(t.TempDir(), "sessions")
			signIn(t, open(t, killed), "1")
			if err := errors.Join(os.CopyFS(dir, os.DirFS(killed)), os.Chmod(dir, 0o700), os.Remove(filepath.Join(dir, journalName))); err != nil {
				t.Fatal(err)
			}
		}, "file \"" + journalName + "\" is missing"},
		{"a damaged journal", func(t *testing.T, dir string) {
			open(t, dir).Close()
			write(t, filepath.Join(dir, journalName), "x")
		}, journalName},
		{"in use", func(t *testing.T, dir string) { open(t, dir) }, "is in use by another process"},
	} {
		for name, free := range map[string]int64{"full": nothing, "not full": plenty} {
			t.Run(test.name+", "+name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "sessions")
				test.prepare(t, dir)
				before := snapshot(t, dir)
				s, err := openOn(newTestDisk(free).disk(), dir, Options{MinFree: testMinFree}, nil)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want one with %q", err, test.want)
				}
				if err == nil {
					s.Close()
				}
				if after := snapshot(t, dir); after != before {
					t.Errorf("it was changed:\nbefore %s\nafter %s", before, after)
				}
			})
		}
	}
}

func TestOpeningLateFailsAndIsTriedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	d, log := newTestDisk(nothing), new(testLog)
	s := d.open(t, dir, log)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d.bytes.Store(plenty)
	await(t, "an error line", func() bool { return log.count("is open to other users") > 0 })
	asked := d.asked.Load()
	await(t, "more attempts", func() bool { return d.asked.Load() > asked+4*retryLooks })
	if n := log.count("is open to other users"); n != 1 {
		t.Errorf("%d error lines", n)
	}
	key := storetest.NewKey()
	if _, _, _, err := s.Get(t.Context(), key); !errors.Is(err, sessionstore.ErrNoSpace) {
		t.Errorf("Get: %v", err)
	}
	if ok, err := s.Delete(t.Context(), key); ok || err != nil {
		t.Errorf("Delete between the attempts: ok %v, error %v", ok, err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	awaitWritable(t, s)
}

// Sign-ins, reads, listings and sign-outs while the disk is full and not full in
// turns: an acknowledged end holds in every one of them.
func TestFullDiskUnderLoad(t *testing.T) {
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "sessions")
	d := newTestDisk(plenty)
	s := d.open(t, dir, nil)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var ended, refused atomic.Int64
	for i := range 4 {
		user := []string{"ana", "ben", "eva", "leo"}[i]
		wg.Go(func() {
			var live []sessionstore.Key
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				key := storetest.NewKey()
				switch err := s.Create(ctx, key, storetest.NewSession(user), nil); {
				case err == nil:
					live = append(live, key)
				case errors.Is(err, sessionstore.ErrNoSpace):
					refused.Add(1)
				default:
					t.Error(err)
				}
				if len(live) < 2 {
					continue
				}
				out := live[0]
				if ok, err := s.Delete(ctx, out); !ok || err != nil {
					t.Errorf("Delete: ok %v, error %v", ok, err)
					return
				}
				live = live[1:]
				ended.Add(1)
				if there(t, s, out) {
					t.Error("an ended session is there")
				}
				if !there(t, s, live[0]) {
					t.Error("another session is gone")
				}
				page, _, err := s.List(ctx, sessionstore.ListQuery{Directory: storetest.NewSession(user).User.Directory, UserID: user, Limit: 1000})
				if err != nil || len(page) != len(live) {
					t.Errorf("List: %d of %d, %v", len(page), len(live), err)
				}
				if n%50 == 49 {
					deleted, err := s.DeleteUser(ctx, storetest.NewSession(user).User.Directory, user, &live[0])
					if err != nil || len(deleted) != len(live)-1 {
						t.Errorf("DeleteUser: %d of %d, %v", len(deleted), len(live)-1, err)
					}
					live = live[:1]
				}
			}
		})
	}
	for range 20 {
		time.Sleep(20 * time.Millisecond)
		d.bytes.Store(nothing)
		time.Sleep(20 * time.Millisecond)
		d.bytes.Store(plenty)
	}
	close(stop)
	wg.Wait()
	t.Logf("%d ended, %d sign-ins refused", ended.Load(), refused.Load())
	if ended.Load() == 0 || refused.Load() == 0 {
		t.Error("nothing was tested")
	}
}
