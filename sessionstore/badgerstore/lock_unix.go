//go:build unix

package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockFolder takes Badger's own lock of the folder while Badger has not opened
// it. It returns nil where that kind of lock does not work.
func lockFolder(dir string) (lock *os.File, err error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("looking at session folder %q: %w", dir, err)
	}
	switch err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case err == nil:
		return folder, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(errFolderInUse(dir), folder.Close())
	}
	return nil, folder.Close()
}

// relockFolder takes the lock again with a file from lockFolder.
func relockFolder(folder *os.File, dir string) error {
	err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errFolderInUse(dir)
	}
	return err
}

// unlockFolder gives the lock up and keeps the file.
func unlockFolder(folder *os.File) error {
	return syscall.Flock(int(folder.Fd()), syscall.LOCK_UN)
}

// diskFull tells whether a file or folder could not be made for want of space.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
