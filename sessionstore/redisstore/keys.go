package redisstore

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// keys are the names of what is stored. All begin with one hash tag.
type keys struct {
	sessions string // and the key of the token: the session's place and record
	users    string // and the user's digest: the user record
	secrets  string // and the name: the secret
	replaced string // and the key of the token: a sign-in has just replaced it

	index    string // sorted set: the places of all sessions
	ids      string // hash: public id: key of the token
	seen     string // hash: key of the token: when it was last seen
	people   string // sorted set: directory and ID of all users
	counters string // hash: key of the counter: the counter
	expiries string // sorted set: keys of the counters, by their expiry
	mark     string // the latest time that was seen
	fence    string // is written so that a replica has something to confirm

	accounts, sources       string // hashes: key of the budget: the budget
	accountEnds, sourceEnds string // sorted sets: keys of the budgets, by their expiry
}

func newKeys(prefix string) keys {
	p := "{" + prefix + "}:"
	return keys{
		sessions: p + "s:", users: p + "u:", secrets: p + "k:", replaced: p + "r:",
		index: p + "index", ids: p + "ids", seen: p + "seen", people: p + "people",
		counters: p + "counters", expiries: p + "expiries", mark: p + "mark", fence: p + "fence",
		accounts: p + "accounts", accountEnds: p + "accountends", sources: p + "sources", sourceEnds: p + "sourceends",
	}
}

func (k *keys) session(key sessionstore.Key) string { return k.sessions + string(key[:]) }

func (k *keys) replacedBy(key sessionstore.Key) string { return k.replaced + string(key[:]) }

func (k *keys) user(directory, id string) string { return k.users + userDigest(directory, id) }

func (k *keys) secret(name string) string { return k.secrets + name }

// sessionOf is the session whose record has that name.
func (k *keys) sessionOf(name string) (key sessionstore.Key, ok bool) {
	rest, ok := strings.CutPrefix(name, k.sessions)
	if !ok || len(rest) != len(key) {
		return key, false
	}
	copy(key[:], rest)
	return key, true
}

// digestSize is how much of a digest names a user. Nothing is decided by it
// alone: what it leads to names the user in full.
const digestSize = 16

// userDigest names a user in keys, which would else be of any length.
func userDigest(directory, id string) string {
	sum := sha256.Sum256(append(appendField(nil, directory), id...))
	return string(sum[:digestSize])
}

// person names a user among all. It carries the directory's length: without it
// the user "b" of "a.x" and the user "xb" of "a." would be one.
func person(directory, id string) string {
	return string(append(appendField(nil, directory), sessionstore.ShortID(id)...))
}

// decodePerson reads what person has made.
func decodePerson(b string) (directory, id string, ok bool) {
	directory, rest, ok := cutField(b)
	if !ok || directory == "" || rest == "" {
		return "", "", false
	}
	id, ok = sessionstore.LongID(rest)
	return directory, id, ok
}

// appendField appends a part that others follow, with its length.
func appendField(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func cutField(b string) (field, rest string, ok bool) {
	n, size := binary.Uvarint([]byte(b[:min(len(b), binary.MaxVarintLen64)]))
	if size <= 0 || n > uint64(len(b)-size) {
		return "", "", false
	}
	b = b[size:]
	return b[:n], b[n:], true
}
