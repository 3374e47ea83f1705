package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// openedName is a file that is there while a folder is open, from after Badger
// has opened it to before it closes it. After a crash it tells that a log has
// to be there: Badger itself begins a new one if the last was removed or
// emptied, and all since the last table would be lost without a word. And that a
// journal has to be there: it is made before.
const openedName = "OPENED"

func isOpened(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, openedName))
	return err == nil
}

// markOpened tells that the folder is open. Without the mark, for want of space
// say, only that loss would not be seen.
func markOpened(dir string) error {
	file, err := os.OpenFile(filepath.Join(dir, openedName), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("marking session folder %q as open: %w", dir, err)
	}
	if err := errors.Join(file.Close(), syncFolder(dir)); err != nil {
		return fmt.Errorf("marking session folder %q as open: %w", dir, err)
	}
	return nil
}

// unmarkOpened has to be on the disk before Badger opens or closes the folder,
// when it may remove the last log.
func unmarkOpened(dir string) error {
	err := os.Remove(filepath.Join(dir, openedName))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		// Missing too: the sync of who has removed it may have failed.
		err = syncFolder(dir)
	}
	if err != nil {
		return fmt.Errorf("unmarking session folder %q: %w", dir, err)
	}
	return nil
}

// syncFolder makes new and removed names in the folder durable.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // it has no such call
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
