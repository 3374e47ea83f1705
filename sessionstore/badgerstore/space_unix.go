//go:build linux || darwin || freebsd

package badgerstore

import (
	"io/fs"
	"math"
	"syscall"
)

func statSpace(dir string) (space, error) {
	var st syscall.Statfs_t
	err := syscall.EINTR
	for err == syscall.EINTR {
		err = statfs(dir, &st)
	}
	if err != 0 {
		return space{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	free := space{bytes: math.MaxInt64, files: -1}
	// FreeBSD counts below zero what only root may use.
	if blocks, size := int64(st.Bavail), blockSize(&st); blocks <= 0 {
		free.bytes = 0
	} else if blocks < math.MaxInt64/size {
		free.bytes = blocks * size
	}
	// File systems that make inodes as they need them say zero of zero.
	if st.Files > 0 {
		free.files = int64(min(uint64(st.Ffree), math.MaxInt64))
	}
	return free, nil
}

func statfs(dir string, st *syscall.Statfs_t) syscall.Errno {
	err, _ := syscall.Statfs(dir, st).(syscall.Errno)
	return err
}
