package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"google.golang.org/protobuf/proto"
)

// readManifest returns the tables that the manifest names.
//
// A kill or a power cut can leave part of the last change in the file. That is
// no damage by itself: what the change was about is then still there in its
// old form, which verifyTables and verifyUnnamed make sure of.
func (f *folder) readManifest() (tables map[uint64]badger.TableManifest, err error) {
	const name = badger.ManifestFilename
	file, err := os.Open(filepath.Join(f.dir, name))
	if err != nil {
		return nil, f.unreadable(err)
	}
	defer file.Close()
	var magic [6]byte
	if _, err := file.ReadAt(magic[:], 0); err != nil {
		return nil, f.damaged(name, err)
	}
	var end int64
	err = careful(func() error {
		quiet := badgerOptions(f.dir, f.options, logger{slog.New(slog.DiscardHandler)})
		manifest, offset, err := badger.ReplayManifestFile(file, binary.BigEndian.Uint16(magic[4:]), quiet)
		tables, end = manifest.Tables, offset
		return err
	})
	if err != nil {
		return nil, f.damaged(name, err)
	}
	if left := f.files[name].Size() - end; left > maxChange {
		return nil, f.damaged(name, fmt.Errorf("its last %d bytes are no change of it", left))
	}
	if err := f.readRemoved(io.NewSectionReader(file, 0, end)); err != nil {
		return nil, f.damaged(name, err)
	}
	for id, t := range tables {
		if t.Compression != options.None {
			return nil, f.damaged(name, fmt.Errorf("table %d is compressed, which this program never does", id))
		}
	}
	return tables, nil
}

// readRemoved notes the tables that the manifest has named and does not name any
// more. It was replayed already, and is whole.
func (f *folder) readRemoved(manifest io.Reader) error {
	b, err := io.ReadAll(manifest)
	if err != nil {
		return err
	}
	const header, changesHeader = 8, 8
	f.removed = make(map[uint64]bool)
	for b = b[header:]; len(b) > 0; {
		n := changesHeader + int(binary.BigEndian.Uint32(b))
		changes := new(pb.ManifestChangeSet)
		if err := proto.Unmarshal(b[changesHeader:n], changes); err != nil {
			return err
		}
		for _, c := range changes.Changes {
			f.removed[c.Id] = c.Op == pb.ManifestChange_DELETE
		}
		b = b[n:]
	}
	return nil
}

// maxChange is more than one change of the manifest takes: at most a few dozen
// tables, of a few bytes each.
const maxChange = 64 << 10

// verifyTables reads all tables that the manifest names.
func (f *folder) verifyTables(tables map[uint64]badger.TableManifest) error {
	var ids []uint64
	for id := range tables {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		name := table.IDToFilename(id)
		if !f.has(name) {
			return fmt.Errorf("session folder %q: file %q is missing, or file %q is damaged; "+cure, f.dir, name, badger.ManifestFilename)
		}
		key, err := f.keys.get(tables[id].KeyID)
		if err != nil {
			return f.damaged(name, err)
		}
		if (key == nil) != (len(f.options.EncryptionKey) == 0) {
			return f.damaged(badger.ManifestFilename, fmt.Errorf("it has the wrong key for table %d", id))
		}
		version, err := verifyTable(filepath.Join(f.dir, name), key)
		if err != nil {
			return f.tableError(name, err)
		}
		f.version = max(f.version, version)
	}
	return nil
}

func (f *folder) tableError(name string, err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return f.unreadable(err)
	}
	return f.damaged(name, err)
}

// verifyUnnamed looks at tables that the manifest does not name, which Badger
// deletes. A crash leaves them: a memtable's, whose log is still there; a
// compaction's, whose tables are; and those that it has replaced. Any other
// table was named once, by an end of the manifest that is gone.
func (f *folder) verifyUnnamed(tables map[uint64]badger.TableManifest) error {
	for name := range f.files {
		id, _ := fileNumber(name)
		if _, named := tables[id]; named || f.removed[id] || filepath.Ext(name) != tableSuffix {
			continue
		}
		version, ok := f.unnamedVersion(name)
		if !ok || version <= f.version {
			continue // not written to its end, or in other tables
		}
		logged := slices.ContainsFunc(f.logs, func(l memLog) bool { return l.first <= version && version <= l.last })
		if !logged {
			return f.damaged(badger.ManifestFilename, fmt.Errorf("its end is gone, where table %q was named", name))
		}
	}
	return nil
}

// unnamedVersion returns the latest commit of a table. With which key it is
// encrypted only the manifest would say.
func (f *folder) unnamedVersion(name string) (version uint64, ok bool) {
	ids := []uint64{0}
	if len(f.options.EncryptionKey) > 0 {
		ids = ids[:0]
		for id := f.keys.count; id > 0; id-- {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		key, err := f.keys.get(id)
		if err != nil {
			continue
		}
		if version, err := verifyTable(filepath.Join(f.dir, name), key); err == nil {
			return version, true
		}
	}
	return 0, false
}
