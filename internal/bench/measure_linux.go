package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// errNotHere is a measure that this system has no means for.
var errNotHere = errors.New("it is measured on Linux only")

// cpuTime is what this process has used so far.
func cpuTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// memoryOf returns what a process has in memory, in bytes: anonymous pages, and
// those of files, which the kernel takes back when it needs them.
func memoryOf(pid int) (anonymous, file int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, 0, err
	}
	fields := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		var kilobytes int64
		if _, err := fmt.Sscan(rest, &kilobytes); err == nil {
			fields[name] = kilobytes << 10
		}
	}
	rss, ok := fields["Rss"]
	anonymous, there := fields["Anonymous"]
	if !ok || !there {
		return 0, 0, fmt.Errorf("reading the memory of process %d: %q has not both fields", pid, text)
	}
	return anonymous, rss - anonymous, nil
}

// fileSize returns how long a file is and how much of the disk it takes.
func fileSize(name string) (apparent, allocated int64, err error) {
	var stat syscall.Stat_t
	if err := syscall.Stat(name, &stat); err != nil {
		return 0, 0, fmt.Errorf("looking at %q: %w", name, err)
	}
	return stat.Size, stat.Blocks * 512, nil
}

// dataSync waits until what was written to f is on the disk.
func dataSync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// diskKind says what the folder is on. On a file system in memory syncs cost
// nothing.
func diskKind(dir string) string {
	const tmpfs = 0x01021994
	var fs syscall.Statfs_t
	switch err := syscall.Statfs(dir, &fs); {
	case err != nil:
		return "an unknown disk"
	case fs.Type == tmpfs:
		return "a file system in memory: what is synced to disk costs nothing here (-dir chooses another)"
	}
	return "a disk"
}

// loadAverage is how many programs wanted to run in the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text) + " ?")[0]
}
