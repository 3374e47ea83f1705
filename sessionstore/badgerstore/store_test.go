package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, sessionstore.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) sessionstore.Store { return open(t, dir) })
}

func TestFolderIsCreatedForThisUserAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "sessions")
	open(t, dir)
	for _, d := range []string{dir, filepath.Dir(dir)} {
		info, err := os.Stat(d)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("folder %s: mode %v, error %v, want 0700", d, info.Mode(), err)
		}
	}
}

func TestEmptyFolderIsClosedToOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	mkdir(t, dir, 0o755)
	open(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, error %v, want 0700", info.Mode(), err)
	}
}

// What a kill leaves that came right after the creation of a log.
func TestEmptyLogOfAKilledProcess(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Badger's lock cannot be taken for a moment there")
	}
	dir := filepath.Join(t.TempDir(), "sessions")
	s, err := Open(dir, Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	key := storetest.NewKey()
	if err := s.Create(t.Context(), key, storetest.NewSession("1"), nil); err != nil {
		t.Fatal(err)
	}
	// In a folder that is in use such a file is about to be written.
	empty := filepath.Join(dir, "00099.mem")
	write(t, empty, "")
	write(t, filepath.Join(dir, "000099.vlog"), "")
	if _, err := Open(dir, Options{}, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("second Open: %v, want in use", err)
	}
	if _, err := os.Stat(empty); err != nil {
		t.Error("the file of a running process was removed")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if _, _, ok, err := again.Get(t.Context(), key); !ok || err != nil {
		t.Errorf("the session: %v, %v", ok, err)
	}
}

func TestFolderRefused(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    string
	}{
		{"readable by the group", func(t *testing.T, dir string) { mkdir(t, dir, 0o750); write(t, filepath.Join(dir, "x"), "x") }, `is open to other users (mode 0750): run "chmod 700"`},
		{"enterable by others", func(t *testing.T, dir string) { mkdir(t, dir, 0o701); write(t, filepath.Join(dir, "x"), "x") }, "is open to other users (mode 0701)"},
		{"a file", func(t *testing.T, dir string) { write(t, dir, "x") }, "is not a folder"},
		{"something else in it", func(t *testing.T, dir string) {
			mkdir(t, dir, 0o700)
			write(t, filepath.Join(dir, "index.html"), "x")
		}, `is not empty and holds no sessions: "index.html" is in it`},
		{"another program's database", func(t *testing.T, dir string) {
			mkdir(t, dir, 0o700)
			db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil))
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}, "holds the database of another program"},
		{"a newer format", func(t *testing.T, dir string) { setFormat(t, dir, formatMagic+1) }, "has format 3, written by a newer version; this one knows up to 2"},
		{"an unknown format", func(t *testing.T, dir string) { setFormat(t, dir, formatOwner<<8) }, "has format 0, which is unknown"},
		{"a damaged manifest", func(t *testing.T, dir string) {
			mkdir(t, dir, 0o700)
			write(t, filepath.Join(dir, "MANIFEST"), "Bdg")
		}, `MANIFEST" is damaged`},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sessions")
			test.prepare(t, dir)
			before := snapshot(t, dir)
			_, err := Open(dir, Options{}, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), fmt.Sprintf("%q", dir)) {
				t.Errorf("error %v, want one with %q and the folder", err, test.want)
			}
			if after := snapshot(t, dir); after != before {
				t.Errorf("it was changed:\nbefore %s\nafter %s", before, after)
			}
		})
	}
	if _, err := Open("", Options{}, nil); err == nil {
		t.Error("a folder without a name was opened")
	}
}

func TestFolderWithTracesOfACrashBeforeTheFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	mkdir(t, dir, 0o700)
	mkdir(t, filepath.Join(dir, "lost+found"), 0o700)
	write(t, filepath.Join(dir, "LOCK"), "1\n")
	write(t, filepath.Join(dir, "MANIFEST-REWRITE"), "Bd")
	open(t, dir)
}

func mkdir(t *testing.T, dir string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func setFormat(t *testing.T, dir string, magic uint16) {
	t.Helper()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, badger.ManifestFilename)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint16(b[4:], magic)
	write(t, name, string(b))
}

// snapshot names everything in dir with its size and time.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, path, info.Size(), info.Mode(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFolderInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	first := open(t, dir)
	_, err := Open(dir, Options{}, nil)
	want := fmt.Sprintf(`session folder %q is in use by another process; if Caddy is running, use "caddy reload"`, dir)
	if !errors.Is(err, ErrInUse) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

// put writes one key directly, past every rule.
func put(t *testing.T, s *Store, key, value []byte) {
	t.Helper()
	err := s.db.Update(func(txn *badger.Txn) error { return txn.Set(key, value) })
	if err != nil {
		t.Fatal(err)
	}
}

func TestInvalidRecords(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	ctx := t.Context()
	good := storetest.NewSession("id-1")
	goodKey := storetest.NewKey()
	if err := s.Create(ctx, goodKey, good, nil); err != nil {
		t.Fatal(err)
	}
	record, err := sessionstore.AppendSession(nil, goodKey, good)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"moved under another key": record,
		"cut short":               record[:len(record)/2],
		"empty":                   {},
		"of another format":       append([]byte{99}, record[1:]...),
		"of a newer format":       append([]byte{record[0] + 1}, record[1:]...), // in a folder of today's
	} {
		key := storetest.NewKey()
		put(t, s, sessionKey(key), b)
		if _, _, ok, err := s.Get(ctx, key); ok || !errors.Is(err, sessionstore.ErrInvalidRecord) {
			t.Errorf("%s: ok %v, error %v, want ErrInvalidRecord", name, ok, err)
		}
		if err := s.Touch(ctx, []sessionstore.Touch{{Key: key, Seen: time.Now()}}); err != nil {
			t.Errorf("%s: a touch must pass over it, error %v", name, err)
		}
		if ok, err := s.Update(ctx, key, good); ok || !errors.Is(err, sessionstore.ErrInvalidRecord) {
			t.Errorf("%s: Update: ok %v, error %v, want ErrInvalidRecord", name, ok, err)
		}
		if _, _, ok, err := s.Get(ctx, key); ok || !errors.Is(err, sessionstore.ErrInvalidRecord) {
			t.Errorf("%s: an update made it whole: ok %v, error %v", name, ok, err)
		}
		if ok, err := s.Delete(ctx, key); !ok || err != nil {
			t.Errorf("%s: Delete: ok %v, error %v, want it deleted", name, ok, err)
		}
		if _, _, ok, err := s.Get(ctx, key); ok || err != nil {
			t.Errorf("%s: after its deletion: ok %v, error %v", name, ok, err)
		}
	}

	seen := encodeSeen(time.Now().Add(time.Hour*24*365), storetest.NewKey())
	put(t, s, seenKey(goodKey), seen)
	if _, _, ok, err := s.Get(ctx, goodKey); ok || !errors.Is(err, sessionstore.ErrInvalidRecord) {
		t.Errorf("last-seen time of another session: ok %v, error %v, want ErrInvalidRecord", ok, err)
	}
	if ok, err := s.Update(ctx, goodKey, good); ok || !errors.Is(err, sessionstore.ErrInvalidRecord) {
		t.Errorf("last-seen time of another session: Update: ok %v, error %v, want ErrInvalidRecord", ok, err)
	}

	for _, spoilt := range []string{"\x04 of a newer format", "nonsense"} {
		put(t, s, userKey("empresa.local", "id-1"), []byte(spoilt))
		if _, ok, err := s.User(ctx, "empresa.local", "id-1"); ok || !errors.Is(err, sessionstore.ErrInvalidRecord) {
			t.Errorf("user record %q: ok %v, error %v, want ErrInvalidRecord", spoilt, ok, err)
		}
	}
	if err := s.Create(ctx, storetest.NewKey(), good, nil); err != nil {
		t.Errorf("a damaged user record stops the user's sign-in: %v", err)
	}
	if r, ok, err := s.User(ctx, "empresa.local", "id-1"); !ok || err != nil || r.SignIns != 1 {
		t.Errorf("user record begun anew: %+v, %v, %v", r, ok, err)
	}
}

// expires returns when Badger collects the key.
func expires(t *testing.T, s *Store, key []byte) time.Time {
	t.Helper()
	var at uint64
	err := s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err == nil {
			at = item.ExpiresAt()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(int64(at), 0)
}

func TestTTLNeverBeforeTheDeadline(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	ctx := t.Context()
	for _, limits := range []sessionstore.Limits{
		{Idle: time.Hour, Absolute: 12 * time.Hour},
		{Idle: 1500 * time.Millisecond, Absolute: 1500 * time.Millisecond},
		{Idle: time.Hour},
		{Idle: time.Second},
		{Idle: 90 * 24 * time.Hour},
	} {
		session := storetest.NewSession("id-1")
		session.Limits = limits
		key := storetest.NewKey()
		if err := s.Create(ctx, key, session, nil); err != nil {
			t.Fatal(err)
		}
		// Used steadily for a long time, sometimes just before it runs out.
		for seen, n := session.Created, 0; n < 50; n++ {
			deadline := seen.Add(limits.Idle)
			if limits.Absolute > 0 {
				deadline = session.Created.Add(limits.Absolute)
			}
			got := expires(t, s, sessionKey(key))
			if early := deadline.Add(ttlSlack); limits.Absolute > 0 && got.Before(early) || got.Before(deadline.Add(time.Hour)) {
				t.Fatalf("limits %v: collected at %s, deadline %s", limits, got, deadline)
			}
			seen = seen.Add(limits.Idle - 1)
			if limits.Absolute > 0 && !seen.Before(deadline) {
				break
			}
			if err := s.Touch(ctx, []sessionstore.Touch{{Key: key, Seen: seen}}); err != nil {
				t.Fatal(err)
			}
			before := expires(t, s, sessionKey(key))
			if n%3 == 0 { // a change keeps both no shorter, and together
				if ok, err := s.Update(ctx, key, session); !ok || err != nil {
					t.Fatal(ok, err)
				}
			}
			a, b := expires(t, s, sessionKey(key)), expires(t, s, seenKey(key))
			if place := expires(t, s, indexKey(session)); !place.Equal(a) {
				t.Fatalf("limits %v: its place is collected at %s, the session at %s", limits, place, a)
			}
			if !a.Equal(b) || a.Before(before) || limits.Absolute > 0 && !a.Equal(before) {
				t.Fatalf("limits %v: last-seen time is collected at %s, its session at %s, before at %s", limits, b, a, before)
			}
		}
	}
}

func TestOneFailingOperationDoesNotFailTheOthers(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	broken := errors.New("broken")
	var operations []*operation
	for i := range 9 {
		key := sessionKey(storetest.NewKey())
		operations = append(operations, &operation{apply: func(txn *badger.Txn) error {
			if i == 4 {
				return errors.Join(txn.Set(key, nil), broken)
			}
			return txn.Set(key, []byte("x"))
		}})
	}
	s.committer.commit(operations)
	for i, o := range operations {
		if (i == 4) != errors.Is(o.err, broken) {
			t.Errorf("operation %d: error %v", i, o.err)
		}
	}
	n := 0
	s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			n++
		}
		return nil
	})
	if n != 8 {
		t.Errorf("%d keys are stored, want 8", n)
	}
}

func TestTransactionsTooBigAreSplit(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	var operations []*operation
	for range 5 {
		key := sessionKey(storetest.NewKey())
		operations = append(operations, &operation{apply: func(txn *badger.Txn) error {
			return txn.Set(key, make([]byte, 500<<10))
		}})
	}
	s.committer.commit(operations)
	for i, o := range operations {
		if o.err != nil {
			t.Errorf("operation %d: %v", i, o.err)
		}
	}
}

func TestAGivenUpSignInLeavesNoSession(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	hold, held := make(chan struct{}), make(chan struct{})
	var once, wg sync.WaitGroup
	once.Add(1)
	wg.Go(func() {
		s.commit(t.Context(), "holding", &operation{apply: func(*badger.Txn) error {
			close(held)
			<-hold
			return nil
		}})
	})
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	key := storetest.NewKey()
	wg.Go(func() {
		if err := s.Create(ctx, key, storetest.NewSession("id-1"), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("Create: %v, want context.Canceled", err)
		}
		once.Done()
	})
	for len(s.committer.requests) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	once.Wait()
	close(hold)
	wg.Wait()
	if _, _, ok, err := s.Get(t.Context(), key); ok || err != nil {
		t.Errorf("ok %v, error %v, want no session", ok, err)
	}
}

func TestAMissingSessionIsDeletedForCertainOnceAWriteHasFailed(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	key := storetest.NewKey()
	before := version(s)
	if ok, err := s.Delete(t.Context(), key); ok || err != nil || version(s) != before {
		t.Errorf("a missing session: ok %v, error %v; it must cost no write", ok, err)
	}
	s.committer.doubt = true
	if ok, err := s.Delete(t.Context(), key); ok || err != nil || version(s) == before {
		t.Errorf("after a failed write: ok %v, error %v; it must be written", ok, err)
	}
}

func TestNoKeysInLogs(t *testing.T) {
	var out bytes.Buffer
	l := logger{slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	key := storetest.NewKey()
	type compaction struct{ Left, Right []byte }
	l.Debugf("First key=%q\n", key[:])
	l.Infof("This Range\nLeft:\n%s\n", "00000000  73 01 02\n")
	l.Warningf("While running compact def: %+v. Error: %v", compaction{key[:], key[:]}, errors.New("disk on fire"))
	l.Errorf("Unable to read: Key: %v, Version : %v", key[:], 7)
	want := []string{
		"level=DEBUG", "This Range", "(dump)",
		"level=WARN", "While running compact def: (badgerstore.compaction). Error: disk on fire",
		"Unable to read: Key: ([]uint8), Version : 7",
	}
	text := out.String()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("log lacks %q:\n%s", w, text)
		}
	}
	for _, bad := range []string{"First key", "73 01 02", fmt.Sprint(key[:3])[1:], fmt.Sprintf("%x", key[:4])} {
		if strings.Contains(text, strings.TrimSuffix(bad, "]")) {
			t.Errorf("log shows %q:\n%s", bad, text)
		}
	}
}
