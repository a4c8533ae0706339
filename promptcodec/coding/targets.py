"""Encoding to a size or a PSNR, with exact tiles where they serve it.

search without exact tiles -> choice of exact tiles at its end -> search with these -> the better

A picture that is exact as a whole has one size, and meets every PSNR. It is taken where it fits
into the size, where it takes fewer bytes for the PSNR, and where no rate reaches the PSNR.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from promptcodec.bitstream import rate_to_fixed
from promptcodec.coding.adapter import RatePoint
from promptcodec.coding.encoder import Candidate, CodingPoint, PreparedPicture
from promptcodec.coding.graphics import ExactSearch
from promptcodec.coding.rate_search import Goal, TargetUnreachable, Trial, search_rate
from promptcodec.coding.settings import Target
from promptcodec.errors import RateError

_CLOSE = 1e-12  # of logarithms


def encode_to_target(
    prepared: PreparedPicture,
    target: Target,
    *,
    search: ExactSearch | None,
    point_at: Callable[[int], RatePoint],
    indexes: Sequence[int],
    start: float,
) -> tuple[Candidate, int, bool]:
    """The nearest candidate, the number of runs of g_a, and whether the target is met.

    Args:
        prepared: prepared picture.
        target: size or quality to reach.
        search: search for exact tiles in it; None makes none.
        point_at: function from a position, in 1/4096 of an index, to its point.
        indexes: rate indexes of the ladder.
        start: rate index of the first trial.
    Raises:
        RateError: the target is out of range, or no stream is small enough for a strict one.
    """
    hunt = _Hunt(prepared, target, point_at, min(indexes), max(indexes), start)
    try:
        trial = hunt.run(prepared)
    except TargetUnreachable as error:
        trial = None if search is None else hunt.beyond(search, error)
        if trial is None:
            raise RateError(_out_of_reach(target, error, pixels=hunt.pixels)) from None
    else:
        trial = trial if search is None else hunt.better(search, trial)
    if target.strict and trial.measure > hunt.goal.most + _CLOSE:
        raise RateError(
            f"no stream of this picture of at most {math.exp(hunt.goal.most):,.0f} bytes was "
            f"found; the nearest has {math.exp(trial.measure):,.0f}: allow a little more"
        )
    return trial.candidate, hunt.passes, trial.candidate.is_exact or hunt.goal.met_by(trial)


@dataclass(eq=False)
class _Hunt:
    """Searches for one target; arguments as `encode_to_target`, and the ends of the ladder."""

    prepared: PreparedPicture
    target: Target
    point_at: Callable[[int], RatePoint]
    low: float
    high: float
    start: float
    passes: int = 0

    @property
    def pixels(self) -> int:
        return self.prepared.picture.height * self.prepared.picture.width

    @property
    def size(self) -> float:
        """Target of size, bytes; 0 for a PSNR."""
        bpp = self.target.bpp
        return float((self.target.size if bpp is None else bpp * self.pixels / 8) or 0)

    @cached_property
    def goal(self) -> Goal:
        if self.target.psnr is not None:
            return Goal.psnr(self.target.psnr)
        return Goal.size(self.size, strict=self.target.strict)

    def trial(self, candidate: Candidate) -> Trial[Candidate]:
        return Trial(candidate, self.measure(candidate))

    def measure(self, candidate: Candidate) -> float:
        if self.target.psnr is not None:
            return candidate.psnr()
        return math.log(len(candidate.stream()))

    def run(self, prepared: PreparedPicture) -> Trial[Candidate]:
        """Search over positions, with the exact tiles of a prepared picture."""

        def encode_at(index: float) -> Candidate:
            self.passes += 1
            rate = rate_to_fixed(index)
            return prepared.encode_at(CodingPoint(self.point_at(rate), rate))

        trial, _ = search_rate(
            encode_at,
            self.measure,
            goal=self.goal,
            low=self.low,
            high=self.high,
            start=self.start,
        )
        return trial

    def better(self, search: ExactSearch, trial: Trial[Candidate]) -> Trial[Candidate]:
        """The trial, or one with exact tiles: of fewer bytes, or of a higher PSNR at the size."""
        found = [trial, *self._with_exact_tiles(search, trial.candidate)]
        if len(found) == 1:
            return trial
        if self.target.psnr is not None:
            return min(found, key=lambda each: len(each.candidate.stream()))
        return max(found, key=lambda each: each.candidate.psnr())

    def beyond(self, search: ExactSearch, error: TargetUnreachable) -> Trial[Candidate] | None:
        """A trial with exact tiles for a target that is out of reach without them, or None."""
        above = self.goal.wanted > error.highest
        rate = rate_to_fixed(self.high if above else self.low)
        point = CodingPoint(self.point_at(rate), rate)
        found = self._with_exact_tiles(search, search.prepared.encode_at(point))
        if not found and above and self.target.psnr is not None:
            everywhere = search.everywhere(point)
            return None if everywhere is None else self.trial(everywhere)
        return found[0] if found else None

    def _with_exact_tiles(self, search: ExactSearch, near: Candidate) -> list[Trial[Candidate]]:
        """A trial with exact tiles, those of the lowest cost where a search ended; [] without."""
        if self.target.psnr is None:
            whole = search.within(math.exp(self.goal.most + _CLOSE), near.point)
            if whole is not None:  # within the size there is none better
                return [self.trial(whole)]
        chosen = search.best(near)
        if chosen.is_exact:  # it has one size
            exact = self.trial(chosen)
            fits = self.target.psnr is not None or exact.measure <= self.goal.most + _CLOSE
            return [exact] if fits else []
        if not chosen.prepared.exact:
            return []
        try:
            return [self.run(chosen.prepared)]
        except TargetUnreachable:
            return []


def _out_of_reach(target: Target, error: TargetUnreachable, *, pixels: int) -> str:
    if target.psnr is not None:
        # Every codec of ours has learned from photographs; its card has figures.
        why = " (flat saturated colour and sharp edges, as in graphics, limit it)"
        return (
            f"target_psnr {target.psnr:g} dB cannot be reached: with the installed rates this "
            f"picture gets {error.lowest:.2f} to {error.highest:.2f} dB"
            f"{why if target.psnr > error.highest else ''}: give one between"
        )
    low, high = (math.exp(measure) for measure in (error.lowest, error.highest))
    bpp = target.bpp is not None
    wanted = f"target_bpp {target.bpp:g}" if bpp else f"target_bytes {target.size:g}"
    return (
        f"{wanted} cannot be reached: with the installed rates this picture takes {low:,.0f} to "
        f"{high:,.0f} bytes, {8 * low / pixels:.4f} to {8 * high / pixels:.4f} bpp: give a "
        "target between"
    )
