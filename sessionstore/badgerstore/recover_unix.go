//go:build unix

package badgerstore

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// recoverFolder removes what a kill between the creation of a log and its first
// byte leaves behind: a file of no length, which Badger takes for
// a new one and refuses to open the folder for. Nothing was ever in it.
//
// It holds Badger's own lock meanwhile, since in a folder that is in use such a
// file is about to be written. A folder in use is left to Badger to report.
func recoverFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("looking at session folder %q: %w", dir, err)
	}
	defer folder.Close() // and with it the lock
	if syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil
	}
	files, err := folder.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("looking at session folder %q: %w", dir, err)
	}
	for _, file := range files {
		if ext := filepath.Ext(file.Name()); ext != ".mem" && ext != ".vlog" {
			continue
		}
		if info, err := file.Info(); err != nil || info.Size() > 0 {
			continue
		}
		if err := os.Remove(filepath.Join(dir, file.Name())); err != nil {
			return fmt.Errorf("removing an empty log from session folder %q: %w", dir, err)
		}
	}
	return nil
}
