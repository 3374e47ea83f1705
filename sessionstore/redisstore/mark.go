package redisstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/redis/rueidis"
)

// Mark stores the latest time that was seen, and returns it.
func (s *Store) Mark(ctx context.Context, at time.Time) (mark time.Time, err error) {
	if at.IsZero() {
		err = s.call(ctx, "reading the latest time", func(ctx context.Context) error {
			stored, err := s.text(s.do(ctx, func() rueidis.RedisResult {
				return s.client.Do(ctx, s.client.B().Get().Key(s.keys.mark).Build())
			}))
			if err != nil || stored == "" {
				return err
			}
			var ok bool
			if mark, ok = decodeTime(stored); !ok {
				s.log.Warn("the latest time that was seen cannot be read and begins anew")
			}
			return nil
		})
		return mark, err
	}
	const latest = math.MaxInt64/int64(time.Second) - 1 // that nanoseconds can count
	if at.Unix() < 0 || at.Unix() > latest {
		return time.Time{}, fmt.Errorf("storing the latest time: %q is out of range", at.Format(time.RFC3339))
	}
	text, _ := encodeTime(at)
	err = s.call(ctx, "storing the latest time", func(ctx context.Context) error {
		stored, err := s.text(s.run(ctx, s.scripts.mark, []string{s.keys.mark}, []string{text}))
		if err != nil {
			return err
		}
		var ok bool
		if mark, ok = decodeTime(stored); !ok {
			return errAnswer
		}
		return nil
	})
	if err != nil {
		return time.Time{}, err
	}
	return mark, nil
}
