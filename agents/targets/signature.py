"""Signatures of Standard Webhooks (https://www.standardwebhooks.com), for which there are libraries in most languages.

HMAC-SHA256 over `<id>.<seconds since the epoch>.<body>`, in Base64, after `v1,`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

PREFIX: Final = "whsec_"


def signing_key(secret: str) -> bytes:
    """The key of a secret: what is in Base64 after `whsec_`, else its UTF-8 bytes. Raises ValueError."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"after {PREFIX} it must be Base64") from None


def signature_headers(key: bytes, message_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """The headers that let a receiver check who sent a body, and when."""
    signed = b"%s.%d.%s" % (message_id.encode(), seconds, body)
    signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(seconds), "webhook-signature": f"v1,{signature}"}
