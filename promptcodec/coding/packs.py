"""Packs in coding: whose adapters a stream names, and the choice among several ladders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from promptcodec.bitstream import HASH_BYTES
from promptcodec.coding.adapter_file import adapter_digest
from promptcodec.coding.encoder import Candidate
from promptcodec.io.packs import StoredPack


@dataclass(frozen=True, eq=False)
class Attempt:
    """Encoding of a picture with the adapters of one ladder.

    Args:
        candidate: result of the encoding.
        passes: number of runs of g_a.
        met: whether the target is met; true without one.
    """

    candidate: Candidate
    passes: int = 1
    met: bool = True


def cheapest(attempts: Sequence[Attempt]) -> Attempt:
    """Attempt of the lowest rate-distortion cost, by the weight of the first one.

    Between two rates the weight of a pack is that of its own neighbours, so that costs by it could
    not be compared. An attempt that meets the target comes before one that does not.
    """
    if len(attempts) == 1:
        return attempts[0]
    lmbda = attempts[0].candidate.point.lmbda

    def cost(attempt: Attempt) -> tuple[bool, float]:
        candidate = attempt.candidate
        return not attempt.met, candidate.cost_of(sum(candidate.errors()), lmbda=lmbda)

    return min(attempts, key=cost)


def pack_of(hashes: Iterable[bytes], packs: Iterable[StoredPack]) -> StoredPack | None:
    """The pack that has all adapters that a stream names; None if there is none.

    Args:
        hashes: hashes of adapters, as in streams; at least one.
        packs: packs to look in.
    Raises:
        CheckpointError: an adapter of a pack cannot be read.
    """
    wanted = set(hashes)
    for pack in packs:
        if wanted <= {adapter_digest(folder)[:HASH_BYTES] for folder in pack.adapters}:
            return pack
    return None
