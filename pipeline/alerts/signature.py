"""The signature of a webhook: HMAC-SHA256 over the time and the body, so that neither can be changed or sent again
later. ``docs/operating.md`` has the receiver's side."""

import hashlib
import hmac

TIMESTAMP_HEADER = "X-Flagpost-Timestamp"
"""Seconds since 1970, when it was signed."""
SIGNATURE_HEADER = "X-Flagpost-Signature"
DELIVERY_HEADER = "X-Flagpost-Delivery"
"""The same for each attempt of one delivery: whoever gets it twice knows."""


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """The value of ``SIGNATURE_HEADER``: ``v1=`` and 64 hexadecimal digits."""
    signed = b"%d." % timestamp + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
