//go:build darwin || freebsd

package badgerstore

import "syscall"

func blockSize(st *syscall.Statfs_t) int64 { return max(int64(st.Bsize), 1) }
