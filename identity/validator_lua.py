"""The one check of a validator token (验证系统), as Lua to be embedded in any script that must be atomic with it.

A script that moves something (the grab, redpacket/cache.py) puts CONSUME_LUA in front of its own text, adds
`token_key(token)` to its KEYS, and calls before everything else:

    local time = redis.call('TIME')
    local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
    local verdict = consume_token(KEYS[n], ARGV[employee], ARGV[sequence], ARGV[fingerprint], now_ms)

`employee` is the employee's id, `sequence` the text of X-Pay-Seq as it came, `fingerprint` `fingerprint_of(…)` below.
The verdict is one of Verdict: OK, the number is consumed now, go on; REPEAT, the same request came before: go on and
answer the same (idempotency key, or packet and employee, see to it); the other two are refusals, nothing has moved.
All work is O(1): one HMGET, at most 33 steps over the window, one HSET.

Stored per token (TTL = the token's; the token itself is nowhere in Redis):

    validator:token:<sha256 of the token>  hash
        employee    id of the one employee who may use it
        kind        "session": many numbers; "once": the first call takes it
        expires_ms  by the clock of the Redis server
        lowest      lowest number not used yet
        window      bits: 2^(i-1) is set when lowest+i is used, i from 1 to WINDOW
        spent       "1" when a `once` token has served its call
        r<n mod REMEMBERED>  "<n>:<fingerprint>" of the request that used number n
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

WINDOW = 32
"""How far a number may lie above the lowest unused one (api.md); a double holds that many bits exactly."""
REMEMBERED = 1024
"""Used numbers whose request is remembered, so that its repeat is known; older ones are refused like any used one."""
MAX_TOKEN_LENGTH = 200


class Verdict(StrEnum):
    """What `consume_token` answers."""

    OK = "OK"
    REPEAT = "REPEAT"
    TOKEN_INVALID = "TOKEN_INVALID"  # noqa: S105 - a verdict
    SEQUENCE_USED = "SEQUENCE_USED"


def token_key(token: str) -> str:
    """Key of what Redis knows about a token. Any text has one; only issued tokens have something behind it."""
    return f"validator:token:{hashlib.sha256(token.encode()).hexdigest()}"


def fingerprint_of(*, method: str, path: str, idempotency_key: str, body: bytes) -> str:
    """32 hex characters that tell one request from another; "" for a call that has no idempotency key (grab)."""
    parts = f"{method}\n{path}\n{idempotency_key}\n".encode() + body
    return hashlib.sha256(parts).hexdigest()[:32]


CONSUME_LUA = f"""
local function consume_token(token_key, employee, sequence, fingerprint, now_ms)
  local known = redis.call('HMGET', token_key, 'employee', 'kind', 'expires_ms', 'lowest', 'window', 'spent')
  if not known[1] or known[1] ~= tostring(employee) then return 'TOKEN_INVALID' end
  if now_ms >= tonumber(known[3]) then return 'TOKEN_INVALID' end
  if not string.match(sequence, '^[1-9]%d*$') or #sequence > 12 then return 'SEQUENCE_USED' end
  local number = tonumber(sequence)
  local slot = 'r' .. string.format('%.0f', number % {REMEMBERED})
  local mark = sequence .. ':' .. fingerprint
  local lowest = tonumber(known[4])
  local window = tonumber(known[5])
  local offset = number - lowest
  local is_used = offset < 0
  if offset > 0 and offset <= {WINDOW} then is_used = math.floor(window / 2 ^ (offset - 1)) % 2 == 1 end
  if is_used or known[6] then
    if redis.call('HGET', token_key, slot) == mark then return 'REPEAT' end
    if known[6] then return 'TOKEN_INVALID' end
    return 'SEQUENCE_USED'
  end
  if offset > {WINDOW} then return 'SEQUENCE_USED' end
  if offset == 0 then
    lowest = lowest + 1
    while window % 2 == 1 do
      lowest = lowest + 1
      window = math.floor(window / 2)
    end
    window = math.floor(window / 2)
  else
    window = window + 2 ^ (offset - 1)
  end
  local changes = {{'lowest', string.format('%.0f', lowest), 'window', string.format('%.0f', window), slot, mark}}
  if known[2] == 'once' then
    changes[7] = 'spent'
    changes[8] = '1'
  end
  redis.call('HSET', token_key, unpack(changes))
  return 'OK'
end
"""
