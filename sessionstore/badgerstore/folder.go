package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/internal/fileowner"
)

// The database says what it is in the 16 bits that Badger keeps for that at
// the head of its manifest: "L" and the version of our format. They can be
// read without opening it, which would already change it, and Badger itself
// refuses a manifest that has others.
const (
	formatOwner   = 'L'
	formatVersion = 2
	formatMagic   = formatOwner<<8 | formatVersion
)

// prepareFolder creates dir, or refuses it.
func prepareFolder(dir string) error {
	if dir == "" {
		return errors.New("session folder has no name")
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("creating session folder: %w", err)
		}
		info, err = os.Stat(dir)
	}
	switch {
	case err != nil:
		return fmt.Errorf("looking at session folder: %w", err)
	case !info.IsDir():
		return fmt.Errorf("session folder %q is not a folder", dir)
	}
	if err := fileowner.Check(info); err != nil {
		return fmt.Errorf("session folder %q: %w", dir, err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		// Badger makes its files readable for all; the folder protects them. An
		// empty one, as mkdir leaves it, is closed here; in one that was open
		// with something in it others may have been already.
		if files, err := os.ReadDir(dir); err == nil && len(files) == 0 && os.Chmod(dir, 0o700) == nil {
			return checkFormat(dir)
		}
		return fmt.Errorf("session folder %q is open to other users (mode %04o): run \"chmod 700\" on it", dir, info.Mode().Perm())
	}
	return checkFormat(dir)
}

// checkFormat refuses what is not ours before anything is opened for writing.
func checkFormat(dir string) error {
	name := filepath.Join(dir, badger.ManifestFilename)
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return checkEmpty(dir)
	}
	if err != nil {
		return fmt.Errorf("looking at session folder %q: %w", dir, err)
	}
	defer f.Close()
	var head [8]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || string(head[:4]) != "Bdgr" {
		return fmt.Errorf("session folder %q: file %q is damaged", dir, name)
	}
	magic := binary.BigEndian.Uint16(head[4:6])
	switch version := magic & 0xff; {
	case magic>>8 != formatOwner:
		return fmt.Errorf("session folder %q holds the database of another program", dir)
	case version > formatVersion:
		return fmt.Errorf("session folder %q has format %d, written by a newer version; this one knows up to %d", dir, version, formatVersion)
	case version < formatWithoutIndex: // that one is upgraded
		return fmt.Errorf("session folder %q has format %d, which is unknown", dir, version)
	}
	return nil
}

// checkEmpty refuses a folder without a database that holds anything else: it
// is more likely a mistake in the configuration than meant. What a crash
// before the first manifest leaves, and a file system's own folder, may be
// there.
func checkEmpty(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("looking at session folder %q: %w", dir, err)
	}
	for _, f := range files {
		switch name := f.Name(); {
		case slices.Contains([]string{"LOCK", "MANIFEST-REWRITE", "lost+found"}, name):
		case isBadgers(name):
			return fmt.Errorf("session folder %q: file %q is missing; "+cure, dir, badger.ManifestFilename)
		default:
			return fmt.Errorf("session folder %q is not empty and holds no sessions: %q is in it", dir, f.Name())
		}
	}
	return nil
}
