package badgerstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

func newKeys(n int) []sessionstore.Key {
	keys := make([]sessionstore.Key, n)
	for i := range keys {
		keys[i] = storetest.NewKey()
	}
	return keys
}

// writeJournal makes a journal with three steps of three, one and two records.
func writeJournal(t *testing.T, dir string) []sessionstore.Key {
	t.Helper()
	j, err := createJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	keys := newKeys(6)
	for _, step := range [][]sessionstore.Key{keys[:3], keys[3:4], keys[4:]} {
		if err := j.append(step); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	return keys
}

func journalKeys(t *testing.T, dir string) ([]sessionstore.Key, error) {
	t.Helper()
	j, err := readJournal(dir)
	if err != nil {
		return nil, err
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	return j.keys, nil
}

func TestJournalOfAnotherState(t *testing.T) {
	record := func(b []byte, i int) []byte { return b[journalHeader+i*journalRecord:][:journalRecord] }
	for _, test := range []struct {
		name    string
		damage  func(b []byte) []byte
		records int    // that are read
		want    string // an error
	}{
		{"whole", func(b []byte) []byte { return b }, 6, ""},
		{"the last step torn in its last record", func(b []byte) []byte { record(b, 5)[3]++; return b }, 5, ""},
		{"the last step never written", func(b []byte) []byte { clear(record(b, 4)); clear(record(b, 5)); return b }, 4, ""},
		{"the last step written from its end", func(b []byte) []byte { clear(record(b, 4)); return b }, 4, ""},
		{"a record before the last step damaged", func(b []byte) []byte { record(b, 3)[0]++; return b }, 0, "record 3 is not readable, but record 4 is"},
		{"the first record emptied", func(b []byte) []byte { clear(record(b, 0)); return b }, 0, "record 0 is not readable, but record 3 is"},
		{"a record moved", func(b []byte) []byte { copy(record(b, 1), record(b, 2)); return b }, 0, "record 1 is not readable"},
		{"cut short", func(b []byte) []byte { return b[:journalSize-1] }, 0, "it has 1048575 bytes, not 1048576"},
		{"empty", func(b []byte) []byte { return nil }, 0, "its length is wrong"},
		{"too long", func(b []byte) []byte { return append(b, 0) }, 0, "its length is wrong"},
		{"another file", func(b []byte) []byte { copy(b, "#!/bin/sh"); return b }, 0, "not that of a journal"},
		{"head damaged", func(b []byte) []byte { b[12]++; return b }, 0, "its head has a wrong checksum"},
		{"of zeros", func(b []byte) []byte { clear(b); return b }, 0, "not that of a journal"},
		{"of a newer version", func(b []byte) []byte {
			b[7] = 2
			sum := journalSum(b[:24])
			copy(b[24:], []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
			return b
		}, 0, "it has format 2; this version knows 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			keys := writeJournal(t, dir)
			name := filepath.Join(dir, journalName)
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			b = test.damage(b)
			write(t, name, string(b))
			got, err := journalKeys(t, dir)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), name) {
					t.Errorf("error %v, want one with %q and the name", err, test.want)
				}
				if after, err := os.ReadFile(name); err != nil || !bytes.Equal(after, b) {
					t.Errorf("the file was changed (%v)", err)
				}
				return
			}
			if err != nil || !slices.Equal(got, keys[:test.records]) {
				t.Errorf("%d keys, error %v, want the first %d", len(got), err, test.records)
			}
		})
	}
}

// What a torn step left is overwritten, and what stays of it behind the new end
// is no damage.
func TestJournalGoesOnAfterATornStep(t *testing.T) {
	dir := t.TempDir()
	keys := writeJournal(t, dir)
	name := filepath.Join(dir, journalName)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[journalHeader+4*journalRecord]++
	write(t, name, string(b))
	want := keys[:4:4]
	for range 3 {
		j, err := readJournal(dir)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(j.keys[:4], want[:4]) {
			t.Fatalf("keys %x", j.keys)
		}
		next := storetest.NewKey()
		if err := errors.Join(j.append([]sessionstore.Key{next}), j.close()); err != nil {
			t.Fatal(err)
		}
		got, err := journalKeys(t, dir)
		if err != nil || !slices.Contains(got, next) {
			t.Fatalf("the new one of %d is not read: %v", len(got), err)
		}
	}
}

// A kill anywhere between the steps of opening a folder for the first time.
func TestJournalIsThereBeforeTheMark(t *testing.T) {
	for _, test := range []struct {
		name  string
		leave func(dir string) error
	}{
		{"before the journal", func(dir string) error { return os.Remove(filepath.Join(dir, journalName)) }},
		{"while it is written", func(dir string) error {
			return os.Rename(filepath.Join(dir, journalName), filepath.Join(dir, journalNewName))
		}},
		{"after the journal", func(string) error { return nil }},
		{"after the mark", markOpened},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sessions")
			s := open(t, dir)
			key := signIn(t, s, "1")
			copied := crash(t, dir)
			if err := errors.Join(os.Remove(filepath.Join(copied, openedName)), test.leave(copied)); err != nil {
				t.Fatal(err)
			}
			s = open(t, copied)
			if !there(t, s, key) {
				t.Error("the session is gone")
			}
			if _, err := os.Stat(filepath.Join(copied, journalName)); err != nil || !isOpened(copied) {
				t.Errorf("no mark, or no journal: %v", err)
			}
		})
	}
}

// No file descriptor is needed to see what is in a journal that is open.
func TestJournalAgain(t *testing.T) {
	dir := t.TempDir()
	keys := writeJournal(t, dir)
	j, err := readJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	other, err := readJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	next := newKeys(1)
	if err := errors.Join(other.append(next), other.close()); err != nil {
		t.Fatal(err)
	}
	same, err := j.again(dir)
	if err != nil || same.file != j.file || !slices.Equal(same.keys, slices.Concat(keys, next)) {
		t.Fatalf("the same file: %v, error %v", same, err)
	}
	if replaced, err := createJournal(dir); err != nil || replaced.close() != nil {
		t.Fatal(err)
	}
	now, err := same.again(dir)
	if err != nil || now.file == j.file || len(now.keys) != 0 {
		t.Fatalf("a new file: %v, error %v", now, err)
	}
	if err := os.Remove(filepath.Join(dir, journalName)); err != nil {
		t.Fatal(err)
	}
	if gone, err := now.again(dir); gone != nil || err != nil {
		t.Errorf("no file: %v, error %v", gone, err)
	}
}

func TestJournalTakesNoRoomLater(t *testing.T) {
	dir := t.TempDir()
	j, err := createJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	keys := newKeys(journalRoom)
	for step := range slices.Chunk(keys, maxOperations) {
		if err := j.append(step); err != nil {
			t.Fatal(err)
		}
	}
	if j.room() != 0 {
		t.Errorf("room for %d more", j.room())
	}
	if info, err := os.Stat(filepath.Join(dir, journalName)); err != nil || info.Size() != journalSize || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("%v, %v", info, err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if got, err := journalKeys(t, dir); err != nil || !slices.Equal(got, keys) {
		t.Errorf("%d keys of %d, error %v", len(got), len(keys), err)
	}
	if j, err = createJournal(dir); err != nil || j.room() != journalRoom {
		t.Fatalf("emptied: %v", err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if got, err := journalKeys(t, dir); err != nil || len(got) != 0 {
		t.Errorf("emptied: %d keys, %v", len(got), err)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte{}, uint32(0))
	f.Add([]byte{1}, uint32(100))
	f.Fuzz(func(t *testing.T, change []byte, at uint32) {
		dir := t.TempDir()
		keys := writeJournal(t, dir)
		name := filepath.Join(dir, journalName)
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		copy(b[at%journalSize:], change)
		write(t, name, string(b))
		got, err := journalKeys(t, dir)
		if err == nil && (len(got) > len(keys) || !slices.Equal(got, keys[:len(got)])) {
			t.Errorf("%d keys that were never written", len(got))
		}
	})
}
