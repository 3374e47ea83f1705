package redisstore

// A budget's value is, in big-endian numbers:
//
//	1 | window (4 bytes) | number of failures (2) | time (6) of each failure |
//	time (6) and attempt (16) of each place
//
// The first byte is the format; a higher one, up to 31, is that of a newer version:
// such a value is left as it is, and the step that needs it fails.
//
// Times are milliseconds since 1970, windows milliseconds: the longest that the
// budget was counted with. Numbers of scripts are floats, which hold them
// exactly. Beside the hash of the values of each space stands a sorted set of
// their keys by expiry: the server can only expire whole keys, so scripts collect
// in passing. A key with up to three failures takes about 250 bytes of the
// server's memory, all told: no more than 150 MB of them with the throttle's
// default bounds, under whatever flood.

// What both steps share. KEYS: of the accounts and of the sources, the hash and
// the sorted set. ARGV begins with the attempt, and the time of a lease in ms.
//
// The entries that a step needs are read once and written once, at its end: one
// key may be in several lists.
const budgetFunctions = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local attempt, lease = ARGV[1], tonumber(ARGV[2])
local longest = 30 * 86400 * 1000
local most_failures = 1000
local spaces = {{hash = KEYS[1], ends = KEYS[2], seen = {}}, {hash = KEYS[3], ends = KEYS[4], seen = {}}}
local damaged = 0
local newer = false

local function decode(value)
	if #value < 7 or string.byte(value, 1) ~= 1 then return nil end
	local window, n = struct.unpack('>I4I2', value, 2)
	local places = (#value - 7 - 6 * n) / 22
	if window > longest or places < 0 or places ~= math.floor(places) then return nil end
	local e, at = {window = window, times = {}, places = {}}, 8
	for i = 1, n do
		e.times[i] = struct.unpack('>I6', value, at)
		at = at + 6
	end
	for i = 1, places do
		e.places[i] = {at = struct.unpack('>I6', value, at), attempt = string.sub(value, at + 6, at + 21)}
		at = at + 22
	end
	return e
end

-- Times in the future become now, for good: else a clock that was set back would
-- block until it is where it was, and a window more.
local function clamp(e)
	for i, at in ipairs(e.times) do
		if at > now then e.times[i], e.changed = now, true end
	end
	for _, p in ipairs(e.places) do
		if p.at > now then p.at, e.changed = now, true end
	end
	table.sort(e.times)
end

local function entry(space, key)
	local s = spaces[space]
	local e = s.seen[key]
	if e then return e end
	local value = redis.call('HGET', s.hash, key)
	e = value and decode(value)
	if not e and value and #value > 0 and string.byte(value, 1) > 1 and string.byte(value, 1) < 32 then
		e = {window = 0, times = {}, places = {}, newer = true}
	elseif not e then
		if value then damaged = damaged + 1 end
		e = {window = 0, times = {}, places = {}, changed = value and true}
	end
	e.stored = value and true
	clamp(e)
	s.seen[key] = e
	return e
end

-- collect drops up to n entries that have expired, and puts right as many whose
-- expiry a clock that was wrong has put out of reach.
local function collect(space, n)
	local s = spaces[space]
	local gone = redis.call('ZRANGE', s.ends, '-inf', now, 'BYSCORE', 'LIMIT', 0, n)
	if #gone > 0 then
		redis.call('HDEL', s.hash, unpack(gone))
		redis.call('ZREM', s.ends, unpack(gone))
		for _, key in ipairs(gone) do
			if s.seen[key] then s.seen[key].stored = nil end
		end
		s.count = nil
	end
	local strays = redis.call('ZRANGE', s.ends, '(' .. (now + longest), '+inf', 'BYSCORE', 'LIMIT', 0, n)
	for _, key in ipairs(strays) do entry(space, key).changed = true end
end

-- needed is the entry of a budget that the attempt has to do with.
local function needed(b)
	local e = entry(b.space, b.key)
	if e.newer then newer = true end
	return e
end

-- room tells whether e may have an entry, and counts it if it is a new one.
local function room(space, e, most)
	if e.stored or e.new then return true end
	local s = spaces[space]
	s.count = s.count or redis.call('ZCARD', s.ends)
	if s.count >= most then
		collect(space, 64)
		s.count = s.count or redis.call('ZCARD', s.ends)
	end
	if s.count >= most then return false end
	s.count, e.new = s.count + 1, true
	return true
end

-- leave takes away the attempt's place in e.
local function leave(e)
	for i, p in ipairs(e.places) do
		if p.attempt == attempt then
			table.remove(e.places, i)
			e.changed = true
			return
		end
	end
end

local function store(s, key, e)
	local times, places, expiry = {}, {}, 0
	for _, at in ipairs(e.times) do
		if at + e.window > now then times[#times + 1] = struct.pack('>I6', at) end
	end
	if #times > 0 then expiry = e.times[#e.times] + e.window end
	for _, p in ipairs(e.places) do
		local till = p.at + math.max(e.window, lease)
		if till > now then
			places[#places + 1] = struct.pack('>I6', p.at) .. p.attempt
			expiry = math.max(expiry, till)
		end
	end
	if expiry == 0 then
		redis.call('HDEL', s.hash, key)
		redis.call('ZREM', s.ends, key)
		return
	end
	local first = math.max(#times - most_failures, 0) + 1
	local value = struct.pack('>BI4I2', 1, e.window, #times - first + 1) .. table.concat(times, '', first) .. table.concat(places)
	redis.call('HSET', s.hash, key, value)
	redis.call('ZADD', s.ends, expiry, key)
end

local function store_all()
	for _, s in ipairs(spaces) do
		for key, e in pairs(s.seen) do
			if e.changed and not e.newer then store(s, key, e) end
		end
	end
end

-- budgets reads a list of them from ARGV[i]: their number, and of each key, space,
-- limit, window in ms and room. It returns where the list ends.
local function budgets(i)
	local list, n = {}, tonumber(ARGV[i])
	i = i + 1
	for j = 1, n do
		list[j] = {key = ARGV[i], space = tonumber(ARGV[i + 1]), limit = tonumber(ARGV[i + 2]), window = tonumber(ARGV[i + 3]), room = tonumber(ARGV[i + 4])}
		i = i + 5
	end
	return list, i
end

-- Before anything else: also a server whose memory is full deletes.
collect(1, 4)
collect(2, 4)
`

// ARGV goes on with the budgets that the attempt holds, the number of groups and
// the budgets of each. The answer is whether places were taken, how many values
// were damaged, and of each group that was looked at: for how long it is blocked
// in ms, by which budget, whether one is full, and those without room.
const reserveText = `
local function standing(e, b)
	local counted, under_way = {}, 0
	for _, at in ipairs(e.times) do
		if at + b.window > now then counted[#counted + 1] = at end
	end
	for _, p in ipairs(e.places) do
		if p.at + lease > now then
			under_way = under_way + 1
		elseif p.at + b.window > now then
			counted[#counted + 1] = p.at
		end
	end
	if #counted >= b.limit then
		table.sort(counted)
		return counted[#counted - b.limit + 1] + b.window - now, false
	end
	return 0, #counted + under_way >= b.limit
end

local held, i = budgets(3)
for _, b in ipairs(held) do leave(needed(b)) end

local answer = {0, 0}
local groups = tonumber(ARGV[i])
i = i + 1
for g = 1, groups do
	local group
	group, i = budgets(i)
	local blocked, by, full, overflow = 0, 0, 0, {}
	local places = {}
	for n, b in ipairs(group) do
		local e = needed(b)
		local for_ms, is_full = standing(e, b)
		if for_ms > blocked then blocked, by = for_ms, n - 1 end
		if is_full then full = 1 end
		if room(b.space, e, b.room) then
			places[#places + 1] = {e = e, window = b.window}
		else
			overflow[#overflow + 1] = n - 1
		end
	end
	answer[#answer + 1] = {blocked, by, full, unpack(overflow)}
	if #group > 0 and blocked == 0 and full == 0 then
		for _, p in ipairs(places) do
			local e = p.e
			e.places[#e.places + 1] = {at = now, attempt = attempt}
			e.window, e.changed = math.max(e.window, p.window), true
		end
		answer[1] = 1
		break
	end
end
if newer then return {0, -1} end
store_all()
answer[2] = damaged
return answer
`

// ARGV goes on with whether the attempt has failed, the budgets that it holds
// and those that are cleared. The answer is how many values were damaged, and
// the held ones without room for a failure.
const settleText = `
local held, cleared, i
held, i = budgets(4)
cleared = budgets(i)
local answer = {0}
for n, b in ipairs(held) do
	local e = needed(b)
	leave(e)
	if ARGV[3] == '1' then
		if room(b.space, e, b.room) then
			e.times[#e.times + 1] = now
			e.window, e.changed = math.max(e.window, b.window), true
		else
			answer[#answer + 1] = n - 1
		end
	end
end
for _, b in ipairs(cleared) do
	local e = needed(b)
	if #e.times > 0 then e.times, e.changed = {}, true end
	for n = #e.places, 1, -1 do
		if e.places[n].at + lease <= now then
			table.remove(e.places, n)
			e.changed = true
		end
	end
end
if newer then return {-1} end
store_all()
answer[1] = damaged
return answer
`
