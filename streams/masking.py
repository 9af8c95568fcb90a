"""Values of personal fields as they may be shown outside of golden records: in conflicts, logs, tables and journals."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

HIDDEN: Final = '"***"'
NULL: Final = "null"
#: Hex digits of the hash: enough to tell values apart, and the key keeps them from being guessed.
HASH_DIGITS: Final = 16


def masked(value: str, key: bytes | None) -> str:
    """The canonical JSON text that stands for a personal value's: a keyed hash (HMAC-SHA256), or stars without a key.

    value: canonical JSON text. Under one key equal values have equal hashes, so that one sees who agrees. That there
    is no value (null) is no secret.
    """
    if value == NULL:
        return value
    if key is None:
        return HIDDEN
    return f'"hmac:{hmac.new(key, value.encode(), sha256).hexdigest()[:HASH_DIGITS]}"'
