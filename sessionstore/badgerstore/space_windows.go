package badgerstore

import (
	"io/fs"
	"math"

	"golang.org/x/sys/windows"
)

func statSpace(dir string) (space, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return space{}, &fs.PathError{Op: "GetDiskFreeSpaceEx", Path: dir, Err: err}
	}
	var available uint64
	if err := windows.GetDiskFreeSpaceEx(name, &available, nil, nil); err != nil {
		return space{}, &fs.PathError{Op: "GetDiskFreeSpaceEx", Path: dir, Err: err}
	}
	return space{bytes: int64(min(available, math.MaxInt64)), files: -1}, nil
}
