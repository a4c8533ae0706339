"""Signature of a stream, and messages about other files."""

from promptcodec.bitstream.fields import ALL_LATENTS, MAGIC, MIN_HEADER_BYTES, VERSIONS
from promptcodec.errors import StreamError

_OTHER_FILES = (  # kind, offset, signature
    ("a PNG picture", 0, b"\x89PNG"),
    ("a JPEG picture", 0, b"\xff\xd8\xff"),
    ("a GIF picture", 0, b"GIF8"),
    ("a WebP picture", 8, b"WEBP"),
    ("a TIFF picture", 0, b"II*\0"),
    ("a TIFF picture", 0, b"MM\0*"),
    ("an AVIF picture", 4, b"ftypavif"),
    ("a BMP picture", 0, b"BM"),
)
_REWRITTEN_MAGICS = (b"\x8fPC\r\n", b"\xef\xbf\xbdPC", b"\xc2\x8fPC", b"\x0fPC\n")
AGAIN = "copy the file again from its source, or encode the picture again"


def check_start(data: bytes) -> int:
    """Check magic and version; the version, of a file that ends before it that of the oldest.

    Raises:
        StreamError: the file is no stream, or of another version; the message has its kind.
    """
    if not data:
        raise StreamError("the input is empty (0 bytes): give a file that `encode` wrote")
    if not data.startswith(MAGIC):
        if MAGIC.startswith(data):
            raise StreamError(truncated(len(data), MIN_HEADER_BYTES[ALL_LATENTS]))
        if data.startswith(_REWRITTEN_MAGICS):
            raise StreamError(
                "the stream was transferred as text, which damages it: copy as binary"
            )
        for name, offset, signature in _OTHER_FILES:
            if data.startswith(signature, offset):
                raise StreamError(f"this is {name}, no stream: use `promptcodec encode`")
        start = data[:4].hex(" ")
        raise StreamError(
            f"not a promptcodec stream (starts with {start}): give what `encode` wrote"
        )
    version = data[len(MAGIC)] if len(data) > len(MAGIC) else ALL_LATENTS
    if version not in VERSIONS:
        raise StreamError(
            f"the stream has format version {version}, this promptcodec supports"
            f" {' and '.join(map(str, VERSIONS))}: upgrade promptcodec"
        )
    return version


def truncated(there: int, needed: int) -> str:
    """Message for a stream of `there` bytes that must have at least `needed`."""
    return (
        f"the stream is truncated: {there} bytes are there, at least {needed} are needed: {AGAIN}"
    )
