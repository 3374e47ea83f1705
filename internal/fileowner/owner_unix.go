//go:build unix

package fileowner

import (
	"io/fs"
	"syscall"
)

func owner(info fs.FileInfo) (user int, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}
