package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
)

// dataKeys are the keys that files are encrypted with. They are in the key
// registry, each encrypted with the configured key, and have the numbers from
// 1 on; number 0 means plain text.
type dataKeys struct {
	registry *badger.KeyRegistry // nil: a new folder
	count    uint64
}

func (k dataKeys) get(id uint64) (*pb.DataKey, error) {
	if k.registry == nil {
		if id != 0 {
			return nil, fmt.Errorf("it is encrypted, and file %q is missing", badger.KeyRegistryFileName)
		}
		return nil, nil
	}
	key, err := k.registry.DataKey(id)
	if err != nil {
		return nil, fmt.Errorf("it is encrypted with a key that is not in file %q", badger.KeyRegistryFileName)
	}
	return key, nil
}

const (
	registryIV    = 16
	registrySane  = "Hello Badger" // what a key must decrypt
	registryEntry = 8              // length and checksum before each key
)

// readKeys opens the key registry. It finds the sizes of its parts itself
// first: Badger believes a length of four gigabytes.
func (f *folder) readKeys() error {
	const name = badger.KeyRegistryFileName
	if !f.has(name) {
		if f.holds() {
			return fmt.Errorf("session folder %q: file %q is missing; "+cure, f.dir, name)
		}
		return nil
	}
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		return f.unreadable(err)
	}
	if len(b) < registryIV+len(registrySane) {
		return f.damaged(name, errors.New("it is cut short"))
	}
	for rest := b[registryIV+len(registrySane):]; len(rest) > 0; f.keys.count++ {
		if len(rest) < registryEntry {
			return f.damaged(name, errors.New("its last key is cut short"))
		}
		n := uint64(binary.BigEndian.Uint32(rest))
		if n == 0 || n > uint64(len(rest)-registryEntry) {
			return f.damaged(name, errors.New("its last key is cut short"))
		}
		rest = rest[registryEntry+n:]
	}
	plain := string(b[registryIV:registryIV+len(registrySane)]) == registrySane
	f.keys.registry, err = badger.OpenKeyRegistry(badger.KeyRegistryOptions{
		Dir: f.dir, ReadOnly: true, EncryptionKey: f.options.EncryptionKey,
	})
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, badger.ErrEncryptionKeyMismatch):
		return f.damaged(name, err)
	case plain:
		return fmt.Errorf("session folder %q is not encrypted: remove encryption_key, or move the folder away and everybody signs in again", f.dir)
	case len(f.options.EncryptionKey) == 0:
		return fmt.Errorf("session folder %q is encrypted, or its file %q is damaged: it needs its encryption_key; without it, move the folder away and everybody signs in again", f.dir, name)
	default:
		return fmt.Errorf("session folder %q is encrypted with another encryption_key, or its file %q is damaged; without its key, move the folder away and everybody signs in again", f.dir, name)
	}
}
