package badgerstore

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"strconv"

	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// logReader reads the log of a memtable:
//
//	number of the data key (8 bytes) | base IV (12) | entries | zeros
//
// An entry is its header, key, value and checksum (4); key and value are
// encrypted together, and the checksum is of the encrypted bytes. Keys end in
// the number of their commit. The last entry of a transaction is a marker.
type logReader struct {
	b       []byte
	written int // behind it there are only zeros
	key     *pb.DataKey

	at          int    // the next entry
	pending     uint64 // the transaction that has begun and not ended
	first, last uint64 // whole transactions
}

const (
	logHeader      = 20
	maxEntryHeader = 22
	checksumSize   = 4
	commitSize     = 8

	// The bits that tell transactions from other entries, which are never
	// written here: all changes of one transaction, and its marker.
	bitDeleted = 1 << 0
	bitTxn     = 1 << 6
	bitEnd     = 1 << 7
	markerKey  = "!badger!txn"
)

// entryHeader is the two bytes of meta data and three varints before an entry.
type entryHeader struct {
	meta       byte
	key, value uint64 // lengths
	header     int    // its own length
}

func readHeader(b []byte) (h entryHeader, ok bool) {
	if len(b) < 2 {
		return h, false
	}
	h.meta, h.header = b[0], 2
	var expires uint64
	for _, v := range []*uint64{&h.key, &h.value, &expires} {
		value, n := binary.Uvarint(b[h.header:])
		if n <= 0 {
			return h, false
		}
		*v = value
		h.header += n
	}
	const most = 1 << 16 // for a key, as Badger sees it
	return h, h.key <= most && h.value <= math.MaxInt32
}

func (h entryHeader) size() int { return h.header + int(h.key+h.value) + checksumSize }

// plausible tells whether this program writes such entries.
func (h entryHeader) plausible() bool {
	switch h.meta {
	case bitEnd:
		return h.key == uint64(len(markerKey)+commitSize)
	case bitTxn, bitTxn | bitDeleted:
		return h.key > commitSize && h.value <= 2*sessionstore.MaxRecord
	}
	return false
}

type logEntry struct {
	entryHeader
	begin, end int
	commit     uint64
	name, text []byte // the key without the commit; a marker's value
}

// entry reads the entry at i, if there is one whose checksum is right.
func (r *logReader) entry(i int) (e logEntry, ok bool) {
	if e.entryHeader, ok = readHeader(r.b[i:]); !ok {
		return e, false
	}
	e.begin, e.end = i, i+e.size()
	if e.end > len(r.b) {
		return e, false
	}
	stored := r.b[i+e.header : e.end-checksumSize]
	checksum := crc32.Checksum(r.b[i:e.end-checksumSize], y.CastagnoliCrcTable)
	if checksum != binary.BigEndian.Uint32(r.b[e.end-checksumSize:]) {
		return e, false
	}
	if e.meta != bitEnd {
		stored = stored[:e.key]
	}
	plain := r.crypt(stored, i)
	if e.key > commitSize {
		e.name, e.text = plain[:e.key-commitSize], plain[e.key:]
		e.commit = math.MaxUint64 - binary.BigEndian.Uint64(plain[e.key-commitSize:])
	}
	return e, true
}

func (e logEntry) last() bool { return e.meta == bitEnd }

// valid tells whether an entry with a right checksum is one of a transaction.
// Read with the wrong key it is not.
func (e logEntry) valid() bool {
	if e.commit == 0 || !e.plausible() {
		return false
	}
	return !e.last() || string(e.name) == markerKey && string(e.text) == strconv.FormatUint(e.commit, 10)
}

// crypt encrypts or decrypts what is in the entry at i.
func (r *logReader) crypt(b []byte, i int) []byte {
	if r.key == nil {
		return b
	}
	iv := make([]byte, 0, 16)
	iv = append(iv, r.b[8:logHeader]...)
	iv = binary.BigEndian.AppendUint32(iv, uint32(i))
	out, err := y.XORBlockAllocate(b, r.key.Data, iv)
	if err != nil {
		return bytes.Repeat([]byte{0}, len(b)) // a key of an impossible length: nothing is valid
	}
	return out
}

// marker is the entry that ends a transaction, as it is at i.
func (r *logReader) marker(commit uint64, i int) []byte {
	text := strconv.FormatUint(commit, 10)
	plain := binary.BigEndian.AppendUint64([]byte(markerKey), math.MaxUint64-commit)
	plain = append(plain, text...)
	b := []byte{bitEnd, 0, byte(len(markerKey) + commitSize), byte(len(text)), 0}
	b = append(b, r.crypt(plain, i)...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, y.CastagnoliCrcTable))
}
