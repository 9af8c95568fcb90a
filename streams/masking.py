"""Values of personal fields as they may be shown outside of golden records: in conflicts, logs, tables and journals."""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import Final

HIDDEN: Final = '"***"'
NULL: Final = "null"
#: Hex digits of the hash: enough to tell values apart, and the key keeps them from being guessed.
HASH_DIGITS: Final = 16
_MASKED: Final = re.compile(f'"hmac:[0-9a-f]{{{HASH_DIGITS}}}"')


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


def stands_masked(text: str) -> bool:
    """Whether a canonical JSON text is one that `masked` gives, so that it needs no mask of its own."""
    return text in (HIDDEN, NULL) or _MASKED.fullmatch(text) is not None
