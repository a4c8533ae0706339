"""Interpolation between the prompt networks of two rates."""

from __future__ import annotations

from functools import lru_cache

import torch

from promptcodec.models.adapters.prompts import LayerAdaptivePrompts


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is kept from coding must also serve a refinement
def between(
    low: LayerAdaptivePrompts, high: LayerAdaptivePrompts, share: float
) -> LayerAdaptivePrompts:
    """Interpolate every weight linearly.

    Args:
        low: networks at share 0.
        high: networks at share 1, of the same width and rank.
        share: position from `low` to `high`, 0 to 1.
    """
    upper = high.state_dict()
    state = {
        name: torch.lerp(value, upper[name], share) for name, value in low.state_dict().items()
    }
    with torch.device("meta"):
        prompts = low.empty_like()
    prompts.load_state_dict(state, assign=True)
    return prompts.requires_grad_(False).eval()
