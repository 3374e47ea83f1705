package badgerstore

import "syscall"

// blockSize is the unit of the counts: file systems in user space have one
// that differs from the size that is best to transfer.
func blockSize(st *syscall.Statfs_t) int64 {
	if st.Frsize > 0 {
		return int64(st.Frsize)
	}
	return max(int64(st.Bsize), 1)
}
