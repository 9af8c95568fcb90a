"""Header Retry-After (RFC 9110, section 10.2.3): seconds, or a date."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Final

#: Nobody is left alone for longer, whatever he says.
LONGEST_SECONDS: Final = 24 * 3600.0


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """How long to wait, None where the header is missing or says nothing. now: seconds since the epoch."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_SECONDS)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - now), LONGEST_SECONDS)
    except (ValueError, OverflowError):
        return None
