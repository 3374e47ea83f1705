package redisstore

import (
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestTheServersClock(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		ahead           time.Duration
		refused, warned bool
	}{
		"the same":                {0, false, false},
		"a little ahead":          {clockDiffers - time.Second, false, false},
		"a little behind":         {time.Second - clockDiffers, false, false},
		"ahead":                   {time.Hour, false, true},
		"behind":                  {-time.Hour, false, true},
		"far behind":              {-1000 * time.Hour, false, true},
		"nearly too far ahead":    {clockAhead, false, true},
		"so far that all is past": {clockAhead + time.Second, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			there := strconv.FormatInt(now.Add(test.ahead).UnixMicro(), 10)
			ahead, err := checkClock(map[string]string{"server_time_usec": there}, now)
			if (err != nil) != test.refused {
				t.Fatalf("error %v, want one: %v", err, test.refused)
			}
			if err != nil {
				if !strings.Contains(err.Error(), "NTP") {
					t.Errorf("%v: no cure", err)
				}
				return
			}
			log := &buffer{}
			s := &Store{log: slog.New(slog.NewTextHandler(log, nil))}
			s.warn(server{clock: ahead}, server{})
			s.warn(server{clock: ahead}, server{clock: ahead})
			if n := strings.Count(log.String(), "level=WARN"); n != 1 && test.warned || n != 0 && !test.warned {
				t.Errorf("%d warnings, want one: %v:\n%s", n, test.warned, log)
			}
		})
	}
	if _, err := checkClock(map[string]string{}, now); err != nil {
		t.Errorf("a server that does not say: %v", err)
	}
}
