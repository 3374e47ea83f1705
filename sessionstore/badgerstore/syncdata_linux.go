package badgerstore

import (
	"os"
	"syscall"
)

// syncData makes what was written over existing bytes durable. Times of the
// file are left out: they would cost a commit of the file system's own journal.
func syncData(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err != syscall.EINTR {
			return err
		}
	}
}
