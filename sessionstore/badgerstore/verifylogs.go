package badgerstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// memLog is what is known of the log of a memtable once it was verified.
type memLog struct {
	name        string
	number      uint64
	size        int64
	first, last uint64 // its whole commits, 0 for none
}

// verifyLogs looks into the logs in the order of writing, and whether what was
// committed between two of them is missing.
func (f *folder) verifyLogs() error {
	for name, info := range f.files {
		if filepath.Ext(name) == logSuffix {
			number, _ := fileNumber(name)
			f.logs = append(f.logs, memLog{name: name, number: number, size: info.Size()})
		}
	}
	// As Badger does: by name 100000.mem is before 99999.mem.
	slices.SortFunc(f.logs, func(a, b memLog) int { return cmp.Compare(a.number, b.number) })
	if err := f.verifyLastLog(); err != nil {
		return err
	}
	known := f.version
	for i := range f.logs {
		l := &f.logs[i]
		if err := f.verifyLog(l, known); err != nil {
			return err
		}
		// Commits have consecutive numbers. Between two logs that were written
		// one after the other some are missing only if the tables have them; a
		// log that is gone was stored as a table before it was removed.
		if i > 0 && f.logs[i-1].number+1 == l.number && l.first > known+1 {
			return f.damaged(f.logs[i-1].name, errors.New("its end is missing"))
		}
		known = max(known, l.last)
	}
	return nil
}

// verifyLastLog looks for the log that a process that was killed was writing.
// It is there at any moment from the opening of a folder to its closing, in
// its first size. A kill can leave the next one without any, and then has the
// one before it.
func (f *folder) verifyLastLog() error {
	if !isOpened(f.dir) {
		return nil
	}
	n := len(f.logs)
	for n > 0 && f.logs[n-1].size == 0 {
		n--
	}
	switch {
	case n == 0 && len(f.logs) > 0:
		return f.damaged(f.logs[len(f.logs)-1].name, errors.New("it is empty"))
	case n == 0:
		return fmt.Errorf("session folder %q: the log of the last sign-ins and sign-outs, a *%s file, is missing; "+cure, f.dir, logSuffix)
	case f.logs[n-1].size != logSize:
		return f.damaged(f.logs[n-1].name, fmt.Errorf("it has %d bytes and was made with %d", f.logs[n-1].size, logSize))
	}
	return nil
}

const (
	// logSize is what Badger makes a log with, all zeros. It cuts one that it
	// finds when it opens a folder behind the last whole transaction.
	logSize = 2 * memTableSize

	// maxTransaction is more than one transaction takes in a log: its entries
	// are bounded by 15 % of a memtable.
	maxTransaction = memTableSize / 4

	// sector is the least that a disk writes at once, and hole how many zeros
	// before the end of one tell that it was not written.
	sector = 512
	hole   = 16
)

// verifyLog reads one log. known is the latest commit before it, if not too low.
//
// It consists of transactions, one after the other. The only writer waits until
// one is on the disk before it begins with the next, so whatever was cut off by
// a kill or a power cut belongs to the last transaction, which nobody was told
// to be done. A kill leaves whole entries of it and one that is not, and zeros
// behind that; a power cut may also leave out sectors of it. Anything else behind the last whole
// transaction is damage.
func (f *folder) verifyLog(l *memLog, known uint64) error {
	if l.size == 0 {
		return nil // see recoverFolder
	}
	if l.size < logHeader || l.size > logSize {
		return f.damaged(l.name, fmt.Errorf("it has %d bytes, which no log of this program has", l.size))
	}
	b, err := readLog(filepath.Join(f.dir, l.name))
	if err != nil {
		return f.unreadable(err)
	}
	written := len(trimZeros(b))
	if written == 0 {
		return nil // it was made and not yet begun
	}
	id := binary.BigEndian.Uint64(b)
	key, err := f.keys.get(id)
	if err == nil && (key == nil) != (len(f.options.EncryptionKey) == 0) && written > logHeader {
		err = errors.New("it names the wrong key")
	}
	if err != nil {
		return f.damaged(l.name, err)
	}
	r := logReader{b: b, written: written, key: key}
	end, err := r.replay()
	l.first, l.last = r.first, r.last
	if err == nil {
		switch {
		case l.size == logSize:
			err = r.verifyTail(end, known)
		case int64(end) != l.size:
			err = fmt.Errorf("it ends at byte %d, within a transaction", l.size)
		}
	}
	if err != nil {
		return f.damaged(l.name, err)
	}
	return nil
}

// readLog returns a log up to the zeros at its end, which nearly all of it is,
// and a few of these.
func readLog(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	end := info.Size()
	part := make([]byte, 256<<10)
	for end > 0 {
		n := min(end, int64(len(part)))
		if _, err := file.ReadAt(part[:n], end-n); err != nil {
			return nil, err
		}
		written := len(trimZeros(part[:n]))
		end += int64(written) - n
		if written > 0 {
			break
		}
	}
	b := make([]byte, min(end+logHeader+maxEntryHeader, info.Size()))
	_, err = file.ReadAt(b, 0)
	return b, err
}

// trimZeros cuts the zeros off at the end.
func trimZeros(b []byte) []byte {
	var zeros [4096]byte
	for bytes.HasSuffix(b, zeros[:]) {
		b = b[:len(b)-len(zeros)]
	}
	return bytes.TrimRight(b, "\x00")
}

// replay reads whole transactions, as Badger will, and returns where they end.
func (r *logReader) replay() (end int, err error) {
	end = logHeader
	r.at = end
	for {
		e, ok := r.entry(r.at)
		if !ok {
			return end, nil
		}
		r.at = e.end
		switch {
		case !e.valid():
			return 0, fmt.Errorf("its entry at byte %d makes no sense", e.begin)
		case r.pending == 0 && (e.last() || e.commit <= r.last):
			return 0, fmt.Errorf("its entry at byte %d is of no transaction", e.begin)
		case r.pending != 0 && e.commit != r.pending:
			return 0, fmt.Errorf("at byte %d a transaction begins within another", e.begin)
		case e.last():
			if r.first == 0 {
				r.first = e.commit
			}
			r.last, r.pending = e.commit, 0
			end = e.end
		default:
			r.pending = e.commit
		}
	}
}

// verifyTail tells what a crash left behind the last whole transaction, which
// ends at end, from damage.
func (r *logReader) verifyTail(end int, known uint64) error {
	if r.at >= r.written {
		return nil // zeros only
	}
	broken := fmt.Errorf("its entry at byte %d is broken", r.at)
	if r.written-end > maxTransaction {
		return fmt.Errorf("%w, and more follows than was not yet done", broken)
	}
	commit := r.pending
	if commit == 0 {
		commit = max(known, r.last) + 1
	}
	unknown := r.pending == 0 && r.last == 0 // known is then the least
	gap := r.gap()
	for i := r.at + 1; i < r.written; i++ {
		e, ok := r.entry(i)
		if !ok || !e.valid() {
			continue
		}
		if unknown && e.commit >= commit {
			commit = e.commit
		}
		unknown = false
		if e.commit != commit || i < gap {
			return fmt.Errorf("%w, and whole ones follow", broken)
		}
		i = e.end - 1
	}
	if gap < r.written || r.unfinished() {
		return nil
	}
	return broken
}

// gap is where the first sector behind the broken entry ends that was not
// written, len(r.b) if all were.
func (r *logReader) gap() int {
	for i := (r.at/sector + 1) * sector; i < r.written; i += sector {
		if len(bytes.Trim(r.b[max(r.at, i-hole):i], "\x00")) == 0 {
			return i
		}
	}
	return len(r.b)
}

// unfinished tells whether the broken entry can be the beginning of one, with
// nothing behind it.
func (r *logReader) unfinished() bool {
	rest := r.b[r.at:r.written]
	if r.pending != 0 {
		// The end of the transaction is known to the last byte.
		want := r.marker(r.pending, r.at)
		if bytes.HasPrefix(want, rest) {
			return true
		}
		same := 0
		for i := range min(len(rest), len(want)) {
			if rest[i] == want[i] {
				same++
			}
		}
		if same > len(want)/2 {
			return false
		}
	}
	if rest[0] == 0 {
		return true // the copying of large entries puts the first bytes in last
	}
	h, ok := readHeader(r.b[r.at:])
	if !ok || len(rest) < h.header {
		return len(rest) < maxEntryHeader
	}
	if !h.plausible() {
		return false
	}
	// Its end is put in last too.
	stop := r.at + h.size()
	return stop <= logSize && r.written < stop
}
