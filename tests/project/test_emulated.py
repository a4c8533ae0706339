"""The comparison of two processors: its coder, its decoding of integers, its verdict."""

import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from places import GOLDEN_FOLDER, ROOT

from benchmarks.common import environment
from benchmarks.reliability import emulated
from benchmarks.tables import reliability as page
from promptcodec.coding.entropy import coder
from promptcodec.coding.entropy.plain_rans import AnsCoder, Categorical

NOTHING_COMPILED = "import sys; sys.modules |= {'constriction': None, 'onnxruntime': None}; "


@pytest.mark.parametrize("seed", range(5))
def test_the_plain_coder_writes_and_reads_the_same_words(seed):
    rng = np.random.default_rng(seed)
    ours, theirs, parts = AnsCoder(), coder.AnsCoder(), []
    for size in rng.integers(2, 300, 20).tolist():
        frequencies = np.floor(rng.dirichlet(np.full(size, 0.1)) * (2**16 - size)).astype(int) + 1
        frequencies[0] += 2**16 - frequencies.sum()
        symbols = rng.integers(0, size, rng.integers(0, 40), dtype=np.int32)
        plain = Categorical(frequencies / 2**16, perfect=True)
        model = coder.Categorical(frequencies / 2**16, perfect=True)
        ours.encode_reverse(symbols, plain)
        theirs.encode_reverse(symbols, model)
        parts.append((plain, symbols))
    words = ours.get_compressed()
    assert words.dtype == np.uint32 and np.array_equal(words, theirs.get_compressed())
    back = AnsCoder(words)
    for plain, symbols in reversed(parts):
        assert not back.is_empty()
        assert np.array_equal(back.decode(plain, len(symbols)), symbols)
    assert back.is_empty()


def test_integers_without_compiled_packages(tmp_path):
    names = ("sets-middle", "tiles-econtext", "exact-mixed", "exact", "units-tiles")
    jobs = [job for job in emulated.golden(GOLDEN_FOLDER, tmp_path) if job.name[7:] in names]
    (tmp_path / "jobs.json").write_text(json.dumps([asdict(job) for job in jobs]))
    words = [sys.executable, "-c", NOTHING_COMPILED + emulated.START, "jobs.json", "."]
    done = subprocess.run(
        words, cwd=tmp_path, env=environment(ROOT), check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["pixels"] is False
    recorded = json.loads((GOLDEN_FOLDER / "hashes.json").read_text())
    for name in names:
        found = np.load(tmp_path / f"golden {name}.npz")
        assert found["same_words"]
        for part in ("z", "indexes", "symbols"):
            assert emulated.sha256(found[part]) == recorded[name][part], (name, part)


@pytest.fixture
def decoded() -> dict[str, np.ndarray]:
    integers = {name: np.arange(6).reshape(1, 2, 3) for name in ("z", "indexes", "symbols")}
    words, pixels = {"same_words": np.array(True)}, {"pixels": np.full((2, 3, 3), 7, np.uint8)}
    return integers | words | pixels


def verdict(here: dict[str, np.ndarray], there: dict[str, np.ndarray]) -> bool:
    rows = [
        emulated.compare(*pair) | {"writer": "golden"} for pair in ((here, here), (here, there))
    ]
    pair = {"same_bytes": False, "differing_symbols": 1, "symbols": 10}
    return emulated.is_alike(emulated.summarise(rows, [pair]))


@pytest.mark.parametrize("name", ["z", "indexes", "symbols", "same_words"])
def test_one_other_integer_is_a_failure(decoded, name):
    other = decoded[name].copy()
    other.flat[-1] ^= 1
    assert verdict(decoded, decoded)
    assert not verdict(decoded, decoded | {name: other})


@pytest.mark.parametrize(("level", "alike"), [(8, True), (9, False), (6, True), (5, False)])
def test_pixels_are_within_a_level(decoded, level, alike):
    other = decoded["pixels"].copy()
    other[1, 2, 0] = level
    assert verdict(decoded, decoded | {"pixels": other}) is alike


def test_the_page_shows_each_processor(decoded):
    rows = [emulated.compare(decoded, decoded) | {"writer": "golden"}]
    pair = {"same_bytes": False, "differing_symbols": 1, "symbols": 10}
    provenance = {"command": "emulated"}
    whole = {"result": {"summary": emulated.summarise(rows, [pair])}, "provenance": provenance}
    del decoded["pixels"]
    rows = [emulated.compare(decoded, decoded) | {"writer": "golden"}]
    alone = {"result": {"summary": emulated.summarise(rows, [])}, "provenance": provenance}
    text = page.render({"emulated": {"one": whole, "two": alone}})
    assert "one: the same integers in 1 of 1 streams, pixels at most 0 level off" in text
    assert "two: the same integers in 1 of 1 streams; no pixels" in text
