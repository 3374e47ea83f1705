package badgerstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

func format(t *testing.T, dir string) byte {
	t.Helper()
	version, err := readFormat(dir)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// An upgrade writes as much as a quarter of what is there.
func TestUpgradeWaitsForItsSpace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	all, _, _ := oldFolder(t, dir, Options{})
	want := testMinFree + int64(upgradeNeed(dir))
	if want < testMinFree+upgradeSpace {
		t.Fatalf("an upgrade needs %d", want)
	}
	d := newTestDisk(want - 1)
	s := d.open(t, dir, nil)
	if _, _, _, err := s.Get(t.Context(), all[0].Key); !errors.Is(err, sessionstore.ErrNoSpace) {
		t.Errorf("Get: %v", err)
	}
	asked := d.asked.Load()
	await(t, "looking", func() bool { return d.asked.Load() > asked+3 })
	if v := format(t, dir); v != formatWithoutIndex {
		t.Errorf("format %d without the space for it", v)
	}
	// There was never a journal.
	if ok, err := s.Delete(t.Context(), all[0].Key); ok || err != nil {
		t.Errorf("Delete: ok %v, error %v", ok, err)
	}
	d.bytes.Store(2 * want)
	awaitWritable(t, s)
	if there(t, s, all[0].Key) || !there(t, s, all[1].Key) {
		t.Error("the wrong sessions have ended")
	}
	if v := format(t, dir); v != formatVersion {
		t.Errorf("format %d", v)
	}
	if n := upgradeNeed(dir); n != 0 {
		t.Errorf("a folder of today's format needs %d", n)
	}
}

// The last space is not taken for a journal.
func TestOldFolderOnADiskWithoutSpaceForAJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	all, _, _ := oldFolder(t, dir, Options{})
	before := snapshot(t, dir)
	s := newTestDisk(journalSpace-1).open(t, dir, nil)
	if _, err := s.Delete(t.Context(), all[0].Key); !errors.Is(err, sessionstore.ErrNoSpace) {
		t.Errorf("Delete: %v", err)
	}
	if after := snapshot(t, dir); after != before {
		t.Errorf("the folder was changed:\nbefore %s\nafter %s", before, after)
	}
}

// Space becomes scarce in the middle of an upgrade.
func TestUpgradeStopsAndBeginsAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	all, _, _ := oldFolder(t, dir, Options{})
	const more = 30000
	withoutIndex(t, dir, Options{}, func(db *badger.DB) {
		batch := db.NewWriteBatch()
		for i := range more {
			key, session := storetest.NewKey(), storetest.NewSession(fmt.Sprint("more", i))
			if err := batch.SetEntry(sessionEntry(key, oldSession(2, key, session), expiry(session, session.Created), session)); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Flush(); err != nil {
			t.Fatal(err)
		}
	})
	d := newTestDisk(1 << 40)
	disk := d.disk()
	free, looks := disk.free, 0
	disk.free = func(dir string) (space, error) {
		if looks++; looks == 3 { // not at the first transaction, nor at the last
			d.bytes.Store(testMinFree - 1)
		}
		return free(dir)
	}
	s, err := openOn(disk, dir, Options{MinFree: testMinFree}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if v := format(t, dir); v != formatWithoutIndex {
		t.Errorf("format %d of what is half done", v)
	}
	if _, err := s.Delete(t.Context(), all[0].Key); err != nil {
		t.Errorf("Delete: %v", err)
	}
	d.bytes.Store(1 << 40)
	awaitWritable(t, s)
	if counts, err := s.Count(t.Context()); err != nil || counts.Sessions < more+len(all)-1 {
		t.Errorf("Count: %+v, error %v", counts, err)
	}
	if there(t, s, all[0].Key) {
		t.Error("a session that was signed out is back")
	}
}
