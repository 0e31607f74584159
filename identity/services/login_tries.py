"""How often somebody may try to log in, as an employee or as staff. Own counters, not django-axes'.

axes hears of Django's own log-ins: one user name, one backend, one row for each failure in the database. An employee is
enterprise and code, has no Django user, and thousands log in at nine o'clock; and names that nobody has must count like
those that somebody has. So Redis counts, and a try is counted before the password is looked at: of any number of
guesses at once no more than the limit is compared with a hash. Staff are counted by the same script, under STAFF.

    identity:tries:<SHA-256 of enterprise, code and address>  integer  tries from one address
    identity:tries:<SHA-256 of enterprise and code>           integer  tries from everywhere

Both end settings.LOGIN_LOCK_SECONDS after their first try. A good log-in forgets the first and takes its own try off
the second, so that a guesser elsewhere goes on being counted.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any

from django.conf import settings
from redis.exceptions import RedisError

from foundation import redis
from foundation.errors import Busy, RateLimited

RETRY_AFTER_SECONDS = 2
STAFF = "\tstaff"
"""In the place of an enterprise's code, which no enterprise can have."""

# KEYS from address, from everywhere; ARGV their limits, seconds. Answers 0, or for how many ms it is locked.
_TAKE = """
for index = 1, 2 do
  if tonumber(redis.call('GET', KEYS[index]) or '0') >= tonumber(ARGV[index]) then
    return math.max(1, redis.call('PTTL', KEYS[index]))
  end
end
for index = 1, 2 do
  if redis.call('INCR', KEYS[index]) == 1 then redis.call('EXPIRE', KEYS[index], ARGV[3]) end
end
return 0
"""

# KEYS as above. A counter that ended meanwhile is not made anew.
_SUCCEEDED = """
redis.call('DEL', KEYS[1])
if tonumber(redis.call('GET', KEYS[2]) or '0') > 0 then redis.call('DECR', KEYS[2]) end
"""


class TooManyLogins(RateLimited):
    """429: too many failed log-ins under this name. The same for names that nobody has."""

    message_en = "Too many failed log-ins. Try again later."
    message_zh = "登录失败次数过多，请稍后再试。"


@functools.lru_cache(maxsize=2)
def _script(text: str) -> Any:
    return redis.client().register_script(text)


def take(*, enterprise_code: str, employee_code: str, address: str) -> None:
    """Counts a try, before the password is looked at. Raises TooManyLogins, whatever the password is.

    Raises Busy when Redis is away: guesses that nobody counts are not answered.
    """
    try:
        locked_ms = _script(_TAKE)(
            keys=_keys(enterprise_code, employee_code, address),
            args=[settings.LOGIN_TRIES_FROM_ADDRESS, settings.LOGIN_TRIES, settings.LOGIN_LOCK_SECONDS],
            client=redis.client(),
        )
    except RedisError as error:
        raise Busy({"reason": "log-ins cannot be counted"}, retry_after_seconds=RETRY_AFTER_SECONDS) from error
    if locked_ms:
        raise TooManyLogins({"retry_after_seconds": -(-int(locked_ms) // 1000)})


def succeeded(*, enterprise_code: str, employee_code: str, address: str) -> None:
    """The try that `take` counted was a good one. Raises Busy as `take` does."""
    try:
        _script(_SUCCEEDED)(keys=_keys(enterprise_code, employee_code, address), client=redis.client())
    except RedisError as error:
        raise Busy({"reason": "log-ins cannot be counted"}, retry_after_seconds=RETRY_AFTER_SECONDS) from error


def _keys(enterprise_code: str, employee_code: str, address: str) -> list[str]:
    name = f"{enterprise_code}\n{employee_code}"
    return [f"identity:tries:{hashlib.sha256(text.encode()).hexdigest()}" for text in (f"{name}\n{address}", name)]
