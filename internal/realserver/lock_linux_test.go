package realserver

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLockIsHeldByOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lockFile(path, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockFile(path, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "another test run") {
		t.Errorf("locking a second time: %v, want that another has it", err)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		first.Close()
	}()
	second, err := lockFile(path, time.Minute)
	if err != nil {
		t.Fatalf("waiting for the first: %v", err)
	}
	second.Close()
}

func TestFileTime(t *testing.T) {
	for _, test := range []struct {
		time time.Time
		want string
	}{
		{time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC), "0"},
		{time.Unix(0, 0), "116444736000000000"},
		{time.Date(2020, 11, 15, 0, 0, 0, 100, time.UTC), "132498720000000001"},
	} {
		if got := fileTime(test.time); got != test.want {
			t.Errorf("fileTime(%v) = %s, want %s", test.time, got, test.want)
		}
	}
}
