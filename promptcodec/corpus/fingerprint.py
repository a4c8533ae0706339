"""Digests that tell whether a block still consists of the same."""

import hashlib
import json
from collections.abc import Iterable


def of_names(members: Iterable[tuple[str, int]]) -> str:
    """Digest of names and sizes, in hexadecimal digits."""
    return of_values([list(member) for member in members])


def of_values(values: object) -> str:
    """Digest of a JSON value, in hexadecimal digits."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
