"""Context models: groups, causality, and the two passes of econtext."""

import dataclasses
from dataclasses import replace

import pytest
import torch
from tiny import TINY

from promptcodec.errors import ConfigError
from promptcodec.models.codec_model import build_context
from promptcodec.models.context import CheckerboardContext, ContextModel, NoContext
from promptcodec.models.econtext import EContext, relative_offsets
from promptcodec.models.groups import Grouping, gather_anchor_neighbours, join_halves, split_halves
from promptcodec.models.windows import Windows, window_mask

CODEC = replace(
    TINY,
    head_channels=4,
    context_channels=8,
    context_segments=(2, 4, 6),
    context_window=8,
)
SIZES = [(4, 4), (4, 8), (8, 4), (8, 8), (12, 8), (8, 12), (12, 12), (16, 8), (20, 28), (4, 36)]
SIZES += [(36, 4), (24, 40)]


def build(name: str, *, scale: str = "hyperprior") -> ContextModel:
    torch.manual_seed(3)
    model = build_context(dataclasses.replace(CODEC, context=name, scale=scale))
    for parameter in model.parameters():  # nothing may hide behind a zero
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def walk(model: ContextModel, features: torch.Tensor, y: torch.Tensor, **options) -> torch.Tensor:
    """mu of every element when the groups turn out to be those of `y`."""
    known = model.grouping.split(y)
    means: list[torch.Tensor] = []

    def take(group: int, mu: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
        assert group == len(means)
        means.append(mu)
        return known[group]

    with torch.no_grad():
        y_hat = model(features, take, **options)
    assert torch.equal(y_hat, y)
    return model.grouping.join(means)


def group_of_element(grouping: Grouping, height: int, width: int) -> torch.Tensor:
    """Number of the group of each element of y, (1, M, h, w)."""
    sizes = [(1, grouping.segments[g // 2], height, width // 2) for g in range(len(grouping))]
    return grouping.join([torch.full(size, float(g)) for g, size in enumerate(sizes)])


def test_halves_are_a_checkerboard_and_come_back() -> None:
    x = torch.arange(2 * 3 * 6 * 8.0).view(2, 3, 6, 8)
    anchors, rest = split_halves(x)
    assert torch.equal(join_halves(anchors, rest), x)
    assert torch.equal(anchors[0, 0, 0], x[0, 0, 0, 1::2])
    assert torch.equal(anchors[0, 0, 1], x[0, 0, 1, 0::2])


@pytest.mark.parametrize(
    ("segments", "halves"), [((12,), 1), ((12,), 2), ((2, 4, 6), 1), ((2, 4, 6), 2)]
)
def test_grouping_is_undone_by_join(segments: tuple[int, ...], halves: int) -> None:
    y = torch.randn(2, 12, 4, 8)
    grouping = Grouping(segments, halves=halves)
    groups = grouping.split(y)
    assert len(groups) == len(grouping) == len(segments) * halves
    assert torch.equal(grouping.join(groups), y)


def test_no_context_is_one_group() -> None:
    model = NoContext(CODEC)
    assert len(model.grouping) == 1
    mu, shift = model.parallel(torch.randn(1, 8, 4, 4), torch.randn(1, 12, 4, 4))
    assert mu.shape == (1, 12, 4, 4) and shift is None


def test_checkerboard_is_its_plain_form() -> None:
    """The packed computation equals the plain formula on the whole grid."""
    model = build("checkerboard")
    assert isinstance(model, CheckerboardContext)
    features, y = torch.randn(2, 8, 4, 8), torch.randn(2, 12, 4, 8)
    anchors, rest = split_halves(y)
    known = join_halves(anchors, torch.zeros_like(rest))

    def plain(context: torch.Tensor) -> torch.Tensor:
        return model.means(torch.relu(model.fuse(torch.cat((features, context), dim=1))))

    with torch.no_grad():
        without, seen = plain(torch.zeros(2, 8, 4, 8)), plain(model.neighbours(known))
    expected = join_halves(split_halves(without)[0], split_halves(seen)[1])
    torch.testing.assert_close(walk(model, features, y), expected)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_parallel_and_stepwise_passes_agree(height: int, width: int) -> None:
    model = build("econtext")
    features, y = torch.randn(2, 8, height, width), 3 * torch.randn(2, 12, height, width)
    with torch.no_grad():
        mu, _ = model.parallel(features, y)
    assert float(mu.std()) > 0.1
    torch.testing.assert_close(walk(model, features, y), mu, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(walk(model, features, y, cached=False), mu, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["checkerboard", "econtext"])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (12, 20)])
def test_a_later_group_never_changes_an_earlier_mean(name: str, height: int, width: int) -> None:
    model = build(name)
    torch.manual_seed(5)
    features, y = torch.randn(1, 8, height, width), torch.randn(1, 12, height, width)
    group = group_of_element(model.grouping, height, width)
    before = walk(model, features, y)
    with torch.no_grad():
        masked, _ = model.parallel(features, y)
    for changed in range(len(model.grouping)):
        other = torch.where(group == changed, y + 5.0, y)
        moved = (walk(model, features, other) - before).abs() > 1e-6
        with torch.no_grad():
            moved_masked = (model.parallel(features, other)[0] - masked).abs() > 1e-4
        assert not moved[group <= changed].any()
        assert not moved_masked[group <= changed].any()
        assert changed == len(model.grouping) - 1 or moved[group == changed + 1].any()


def test_padding_does_not_matter() -> None:
    """What lies in a window beyond the grid changes nothing inside."""
    model = build("econtext")
    assert isinstance(model, EContext)
    features, y = torch.randn(1, 8, 12, 20), torch.randn(1, 12, 12, 20)
    before = walk(model, features, y)
    pad = torch.nn.functional.pad

    def poisoned(x: torch.Tensor, sizes: tuple[int, ...], **_) -> torch.Tensor:
        around = sizes[2] > 0  # the zeros beyond the picture's own border, which do matter
        return pad(x, sizes, value=0.0 if around else 7.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("promptcodec.models.econtext.F.pad", poisoned)
        after = walk(model, features, y)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_reach_of_one_plain_layer_is_its_window() -> None:
    model = build_context(dataclasses.replace(CODEC, context="econtext", context_layers=1))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    features, y = torch.randn(1, 8, 16, 16), torch.randn(1, 12, 16, 16)
    other = y.clone()
    other[:, :, 3, 3] += 5.0
    moved = (walk(model, features, other) - walk(model, features, y)).abs().amax(dim=(0, 1)) > 1e-6
    assert moved[:8, :8].sum() > 16  # everywhere in its window where a later group stands
    assert not moved[8:].any() and not moved[:, 8:].any()


def test_offsets_are_those_of_the_real_grid() -> None:
    window, slots = 8, 3
    table = relative_offsets(window, slots)
    side = 2 * window - 1
    positions = window * window // 2
    # Query of slot 1 asks for an anchor (group 2), key of slot 1 is of group 1, the other half.
    query, key = positions + 0, positions + 0  # row 0: anchor column 1, the other column 0
    dx = int(table[query, key]) % side - (window - 1)
    assert dx == 1
    query, key = positions + 4, positions + 4  # row 1: anchor column 0, the other column 1
    assert int(table[query, key]) % side - (window - 1) == -1
    assert int(table.max()) < slots * side**2 and int(table.min()) >= 0


def test_windows_are_cut_only_where_needed() -> None:
    whole = Windows(16, 8, 8, 4)
    assert len(window_mask(whole).cut) == 0
    assert window_mask(replace(whole, shift=(4, 2))).cut.tolist() == [1, 2, 3]
    assert window_mask(replace(whole, height=12)).cut.tolist() == [2, 3]


def test_scale_from_context_gives_a_shift() -> None:
    model = build("econtext", scale="context")
    features, y = torch.randn(1, 8, 8, 8), torch.randn(1, 12, 8, 8)
    mu, shift = model.parallel(features, y)
    assert shift is not None and shift.shape == mu.shape == y.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context_segments": (5, 5)}, "sum to latent_channels 12"),
        ({"context_window": 6}, "multiple of 4"),
        ({"context_channels": 6}, "multiple of head_channels 4"),
        ({"context": "checkerboard", "scale": "context"}, "needs context 'econtext'"),
        ({"scale": "both"}, "need 'hyperprior' or 'context'"),
    ],
)
def test_bad_context_configs(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(CODEC, **({"context": "econtext"} | change))


def test_four_weights_do_what_a_whole_kernel_does() -> None:
    """What the other half sees of the anchors, as a convolution over the whole grid."""
    torch.manual_seed(4)
    anchors, layer = torch.randn(2, 3, 8, 6), torch.nn.Conv2d(3, 5, 3, padding=1, bias=False)
    _, expected = split_halves(layer(join_halves(anchors, torch.zeros_like(anchors))))
    taps = [layer.weight[:, :, y, x] for y, x in ((0, 1), (1, 0), (1, 2), (2, 1))]
    found = torch.nn.functional.linear(gather_anchor_neighbours(anchors), torch.cat(taps, dim=1))
    torch.testing.assert_close(found.permute(0, 3, 1, 2), expected)
