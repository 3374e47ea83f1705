package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// Badger maps its files into memory. On a full disk a write to such a page, or
// opening or closing the folder, is not an error but a fault that ends the
// process, and no Go code can catch it in Badger's own goroutines. So nothing
// is written to it below a floor, which also has to hold what Badger's
// background still does after the last write: at most 37 MB when measured,
// done 0.6 s later. Where something else fills the disk so fast that this is
// not enough, the floor is higher. What comes without warning and takes the
// whole floor in less time can still end the process; a file system of its own
// for the folder excludes that.
const (
	defaultMinFree = 128 << 20

	// quiet is how long a disk must last at the pace at which it fills, which
	// counts when less is free than so many times the floor: one file of many
	// gigabytes on a disk of terabytes is no reason to stop.
	quiet     = 2 * time.Second
	paceFloor = 16

	// minFreeFiles is the same for the files that a file system can still
	// take, where it has a limit: each log and table is one.
	minFreeFiles = 64
)

// disk is how a store learns of free space; tests have one of their own.
type disk struct {
	// free tells what is free for a user without privileges. An error means
	// that it is not known.
	free func(dir string) (space, error)

	// every is how often it is asked while there is too little.
	every time.Duration
}

// space is what a file system has left.
type space struct {
	bytes int64
	files int64 // unlimited: -1
}

func realDisk() disk {
	return disk{free: freeSpace, every: time.Second}
}

// freeSpace looks at the file system of dir, or of the folder that dir is going
// to be created in.
func freeSpace(dir string) (space, error) {
	for {
		free, err := statSpace(dir)
		parent := filepath.Dir(dir)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || parent == dir {
			return free, err
		}
		dir = parent
	}
}

// need is the least that must be free.
type need int64

func newNeed(options Options) need {
	if options.MinFree > 0 {
		return need(options.MinFree)
	}
	return defaultMinFree
}

// again is what must be free before writing goes on, so that it does not stop
// and start all the time at the very limit.
func (n need) again() need { return n + n/4 }

// check is an error that wraps sessionstore.ErrNoSpace if there is too little,
// or will be soon.
func (n need) check(dir string, free space, pace int64) error {
	const mb = 1 << 20
	switch {
	case free.bytes < int64(n):
		return fmt.Errorf("%w: %d MB are free on the disk of folder %q, %d MB are needed",
			sessionstore.ErrNoSpace, free.bytes/mb, dir, (int64(n)+mb-1)/mb)
	case free.bytes/paceFloor < int64(n) && free.bytes/int64(quiet/time.Second) < pace:
		return fmt.Errorf("%w: %d MB are free on the disk of folder %q, and it fills by %d MB a second",
			sessionstore.ErrNoSpace, free.bytes/mb, dir, pace/mb)
	case free.files >= 0 && free.files < minFreeFiles:
		return fmt.Errorf("%w: the file system of folder %q can take %d more files (inodes), %d are needed",
			sessionstore.ErrNoSpace, dir, free.files, minFreeFiles)
	}
	return nil
}

// pace is how fast a disk fills.
type pace struct {
	at        time.Time
	bytes     int64
	perSecond [2]int64 // in the last two intervals
}

// observe returns the bytes a second by which the free ones become fewer. An
// interval ends with the first observation after step has passed, and the
// lower pace of the last two counts: one large file is no pace.
func (p *pace) observe(now time.Time, bytes int64, step time.Duration) int64 {
	if p.at.IsZero() {
		p.at, p.bytes = now, bytes
	}
	if passed := now.Sub(p.at); passed >= step {
		p.perSecond = [2]int64{p.perSecond[1], int64(max(float64(p.bytes-bytes), 0) / passed.Seconds())}
		p.at, p.bytes = now, bytes
	}
	return min(p.perSecond[0], p.perSecond[1])
}
