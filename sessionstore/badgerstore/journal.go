package badgerstore

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// The journal takes the ends of sessions when Badger must not be written to.
// It is a file of zeros, written out and synced while there was space, so that
// a record in it needs none. On a file system that never overwrites in place
// (btrfs, ZFS) it may need some all the same, and an end that cannot be written
// is then an error.
//
// It begins with a header: what it is, a random number, a checksum. Records of
// a fixed size follow: the key, the number of the first record that was written
// in the same step, and a checksum that covers the random number and the
// record's place too. An empty record ends them. The file is never emptied but
// replaced by a new one, so nothing old is ever behind its end.
const (
	journalName    = "ends.journal"
	journalNewName = journalName + ".new"
	journalMagic   = "ldapend\x01" // the last byte is the version

	journalSize   = 1 << 20
	journalHeader = 64
	journalRecord = len(sessionstore.Key{}) + 4 + 4
	journalRoom   = (journalSize - journalHeader) / journalRecord
)

// errJournalFull wraps sessionstore.ErrNoSpace.
var errJournalFull = fmt.Errorf("%w: the journal of ended sessions is full", sessionstore.ErrNoSpace)

// journal is open for appending. One goroutine uses it.
type journal struct {
	file *os.File
	id   [16]byte
	keys []sessionstore.Key // in it, in their order
}

// readJournal opens the journal of dir; nil if there is none. A last step that a
// power cut has torn was never acknowledged, and is ignored; anything else that
// is wrong is an error, and the file is left as it is.
func readJournal(dir string) (*journal, error) {
	name := filepath.Join(dir, journalName)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the journal of ended sessions: %w", err)
	}
	j := &journal{file: f}
	if err := j.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("reading the journal of ended sessions %q: %w", name, err), f.Close())
	}
	return j, nil
}

// again reads what the journal of dir has now; nil if there is none. If it is the
// same file that needs no further file descriptor, as there may be none.
func (j *journal) again(dir string) (*journal, error) {
	was, err := j.file.Stat()
	if err != nil {
		return nil, fmt.Errorf("looking at the journal of ended sessions: %w", err)
	}
	name := filepath.Join(dir, journalName)
	if is, err := os.Stat(name); err != nil || !os.SameFile(was, is) {
		next, err := readJournal(dir)
		if err != nil {
			return nil, err
		}
		return next, j.close()
	}
	same := &journal{file: j.file}
	if _, err = j.file.Seek(0, io.SeekStart); err == nil {
		err = same.read()
	}
	if err != nil {
		return nil, fmt.Errorf("reading the journal of ended sessions %q: %w", name, err)
	}
	return same, nil
}

// findJournal opens the journal of dir; nil if there was none yet. One that is
// lost is damage: with it the ends of sessions that Badger does not know.
func findJournal(dir string) (*journal, error) {
	j, err := readJournal(dir)
	if j == nil && err == nil && isOpened(dir) {
		return nil, fmt.Errorf("session folder %q: file %q is missing: sessions that have ended while nothing could be written would be back; "+cure, dir, journalName)
	}
	return j, err
}

func (j *journal) read() error {
	b := make([]byte, journalSize+1)
	n, err := io.ReadFull(j.file, b)
	if err != io.ErrUnexpectedEOF {
		if err == nil || err == io.EOF {
			err = errors.New("it is damaged: its length is wrong")
		}
		return err
	}
	switch b = b[:n]; {
	case n != journalSize:
		return fmt.Errorf("it is damaged: it has %d bytes, not %d", n, journalSize)
	case string(b[:7]) != journalMagic[:7]:
		return errors.New("it is damaged: its head is not that of a journal")
	case binary.BigEndian.Uint32(b[24:]) != journalSum(b[:24]):
		return errors.New("it is damaged: its head has a wrong checksum")
	case b[7] != journalMagic[7]:
		return fmt.Errorf("it has format %d; this version knows %d", b[7], journalMagic[7])
	}
	copy(j.id[:], b[8:])
	end := -1 // the first record that is none
	for i := range journalRoom {
		record := b[journalHeader+i*journalRecord:][:journalRecord]
		if binary.BigEndian.Uint32(record[36:]) != j.sum(i, record) || emptyRecord(record) {
			if end < 0 {
				end = i
			}
			continue
		}
		if end < 0 {
			j.keys = append(j.keys, sessionstore.Key(record))
			continue
		}
		// A disk may write the sectors of one step in any order. But what was
		// before the step was on the disk when it began.
		if first := binary.BigEndian.Uint32(record[32:]); first > uint32(end) {
			return fmt.Errorf("it is damaged: record %d is not readable, but record %d is", end, i)
		}
	}
	// A killed process may have left some of it in the kernel only. Who asks for
	// one of these ends now is told that it has happened.
	return j.file.Sync()
}

func emptyRecord(record []byte) bool {
	return len(bytes.TrimLeft(record, "\x00")) == 0
}

// createJournal replaces the journal of dir, if there is one, by an empty one.
func createJournal(dir string) (*journal, error) {
	j, err := newJournal(dir)
	if err != nil {
		return nil, fmt.Errorf("creating the journal of ended sessions: %w", err)
	}
	return j, nil
}

func newJournal(dir string) (*journal, error) {
	j := new(journal)
	rand.Read(j.id[:])
	b := make([]byte, journalSize)
	copy(b, journalMagic)
	copy(b[8:], j.id[:])
	binary.BigEndian.PutUint32(b[24:], journalSum(b[:24]))

	name, temporary := filepath.Join(dir, journalName), filepath.Join(dir, journalNewName)
	f, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	// Closed, as Windows renames no open file.
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, name); err != nil {
		return nil, err
	}
	if err := syncFolder(dir); err != nil {
		return nil, err
	}
	j.file, err = os.OpenFile(name, os.O_RDWR, 0)
	return j, err
}

// room is how many keys can still be appended.
func (j *journal) room() int { return journalRoom - len(j.keys) }

// append adds keys, for which there is room, in one step. When it returns nil
// they are on the disk; else none of them counts.
func (j *journal) append(keys []sessionstore.Key) error {
	first := len(j.keys)
	b := make([]byte, 0, len(keys)*journalRecord)
	for i, key := range keys {
		record := append(b[len(b):], key[:]...)
		record = binary.BigEndian.AppendUint32(record, uint32(first))
		record = binary.BigEndian.AppendUint32(record, j.sum(first+i, record))
		b = b[:len(b)+len(record)]
	}
	if _, err := j.file.WriteAt(b, int64(journalHeader+first*journalRecord)); err != nil {
		return fmt.Errorf("writing the journal of ended sessions: %w", err)
	}
	if err := syncData(j.file); err != nil {
		return fmt.Errorf("syncing the journal of ended sessions: %w", err)
	}
	j.keys = append(j.keys, keys...)
	return nil
}

// sum is the checksum of the record at place i.
func (j *journal) sum(i int, record []byte) uint32 {
	place := binary.BigEndian.AppendUint32(j.id[:len(j.id):len(j.id)], uint32(i))
	return crc32.Update(journalSum(place), castagnoli(), record[:36])
}

func (j *journal) close() error { return j.file.Close() }

func journalSum(b []byte) uint32 { return crc32.Checksum(b, castagnoli()) }

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }
