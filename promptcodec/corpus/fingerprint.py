"""Digests that tell whether a block still consists of the same."""

import hashlib
import json


def of_values(values: object) -> str:
    """Digest of a JSON value, in hexadecimal digits."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
