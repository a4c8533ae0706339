import pytest
import torch
import torch.nn.functional as F
from places import RECIPES
from torch import Tensor, nn

from promptcodec.evaluation.speed.complexity import (
    complexity_table,
    count_macs,
    count_parameters,
    render_complexity,
)
from promptcodec.models.codec_model import CodecModel
from promptcodec.training.config import BaseTrainingConfig, read_recipe

DEVICES = ("cpu", "meta")  # they take different kernels for attention


class Attention(nn.Module):
    """All the ways in which attention multiplies matrices."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)  # (B, T, 16)
        if self.fused:
            return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])
        return torch.einsum("bts,bsc->btc", (q @ k.transpose(1, 2)).softmax(-1), v)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("fused", [False, True])
def test_attention(device: str, fused: bool) -> None:
    batch, tokens, channels = 3, 10, 16
    projections = batch * tokens * channels * 3 * channels
    products = 2 * batch * tokens * tokens * channels
    x = torch.zeros(batch, tokens, channels, device=device)
    assert count_macs(Attention(fused).to(device), x) == projections + products


@pytest.mark.parametrize("device", DEVICES)
def test_convolutions(device: str) -> None:
    x = torch.zeros(2, 8, 12, 20, device=device)
    plain = nn.Conv2d(8, 6, 3, padding=1, stride=2, device=device)
    assert count_macs(plain, x) == 2 * 6 * (6 * 10) * 8 * 9
    grouped = nn.Conv2d(8, 8, 5, padding=2, groups=8, device=device)
    assert count_macs(grouped, x) == 2 * 8 * (12 * 20) * 25
    transposed = nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1, device=device)
    assert count_macs(transposed, x) == 2 * 8 * (12 * 20) * 4 * 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_convolution_by_unfold_costs_the_same_as_the_convolution(dtype: torch.dtype) -> None:
    x, weight = torch.zeros(1, 4, 6, 6, dtype=dtype), torch.zeros(5, 4 * 9, dtype=dtype)
    assert count_macs(lambda: weight @ F.unfold(x, 3, padding=1)) == 5 * 36 * 36


def test_what_is_no_product_costs_nothing() -> None:
    layers = nn.Sequential(nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.5))
    assert count_macs(layers, torch.zeros(4, 8)) == 0


def test_shared_parameters_count_once() -> None:
    layer = nn.Linear(3, 5)
    assert count_parameters(nn.ModuleList([layer, nn.Sequential(layer)])) == 20


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("resnet50", 3.86, 4.10), ("swin_tiny_patch4_window7_224", 4.48, 4.50)],
)
def test_known_networks(name: str, low: float, high: float) -> None:
    import timm  # three seconds that only this test pays

    with torch.device("meta"):
        network = timm.create_model(name).eval()
    assert low <= count_macs(network, torch.empty(1, 3, 224, 224, device="meta")) / 1e9 <= high


def test_table_of_a_codec_adds_up(tiny_codec) -> None:
    model = tiny_codec.model
    rows = {row.name: row for row in complexity_table(model, width=128, height=64)}
    config = model.config
    # h_a by hand: three 3x3 convolutions at 1/16, 1/32 and 1/64.
    m, n, z = config.latent_channels, config.hyper_channels, config.z_channels
    by_hand = 9 * (m * n / 16**2 + n * n / 32**2 + n * z / 64**2) / 1000
    assert rows["h_a"].kmac_per_pixel == pytest.approx(by_hand)
    side = ("scale path", "h_means", "context")
    for total, parts in (
        ("entropy model", ("h_a", *side)),
        ("encoding", ("g_a", "h_a", *side)),
        ("decoding", (*side, "g_s")),
    ):
        assert rows[total].parameters == sum(rows[part].parameters for part in parts)
        expected = sum(rows[part].kmac_per_pixel for part in parts)
        assert rows[total].kmac_per_pixel == pytest.approx(expected)
    # Nothing is left out but the prior of z, which runs as a table.
    counted = rows["encoding"].parameters + rows["g_s"].parameters
    assert counted == count_parameters(model) - count_parameters(model.hyperprior.prior)
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_cost_of_a_pixel_hardly_depends_on_the_picture(tiny_codec) -> None:
    small, large = (
        complexity_table(tiny_codec.model, width=width, height=256) for width in (256, 512)
    )
    for one, other in zip(small, large, strict=True):
        # Shifted blocks do their border windows twice, and a small picture has more of these.
        assert one.kmac_per_pixel == pytest.approx(other.kmac_per_pixel, rel=0.01)
        assert one.kmac_per_pixel > 0
    lines = render_complexity(small).splitlines()
    assert lines[2].startswith("| g_a | ")
    assert len(lines) == 2 + len(small)


def test_the_edge_encoder_is_as_small_as_it_should_be() -> None:
    """A tenth of MobileNetV2, which has 6 kMAC/px; weights that are joined once cost nothing."""
    recipe = read_recipe(RECIPES / "base" / "base-edge.yaml", BaseTrainingConfig)
    with torch.device("meta"):
        model = CodecModel(recipe.codec)
    rows = {row.name: row for row in complexity_table(model, width=128, height=128)}
    # Patches of 16 px in 80 channels, two 3x3 maps with half the channels between, one 1x1.
    by_hand = (768 * 80 + 2 * 9 * 80 * 40 + 80 * 80) / 16**2 / 1000
    assert rows["g_a"].kmac_per_pixel == pytest.approx(by_hand)
    assert rows["g_a"].kmac_per_pixel + rows["h_a"].kmac_per_pixel <= 0.55
    assert rows["g_a"].parameters + rows["h_a"].parameters <= 200_000
