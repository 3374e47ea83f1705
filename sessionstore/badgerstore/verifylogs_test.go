package badgerstore

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"google.golang.org/protobuf/proto"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

var bothKinds = map[string]Options{"plain": {}, "encrypted": encrypted}

// heavy is a session that takes n kilobytes, more or less.
func heavy(n int) *sessionstore.Session {
	session := storetest.NewSession("heavy")
	addWeight(session, n<<10)
	return session
}

// addWeight makes a session take n bytes more, however well records are packed.
func addWeight(session *sessionstore.Session, n int) {
	dn := make([]byte, n)
	rand.Read(dn)
	for i := 0; len(dn) > 0; i++ {
		part := min(1000, len(dn))
		session.User.Groups = append(session.User.Groups, sessionstore.Group{ID: fmt.Sprint(i), DN: string(dn[:part])})
		dn = dn[part:]
	}
}

// unfinished returns an image whose log has one more transaction, which nobody
// waited for, and where that begins.
func unfinished(t *testing.T, options Options) (i image, log string, begin int, want acknowledged) {
	t.Helper()
	i, want = sample(t, options)
	dir := i.lay(t)
	s, err := Open(dir, options, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("1"), nil); err != nil {
		t.Fatal(err)
	}
	before := take(t, dir)
	log = before.named(t, logSuffix)
	begin = len(before[log].content) // or a few bytes less
	if err := s.Create(t.Context(), storetest.NewKey(), heavy(5), nil); err != nil {
		t.Fatal(err)
	}
	i = take(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return i, log, begin, want
}

// A kill leaves any beginning of the transaction that was being written.
func TestUnfinishedTransactionOfAKill(t *testing.T) {
	for name, options := range bothKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, log, begin, want := unfinished(t, options)
			dir := i.lay(t)
			end := len(i[log].content)
			for n, at := range append(positions(seeded(t), end-begin, 20, 20), end-begin) {
				f := i[log].changed(func(b []byte) { clear(b[begin+at:]) })
				f.lay(t, filepath.Join(dir, log))
				if err := verify(dir, options); err != nil {
					t.Errorf("%s: %d bytes of %d were written: %v", name, at, end-begin, err)
				}
				if e := cutEntry(t, i[log], begin, begin+at); begin+at-e.begin > 256 {
					// The copying of a large entry puts its first bytes in last.
					head := 1 + at%31
					headless := f.changed(func(b []byte) { clear(b[e.begin : e.begin+head]) })
					headless.lay(t, filepath.Join(dir, log))
					if err := verify(dir, options); err != nil {
						t.Errorf("%s: %d bytes of %d were written, but for %d: %v", name, at, end-begin, head, err)
					}
				}
				if n%30 == 0 {
					tryOpen(t, fmt.Sprintf("%s: %d bytes were written", name, at), log, i.with(log, f), options, want)
				}
			}
		})
	}
}

// cutEntry returns the entry that a cut at this place is in.
func cutEntry(t *testing.T, log file, begin, cut int) logEntry {
	t.Helper()
	r := logReader{b: append(bytes.Clone(log.content), make([]byte, maxEntryHeader)...)}
	for {
		e, ok := r.entry(begin)
		switch {
		case !ok:
			begin++ // the one before may end in zeros
		case cut <= e.end:
			return e
		default:
			begin = e.end
		}
	}
}

// A power cut leaves any of the sectors of that transaction, and the others as
// they were.
func TestUnfinishedTransactionOfAPowerCut(t *testing.T) {
	for name, options := range bothKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, log, begin, want := unfinished(t, options)
			dir := i.lay(t)
			first, end := begin/sector, len(i[log].content)/sector
			tries := 0
			for from := first; from <= end; from++ {
				for _, count := range []int{1, 2, 5, end - from + 1} {
					f := i[log].changed(func(b []byte) { clear(b[max(begin, from*sector):min(len(b), (from+count)*sector)]) })
					f.lay(t, filepath.Join(dir, log))
					if err := verify(dir, options); err != nil {
						t.Errorf("%s: sectors %d to %d of %d to %d are missing: %v", name, from, from+count-1, first, end, err)
					}
					if tries++; tries%20 == 0 {
						tryOpen(t, fmt.Sprintf("%s: sectors from %d are missing", name, from), log, i.with(log, f), options, want)
					}
				}
			}
		})
	}
}

// twoLogs returns an image with a full log, whose table is there and not named,
// and the next one.
func twoLogs(t *testing.T, options Options) (i image, full string, want acknowledged) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "two")
	s, err := Open(dir, options, nil)
	if err != nil {
		t.Fatal(err)
	}
	want = acknowledged{}
	create := func(session *sessionstore.Session) (key sessionstore.Key) {
		t.Helper()
		key = storetest.NewKey()
		if err := s.Create(t.Context(), key, session, nil); err != nil {
			t.Fatal(err)
		}
		want[key] = true
		return key
	}
	small := create(storetest.NewSession("1"))
	before := take(t, dir)
	full = before.named(t, logSuffix)

	// A reader keeps the log of the memtable that it reads.
	txn := s.db.NewTransaction(false)
	it := txn.NewIterator(badger.DefaultIteratorOptions)
	next := filepath.Join(dir, "00002"+logSuffix)
	for n := 0; !exists(t, next); n++ {
		if n > 2*logSize/(100<<10) {
			t.Fatalf("%d heavy sessions have not filled a memtable", n)
		}
		create(heavy(100))
	}
	if ok, err := s.Delete(t.Context(), small); !ok || err != nil {
		t.Fatal(ok, err)
	}
	want[small] = false
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) { // until the table is there
		i = take(t, dir)
		if len(i[badger.ManifestFilename].content) != len(before[badger.ManifestFilename].content) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no table within a minute")
		}
	}
	it.Close()
	txn.Discard()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	manifest := before[badger.ManifestFilename]
	return i.with(badger.ManifestFilename, &manifest), full, want
}

func exists(t *testing.T, name string) bool {
	t.Helper()
	_, err := os.Stat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func TestDamagedLogBeforeAnother(t *testing.T) {
	for name, options := range bothKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, full, want := twoLogs(t, options)
			if err := tryOpen(t, name+": unchanged", full, i, options, want); err != nil {
				t.Errorf("%s: after a crash before the table was named: %v", name, err)
			}
			table := i.named(t, tableSuffix)
			if err := tryOpen(t, name+": without the table", full, i.with(table, nil), options, want); err != nil {
				t.Errorf("%s: after a crash before the table was made: %v", name, err)
			}
			r := logReader{b: i[full].content, written: len(i[full].content)}
			if options.EncryptionKey != nil {
				keys, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: i.lay(t), ReadOnly: true, EncryptionKey: options.EncryptionKey})
				if err != nil {
					t.Fatal(err)
				}
				if r.key, err = keys.DataKey(1); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := r.replay(); err != nil || r.last < 2 {
				t.Fatal(r.last, err)
			}
			// As Badger cuts a log behind its last transaction, but another one.
			half := logReader{b: r.b, written: r.written, key: r.key}
			half.b = half.b[:r.at*3/4]
			end, err := half.replay()
			if err != nil || half.last < 2 {
				t.Fatal(half.last, err)
			}
			for what, f := range map[string]*file{
				"cut between two transactions": newFile(r.b[:end]),
				"emptied":                      {},
				"cut to its header":            newFile(r.b[:logHeader]),
			} {
				for _, with := range []image{i.with(full, f), i.with(full, f).with(table, nil)} {
					if err := tryOpen(t, name+": "+what, full, with, options, want); err == nil {
						t.Errorf("%s: %s: was not noticed", name, what)
					}
				}
			}
		})
	}
}

// Badger takes logs by their numbers. By name the sixth digit comes too early.
func TestLogsAreInTheOrderOfTheirNumbers(t *testing.T) {
	i, full, want := twoLogs(t, Options{})
	last := i.named(t, logSuffix)
	const first, second = "99999" + logSuffix, "100000" + logSuffix
	one, two := i[full], i[last]
	i = i.with(full, nil).with(last, nil).with(first, &one).with(second, &two)
	if err := tryOpen(t, "two logs", first, i, Options{}, want); err != nil {
		t.Error(err)
	}
	cut := newFile(one.content[:logHeader])
	if err := tryOpen(t, "the first one cut", first, i.with(first, cut), Options{}, want); err == nil {
		t.Error("a log that was cut behind its header was not noticed")
	}
	short := two.cut(len(two.content))
	if err := tryOpen(t, "the last one cut", second, i.with(second, short), Options{}, want); err == nil {
		t.Error("a last log that is shorter than it was made was not noticed")
	}
}

func TestManifestThatLostItsEnd(t *testing.T) {
	for name, options := range bothKinds {
		dir := filepath.Join(t.TempDir(), "sessions")
		s, err := Open(dir, options, nil)
		if err != nil {
			t.Fatal(err)
		}
		before := take(t, dir)[badger.ManifestFilename]
		want := acknowledged{storetest.NewKey(): true}
		for key := range want {
			if err := s.Create(t.Context(), key, storetest.NewSession("1"), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		// At the end of a change it looks like a whole manifest, and Badger
		// would delete the table.
		i := take(t, dir).with(badger.ManifestFilename, &before)
		if err := tryOpen(t, name, badger.ManifestFilename, i, options, want); err == nil {
			t.Errorf("%s: a manifest without its end was not noticed", name)
		}
		// A table that was replaced by a compaction stays until nobody reads it.
		// Its latest commit, a deletion, may be in no other table.
		whole := take(t, dir)
		change, err := proto.Marshal(&pb.ManifestChangeSet{Changes: []*pb.ManifestChange{{Id: 1, Op: pb.ManifestChange_DELETE}}})
		if err != nil {
			t.Fatal(err)
		}
		b := binary.BigEndian.AppendUint32(bytes.Clone(whole[badger.ManifestFilename].content), uint32(len(change)))
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(change, castagnoli()))
		i = whole.with(badger.ManifestFilename, newFile(append(b, change...)))
		if err := tryOpen(t, name, badger.ManifestFilename, i, options, nil); err != nil {
			t.Errorf("%s: a table that was replaced: %v", name, err)
		}
		// A table that a kill has left half written is nothing.
		i = take(t, dir).with("000099.sst", newFile([]byte("half of a table")))
		if err := tryOpen(t, name, "", i, options, want); err != nil {
			t.Errorf("%s: half a table: %v", name, err)
		}
	}
}

func TestNamesThatBadgerStumblesOver(t *testing.T) {
	i, want := sample(t, Options{})
	for _, name := range []string{"5.mem", "backup.mem", "x.vlog", "7.sst", "-0001.mem"} {
		if err := tryOpen(t, name, name, i.with(name, newFile([]byte("x"))), Options{}, want); err == nil {
			t.Errorf("a folder with a file %s was opened", name)
		}
	}
	if err := tryOpen(t, "another file", "", i.with("notes.txt", newFile([]byte("x"))), Options{}, want); err != nil {
		t.Error(err)
	}
}

// The logs of a folder in use are being written, and may look like anything.
func TestFolderInUseIsNotVerified(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	open(t, dir)
	write(t, filepath.Join(dir, "00098.mem"), "half")
	if _, err := Open(dir, Options{}, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("error %v, want in use", err)
	}
}
