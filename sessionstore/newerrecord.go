package sessionstore

import (
	"errors"
	"fmt"
)

// Nodes that share a store are updated one after the other. Until the last one is,
// it finds records that the others have written in a format which it does not
// know. They are as good as any: to take them for damage would sign people out on
// all nodes, and forget what is counted. So they are left as they are, and whoever
// needs what is in them is told that it cannot be known. Only an end needs nothing
// of them.
//
// lastFormat is the highest number that a format can have. What begins with a
// higher one is no record: it is damage, or somebody else's data, as all text is.
const lastFormat = 0x1f

// checkFormat refuses what is of no format from oldest to newest. It comes before
// all else that is known of records: a newer format may have other bounds, and
// another checksum.
func checkFormat(format, oldest, newest byte) error {
	switch {
	case format > newest && format <= lastFormat:
		return fmt.Errorf("%w: its format is %d, known are those up to %d", ErrNewerRecord, format, newest)
	case format < oldest || format > newest:
		return fmt.Errorf("%w: its format is %d, known are those up to %d", ErrInvalidRecord, format, newest)
	}
	return nil
}

// isThere tells whether the error of a Get is about a record that is there, though
// it cannot be read: the session was not ended by anybody.
func isThere(err error) bool {
	return errors.Is(err, ErrInvalidRecord) || errors.Is(err, ErrNewerRecord)
}
