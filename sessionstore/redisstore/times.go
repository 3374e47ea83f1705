package redisstore

import (
	"fmt"
	"strconv"
	"time"
)

// timeDigits is how long a stored time is. They are hashes' values and not the
// scores of a sorted set: a score is a float, which cannot hold nanoseconds.
const timeDigits = 19

// encodeTime writes nanoseconds since 1970 in digits of a fixed number, which
// scripts can compare: their numbers are floats too. Earlier times are none.
func encodeTime(at time.Time) (text string, ok bool) {
	if n := at.UnixNano(); n >= 0 {
		return fmt.Sprintf("%0*d", timeDigits, n), true
	}
	return "", false
}

func decodeTime(text string) (at time.Time, ok bool) {
	if len(text) != timeDigits {
		return time.Time{}, false
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(0, int64(n)).UTC(), true
}
