package badgerstore

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// verifyValueLogs looks at the heads of the value logs. Nothing is ever in
// them: all values are small and stay beside their keys. Badger reads them
// nevertheless, and allocates whatever an entry claims to need.
func (f *folder) verifyValueLogs() error {
	for name := range f.files {
		if filepath.Ext(name) != valueSuffix {
			continue
		}
		head, err := readHead(filepath.Join(f.dir, name))
		if err != nil {
			return f.unreadable(err)
		}
		if len(head) < logHeader {
			continue // Badger makes it anew
		}
		if _, err := f.keys.get(binary.BigEndian.Uint64(head)); err != nil {
			return f.damaged(name, err)
		}
		for _, c := range head[logHeader:] {
			if c != 0 {
				return f.damaged(name, errors.New("it has entries, which this program never writes"))
			}
		}
	}
	return nil
}

// readHead returns the header of a log and room for that of an entry.
func readHead(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, logHeader+maxEntryHeader))
}
