-- One step of one process on the account's book: its operations, then all grants that there is room for.
-- `_shared.py` says what each operation means; `sqlite_book.py` has the same book in SQL. Times are Redis's own.
--
-- Redis may evict any key, and does not undo a script that stops half-way. So each step leaves an inventory: how many
-- entries each key has. A book that differs from it is not whole, and is rebuilt: its leases are counted again, and
-- every process is called to tell in full what it holds and waits for. Nothing is granted meanwhile. A step takes
-- O(operations + grants + queues). Counting takes O(leases), 10 ms for 1,000 of them: it happens once a second at most,
-- and when a book is rebuilt.
--
-- KEYS[1]   what all keys begin with; its hash tag keeps them on one node of a cluster
-- ARGV[1]   the batch, as JSON
--
--   :meta     hash: epoch, arrivals, grants_at (no grant before that moment), inventory ("" within a step),
--             now (moment of the last step), counted_at (of the last count)
--   :pools    hash: name -> JSON of the pool, slots taken included
--   :leases   hash: id -> JSON {o: owners, joined by \31, "" without one; n: 0 its owner was not told of it yet, 1 it
--             was, 2 its task has ended and it counts nothing; p: pools; a: its member in the queue}
--   :expiry   sorted set: id of a lease -> when it runs out
--   :tickets  hash: id -> JSON {o, p, m: member of its queue}
--   :queues   set of the names of queues; :q:<name> sorted set by priority, then by member: arrival and id
--   :seen     hash: session -> number of its last batch, and the seconds that it needs to fetch a grant
--   :alive    sorted set: session -> when it runs out
--   :t:<session> set of its tickets; :g:<session> list of its leases that it was not told of yet
--   :w:<session> channel on which it is woken; :w channel on which all are
--   :rights:<type> exists within a step only

local base = KEYS[1]
local batch = cjson.decode(ARGV[1])
local me = batch.session
local call = redis.call
local META, POOLS, LEASES, EXPIRY = base .. ':meta', base .. ':pools', base .. ':leases', base .. ':expiry'
local TICKETS, QUEUES, SEEN, ALIVE = base .. ':tickets', base .. ':queues', base .. ':seen', base .. ':alive'
-- Of the search for a limit; `search.py` explains them.
local FIRST_WAIT_S, MAX_WAIT_S, SHORT_S, LONG_S, LONG_SLOTS, BRIEF_PER_S, CLOSE_S = 600, 3600, 1, 7, 28, 0.6, 1.5
local FIRST_QUIET_S, MAX_QUIET_S, LEAST_PAUSE_S, MAX_PAUSE_S, KEEP_S = 2, 60, 0.05, 3600, 7 * 86400
-- A process that lives speaks every third of its lease, and every 2 s while it waits.
local LEAST_SILENCE_S = 5
local time = call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local pools, changed = {}, {}
local woken, lost, ended_elsewhere, arrivals = {}, {}, {}, {}

local function new_pool(limit)
  return {limit = limit, working = limit, taken = 0, quiet = FIRST_QUIET_S, probing = 0, paused = 0, raise = 0}
end

local function is_in(list, item)
  for _, each in ipairs(list) do
    if each == item then return true end
  end
  return false
end

local function resize(pool, limit)
  pool.limit, pool.working, pool.quiet, pool.probing = limit, limit, FIRST_QUIET_S, 0
  pool.paused, pool.raise = 0, 0
  pool.search = nil
end

-- Find out the limit of a pool, from `start` on or from where an earlier search has ended.
local function discover(pool, start)
  if pool.search then return end
  resize(pool, pool.found or start)
  pool.search = {
    try_at = 0, wait = FIRST_WAIT_S, trying = 0, full_at = -1, accepted = 0, floor = pool.limit, brief = 0, proven = 0,
    close = 0,
  }
end

-- How long a try must be full.
local function long_s(limit)
  return math.max(SHORT_S, LONG_S * math.min(1, limit / LONG_SLOTS) ^ 2)
end

-- When a full try may count as proven; nil while no try is full.
local function next_look(pool)
  local search = pool.search
  if not search or search.trying == 0 or search.full_at < 0 then return nil end
  local short = search.full_at + SHORT_S
  return now < short and short or search.full_at + long_s(pool.limit)
end

-- Raise the limit if a try is proven by now; return whether anything has changed.
local function look(pool)
  local search = pool.search
  if not search or search.trying == 0 or search.full_at < 0 then return false end
  if now < search.full_at + (12 * search.accepted <= pool.limit and SHORT_S or long_s(pool.limit)) then return false end
  search.trying = 0
  if pool.taken > pool.limit then
    search.proven = 0
    search.brief = search.accepted >= BRIEF_PER_S * pool.limit * (now - search.full_at) and 1 or 0
    pool.limit = pool.limit + 1
    pool.working = pool.limit
  end
  return true
end

-- Take the working limit: what 429s have left of it, or what it has risen to.
local function learn(pool)
  local search = pool.search
  if not search then return end
  if 2 * pool.working <= pool.limit then
    search.fallen = 1
  elseif search.fallen == 1 and pool.working == pool.limit then
    search.fallen, search.floor, search.try_at = 0, pool.limit, 0
  end
end

-- Whether a 429 outside of a try says that the limit is too high.
local function is_about_limit(pool)
  local search = pool.search
  if pool.taken < 1 then return false end
  if search.brief == 1 and now < search.close and pool.limit > search.floor then
    return pool.limit - 1 <= pool.taken and pool.taken <= pool.limit
  end
  return search.proven == 1 and pool.taken == pool.limit - 1
end

-- Take a 429 that shows where the limit is; return whether that is all there is to it.
local function refuse_search(pool, retry_after_s)
  local search, found = pool.search, pool.limit
  if search.trying == 1 then
    search.trying = 0
    search.try_at = now + math.min(MAX_WAIT_S, math.max(search.wait, retry_after_s))
    search.wait = math.min(MAX_WAIT_S, 2 * search.wait)
    search.close = now + CLOSE_S
    if pool.taken < pool.limit then return false end
    if search.brief == 1 and pool.limit > search.floor then found = found - 1 end
  elseif pool.working == pool.limit and is_about_limit(pool) then
    search.proven, search.close = 0, now < search.close and 0 or now + CLOSE_S
    search.try_at = math.max(search.try_at, now + search.wait)
    found = math.max(1, pool.limit - 1)
    search.floor = math.min(search.floor, found)
  else
    search.proven = 0
    return false
  end
  pool.limit, pool.working = found, found
  return true
end

local function count(names, change)
  for _, name in ipairs(names) do
    local pool = pools[name]
    if pool then
      pool.taken = pool.taken + change
      changed[name] = true
    end
  end
end

local function known(names)
  local found = {}
  for _, name in ipairs(names) do
    if pools[name] then found[#found + 1] = name end
  end
  return found
end

local function read(key, id)
  local text = call('HGET', key, id)
  return text and cjson.decode(text) or nil
end

local function add_lease(id, owner, names, told, until_, member)
  call('HSET', LEASES, id, cjson.encode({o = owner, n = told, p = names, a = member}))
  call('ZADD', EXPIRY, until_, id)
  count(names, 1)
end

local function owners_of(lease)
  local owners = {}
  for owner in string.gmatch(lease.o, '[^\31]+') do owners[#owners + 1] = owner end
  return owners
end

local function without(list, item)
  local rest = {}
  for _, each in ipairs(list) do
    if each ~= item then rest[#rest + 1] = each end
  end
  return rest
end

-- The other processes that follow the task of a lease. One that died does not.
local function other_followers(lease)
  local found = {}
  for _, owner in ipairs(without(owners_of(lease), me)) do
    if call('ZSCORE', ALIVE, owner) then found[#found + 1] = owner end
  end
  return found
end

local function set_lease(id, owners, told, names, until_)
  call('HSET', LEASES, id, cjson.encode({o = table.concat(owners, '\31'), n = told, p = names}))
  call('ZADD', EXPIRY, until_, id)
end

local function later_of(id, until_)
  return math.max(tonumber(call('ZSCORE', EXPIRY, id) or '0'), until_)
end

-- Follow the task of a lease that is in the book: it takes one slot in each pool that any of its followers names.
local function follow(id, lease, names)
  local owners, until_ = owners_of(lease), now + batch.lease_s
  if #owners > 0 then until_ = later_of(id, until_) end
  if not is_in(owners, me) then owners[#owners + 1] = me end
  local pools_now = {unpack(lease.p)}
  for _, name in ipairs(known(names)) do
    if not is_in(pools_now, name) then
      pools_now[#pools_now + 1] = name
      count({name}, 1)
    end
  end
  set_lease(id, owners, 1, pools_now, until_)
end

local function drop_lease(id)
  local lease = read(LEASES, id)
  if not lease then return end
  call('HDEL', LEASES, id)
  call('ZREM', EXPIRY, id)
  if lease.n == 0 then call('LREM', base .. ':g:' .. lease.o, 0, id) end
  count(lease.p, -1)
end

local function add_ticket(id, owner, names, priority, arrival)
  names = known(names)
  if arrival == 0 then
    arrival = call('HINCRBY', META, 'arrivals', 1)
  elseif arrival > tonumber(call('HGET', META, 'arrivals') or '0') then
    call('HSET', META, 'arrivals', string.format('%.0f', arrival))
  end
  local queue = table.concat(names, '\31')
  local member = string.format('%016.0f:%s', arrival, id)
  call('ZADD', base .. ':q:' .. queue, priority, member)
  call('SADD', QUEUES, queue)
  call('HSET', TICKETS, id, cjson.encode({o = owner, p = names, m = member}))
  call('SADD', base .. ':t:' .. owner, id)
  call('EXPIRE', base .. ':t:' .. owner, KEEP_S)
  call('EXPIRE', base .. ':q:' .. queue, KEEP_S)
  arrivals[#arrivals + 1] = {id, string.format('%.0f', arrival)} -- JSON would round a number to 14 digits
end

local function drop_ticket(id)
  local ticket = read(TICKETS, id)
  if not ticket then return end
  call('HDEL', TICKETS, id)
  call('ZREM', base .. ':q:' .. table.concat(ticket.p, '\31'), ticket.m)
  call('SREM', base .. ':t:' .. ticket.o, id)
end

local function drop_session(session)
  for _, id in ipairs(call('SMEMBERS', base .. ':t:' .. session)) do drop_ticket(id) end
  for _, id in ipairs(call('LRANGE', base .. ':g:' .. session, 0, -1)) do drop_lease(id) end
  call('DEL', base .. ':t:' .. session, base .. ':g:' .. session)
  call('HDEL', SEEN, session)
  call('ZREM', ALIVE, session)
end

-- Count the slots that are taken again, from the leases alone.
local function recount()
  local taken = {}
  for _, text in ipairs(call('HVALS', LEASES)) do
    for _, name in ipairs(cjson.decode(text).p) do taken[name] = (taken[name] or 0) + 1 end
  end
  for name, pool in pairs(pools) do
    if pool.taken ~= (taken[name] or 0) then
      pool.taken = taken[name] or 0
      changed[name] = true
    end
  end
  call('HSET', META, 'counted_at', now)
end

local function set_limits(limits)
  for name, limit in pairs(limits) do
    local pool = pools[name]
    if not pool then
      pools[name] = new_pool(limit)
      changed[name] = true
      recount()
    end
    pool = pools[name]
    if is_in(batch.discovers, name) then
      discover(pool, limit)
      changed[name] = true
    elseif pool.search or pool.limit ~= limit then
      resize(pool, limit)
      changed[name] = true
    end
  end
end

local function let_time_pass()
  for _, id in ipairs(call('ZRANGEBYSCORE', EXPIRY, '-inf', now)) do
    local lease = read(LEASES, id)
    -- A grant that was not fetched: whoever waits there is dead, or asleep and comes anew.
    if lease and lease.n == 0 then drop_session(lease.o) end
    drop_lease(id)
  end
  for _, session in ipairs(call('ZRANGEBYSCORE', ALIVE, '-inf', now)) do drop_session(session) end
  for name, pool in pairs(pools) do
    while pool.raise > 0 and pool.raise <= now do
      pool.working = math.min(pool.limit, pool.working + 1)
      learn(pool)
      pool.probing = 1
      pool.raise = pool.working < pool.limit and pool.raise + pool.quiet or 0
      changed[name] = true
    end
    if look(pool) then changed[name] = true end
  end
end

local function refuse(id, retry_after_s, priority, arrival, names)
  local lease = read(LEASES, id)
  if not lease then
    if call('HEXISTS', TICKETS, id) == 0 then add_ticket(id, me, names, priority, arrival) end
    return
  end
  local narrowest
  for _, name in ipairs(known(lease.p)) do
    if not narrowest or pools[name].limit < pools[narrowest].limit then narrowest = name end
  end
  drop_lease(id)
  if narrowest then
    local pool = pools[narrowest]
    if not (pool.search and refuse_search(pool, retry_after_s)) then
      local refused_probe = pool.probing == 1 or pool.taken == 0
      pool.probing = 0
      pool.working = math.max(1, math.min(pool.working, pool.taken))
      learn(pool)
      local own_s = pool.taken == 0 and pool.quiet or 0
      if own_s > 0 or retry_after_s >= 0 then
        -- The server's hint may lengthen our own pause; it never shortens it.
        pool.paused = math.max(pool.paused, now + math.min(MAX_PAUSE_S, math.max(LEAST_PAUSE_S, own_s, retry_after_s)))
      end
      if refused_probe then pool.quiet = math.min(MAX_QUIET_S, pool.quiet * 2) end
    end
    -- Not within the pause, which tries nothing and so proves nothing.
    pool.raise = pool.working < pool.limit and math.max(now + pool.quiet, pool.paused) or 0
    changed[narrowest] = true
  end
  add_ticket(id, me, lease.p, priority, arrival)
end

local ended = false
local apply = {
  w = function(id, priority, arrival, names)
    if call('HEXISTS', TICKETS, id) == 0 and call('HEXISTS', LEASES, id) == 0 then
      add_ticket(id, me, names, priority, arrival)
    end
  end,
  x = function(id)
    drop_ticket(id)
    local lease = read(LEASES, id)
    if lease and lease.o == me then drop_lease(id) end
  end,
  r = function(id)
    local lease = read(LEASES, id)
    if not lease or lease.n == 2 then return end
    local others = #other_followers(lease) > 0
    drop_lease(id)
    -- They are told when they next say that they keep it.
    if others then set_lease(id, {}, 2, {}, now + batch.ended_s) end
  end,
  h = function(id, seconds, names)
    local lease = read(LEASES, id)
    if not lease then
      if batch.full then add_lease(id, '', known(names), 1, now + seconds) end
      return
    end
    if lease.n == 2 then return end
    local owners = owners_of(lease)
    if #owners > 0 and not is_in(owners, me) then return end
    local others = other_followers(lease)
    -- Should the others die, the slot stays taken for the time that was asked for.
    set_lease(id, others, 1, lease.p, #others > 0 and later_of(id, now + seconds) or now + seconds)
  end,
  n = refuse,
  c = function(id, task)
    local lease = read(LEASES, id)
    if not lease or not is_in(owners_of(lease), me) then return end
    for _, name in ipairs(known(lease.p)) do
      local pool = pools[name]
      if pool.probing == 1 and pool.taken >= pool.working then
        pool.probing, pool.quiet = 0, FIRST_QUIET_S
        changed[name] = true
      end
      local search = pool.search
      if search then
        if search.trying == 1 and pool.taken > pool.limit then
          search.accepted = search.accepted + 1
          if search.full_at < 0 then search.full_at = now end
        end
        if pool.taken >= pool.working then search.proven = 1 end
        changed[name] = true
      end
    end
    if task == id then return end
    drop_lease(id)
    local known_task = read(LEASES, task)
    if not known_task then
      add_lease(task, me, lease.p, 1, now + batch.lease_s)
    elseif known_task.n ~= 2 then
      follow(task, known_task, lease.p)
    end
  end,
  t = function(id, names)
    local lease = read(LEASES, id)
    if lease then
      follow(id, lease, names)
    else
      add_lease(id, me, known(names), 1, now + batch.lease_s)
    end
  end,
  k = function(id, names)
    local lease = read(LEASES, id)
    if not lease then
      add_lease(id, me, known(names), 1, now + batch.lease_s)
      lost[#lost + 1] = id
    elseif lease.n == 2 then
      ended_elsewhere[#ended_elsewhere + 1] = id
    elseif lease.o == me then
      call('ZADD', EXPIRY, later_of(id, now + batch.lease_s), id)
    elseif lease.n == 1 then
      follow(id, lease, names)
    end
  end,
  o = function(ids)
    local kept = {}
    for _, id in ipairs(ids) do kept[id] = true end
    local all = call('HGETALL', LEASES)
    for i = 1, #all, 2 do
      local id, lease = all[i], cjson.decode(all[i + 1])
      local owners = owners_of(lease)
      if not kept[id] and is_in(owners, me) then
        if #owners == 1 then
          drop_lease(id)
        else
          set_lease(id, without(owners, me), lease.n, lease.p, later_of(id, 0))
        end
      end
    end
  end,
  l = function(limits, unless_others)
    if unless_others == 0 or call('ZCARD', ALIVE) <= 1 then set_limits(limits) end
  end,
  e = function()
    drop_session(me)
    ended = true
  end,
}

local function has_room(names)
  for _, name in ipairs(names) do
    local pool = pools[name]
    if pool and (now < pool.paused or pool.taken >= pool.working) then
      -- A try: only for a request that is in no other pool, as a 429 for it can only be about this one.
      local search = pool.search
      if now < pool.paused or not search or #names > 1 or pool.working < pool.limit or pool.taken > pool.limit
          or (search.trying == 0 and now < search.try_at) then
        return false
      end
    end
  end
  return true
end

-- One past the limit begins a try.
local function begin_tries(names)
  for _, name in ipairs(names) do
    local pool = pools[name]
    local search = pool and pool.search
    if search and search.trying == 0 and pool.taken == pool.limit + 1 then
      search.trying, search.full_at, search.accepted = 1, -1, 0
      if search.try_at > 0 then search.floor, search.try_at = pool.limit, 0 end
    end
  end
end

local function head_of(queue)
  local key = base .. ':q:' .. queue
  while true do
    local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if #first == 0 then
      call('SREM', QUEUES, queue)
      return nil
    end
    local id = string.sub(first[1], 18)
    local ticket = read(TICKETS, id)
    if ticket then return {id = id, member = first[1], priority = tonumber(first[2]), ticket = ticket} end
    call('ZREM', key, first[1]) -- only where Redis has dropped keys for want of memory
  end
end

-- Wake a process, once in a step; false if nobody listens there. One that died is cut off by its machine, and its
-- tickets would else hold up the line. One that has lost its connection comes anew, to its old places.
local function wake(owner)
  if woken[owner] == nil then
    local heard = redis.pcall('PUBLISH', base .. ':w:' .. owner, '1')
    -- Refused: this process may wake nobody, which says nothing of the other one.
    if type(heard) == 'number' then woken[owner] = heard > 0 else woken[owner] = 'refused' end
  end
  return woken[owner]
end

local function fetch_s_of(owner)
  return tonumber(string.match(call('HGET', SEEN, owner) or '', ' (.+)')) or batch.fetch_s
end

local function grant_all()
  local heads = {}
  local function look(queue) heads[queue] = head_of(queue) end
  local function look_everywhere()
    for _, queue in ipairs(call('SMEMBERS', QUEUES)) do look(queue) end
  end
  look_everywhere()
  while true do
    local best, from
    for queue, head in pairs(heads) do
      if (not best or head.priority < best.priority
          or (head.priority == best.priority and head.member < best.member)) and has_room(head.ticket.p) then
        best, from = head, queue
      end
    end
    if not best then return end
    local owner = best.ticket.o
    local awake = owner == me or wake(owner)
    if awake == 'refused' then
      heads[from] = nil
    elseif awake then
      drop_ticket(best.id)
      add_lease(best.id, owner, best.ticket.p, 0, now + fetch_s_of(owner), best.member)
      begin_tries(best.ticket.p)
      call('RPUSH', base .. ':g:' .. owner, best.id)
      look(from)
    else
      -- The session's own list of tickets may be lost: this one goes in any case, so that the loop comes to an end.
      drop_ticket(best.id)
      drop_session(owner)
      heads = {}
      look_everywhere()
    end
  end
end

local function each_queue(visit)
  for _, queue in ipairs(call('SMEMBERS', QUEUES)) do visit(queue, call('ZCARD', base .. ':q:' .. queue)) end
end

local function inventory()
  local queued = 0
  each_queue(function(_, length) queued = queued + length end)
  return table.concat({
    call('HLEN', POOLS), call('HLEN', LEASES), call('ZCARD', EXPIRY), call('HLEN', TICKETS), call('SCARD', QUEUES),
    queued, call('HLEN', SEEN), call('ZCARD', ALIVE),
  }, ' ')
end

-- Ask every process to tell in full what it holds and waits for. Returns how many others listen.
local function call_everybody()
  call('DEL', SEEN)
  local heard = redis.pcall('PUBLISH', base .. ':w', '1')
  return type(heard) == 'number' and heard - batch.listens or 0
end

-- Keep of a book that is not whole what its leases say. The rest is told anew by those whom it concerns.
local function rebuild()
  local sessions, queues = {}, {}
  for _, session in ipairs(call('HKEYS', SEEN)) do sessions[session] = true end
  for _, session in ipairs(call('ZRANGE', ALIVE, 0, -1)) do sessions[session] = true end
  for _, queue in ipairs(call('SMEMBERS', QUEUES)) do queues[queue] = true end
  for _, text in ipairs(call('HVALS', TICKETS)) do
    local ticket = cjson.decode(text)
    sessions[ticket.o], queues[table.concat(ticket.p, '\31')] = true, true
  end
  local all, ends = call('HGETALL', LEASES), {}
  for i = 1, #all, 2 do
    local lease = cjson.decode(all[i + 1])
    -- A grant of which its owner was not told is no loss: it comes back and waits.
    if lease.n == 0 then
      call('HDEL', LEASES, all[i])
    else
      ends[all[i]] = tonumber(call('ZSCORE', EXPIRY, all[i]) or now + batch.lease_s)
    end
  end
  call('DEL', EXPIRY, TICKETS, QUEUES)
  for id, until_ in pairs(ends) do call('ZADD', EXPIRY, until_, id) end
  for session in pairs(sessions) do call('DEL', base .. ':t:' .. session, base .. ':g:' .. session) end
  for queue in pairs(queues) do call('DEL', base .. ':q:' .. queue) end
  recount()
end

-- The clock is the machine's, and may be set. A step back makes each stored moment too late by as much: all go back
-- with it. A step forward looks like a long silence, in which processes that live would have spoken: they are asked before
-- anything of theirs runs out.
local function mind_the_clock()
  local last = tonumber(call('HGET', META, 'now') or now)
  call('HSET', META, 'now', now)
  local back_s, silent_s = last - now, now - last
  if back_s > 1 then
    for _, key in ipairs({EXPIRY, ALIVE}) do
      local all = call('ZRANGE', key, 0, -1, 'WITHSCORES')
      for i = 1, #all, 2 do call('ZADD', key, tonumber(all[i + 1]) - back_s, all[i]) end
    end
    for name, pool in pairs(pools) do
      pool.paused, pool.raise = math.max(0, pool.paused - back_s), math.max(0, pool.raise - back_s)
      if pool.search then
        pool.search.try_at = math.max(0, pool.search.try_at - back_s)
        pool.search.full_at, pool.search.close = -1, 0
      end
      changed[name] = true
    end
    call('HSET', META, 'grants_at', tonumber(call('HGET', META, 'grants_at') or '0') - back_s)
  elseif silent_s > math.max(LEAST_SILENCE_S, batch.lease_s / 2) then
    local over = 0
    for _, key in ipairs({EXPIRY, ALIVE}) do
      for _, id in ipairs(call('ZRANGEBYSCORE', key, '-inf', now)) do
        call('ZADD', key, now + batch.grace_s, id)
        over = over + 1
      end
    end
    if over > 0 then call_everybody() end
  end
  -- Whatever wrote a moment, it lies no further ahead than a pause, a quiet time or a grace can.
  for name, pool in pairs(pools) do
    local paused = math.min(pool.paused, now + MAX_PAUSE_S)
    local raise = math.min(pool.raise, math.max(paused, now + MAX_QUIET_S))
    if paused < pool.paused or raise < pool.raise then
      pool.paused, pool.raise = paused, raise
      changed[name] = true
    end
    if pool.search and pool.search.try_at > now + MAX_WAIT_S then
      pool.search.try_at = now + MAX_WAIT_S
      changed[name] = true
    end
  end
  if tonumber(call('HGET', META, 'grants_at') or '0') > now + batch.grace_s then
    call('HSET', META, 'grants_at', now + batch.grace_s)
  end
end

-- Each command of a step, tried where it does no harm: a step that lacks the right to one would stop half-way.
local function try_rights()
  local at = base .. ':rights:'
  local tries = {
    {'HSET', at .. 'h', '1', '1'}, {'HGET', at .. 'h', '1'}, {'HMGET', at .. 'h', '1'}, {'HGETALL', at .. 'h'},
    {'HKEYS', at .. 'h'}, {'HVALS', at .. 'h'},
    {'HLEN', at .. 'h'}, {'HEXISTS', at .. 'h', '1'}, {'HINCRBY', at .. 'h', '1', 1}, {'HDEL', at .. 'h', '1'},
    {'ZADD', at .. 'z', 1, '1'}, {'ZSCORE', at .. 'z', '1'}, {'ZRANGE', at .. 'z', 0, 0}, {'ZCARD', at .. 'z'},
    {'ZRANGEBYSCORE', at .. 'z', 0, 0}, {'ZREM', at .. 'z', '1'},
    {'SADD', at .. 's', '1'}, {'SMEMBERS', at .. 's'}, {'SCARD', at .. 's'}, {'SREM', at .. 's', '1'},
    {'RPUSH', at .. 'l', '1'}, {'LRANGE', at .. 'l', 0, 0}, {'LREM', at .. 'l', 0, '1'},
    {'EXPIRE', at .. 'h', 1}, {'DEL', at .. 'h', at .. 'z', at .. 's', at .. 'l'}, {'PUBLISH', at .. 'w', '1'},
  }
  local refused = {}
  for _, words in ipairs(tries) do
    local answer = redis.pcall(unpack(words))
    if type(answer) == 'table' and answer.err then
      -- Redis 7.0 gives this refusal no code of its own.
      if not string.find(answer.err, 'NOPERM', 1, true) and not string.find(answer.err, 'executing the script', 1, true) then
        return answer
      end
      refused[#refused + 1] = string.lower(words[1])
    end
  end
  if #refused > 0 then return redis.error_reply('NOPERM refused: ' .. table.concat(refused, ', ')) end
end

-- A field of INFO; nil where this user may not ask.
local function info(section, field)
  local text = redis.pcall('INFO', section)
  return type(text) == 'string' and string.match(text, field .. ':([^\r\n]+)') or nil
end

if batch.full then
  local failure = try_rights()
  if failure then return failure end
end
local flat = call('HGETALL', POOLS)
for i = 1, #flat, 2 do pools[flat[i]] = cjson.decode(flat[i + 1]) end
local is_larger = false
for name, limit in pairs(batch.limits) do
  if not pools[name] then
    pools[name] = new_pool(limit)
    if is_in(batch.discovers, name) then discover(pools[name], limit) end
    changed[name], is_larger = true, true
  end
end
local epoch, counted = unpack(call('HMGET', META, 'epoch', 'inventory'))
local found = inventory()
-- The first thing that a step writes, and the last that it puts right.
call('HSET', META, 'inventory', '')
if not epoch or counted ~= found then
  epoch = batch.new_epoch
  call('HSET', META, 'epoch', epoch)
  -- Arrivals are numbered from the time, in microseconds. So a number that a lost book gave is before all that this one
  -- gives, and whoever comes back with it is before those who come now.
  local arrivals = math.max(tonumber(call('HGET', META, 'arrivals') or '0'), math.floor(now * 1000000))
  call('HSET', META, 'arrivals', string.format('%.0f', arrivals))
  local is_new = not counted and found == '0 0 0 0 0 0 0 0'
  if not is_new then rebuild() end
  local others = call_everybody()
  -- A book that is new because Redis lost it: those whose leases stood there come back first.
  local up_s = tonumber(info('server', 'uptime_in_seconds') or '0')
  if not is_new or others > 0 or batch.epoch ~= '' or up_s < batch.grace_s then
    call('HSET', META, 'grants_at', now + batch.grace_s)
  end
elseif is_larger then
  recount()
elseif batch.full or batch.seq % 100 == 0 then
  if math.abs(now - tonumber(call('HGET', META, 'counted_at') or '0')) > 1 then recount() end
end
mind_the_clock()
let_time_pass()

local seen = tonumber(string.match(call('HGET', SEEN, me) or '', '^%d+') or '-1')
local resync = not batch.full and batch.seq ~= seen + 1
if not resync then
  if batch.full then drop_session(me) end
  call('HSET', SEEN, me, batch.seq .. ' ' .. batch.fetch_s)
  call('ZADD', ALIVE, now + batch.lease_s, me)
  for _, op in ipairs(batch.ops) do apply[op[1]](unpack(op, 2)) end
end
local grants_at = tonumber(call('HGET', META, 'grants_at') or '0')
if now >= grants_at then grant_all() end

local grants = {}
if not resync and not ended then
  for _, id in ipairs(call('LRANGE', base .. ':g:' .. me, 0, -1)) do
    local lease = read(LEASES, id)
    if lease then
      grants[#grants + 1] = {id, string.sub(lease.a, 1, 16)}
      call('HSET', LEASES, id, cjson.encode({o = me, n = 1, p = lease.p}))
      call('ZADD', EXPIRY, now + batch.lease_s, id)
    end
  end
  call('DEL', base .. ':g:' .. me)
end
for name in pairs(changed) do
  local pool = pools[name]
  -- Kept when a fixed limit takes its place: a later search begins there.
  if pool.search then pool.found = pool.limit end
  call('HSET', POOLS, name, cjson.encode(pool))
end
if batch.full or ended or batch.seq % 10 == 0 then
  for _, key in ipairs({META, POOLS, LEASES, EXPIRY, TICKETS, QUEUES, SEEN, ALIVE}) do call('EXPIRE', key, KEEP_S) end
end

call('HSET', META, 'inventory', inventory())

local next_at = grants_at > now and grants_at or math.huge
for _, pool in pairs(pools) do
  if pool.paused > now then next_at = math.min(next_at, pool.paused) end
  if pool.raise > now then next_at = math.min(next_at, pool.raise) end
  next_at = math.min(next_at, next_look(pool) or next_at)
end
for _, key in ipairs({EXPIRY, ALIVE}) do
  local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if #first > 0 then next_at = math.min(next_at, tonumber(first[2])) end
end
local queued, shown = {}, {}
each_queue(function(queue, length)
  for name in string.gmatch(queue, '[^\31]+') do queued[name] = (queued[name] or 0) + length end
end)
for name, pool in pairs(pools) do
  shown[#shown + 1] = {name, pool.limit, pool.working, pool.taken, queued[name] or 0}
end
local evicts
if batch.full and tonumber(info('memory', 'maxmemory') or '0') > 0 then evicts = info('memory', 'maxmemory_policy') end
return cjson.encode({
  epoch = epoch, resync = resync, grants = grants, arrivals = arrivals, lost = lost, ended = ended_elsewhere, pools = shown,
  evicts = evicts ~= 'noeviction' and evicts or nil,
  next_s = next_at < math.huge and math.max(0, next_at - now) or -1,
})
