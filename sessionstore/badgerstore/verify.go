package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// verify looks at all files of a folder before Badger opens it, and changes
// nothing. Badger would go on without what it cannot read: it ignores a table
// with a bad checksum, deletes tables that its manifest does not name, and
// cuts a log at the first bad entry. A sign-out that is lost that way brings
// a session back, so any damage is an error instead, and the folder is left for
// a closer look. What a crash leaves is not damage.
//
// Damage that leaves no trace cannot be seen: a log whose end was overwritten
// with zeros, as if it had never been written; one of several logs that is gone;
// and a log that is gone or cut behind a transaction in the moments while Badger
// opens or closes the folder.
//
// The logs of a folder that is open elsewhere are being written. It is left to
// Badger to report.
func verify(dir string, options Options) error {
	switch n := len(options.EncryptionKey); n {
	case 0, 16, 24, 32:
	default:
		return fmt.Errorf("session folder %q: the encryption key has %d bytes: it needs 16, 24 or 32", dir, n)
	}
	release, free, err := holdFolder(dir)
	if err != nil || !free {
		return err
	}
	defer release()
	f, err := readFolder(dir, options)
	if err != nil {
		return err
	}
	if !f.has(badger.ManifestFilename) {
		return nil // a new folder: prepareFolder has refused any other
	}
	return f.verify()
}

// folder is the files of one folder. Badger ends the whole process on some
// kinds of damage, so its own code reads nothing whose checksum was not
// compared before.
type folder struct {
	dir     string
	options Options
	files   map[string]fs.FileInfo
	keys    dataKeys

	// version is the latest commit in the tables that the manifest names. It
	// can be too low: compaction drops deletions that hide nothing any more.
	version uint64

	removed map[uint64]bool // tables that the manifest has named before

	logs []memLog // in the order of writing
}

// readFolder lists the files and refuses names that Badger stumbles over.
func readFolder(dir string, options Options) (*folder, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking at session folder %q: %w", dir, err)
	}
	f := &folder{dir: dir, options: options, files: make(map[string]fs.FileInfo)}
	for _, entry := range entries {
		name := entry.Name()
		if !isBadgers(name) {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return nil, fmt.Errorf("looking at session folder %q: %w", dir, err)
		}
		if !info.Mode().IsRegular() {
			return nil, f.damaged(name, errors.New("it is not a regular file"))
		}
		if _, numbered := fileNumber(name); !numbered && filepath.Ext(name) != "" {
			return nil, f.damaged(name, errors.New("it has a name that this program never gives"))
		}
		f.files[name] = info
	}
	return f, nil
}

// Names of files that Badger does not export.
const (
	discardName = "DISCARD"
	logSuffix   = ".mem"
	valueSuffix = ".vlog"
	tableSuffix = ".sst"
)

// isBadgers tells whether Badger opens or removes a file of this name.
func isBadgers(name string) bool {
	switch name {
	case badger.ManifestFilename, badger.KeyRegistryFileName, discardName:
		return true
	}
	switch filepath.Ext(name) {
	case logSuffix, valueSuffix, tableSuffix:
		return true
	}
	return false
}

// fileNumber is the number in the name of a log or table.
func fileNumber(name string) (n uint64, ok bool) {
	format := "%06d"
	if filepath.Ext(name) == logSuffix {
		format = "%05d"
	}
	digits := strings.TrimSuffix(name, filepath.Ext(name))
	if _, err := fmt.Sscanf(digits, "%d", &n); err != nil {
		return 0, false
	}
	return n, fmt.Sprintf(format, n) == digits
}

func (f *folder) has(name string) bool { return f.files[name] != nil }

// holds tells whether anything was ever stored here.
func (f *folder) holds() bool {
	for name, info := range f.files {
		switch filepath.Ext(name) {
		case tableSuffix, valueSuffix:
			return true
		case logSuffix:
			if info.Size() > 0 {
				return true
			}
		}
	}
	return false
}

// verify reads the keys first, which everything else needs, and the logs
// before the tables that only they can explain.
func (f *folder) verify() error {
	if err := f.readKeys(); err != nil {
		return err
	}
	tables, err := f.readManifest()
	if err != nil {
		return err
	}
	if err := f.verifyTables(tables); err != nil {
		return err
	}
	if err := f.verifyLogs(); err != nil {
		return err
	}
	if err := f.verifyUnnamed(tables); err != nil {
		return err
	}
	return f.verifyValueLogs()
}

// cure is what to do about a damaged folder.
const cure = "move the folder away and everybody signs in again, or restore it from a backup, which has sessions that were ended since"

// damaged is the error for a file that must not be opened.
func (f *folder) damaged(name string, what error) error {
	return fmt.Errorf("session folder %q: file %q is damaged: %w; "+cure, f.dir, name, what)
}

// unreadable is the error for a file that the system does not give.
func (f *folder) unreadable(err error) error {
	return fmt.Errorf("looking at session folder %q: %w", f.dir, err)
}

// careful turns a panic over nonsense into an error.
func careful(read func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("its content makes no sense")
		}
	}()
	return read()
}
