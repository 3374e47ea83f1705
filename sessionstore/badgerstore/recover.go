package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// recoverFolder removes what a kill between the creation of a log and its first
// byte leaves behind: a file of no length, which Badger takes for
// a new one and refuses to open the folder for. Nothing was ever in it, as
// far as verify can tell.
//
// It holds Badger's own lock meanwhile, since in a folder that is in use such a
// file is about to be written. A folder in use is left to Badger to report.
func recoverFolder(dir string) error {
	release, free, err := holdFolder(dir)
	if err != nil || !free {
		return err
	}
	defer release()
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("looking at session folder %q: %w", dir, err)
	}
	for _, file := range files {
		if ext := filepath.Ext(file.Name()); ext != logSuffix && ext != valueSuffix {
			continue
		}
		if info, err := file.Info(); err != nil || info.Size() > 0 {
			continue
		}
		if err := os.Remove(filepath.Join(dir, file.Name())); err != nil {
			return fmt.Errorf("removing an empty log from session folder %q: %w", dir, err)
		}
	}
	return unmarkOpened(dir)
}

// holdFolder takes Badger's own lock until release is called, if the folder is
// not in use.
func holdFolder(dir string) (release func(), free bool, err error) {
	lock, err := lockFolder(dir)
	switch {
	case errors.Is(err, ErrInUse):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case lock == nil:
		// Badger's lock is a file that the system removes with the process.
		_, err := os.Lstat(filepath.Join(dir, "LOCK"))
		return func() {}, errors.Is(err, fs.ErrNotExist), nil
	}
	return func() { lock.Close() }, true, nil
}
