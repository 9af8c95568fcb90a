"""RFC 3339 times as ms since the epoch."""

from __future__ import annotations

import re
from datetime import date

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))?"
)
_EPOCH = date(1970, 1, 1).toordinal()
_DAY_SECONDS = 86_400


def parse_time(text: str) -> int:
    """Return an RFC 3339 time with zone in ms since the epoch, digits below the ms cut off.

    ValueError: not RFC 3339, no zone, a date or time of day that does not exist. A leap second counts as the
    second after it, as everywhere in POSIX.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no RFC 3339 time; write it as 2026-01-31T12:00:00.000Z")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if match[8] is None and match[9] is None:
        raise ValueError(f"{text[:40]!r} has no zone; add Z or an offset such as +01:00")
    offset_hours, offset_minutes = int(match[10] or 0), int(match[11] or 0)
    if hour > 23 or minute > 59 or second > 60 or offset_hours > 23 or offset_minutes > 59:
        raise ValueError(f"{text[:40]!r} is no time of day; hours go to 23, minutes and seconds to 59")
    offset_seconds = (offset_hours * 60 + offset_minutes) * (-60 if match[9] == "-" else 60)
    try:
        days = date(year, month, day).toordinal() - _EPOCH
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is no date of the calendar: {error}") from None
    seconds = days * _DAY_SECONDS + hour * 3600 + minute * 60 + second - offset_seconds
    if second == 60 and seconds % _DAY_SECONDS != 0:
        raise ValueError(f"{text[:40]!r} has a second 60 that is no leap second; those end a day in UTC")
    return seconds * 1000 + int(((match[7] or "") + "000")[:3])
