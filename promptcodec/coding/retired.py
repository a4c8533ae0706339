"""Bases that were bundled once; versions of the repository that decode their streams."""

from dataclasses import dataclass

from promptcodec.bitstream import HASH_BYTES


@dataclass(frozen=True)
class RetiredBase:
    """A base without a place in this version.

    Args:
        name: size name.
        sha256: hash of the base, hexadecimal.
        commit: last commit of the repository that has it.
    """

    name: str
    sha256: str
    commit: str


RETIRED = (
    RetiredBase(
        name="nano",
        sha256="5461287769bfc3b555ce9baf61004ecf6cd6c04b5d5009374e38b2c6905887fd",
        commit="3d9165a223e4",
    ),
)


def find_retired(base_hash: bytes) -> RetiredBase | None:
    """The retired base of a stream, by the first bytes of its hash; None for any other."""
    known = {bytes.fromhex(base.sha256)[:HASH_BYTES]: base for base in RETIRED}
    return known.get(base_hash)
