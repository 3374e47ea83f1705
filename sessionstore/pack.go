package sessionstore

import "encoding/binary"

// The fields of a record repeat each other: the name of a user is in the DN, in
// the email address and in the display name, and every DN ends alike. pack
// writes what stood there before as a reference to it:
//
//	n<<1 (uvarint) | n bytes                     bytes as they are
//	(n-minCopy)<<1 + 1 (uvarint) | d (uvarint)   the n bytes that begin d bytes back
//
// General compression does no better on half a kilobyte, and what it needs to
// unpack is many times larger than the record.
const (
	// minCopy is the shortest part that a reference is shorter than, with what
	// it takes to begin the bytes after it anew.
	minCopy = 5

	// The table of what stands where has 2^packBits places.
	packBits = 10
)

// pack appends the packed form of b to dst.
func pack(dst, b []byte) []byte {
	var table [1 << packBits]int32 // where a hash of four bytes was met last, and one more
	plain := 0                     // where the bytes begin that are written as they are
	for i := 0; i+minCopy <= len(b); {
		place := &table[binary.LittleEndian.Uint32(b[i:])*0x9e3779b1>>(32-packBits)]
		earlier := int(*place) - 1
		*place = int32(i) + 1
		n := 0
		if earlier >= 0 {
			for i+n < len(b) && b[earlier+n] == b[i+n] {
				n++
			}
		}
		if n < minCopy {
			i++
			continue
		}
		dst = appendPlain(dst, b[plain:i])
		dst = binary.AppendUvarint(dst, uint64(n-minCopy)<<1|1)
		dst = binary.AppendUvarint(dst, uint64(i-earlier))
		i += n
		plain = i
	}
	return appendPlain(dst, b[plain:])
}

func appendPlain(dst, b []byte) []byte {
	if len(b) == 0 {
		return dst
	}
	return append(binary.AppendUvarint(dst, uint64(len(b))<<1), b...)
}

// unpack appends what b is the packed form of to dst, at most limit bytes
// together: a few bytes can refer to each other until the memory is full.
func unpack(dst, b []byte, limit int) (unpacked []byte, ok bool) {
	for len(b) > 0 {
		head, size := binary.Uvarint(b)
		if size <= 0 || head>>1 > uint64(limit) {
			return nil, false
		}
		b = b[size:]
		n := int(head >> 1)
		if head&1 == 0 {
			if n > len(b) || n > limit-len(dst) {
				return nil, false
			}
			dst, b = append(dst, b[:n]...), b[n:]
			continue
		}
		n += minCopy
		back, size := binary.Uvarint(b)
		if size <= 0 || back == 0 || back > uint64(len(dst)) || n > limit-len(dst) {
			return nil, false
		}
		b = b[size:]
		for from := len(dst) - int(back); n > 0; n-- { // it may reach into what it writes
			dst = append(dst, dst[from])
			from++
		}
	}
	return dst, true
}
