package badgerstore

import (
	"github.com/dgraph-io/badger/v4"
	dbopts "github.com/dgraph-io/badger/v4/options"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// Options of Open. The zero value means the defaults.
type Options struct {
	// EncryptionKey encrypts the files, with AES: 16, 24 or 32 bytes. Default:
	// none, and the files are protected by the folder's permissions alone
	EncryptionKey []byte

	// MinFree is how many bytes must be free on the folder's disk for anything
	// to be written but the end of a session. Default: 128 MiB
	MinFree int64
}

// memTableSize also decides how large logs are: one that was made with another
// size is taken for damaged.
const memTableSize = 8 << 20

// badgerOptions are for a small footprint beside a web server. Measured with a
// million sessions: 534 MB on disk, about 3 µs for a read; Caddy has 81 MB more
// memory than without them while 10,000 are in use, most of it these.
func badgerOptions(dir string, options Options, log logger) badger.Options {
	o := badger.DefaultOptions(dir)

	// A commit is on the disk when it returns. The committer makes many
	// changes share one.
	o.SyncWrites = true

	// One writer: nothing to conflict with, and no list of all reads.
	o.DetectConflicts = false

	// Two memtables of 8 MB instead of five of 64: they hold the changes
	// until they are sorted into tables, and are allocated whole.
	o.MemTableSize = memTableSize
	o.NumMemtables = 2

	// Few unsorted tables, as every read looks into each of them; and a stall
	// long before the default of 15 would cost memory and reading time.
	o.NumLevelZeroTables = 2
	o.NumLevelZeroTablesStall = 6

	// The fewest that Badger allows. There is little to compact.
	o.NumCompactors = 2

	// Values stay in the tables: every record is smaller than this, so the
	// value log stays empty and needs no garbage collection; compaction alone
	// reclaims space. Its preallocated (sparse) file is kept small.
	o.ValueThreshold = 2 * sessionstore.MaxRecord
	o.ValueLogFileSize = 8 << 20

	// Records are short and compact: compression would save a quarter of the
	// disk, need a block cache and make a read two to fifteen times slower.
	// Without it the kernel's page cache is the cache, which other programs
	// can have back.
	o.Compression = dbopts.None
	o.BlockCacheSize = 0
	o.IndexCacheSize = 0
	if len(options.EncryptionKey) > 0 {
		// Encrypted blocks and indexes cannot be read where they are, and
		// Badger demands caches for the plain ones. An index that is not in it
		// is decrypted whole for each read: there is room for those of about
		// a million sessions. Blocks are small and the sessions in use are in
		// memory already, so few are kept.
		o.EncryptionKey = options.EncryptionKey
		o.IndexCacheSize = 16 << 20
		o.BlockCacheSize = 4 << 20
	}

	// Badger compares the checksums of blocks never, and not on each read: it
	// takes a block with a wrong one for empty, without an error, so that a
	// single bit would bring all sessions back that were signed out in it.
	// verify does it at the start, and each record has a checksum of its own.
	o.ChecksumVerificationMode = dbopts.NoVerification

	// Badger's metrics are global to the process and registered with expvar.
	o.MetricsEnabled = false

	// Only the newest version of a record is ever read.
	o.NumVersionsToKeep = 1

	o.ExternalMagicVersion = formatMagic
	o.Logger = log
	return o
}
