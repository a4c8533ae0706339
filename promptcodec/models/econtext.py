"""Efficient context transformer: attention over space, checkerboard halves and channel segments.

    group g --------> embed -+-> slot g -> [plain window attention, shifted ...] -> mu of group g+1
    features of group g+1 ---'             keys and values of slots <= g, kept from earlier steps

Groups are ordered spatial first and packed as in `groups`. The token of slot g contains the
embedding of group g and, as its query, the features of group g + 1, which it predicts. It attends
to slots 0..g: the mask inside a window is block-causal. Group 0 is predicted from the hyperprior
alone. Training computes all slots at once; encoding and decoding compute one slot a step and keep
its keys and values, so the span of keys grows with the steps and nothing is computed twice.

Source: Koyuncu et al. 2023, arXiv:2306.14287 (groups, rearrangement, shifted windows, skipped first
group, caching). Differs: it predicts means, and scales only with `scale: context`, for research;
the query contains the hyperprior's features of the predicted group; linear maps from the nearest
latents to the means are added, as attention heads of few channels cannot carry whole segments;
values are not normalised, since means are proportional to the latents they are predicted from;
offsets are those of the real grid, since on the packed grid left and right depend on the row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.config import CodecConfig
from promptcodec.models.context import ContextModel, Reconstruct
from promptcodec.models.groups import Grouping, gather_anchor_neighbours, split_halves
from promptcodec.models.windows import (
    HIDDEN,
    WindowMask,
    Windows,
    attend_windows,
    window_mask,
    window_order,
)


def relative_offsets(window: int, slots: int) -> Tensor:
    """Row of the bias table for each pair of tokens of a window, (slots * P, slots * P).

    The position of a key is that of its group, the position of a query that of the next group.
    """
    place = torch.arange(window * window // 2)
    row, packed = place // (window // 2), place % (window // 2)
    key, query = [], []
    for slot in range(slots):
        # Key: group `slot`, half `slot % 2`. Query: the half of the next group.
        for half, out in ((slot % 2, key), ((slot + 1) % 2, query)):
            column = 2 * packed + (row + 1 + half) % 2
            out.append(torch.stack((torch.full_like(row, slot), row, column)))
    k, q = torch.cat(key, dim=1), torch.cat(query, dim=1)  # (3, slots * P)
    later, dy, dx = (q[:, :, None] - k[:, None, :]).unbind()
    side = 2 * window - 1
    table = (later.clamp_min(0) * side + dy + window - 1) * side + dx + window - 1
    return table


class Cache:
    """Keys and values of the slots so far, of one layer; allocated once for all slots.

    Args:
        windows: number of windows in the batch.
        heads: number of attention heads.
        tokens: number of tokens in all slots of a window.
        head_channels: channels of one head.
        like: tensor of the same device and type.
    """

    def __init__(
        self, windows: int, heads: int, tokens: int, head_channels: int, like: Tensor
    ) -> None:
        self.store = like.new_empty(2, windows, heads, tokens, head_channels)
        self.used = 0

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values; return all so far."""
        start, self.used = self.used, self.used + k.shape[2]
        self.store[0, :, :, start : self.used] = k
        self.store[1, :, :, start : self.used] = v
        return self.store[0, :, :, : self.used], self.store[1, :, :, : self.used]


class ContextBlock(nn.Module):
    """One layer of (shifted) window attention over space and slots, then an MLP.

    Args:
        config: architecture of the codec.
        shifted: whether to roll the grid by half a window first.
    """

    def __init__(self, config: CodecConfig, *, shifted: bool) -> None:
        super().__init__()
        channels = config.context_channels
        self.heads = channels // config.head_channels
        self.shifted = shifted
        self.slots = 2 * len(config.context_segments) - 1
        hidden = int(channels * config.context_mlp_ratio)
        self.norm1 = nn.LayerNorm(channels)
        self.query_key = nn.Linear(channels, 2 * channels)
        self.value = nn.Linear(channels, channels, bias=False)
        self.proj = nn.Linear(channels, channels)
        side = 2 * config.context_window - 1
        self.position_bias = nn.Parameter(torch.zeros(self.slots * side**2, self.heads))
        self.offsets: Tensor
        self.register_buffer(
            "offsets", relative_offsets(config.context_window, self.slots), persistent=False
        )
        self.kept: Tensor | None
        self.register_buffer("kept", None, persistent=False)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels)
        )

    def bias(self) -> Tensor:
        """Relative position bias with the causal mask, (heads, slots * P, slots * P)."""
        if torch.is_grad_enabled() or self.kept is None:
            return self._bias()
        return self.kept

    @torch.inference_mode(False)
    @torch.no_grad()
    def freeze(self) -> None:
        """Keep the bias of these weights, for coding."""
        self.kept = self._bias().clone()

    def _bias(self) -> Tensor:
        bias = self.position_bias[self.offsets].permute(2, 0, 1)
        slot = torch.arange(bias.shape[1], device=bias.device) * self.slots // bias.shape[1]
        return torch.where(slot[:, None] >= slot[None, :], bias, HIDDEN).contiguous()

    def forward(self, x: Tensor, bias: Tensor, grid: Windows, cache: Cache | None = None) -> Tensor:
        """Map slots (B, S, H, W, C) on the padded packed grid to the same shape.

        Args:
            x: all slots, or with a cache the next one.
            bias: result of `bias`.
            grid: geometry of the windows.
            cache: keys and values of this layer; those of x are appended.
        """
        b, s, rows, columns, c = x.shape
        if self.shifted:
            grid = replace(grid, shift=(grid.rows // 2, grid.columns // 2))
        order, back = window_order(grid, x.device)
        # Windows are cut here: everything before the attention is tokenwise.
        cut = self._windows(x, grid, order)
        q, k = self.query_key(self.norm1(cut)).chunk(2, dim=-1)
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, self.value(cut))
        )
        start = 0
        if cache is not None:
            start = cache.used
            k, v = cache.extend(k, v)
        end = start + s * grid.tokens
        mask = window_mask(grid, x.device)
        # Every slot has the same positions.
        spans = (1, s, k.shape[2] // grid.tokens)
        mask = WindowMask(mask.windows, mask.cut, mask.allowed.repeat(spans))
        out = attend_windows(q, k, v, bias[None, :, start:end, :end].to(q.dtype), mask=mask)
        # (B * windows, heads, S * P, C / heads) -> (B, S, H, W, C)
        out = out.transpose(1, 2).reshape(b, grid.count, s, grid.tokens, c).transpose(1, 2)
        out = out.reshape(b * s, rows * columns, c).index_select(1, back).view_as(x)
        x = x + self.proj(out)
        return x + self.mlp(self.norm2(x))

    def _windows(self, x: Tensor, grid: Windows, order: Tensor) -> Tensor:
        """(B, S, H, W, C) -> (B * windows, S * P, C), slots in order."""
        b, s, rows, columns, c = x.shape
        x = x.reshape(b * s, rows * columns, c).index_select(1, order)
        x = x.view(b, s, grid.count, grid.tokens, c).transpose(1, 2)
        return x.reshape(b * grid.count, s * grid.tokens, c)


class EContext(ContextModel):
    """Efficient context transformer.

    Args:
        config: architecture of the codec.
    """

    def __init__(self, config: CodecConfig) -> None:
        segments, n = config.context_segments, config.hyper_channels
        channels = config.context_channels
        super().__init__(Grouping(segments, halves=2))
        self.window = config.context_window
        self.slots = 2 * len(segments) - 1
        self.outputs = 2 if config.scale == "context" else 1  # mu, and the shift of the index
        # Deviations of latents differ a hundredfold; with y_scale, weights need not.
        self.y_scale: Tensor
        self.register_buffer("y_scale", torch.ones(config.latent_channels))
        self.embed = nn.ModuleList(nn.Linear(own, channels) for own in segments)
        self.of_features = nn.Linear(n, channels)
        self.slot = nn.Parameter(torch.zeros(self.slots, channels))
        self.layers = nn.ModuleList(
            ContextBlock(config, shifted=bool(i % 2)) for i in range(config.context_layers)
        )
        self.fuse = nn.Linear(channels + n, channels + n)
        self.first = nn.Linear(n, channels + n)
        self.out = nn.ModuleList(
            nn.Linear(2 * channels + n, self.outputs * own) for own in segments
        )
        # Linear maps from the nearest latents: attention heads cannot carry whole segments.
        self.neighbours = nn.ModuleList(
            nn.Conv2d(own, own, 3, padding=1, bias=False) for own in segments
        )
        self.below = nn.ModuleList(
            nn.Conv2d(sum(segments[:i]), own, 1, bias=False) for i, own in enumerate(segments) if i
        )
        for layer in (*self.out, *self.neighbours, *self.below):
            for parameter in layer.parameters():  # the means start at zero
                nn.init.zeros_(parameter)

    def forward(self, features: Tensor, reconstruct: Reconstruct, *, cached: bool = True) -> Tensor:
        """See `ContextModel.forward`; without the cache each step computes all slots so far."""
        queries = self._queries(features)
        grid = self._grid(features)
        biases = [layer.bias() for layer in self._blocks]
        caches = self._caches(features, grid) if cached else None
        groups = [reconstruct(0, *self._first(queries[0]))]
        known = [self._normal(0, groups[0])]
        slots: list[Tensor] = []
        for slot in range(self.slots):
            x = self._slot(slot, known[slot], queries[slot + 1], grid)
            if caches is None:
                slots.append(x)
                x = torch.stack(slots, dim=1)
                for layer, bias in zip(self.layers, biases, strict=True):
                    x = layer(x, bias, grid)
                x = x[:, -1]
            else:
                x = x[:, None]
                for layer, bias, cache in zip(self.layers, biases, caches, strict=True):
                    x = layer(x, bias, grid, cache)
                x = x[:, 0]
            group = slot + 1
            groups.append(reconstruct(group, *self._predict(group, x, queries[group], known)))
            known.append(self._normal(group, groups[group]))
        return self.grouping.join(groups)

    def parallel(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `ContextModel.parallel`: one masked pass over all slots."""
        queries = self._queries(features)
        grid = self._grid(features)
        known = [self._normal(g, part) for g, part in enumerate(self.grouping.split(y))]
        predictions = [self._first(queries[0])]
        x = torch.stack(
            [self._slot(i, known[i], queries[i + 1], grid) for i in range(self.slots)], dim=1
        )
        for layer in self._blocks:
            x = layer(x, layer.bias(), grid)
        for group in range(1, self.slots + 1):
            predictions.append(self._predict(group, x[:, group - 1], queries[group], known[:group]))
        means, shifts = zip(*predictions, strict=True)
        mu = self.grouping.join(list(means))
        return mu, None if shifts[0] is None else self.grouping.join(list(shifts))

    @torch.no_grad()
    def prepare(self, y: Tensor) -> None:
        """See `ContextModel.prepare`: the size of each channel."""
        self.y_scale.copy_(y.transpose(0, 1).flatten(1).std(dim=1).clamp_min(0.5))

    def freeze(self) -> None:
        """See `ContextModel.freeze`."""
        for layer in self._blocks:
            layer.freeze()

    def _grid(self, features: Tensor) -> Windows:
        """Windows of a packed half grid, half as many columns as rows."""
        height, width = features.shape[2:]
        return Windows(height, width // 2, self.window, self.window // 2)

    def _queries(self, features: Tensor) -> list[Tensor]:
        """Features of each group's elements, channels last, (B, h, w/2, N)."""
        halves = [half.permute(0, 2, 3, 1) for half in split_halves(features)]
        return [halves[group % 2] for group in range(len(self.grouping))]

    @property
    def _blocks(self) -> list[ContextBlock]:
        return [layer for layer in self.layers if isinstance(layer, ContextBlock)]

    def _caches(self, features: Tensor, grid: Windows) -> list[Cache]:
        windows = len(features) * grid.count
        tokens = self.slots * grid.tokens
        return [
            Cache(windows, b.heads, tokens, b.proj.in_features // b.heads, features)
            for b in self._blocks
        ]

    def _normal(self, group: int, y_hat: Tensor) -> Tensor:
        """A packed group of latents in units of their channels."""
        return y_hat / self.y_scale[self.grouping.segment(group), None, None]

    def _slot(self, slot: int, known: Tensor, query: Tensor, grid: Windows) -> Tensor:
        """Embed the last group and the features of the next, (B, H, W, C) on the padded grid."""
        x = self.embed[slot // 2](known.permute(0, 2, 3, 1))
        x = x + self.of_features(query) + self.slot[slot]
        rows, columns = grid.padded
        return F.pad(x, (0, 0, 0, columns - grid.width, 0, rows - grid.height))

    def _first(self, query: Tensor) -> tuple[Tensor, Tensor | None]:
        """Prediction of the first group, from the hyperprior alone."""
        hidden = F.gelu(self.first(query))
        empty = hidden.new_zeros(*hidden.shape[:3], self.of_features.out_features)
        return self._read(0, torch.cat((empty, hidden), dim=-1), None)

    def _predict(
        self, group: int, x: Tensor, query: Tensor, known: list[Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Prediction of a later group.

        Args:
            group: number of the group.
            x: output of the last layer at its slot, (B, H, W, C) on the padded grid.
            query: hyperprior's features at its elements, (B, h, w/2, N).
            known: earlier groups in units of their channels.
        Returns:
            Means, (B, channels of the segment, h, w/2), and the shift of the table indexes or None.
        """
        x = x[:, : query.shape[1], : query.shape[2]]
        hidden = F.gelu(self.fuse(torch.cat((x, query), dim=-1)))
        return self._read(group, torch.cat((x, hidden), dim=-1), self._near(group, known))

    def _near(self, group: int, known: list[Tensor]) -> Tensor:
        """Linear part of the means: neighbours in this segment, and the segments below."""
        segment, half = divmod(group, 2)
        parts = []
        if half:
            # Anchors are at odd distances from the other half: four of nine weights.
            weight = cast("nn.Conv2d", self.neighbours[segment]).weight
            taps = [weight[:, :, y, x] for y, x in ((0, 1), (1, 0), (1, 2), (2, 1))]
            parts.append(
                F.linear(gather_anchor_neighbours(known[group - 1]), torch.cat(taps, dim=1))
            )
        if segment:
            lower = [known[2 * i + half].permute(0, 2, 3, 1) for i in range(segment)]
            weight = cast("nn.Conv2d", self.below[segment - 1]).weight.flatten(1)
            parts.append(F.linear(torch.cat(lower, dim=-1), weight))
        return sum(parts[1:], parts[0]).permute(0, 3, 1, 2)

    def _read(self, group: int, x: Tensor, near: Tensor | None) -> tuple[Tensor, Tensor | None]:
        out = self.out[group // 2](x).permute(0, 3, 1, 2)
        mu, shift = out.chunk(2, dim=1) if self.outputs == 2 else (out, None)
        if near is not None:
            mu = mu + near
        return mu * self.y_scale[self.grouping.segment(group), None, None], shift
