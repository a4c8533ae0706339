"""Aiming with one picture at a size or a quality: drafts for the search of `targets`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from promptcodec import bitstream
from promptcodec.drafts import AnyDraft, DraftTrial, Work
from promptcodec.errors import RateError
from promptcodec.models.adapters.interpolation import RatePoint
from promptcodec.targets import Goal, Target, Unreachable, search
from promptcodec.tiles import TiledWork


def aim(
    work: Work | TiledWork,
    target: Target,
    *,
    point: Callable[[int], RatePoint],
    indexes: Sequence[int],
    start: float,
) -> tuple[AnyDraft, int, bool]:
    """The nearest draft, how often g_a ran, and whether the target is met.

    Args:
        work: the picture.
        target: what its file should become.
        point: what a position, in 1/4096 of an index, adds to the base.
        indexes: of the ladder.
        start: index to begin at.
    Raises:
        RateError: the target is out of reach, or no file is small enough for a strict one.
    """
    pixels = work.picture.height * work.picture.width
    if target.psnr is not None:
        goal, measured = Goal.psnr(target.psnr), _psnr
    else:
        size = target.size if target.bpp is None else target.bpp * pixels / 8
        goal, measured = Goal.size(float(size or 0), strict=target.strict), _log_bytes

    def run(index: float) -> DraftTrial:
        rate = bitstream.rate_to_fixed(index)
        return DraftTrial.of(work.draft(point(rate), rate=rate), measured)

    try:
        trial, passes = search(run, goal=goal, low=min(indexes), high=max(indexes), start=start)
    except Unreachable as error:
        raise RateError(_out_of_reach(target, error, pixels=pixels)) from None
    if target.strict and trial.measure > goal.most + 1e-12:
        raise RateError(
            f"no stream of this picture of at most {math.exp(goal.most):,.0f} bytes was found; "
            f"the nearest has {math.exp(trial.measure):,.0f}: allow a little more"
        )
    return trial.draft, passes, goal.met_by(trial)


def _log_bytes(draft: AnyDraft) -> float:
    return draft.log_bytes()


def _psnr(draft: AnyDraft) -> float:
    return draft.psnr()


def _out_of_reach(target: Target, error: Unreachable, *, pixels: int) -> str:
    if target.psnr is not None:
        return (
            f"target_psnr {target.psnr:g} dB cannot be reached: with the installed rates this "
            f"picture gets {error.lowest:.2f} to {error.highest:.2f} dB: ask for one between"
        )
    low, high = (math.exp(measure) for measure in (error.lowest, error.highest))
    bpp = target.bpp is not None
    wanted = f"target_bpp {target.bpp:g}" if bpp else f"target_bytes {target.size:g}"
    return (
        f"{wanted} cannot be reached: with the installed rates this picture takes {low:,.0f} to "
        f"{high:,.0f} bytes, {8 * low / pixels:.4f} to {8 * high / pixels:.4f} bpp: ask for "
        "something between"
    )
