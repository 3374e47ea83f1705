// Package fileowner tells whether files belong to whom this process trusts:
// the user that it runs as, and root.
package fileowner

import (
	"fmt"
	"io/fs"
	"os"
)

// Check refuses a file or folder of another user, who could put anything into
// it at any time. That goes for root too: what root writes into the folder of a
// service, in the one "sudo caddy run" by hand, the service cannot open again.
// Where files have no such owners nothing is refused.
func Check(info fs.FileInfo) error {
	if owner, ok := owner(info); ok {
		return check(owner, os.Geteuid())
	}
	return nil
}

func check(owner, user int) error {
	switch {
	case owner == user || owner == 0:
		return nil
	case user == 0:
		return fmt.Errorf("it belongs to user %d, and Caddy runs as root, who would lock that user out with files of its own: start Caddy as that user, or, if it is meant to run as root, run \"chown -R root\" on it", owner)
	default:
		return fmt.Errorf("it belongs to user %d, and Caddy runs as user %d: run \"chown -R %d\" on it, or start Caddy as the other user", owner, user, user)
	}
}
