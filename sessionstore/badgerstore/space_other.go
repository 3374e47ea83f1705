//go:build !linux && !darwin && !freebsd && !windows

package badgerstore

import "errors"

// statSpace does not know. The store then never stops for want of space.
func statSpace(string) (space, error) {
	return space{}, errors.New("free space is not known on this platform")
}
