package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// formatWithoutIndex is the format of folders whose sessions are in no index, and
// whose user records stand under the whole ID.
const formatWithoutIndex = 1

// upgrade gives a folder of format 1 the index of format 2 and its keys of user
// records; any other folder is left as it is. Until all of it is on the disk the
// folder says that it has the old format: after a crash the upgrade is done
// again, and where an older version has had the folder meanwhile, what that has
// left is put right. It stops as soon as space is scarce, and begins again later.
func upgrade(dir string, options Options, log *slog.Logger, scarce func() error) error {
	version, err := readFormat(dir)
	if err != nil || version != formatWithoutIndex {
		return err
	}
	o := badgerOptions(dir, options, logger{log})
	o.ExternalMagicVersion = formatOwner<<8 | formatWithoutIndex
	db, err := openDatabase(o)
	if err != nil {
		return err
	}
	indexed, unreadable, err := rebuild(db, scarce)
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("upgrading session folder %q: %w", dir, err)
	}
	if err := writeFormat(dir); err != nil {
		return fmt.Errorf("upgrading session folder %q: %w", dir, err)
	}
	log.Info("session folder was upgraded", "folder", dir, "format", formatVersion, "sessions", indexed, "unreadable", unreadable)
	return nil
}

// rebuild makes the index and the keys of users what the records say. Sessions
// whose records cannot be read are in no index: nobody can say whose they are.
func rebuild(db *badger.DB, scarce func() error) (indexed, unreadable int, err error) {
	defer mend(db, &err)
	batch := newUpgradeWriter(db, scarce)
	defer batch.Cancel()
	err = db.View(func(txn *badger.Txn) error {
		if err := dropStale(txn, batch); err != nil {
			return err
		}
		if err := moveUsers(txn, batch); err != nil {
			return err
		}
		indexed, unreadable, err = addMissing(txn, batch)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return indexed, unreadable, batch.Flush()
}

// dropStale deletes the places of sessions that are not there any more.
func dropStale(txn *badger.Txn, batch *upgradeWriter) error {
	return scanAll(txn, prefixIndex, func(item *badger.Item) error {
		l, ok, err := decodePlace(item)
		if err != nil {
			return err
		}
		if ok {
			record, err := get(txn, sessionKey(l.Key))
			if err != nil {
				return err
			}
			if record != nil {
				session, whole, err := decodeRecord(record)
				if err != nil || whole && bytes.Equal(indexKey(session), item.Key()) {
					return err
				}
			}
		}
		return batch.Delete(item.KeyCopy(nil))
	})
}

// addMissing writes the places that the records of the sessions ask for.
func addMissing(txn *badger.Txn, batch *upgradeWriter) (indexed, unreadable int, err error) {
	err = scanAll(txn, prefixSession, func(item *badger.Item) error {
		session, ok, err := decodeRecord(item)
		if err != nil {
			return err
		}
		if !ok {
			unreadable++
			return nil
		}
		indexed++
		place := indexEntry(recordKey(item), item.ExpiresAt(), session)
		there, err := get(txn, place.Key)
		if err != nil {
			return err
		}
		if there != nil && there.ExpiresAt() == place.ExpiresAt {
			b, err := there.ValueCopy(nil)
			if err != nil || bytes.Equal(b, place.Value) {
				return err
			}
		}
		return batch.SetEntry(place)
	})
	return indexed, unreadable, err
}

// moveUsers puts the user records that stand under a whole ID under its short
// form. Only an older version writes the former: it is the newer one of two.
func moveUsers(txn *badger.Txn, batch *upgradeWriter) error {
	return scanAll(txn, prefixUser, func(item *badger.Item) error {
		key := item.KeyCopy(nil)
		if _, _, ok := decodeUserKey(key); ok {
			return nil
		}
		directory, id, ok := cutField(key[1:])
		if !ok || directory == "" || len(id) == 0 {
			return nil // no version has written it
		}
		record, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		if err := batch.Set(userKey(directory, string(id)), record); err != nil {
			return err
		}
		return batch.Delete(key)
	})
}

func scanAll(txn *badger.Txn, prefix byte, visit func(*badger.Item) error) error {
	options := badger.DefaultIteratorOptions
	options.PrefetchValues = false
	options.Prefix = []byte{prefix}
	it := txn.NewIterator(options)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := visit(it.Item()); err != nil {
			return err
		}
	}
	return nil
}

// readFormat is the version that the folder's manifest says; 0 for a folder
// without one, and where it cannot be read, which is reported elsewhere.
func readFormat(dir string) (version byte, err error) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("looking at session folder %q: %w", dir, err)
	}
	defer f.Close()
	var head [6]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || head[4] != formatOwner {
		return 0, nil
	}
	return head[5], nil
}

// writeFormat makes the manifest say today's format. One byte changes, so that
// a crash leaves the old one or the new one.
func writeFormat(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, badger.ManifestFilename), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(binary.BigEndian.AppendUint16(nil, formatMagic), 4)
	return errors.Join(err, f.Sync(), f.Close())
}
