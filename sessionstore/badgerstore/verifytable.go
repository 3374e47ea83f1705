package badgerstore

import (
	"bufio"
	"crypto/aes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// maxIndex is far more than the index of the largest table takes.
const maxIndex = 64 << 20

// verifyTable compares the checksums of everything in a table, and returns its
// latest commit. A table is
//
//	blocks | index | length of index | checksum of index | length of checksum
//
// with lengths of four bytes, and a block is
//
//	entries and where they are | checksum | length of checksum
//
// Blocks and index are encrypted one by one, each with its IV at the end. The
// checksum of the index is of the encrypted bytes, that of a block is inside.
func verifyTable(path string, key *pb.DataKey) (version uint64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	encoded, end, err := readIndex(file)
	if err != nil {
		return 0, err
	}
	err = careful(func() error {
		b, err := decrypt(encoded, key)
		if err != nil {
			return err
		}
		index := fb.GetRootAsTableIndex(b, 0)
		version = index.MaxVersion()
		return verifyBlocks(bufio.NewReaderSize(file, 256<<10), index, end, key)
	})
	return version, err
}

// readIndex returns the index as it is stored, and where the blocks end.
func readIndex(file *os.File) (index []byte, end int64, err error) {
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	end = info.Size()
	before := func(limit int64) ([]byte, error) {
		var length [4]byte
		if end -= 4; end < 0 {
			return nil, errCutShort
		}
		if _, err := file.ReadAt(length[:], end); err != nil {
			return nil, err
		}
		n := int64(binary.BigEndian.Uint32(length[:]))
		if n > min(limit, end) {
			return nil, errCutShort
		}
		b := make([]byte, n)
		end -= n
		_, err := file.ReadAt(b, end)
		return b, err
	}
	const maxChecksum = 64
	checksum, err := before(maxChecksum)
	if err != nil {
		return nil, 0, err
	}
	if index, err = before(maxIndex); err != nil {
		return nil, 0, err
	}
	if len(index) == 0 {
		return nil, 0, errors.New("its index is empty")
	}
	return index, end, verifyChecksum(index, checksum)
}

var errCutShort = errors.New("it is cut short, or its end is damaged")

func verifyBlocks(file io.Reader, index *fb.TableIndex, end int64, key *pb.DataKey) error {
	if index.OffsetsLength() == 0 {
		return errors.New("its index is empty")
	}
	var position int64
	var buffer []byte
	for i := range index.OffsetsLength() {
		var at fb.BlockOffset
		if !index.Offsets(&at, i) || int64(at.Offset()) != position || int64(at.Len()) > end-position {
			return fmt.Errorf("its index is wrong about block %d", i)
		}
		n := int(at.Len())
		if cap(buffer) < n {
			buffer = make([]byte, n)
		}
		if _, err := io.ReadFull(file, buffer[:n]); err != nil {
			return err
		}
		if err := verifyBlock(buffer[:n], key); err != nil {
			return fmt.Errorf("block %d, at byte %d: %w", i, position, err)
		}
		position += int64(n)
	}
	if position != end {
		return errors.New("there is something between its blocks and its index")
	}
	return nil
}

func verifyBlock(b []byte, key *pb.DataKey) error {
	b, err := decrypt(b, key)
	if err != nil {
		return err
	}
	end := len(b) - 4
	if end < 0 {
		return errCutShort
	}
	n := binary.BigEndian.Uint32(b[end:])
	if uint64(n) > uint64(end) {
		return errWrongChecksum
	}
	return verifyChecksum(b[:end-int(n)], b[end-int(n):end])
}

var errWrongChecksum = errors.New("its checksum is wrong")

func verifyChecksum(b, encoded []byte) error {
	checksum := new(pb.Checksum)
	if err := proto.Unmarshal(encoded, checksum); err != nil {
		return errWrongChecksum
	}
	switch checksum.Algo {
	case pb.Checksum_CRC32C, pb.Checksum_XXHash64:
	default:
		return errWrongChecksum
	}
	if y.VerifyChecksum(b, checksum) != nil {
		return errWrongChecksum
	}
	return nil
}

// decrypt returns what is before the IV, in plain.
func decrypt(b []byte, key *pb.DataKey) ([]byte, error) {
	if key == nil {
		return b, nil
	}
	end := len(b) - aes.BlockSize
	if end < 0 {
		return nil, errCutShort
	}
	return y.XORBlockAllocate(b[:end], key.Data, b[end:])
}
