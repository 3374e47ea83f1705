package redisstore

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"strings"

	"github.com/redis/rueidis"
)

// script is one step of several commands that the server does whole or not at
// all. Its text is fixed: keys and data are arguments, never part of it.
type script struct{ text, digest string }

func newScript(text string) *script {
	sum := sha1.Sum([]byte(text)) // Redis names scripts so
	return &script{text, hex.EncodeToString(sum[:])}
}

// byDigest and byText are the commands that run it. The server forgets scripts
// when it restarts and on a failover; then the text goes along.
func (x *script) byDigest(b rueidis.Builder, keys, args []string) rueidis.Completed {
	return b.Evalsha().Sha1(x.digest).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}

func (x *script) byText(b rueidis.Builder, keys, args []string) rueidis.Completed {
	return b.Eval().Script(x.text).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}

// run runs a script on the connection that all share.
func (s *Store) run(ctx context.Context, x *script, keys, args []string) (rueidis.RedisMessage, error) {
	m, err := s.do(ctx, func() rueidis.RedisResult { return s.client.Do(ctx, x.byDigest(s.client.B(), keys, args)) })
	if unknownScript(err) {
		m, err = s.do(ctx, func() rueidis.RedisResult { return s.client.Do(ctx, x.byText(s.client.B(), keys, args)) })
	}
	return m, err
}

func unknownScript(err error) bool {
	answer, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(answer.Error(), "NOSCRIPT")
}

// scripts are all steps.
type scripts struct {
	create, update, end, purge, touch, mark, secret, giveBack, saveCounters, dropCounters, health,
	reserve, settle *script
}

func newScripts() scripts {
	return scripts{
		create:       newScript(placeFunctions + createText),
		update:       newScript(placeFunctions + updateText),
		end:          newScript(placeFunctions + endText),
		purge:        newScript(placeFunctions + purgeText),
		touch:        newScript(laterFunction + touchText),
		mark:         newScript(laterFunction + markText),
		secret:       newScript(secretText),
		giveBack:     newScript(giveBackText),
		saveCounters: newScript(saveCountersText),
		dropCounters: newScript(dropCountersText),
		health:       newScript(healthText),
		reserve:      newScript(budgetFunctions + reserveText),
		settle:       newScript(budgetFunctions + settleText),
	}
}

// What a session's value says of its place (place.go). Nothing here fails on
// bytes that are damaged: a session that cannot be read must still be ended.
const placeFunctions = `
local function place(value)
	if #value < 4 then return nil end
	local a, b, c, d = string.byte(value, 1, 4)
	local n = ((a * 256 + b) * 256 + c) * 256 + d
	if n == 0 or #value < 4 + n then return nil end
	return string.sub(value, 5, 4 + n)
end
local function id_and_key(member)
	if #member < 26 then return nil end
	local a, b = string.byte(member, 25, 26)
	local n = a * 256 + b
	if #member < 26 + n + 32 then return nil end
	return string.sub(member, 27, 26 + n), string.sub(member, 27 + n, 58 + n)
end
local function unlist(index, ids, member, key)
	local id, of = id_and_key(member)
	if of ~= key then return false end
	if redis.call('HGET', ids, id) == key then redis.call('HDEL', ids, id) end
	return redis.call('ZREM', index, member) == 1
end
-- The code is 0: it was not there, 1: it is gone, 2: it is gone, and where it
-- stands in the index is not known.
local function finish(index, ids, seen, name, key, hint)
	local value = redis.call('GET', name)
	local last = redis.call('HGET', seen, key)
	redis.call('HDEL', seen, key)
	local listed = false
	if hint ~= '' then listed = unlist(index, ids, hint, key) end
	if not value then return {0, ''} end
	redis.call('DEL', name)
	local member = place(value)
	if member and member ~= hint and unlist(index, ids, member, key) then listed = true end
	return {listed and 1 or 2, last or ''}
end
`

// KEYS: index, ids, seen, people, user record, session, and the session that is
// replaced and the note of that, if there is one. ARGV: key, value, place, public
// id, created, expiry in ms or 0, user record as it was read and as it is to be,
// person, key that is replaced, and for how many ms that is noted. It does nothing
// if the user record is another one by now.
const createText = `
local user = redis.call('GET', KEYS[5]) or ''
if user ~= ARGV[7] then return {1, user} end
local code = 0
if KEYS[7] then
	code = finish(KEYS[1], KEYS[2], KEYS[3], KEYS[7], ARGV[10], '')[1]
	if code ~= 0 then redis.call('SET', KEYS[8], '1', 'PX', ARGV[11]) end
end
redis.call('SET', KEYS[5], ARGV[8])
redis.call('ZADD', KEYS[4], 0, ARGV[9])
if ARGV[6] == '0' then
	redis.call('SET', KEYS[6], ARGV[2])
else
	redis.call('SET', KEYS[6], ARGV[2], 'PXAT', ARGV[6])
end
redis.call('ZADD', KEYS[1], 0, ARGV[3])
redis.call('HSET', KEYS[2], ARGV[4], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[5])
return {0, code}
`

// KEYS: index, ids, session. ARGV: key, value as it was read, value, place,
// public id, expiry in ms or 0. The answer is 0: there is none, 1: done, 2: the
// value is another one by now. The old value is removed first (endText): groups
// that were taken away must not come back where the memory is full.
const updateText = `
local value = redis.call('GET', KEYS[3])
if not value then return 0 end
if value ~= ARGV[2] then return 2 end
redis.call('DEL', KEYS[3])
local member = place(value)
if member ~= ARGV[4] then
	if member then unlist(KEYS[1], KEYS[2], member, ARGV[1]) end
	redis.call('ZADD', KEYS[1], 0, ARGV[4])
	redis.call('HSET', KEYS[2], ARGV[5], ARGV[1])
end
if ARGV[6] == '0' then
	redis.call('SET', KEYS[3], ARGV[3])
else
	redis.call('SET', KEYS[3], ARGV[3], 'PXAT', ARGV[6])
end
return 1
`

// KEYS: index, ids, seen, fence, sessions. ARGV: '1' if the fence is written or ”;
// of each session its key, and its place as it was listed or ”. The fence is
// removed first, as a server whose memory is full lets only those scripts store
// anything that have begun to remove.
const endText = `
local codes = {}
for i = 5, #KEYS do
	local n = (i - 5) * 2 + 1
	codes[i - 4] = finish(KEYS[1], KEYS[2], KEYS[3], KEYS[i], ARGV[n + 1], ARGV[n + 2])
end
if ARGV[1] == '1' then
	redis.call('DEL', KEYS[4])
	redis.call('SET', KEYS[4], '1')
end
return codes
`

// As endText, but only for sessions whose record is gone already: what the
// server has collected leaves the rest behind.
const purgeText = `
local n = 0
for i = 4, #KEYS do
	if redis.call('EXISTS', KEYS[i]) == 0 then
		local a = (i - 4) * 2
		redis.call('HDEL', KEYS[3], ARGV[a + 1])
		if unlist(KEYS[1], KEYS[2], ARGV[a + 2], ARGV[a + 1]) then n = n + 1 end
	end
end
return n
`

// Times are compared in two halves: as numbers they are too long to be exact,
// and texts are compared by the rules of the server's locale.
const laterFunction = `
local function later(a, b)
	local x, y = tonumber(string.sub(a, 1, 10)), tonumber(string.sub(b, 1, 10))
	if #a ~= 19 or #b ~= 19 or not x or not y then return nil end
	if x ~= y then return x > y end
	x, y = tonumber(string.sub(a, 11)), tonumber(string.sub(b, 11))
	if not x or not y then return nil end
	return x > y
end
`

// KEYS: seen. ARGV: keys of the token, each once, then their times. It begins to
// remove, though there is nothing (endText): sessions in use must not end because
// the memory is full.
const touchText = `
local n = #ARGV / 2
local last = redis.call('HMGET', KEYS[1], unpack(ARGV, 1, n))
local set = {}
for i = 1, n do
	if last[i] and later(ARGV[n + i], last[i]) then
		set[#set + 1] = ARGV[i]
		set[#set + 1] = ARGV[n + i]
	end
end
if #set > 0 then
	redis.call('HDEL', KEYS[1], '')
	redis.call('HSET', KEYS[1], unpack(set))
end
return #set / 2
`

// KEYS: mark. ARGV: a time. One that cannot be read begins anew. The old one is
// removed first (endText).
const markText = `
local stored = redis.call('GET', KEYS[1])
if stored and later(ARGV[1], stored) == false then return stored end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
`

// KEYS: secret. ARGV: a fresh one, and the one that it may replace or ”.
const secretText = `
local stored = redis.call('GET', KEYS[1])
if stored and stored ~= ARGV[2] then return stored end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
`

// KEYS: secret. ARGV: the one that it was. The answer is 1 if there was none.
const giveBackText = `
local stored = redis.call('GET', KEYS[1])
if stored and stored ~= '' then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
`

// KEYS: counters, expiries. ARGV: of each counter its key, record or ”, and the
// second in which it may be collected. Those of a newer format are left as they
// are (budgetscripts.go); the answer is how many.
const saveCountersText = `
local left = 0
for i = 1, #ARGV, 3 do
	local stored = redis.call('HGET', KEYS[1], ARGV[i])
	local format = stored and string.byte(stored, 1) or 0
	if format > 1 and format < 32 then
		left = left + 1
	elseif ARGV[i + 1] == '' then
		redis.call('HDEL', KEYS[1], ARGV[i])
		redis.call('ZREM', KEYS[2], ARGV[i])
	else
		redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
		redis.call('ZADD', KEYS[2], ARGV[i + 2], ARGV[i])
	end
end
return left
`

// KEYS: counters, expiries. ARGV: a second, and how many at the most.
const dropCountersText = `
local gone = redis.call('ZRANGE', KEYS[2], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])
if #gone > 0 then
	redis.call('HDEL', KEYS[1], unpack(gone))
	redis.call('ZREM', KEYS[2], unpack(gone))
end
return #gone
`

// KEYS: any of ours, so that in a cluster the node is asked that has them all.
// ARGV: sections of INFO. Its first line has the server run it also while writes are
// paused, as during a failover that somebody has asked for.
const healthText = `#!lua flags=no-writes,allow-stale
return redis.call('INFO', unpack(ARGV))`
