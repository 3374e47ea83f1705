package badgerstore

import (
	"errors"
	"io/fs"
	"os"

	"github.com/dgraph-io/badger/v4"
)

// upgradeSpace is what an upgrade takes at most, beside a quarter of what is
// there: tables that are written before those that they replace are removed.
const upgradeSpace = 64 << 20

// upgradeNeed is what an upgrade of the folder takes; 0: it needs none.
func upgradeNeed(dir string) need {
	if version, err := readFormat(dir); err != nil || version != formatWithoutIndex {
		return 0
	}
	size := int64(0)
	_ = fs.WalkDir(os.DirFS(dir), ".", func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil
		}
		if info, err := entry.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	return need(upgradeSpace + size/4)
}

// upgradeWriter commits one transaction after the other. Badger's own batches
// have several under way: when one fails for want of a new log, the next ends
// the process.
type upgradeWriter struct {
	db  *badger.DB
	txn *badger.Txn

	// scarce is an error when there is not enough space to go on.
	scarce func() error
}

func newUpgradeWriter(db *badger.DB, scarce func() error) *upgradeWriter {
	return &upgradeWriter{db: db, txn: db.NewTransaction(true), scarce: scarce}
}

func (w *upgradeWriter) Set(key, value []byte) error {
	return w.SetEntry(badger.NewEntry(key, value))
}

func (w *upgradeWriter) SetEntry(e *badger.Entry) error {
	return w.write(func(txn *badger.Txn) error { return txn.SetEntry(e) })
}

func (w *upgradeWriter) Delete(key []byte) error {
	return w.write(func(txn *badger.Txn) error { return txn.Delete(key) })
}

func (w *upgradeWriter) write(change func(*badger.Txn) error) error {
	if err := change(w.txn); !errors.Is(err, badger.ErrTxnTooBig) {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	w.txn = w.db.NewTransaction(true)
	return change(w.txn)
}

// Flush commits what is left. After an error nothing may be written any more.
func (w *upgradeWriter) Flush() error {
	if err := w.scarce(); err != nil {
		return err
	}
	return w.txn.Commit()
}

// Cancel drops what was not committed.
func (w *upgradeWriter) Cancel() { w.txn.Discard() }
