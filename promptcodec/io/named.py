"""Bytes in memory as a file that messages can name."""

import io


def named_bytes(content: bytes, name: str) -> io.BytesIO:
    """A file of bytes in memory with a name for messages."""
    file = io.BytesIO(content)
    file.name = name  # type: ignore[attr-defined]
    return file
