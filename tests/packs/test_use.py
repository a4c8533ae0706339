"""Use of packs: whose adapters code a picture, and which are found for a stream."""

import io
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from promptcodec import Codec, bitstream
from promptcodec.coding import codec as codec_module
from promptcodec.coding import ladder as ladder_module
from promptcodec.coding.adapter import AdapterConfig
from promptcodec.coding.packs import Attempt, cheapest
from promptcodec.coding.settings import EncodeSettings
from promptcodec.config import LAMBDAS
from promptcodec.corpus.job import identity_of
from promptcodec.corpus.worker import CodecWorker
from promptcodec.errors import CheckpointError, ModelMismatchError, RateError, UsageError
from promptcodec.io import packs as packs_module
from promptcodec.io.packs import StoredPack, find_packs
from promptcodec.models.adapters.checkpoint import read_adapter, write_adapter
from promptcodec.models.checkpoint import read_base
from promptcodec.models.codec import TorchCodec


def write_pack(
    folder: Path, base: Path, ladder: Path, *, rates: dict[int, int], bias: float = 0.0
) -> Path:
    """A pack of the ladder's adapters with other gains and means; rates are gains by index."""
    stored = read_base(base)
    for index, gain in rates.items():
        prompts = read_adapter(ladder / f"rate-{index}", base=stored).network
        with torch.no_grad():
            prompts.log_gains.add_(gain)
            prompts.mean_bias.add_(bias)
        config = AdapterConfig(
            rate_index=index,
            lmbda=LAMBDAS[index],
            base_sha256=stored.sha256.hex(),
            width=4,
            rank=2,
        )
        write_adapter(folder / f"rate-{index}", prompts, config=config)
    facts = {"name": folder.name, "description": "lines"} if folder.name == "screens" else {}
    saved = [{"percent": {"value": value}} for value in (10.0, 20.0)]
    (folder / "pack.json").write_text(json.dumps(facts | {"held_out": saved}))
    return folder


@pytest.fixture(scope="module")
def packs(tiny_checkpoint: Path, tiny_ladder: Path, tmp_path_factory) -> Path:
    """Packs of rates 2 and 6, and of rate 4 alone."""
    folder = tmp_path_factory.mktemp("packs")
    write_pack(folder / "screens", tiny_checkpoint, tiny_ladder, rates={2: -3, 6: -3})
    write_pack(folder / "maps", tiny_checkpoint, tiny_ladder, rates={4: -9})
    return folder


@pytest.fixture(scope="module", params=["onnx", "torch"])
def codec(request, tiny_checkpoint: Path, tiny_ladder: Path, packs: Path) -> Codec:
    return Codec.load(tiny_checkpoint, tiny_ladder, packs=packs, engine=request.param)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rows, columns = np.mgrid[0:70, 0:100]
    noise = np.random.default_rng(3).integers(0, 40, (70, 100, 3))
    return (noise + (rows + columns)[..., None]).astype(np.uint8)


@pytest.mark.parametrize("options", [{"rate_index": 2}, {"rate_index": 3.5}, {"target_bpp": 1.6}])
def test_the_bytes_are_those_of_a_ladder_of_the_pack(
    codec: Codec, tiny_checkpoint: Path, packs: Path, picture: np.ndarray, options: dict
) -> None:
    alone = Codec.load(tiny_checkpoint, packs / "screens", engine=codec.engine.name, packs=[])
    found = codec.encode_detailed(picture, pack="screens", **options)
    assert found.pack == "screens" and found.data == alone.encode(picture, **options)
    assert found.data != codec.encode(picture, **options)
    assert codec.decode(found.data) == alone.decode(found.data)
    if "rate_index" in options:
        assert codec.encode_batch([picture], pack="screens", **options) == [found.data]


def test_what_is_loaded(
    codec: Codec, tiny_checkpoint: Path, packs: Path, picture: np.ndarray
) -> None:
    rates = {name: [rate.index for rate in own] for name, own in codec.packs.items()}
    assert rates == {"maps": [4], "screens": [2, 6]}
    copy = pickle.loads(pickle.dumps(codec))
    assert copy.packs == codec.packs
    assert copy.encode_detailed(picture, rate_index=2, pack="screens").pack == "screens"
    torch_codec = TorchCodec.load(tiny_checkpoint, packs=[packs / "maps"])
    assert list(torch_codec.packs) == ["maps"] and torch_codec.rates[0].index == 4
    assert Codec.load(tiny_checkpoint).packs == {}


@pytest.mark.parametrize(
    ("error", "says", "options"),
    [
        (RateError, "outside pack 'screens', which has 2, 6 and all between", {"rate_index": 7}),
        (RateError, "index 4 is outside pack 'far', which has 2", {"pack": "far"}),
        (UsageError, r"'x' is not loaded \(there: far, maps, screens\)", {"pack": "x"}),
        (UsageError, "leave out .* pack", {"graphics": "always"}),
        (UsageError, "name a pack", {"pack": "auto", "task": "classify"}),
        (UsageError, "name a pack", {"pack": "best", "task": "classify"}),
        (UsageError, "need the name", {"pack": 3}),
    ],
)
def test_refusals(
    tiny_checkpoint, tiny_ladder, packs, picture, tmp_path, error, says, options
) -> None:
    write_pack(tmp_path / "far", tiny_checkpoint, tiny_ladder, rates={2: 0})
    codec = Codec.load(tiny_checkpoint, tiny_ladder, packs=[tmp_path, packs])
    with pytest.raises(error, match=says):
        codec.encode(picture, **{"pack": "screens"} | options)


@pytest.mark.parametrize("way", ["auto", "best"])
def test_a_choice_needs_a_pack(
    tiny_checkpoint: Path, tiny_ladder: Path, picture: np.ndarray, way: str
) -> None:
    """Otherwise a forgotten `--packs` would cost bytes and never be noticed."""
    codec = Codec.load(tiny_checkpoint, tiny_ladder, packs=[])
    with pytest.raises(UsageError, match=f"pack is '{way}', but no pack .* by `--packs`"):
        codec.encode(picture, pack=way)


def test_best_keeps_the_lowest_cost(codec: Codec, picture: np.ndarray) -> None:
    """At 4 and from 2 to 6 both packs and the ladder are there, at 6 one pack, beyond none."""
    for rate, names in ((4, (None, "maps", "screens")), (6, (None, "screens"))):
        found = {}
        for name in names:
            settings = EncodeSettings(rate_index=rate, pack=name)
            _, candidate, *_ = codec._encode(picture, settings, progress=None)
            error = sum(candidate.errors())
            found[name] = 8 * len(candidate.stream()) + codec.at(rate).lmbda * error / 3
        best = codec.encode_detailed(picture, rate_index=rate, pack="best")
        assert best.pack == min(found, key=lambda name: found[name])
        assert best.data == codec.encode(picture, rate_index=rate, pack=best.pack)
        pictures = [picture, picture[:40]]
        batch = codec.encode_batch(pictures, rate_index=rate, pack="best")
        assert bitstream.parse_header(batch[0]).adapter_hashes == (
            bitstream.parse_header(best.data).adapter_hashes
        )
    with pytest.raises(RateError, match="installed: 2, 4, 6"):
        codec.encode(picture, rate_index=7, pack="best")


@pytest.fixture(scope="module")
def winner(
    tiny_checkpoint: Path, tiny_ladder: Path, packs: Path, tmp_path_factory
) -> tuple[Codec, np.ndarray]:
    """A codec whose ladder predicts wrong means, its packs, and a picture of several squares."""
    folder = tmp_path_factory.mktemp("winner")
    ladder = write_pack(folder / "off", tiny_checkpoint, tiny_ladder, rates={4: 9}, bias=60.0)
    codec = Codec.load(tiny_checkpoint, ladder / "rate-4", packs=[packs])
    noise = np.random.default_rng(5).integers(0, 90, (200, 260, 3))
    return codec, noise.astype(np.uint8)


@pytest.mark.parametrize("options", [{}, {"graphics": "never"}])
def test_auto_takes_a_pack_that_is_better(winner: tuple[Codec, np.ndarray], options: dict) -> None:
    codec, picture = winner
    best = codec.encode_detailed(picture, pack="best", **options)
    found = codec.encode_detailed(picture, pack="auto", **options)
    assert found.pack == best.pack is not None and found.data == best.data
    assert found.passes == 1
    batch = codec.encode_batch([picture, picture[:150]], pack="auto", **options)
    assert batch[0] == found.data


@pytest.mark.parametrize("number", [0, -1])
def test_a_target_is_searched_again_with_the_chosen_pack(
    codec: Codec, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(codec_module, "likely", lambda *_, **__: number)
    ways = (None, "screens", "auto")  # the last one
    plain, screens, found = (
        codec.encode_detailed(picture, pack=way, target_bpp=1.6, graphics="never") for way in ways
    )
    assert found.passes == plain.passes - number * screens.passes


def test_what_is_exact_is_bound_to_no_pack(winner: tuple[Codec, np.ndarray]) -> None:
    codec, _ = winner
    flat = np.where(np.arange(300)[:, None, None] // 50 % 2, 200, 20).astype(np.uint8)
    flat = np.ascontiguousarray(np.broadcast_to(flat, (300, 280, 3)))
    found = codec.encode_detailed(flat, pack="auto")
    assert found.exact_tiles == 1 and found.pack is None
    assert codec.encode_batch([flat, flat], pack="auto") == [found.data] * 2
    assert found.data == codec.encode(flat)


def test_a_pack_wins_and_loses(
    tiny_checkpoint: Path, tiny_ladder: Path, packs: Path, picture: np.ndarray
) -> None:
    """The adapters of the pack as the ladder, and the other way round: one has to win both."""
    own, pack = tiny_ladder / "rate-4", packs / "maps"
    one = Codec.load(tiny_checkpoint, own, packs=[pack]).encode_detailed(picture, pack="best")
    (stored,) = find_packs(pack)
    other = Codec.load(tiny_checkpoint, pack, packs=[])
    other.install_packs([StoredPack("plain", own, (own,))])
    two = other.encode_detailed(picture, pack="best")
    assert stored.name == "maps" and (one.pack, two.pack) in ((None, "plain"), ("maps", None))
    assert one.data == two.data


def test_an_effort_has_the_packs_too(
    tiny_checkpoint: Path, tiny_ladder: Path, packs: Path, picture: np.ndarray
) -> None:
    codec, steps = Codec.load(tiny_checkpoint, tiny_ladder, packs=packs), []
    found = codec.encode_detailed(picture, rate_index=2, effort=1, pack="screens")
    assert codec.engine.name == "onnx" and (found.engine, found.pack) == ("torch", "screens")
    codec.encode(
        picture, rate_index=2, effort=1, pack="best", progress=lambda *step: steps.append(step)
    )
    assert steps == sorted(steps) and steps[-1][0] == steps[-1][1]  # two encodings, one bar


def test_collections(tiny_checkpoint: Path, packs: Path, picture: np.ndarray) -> None:
    load = {"base": tiny_checkpoint, "packs": packs}
    worker = CodecWorker("encode", codec=load, rate_index=6, pack="screens")
    worker.task.check(worker.codec)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    (data,) = worker({"bytes": [buffer.getvalue()]})["bytes"]
    named = identity_of(worker)["packs"]["screens"]
    hashes = bitstream.parse_header(data).adapter_hashes
    assert [each.hex() for each in hashes] == [named[1][: 2 * bitstream.HASH_BYTES]]
    with pytest.raises(UsageError, match="not loaded"):
        CodecWorker("encode", codec=load, target_bpp=1.6, pack="x").task.check(worker.codec)


@pytest.mark.parametrize("pack", ["auto", "best"])
def test_a_choice_with_a_target(codec: Codec, picture: np.ndarray, pack: str) -> None:
    found = codec.encode_detailed(picture, target_bpp=1.6, pack=pack)
    assert found.target_met
    assert 8 * len(found.data) / picture[..., 0].size == pytest.approx(1.6, rel=0.01)
    least = len(codec.encode(picture, rate_index=2, gain_steps=-2, pack="screens"))
    with pytest.raises(RateError, match="cannot be reached"):
        codec.encode(picture, target_bytes=least)
    found = codec.encode_detailed(picture, target_bytes=least, pack=pack)
    assert found.pack in ("maps", "screens") and found.target_met
    with pytest.raises(RateError, match="cannot be reached"):
        codec.encode(picture, target_psnr=90, graphics="never", pack=pack)


def test_costs_are_by_one_weight() -> None:
    class Point:
        def __init__(self, lmbda: float) -> None:
            self.lmbda = lmbda

    class Candidate:
        def __init__(self, bits: float, error: float, lmbda: float) -> None:
            self.bits, self.error, self.point = bits, error, Point(lmbda)

        def errors(self) -> list[float]:
            return [self.error]

        def cost_of(self, error: float, *, lmbda: float) -> float:
            return self.bits + lmbda * error

    plain = Attempt(Candidate(100, 10, 1.0))  # type: ignore[arg-type]
    pack = Attempt(Candidate(90, 30, 0.1))  # type: ignore[arg-type]
    assert cheapest([plain, pack]) is plain
    assert cheapest([plain, Attempt(pack.candidate, met=False)]) is plain
    assert cheapest([Attempt(plain.candidate, met=False), pack]) is pack


def test_a_stream_without_its_pack_names_it(
    codec: Codec, tiny_checkpoint: Path, packs: Path, picture: np.ndarray, monkeypatch
) -> None:
    data = codec.encode(picture, rate_index=3, pack="screens")
    missing = bitstream.parse_header(data).adapter_hashes[0].hex()
    plain = Codec.load(tiny_checkpoint, packs=[])
    with pytest.raises(ModelMismatchError, match=rf"{missing}, which is not .* with `--packs`"):
        plain.decode(data)
    known = find_packs(packs)
    monkeypatch.setattr(ladder_module, "packs_beside_bundled", lambda: known)
    with pytest.raises(ModelMismatchError, match=r"of pack 'screens': add `--packs .*screens`"):
        plain.decode(data)


def test_packs_beside_a_codec_are_found(
    tiny_checkpoint: Path, tiny_ladder: Path, packs: Path, tmp_path: Path, monkeypatch
) -> None:
    root = tmp_path / "models" / "small"
    shutil.copytree(tiny_checkpoint, root / "base")
    shutil.copytree(packs / "maps", root / "packs" / "maps")
    shutil.copytree(packs / "screens", tmp_path / "models" / "packs" / "screens")
    monkeypatch.setattr(packs_module, "bundled", lambda: root)
    assert set(Codec.load(root).packs) == {"maps", "screens"}
    config = tmp_path / "models" / "packs" / "screens" / "rate-2" / "adapter_config.json"
    values = json.loads((packs / "screens" / "rate-2" / "adapter_config.json").read_text())
    config.write_text(json.dumps(values | {"base_sha256": "0" * 64}))
    assert set(Codec.load(root).packs) == {"maps"}  # of another base
    with pytest.raises(ModelMismatchError):
        Codec.load(root, packs=config.parents[1])


def test_places_that_hold_no_pack(packs: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no pack was found"):
        find_packs(tmp_path)
    shutil.copytree(packs / "screens", tmp_path / "again")
    with pytest.raises(UsageError, match="both called 'screens'"):
        find_packs([packs, tmp_path / "again"])
    (tmp_path / "again" / "pack.json").write_text("{}")
    assert [pack.name for pack in find_packs(tmp_path)] == ["again"]
    (tmp_path / "again").rename(tmp_path / "auto")
    with pytest.raises(UsageError, match="names no pack"):
        find_packs(tmp_path)
    (tmp_path / "auto" / "pack.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no JSON object"):
        find_packs(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, picture: np.ndarray) -> Path:
    for number in range(2):
        Image.fromarray(picture[number:]).save(tmp_path / f"{number}.png")
    return tmp_path


def test_the_command_line(run, folder, packs, tiny_checkpoint, tiny_ladder, monkeypatch) -> None:
    base = ("--base", tiny_checkpoint, "--prompts", tiny_ladder)
    made = run("encode", folder / "0.png", *base, "--pack", packs / "maps", "--json")
    assert made.code == 0 and json.loads(made.out)["pack"] == "maps", made.err
    made = run("encode", folder / "0.png", "-f", *base, "--packs", packs, "--pack", "maps")
    assert "bpp, pack maps" in made.err
    stream = folder / "0.pc"
    assert run("decode", stream, "-o", folder / "a.png", *base).code == 5
    assert run("decode", stream, "-o", folder / "a.png", *base, "--packs", packs).code == 0
    shown = run("info", stream, "--packs", packs, "--json")
    assert json.loads(shown.out)["pack"] == {"name": "maps", "folder": str(packs / "maps")}
    assert "pack:       maps, " in run("info", stream, "--packs", packs).out.decode()
    assert json.loads(run("info", stream, "--json").out)["pack"] is None
    words = ("encode", folder / "0.png", folder / "1.png", *base, "--packs", packs)
    outcome = run(*words, "--pack", "maps")
    assert outcome.code == 0 and "1 encoded, 1 finished before" in outcome.err
    for other in ((), ("--pack", "screens"), ("--pack", "screens", "--rate-index", 2)):
        again = run(*words, *other)
        assert again.code == 8 and "other settings" in again.err
    assert run(*words, "--pack", "auto").code == 0  # of one of the candidates
    size = ("--target-bytes", stream.stat().st_size)
    assert run("encode", folder / "0.png", *words[2:], "-f", *size, "--pack", "maps").code == 0
    assert "of other settings" in run(*words, *size, "--pack", "screens").err
    outcome = run("encode", folder / "0.png", *base, "--pack", f"{packs}/", "-o", folder / "b.pc")
    assert outcome.code == 2 and "holds 2 packs, maps, screens" in outcome.err


def test_the_list(run, packs) -> None:
    rows = json.loads(run("packs", "--packs", packs, "--json").out)["packs"]
    assert [(row["name"], row["rates"]) for row in rows] == [("maps", [4]), ("screens", [2, 6])]
    assert rows[1]["description"] == "lines" and rows[1]["held_out"] == 15.0
    assert rows[1]["photographs"] is None and rows[1]["folder"] == str(packs / "screens")
    folder = rows[1]["folder"]
    text = run("packs", "--packs", packs).out.decode().splitlines()
    assert text[2].split() == ["screens", "2,", "6", "psnr", "+15.0", "%", "-", "lines", folder]
    assert b"promptcodec adapt" in run("packs").out
