"""A fixed slice of the fuzzer, its past findings, and its detection of faults."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from golden_streams import FOLDER, load
from places import ROOT

from promptcodec import bitstream
from promptcodec.errors import CheckpointError
from promptcodec.models.adapters.checkpoint import read_adapter
from promptcodec.models.checkpoint import read_base

FUZZING = ROOT / "tests" / "fuzz"
SLICES = {"onnx": 4_000, "torch": 1_500}  # executions, some 20 s on a slow machine


@pytest.fixture(scope="module", params=SLICES)
def worker(request, tmp_path_factory):
    from run import Worker

    scratch = tmp_path_factory.mktemp(f"fuzz-{request.param}")
    worker = Worker(seed=0, scratch=scratch, engine=request.param)
    worker.warm_up()
    return worker


@pytest.mark.timeout(300)
def test_a_fixed_slice_finds_nothing(worker):
    count = SLICES[worker.seeds.engine]
    for number in range(count):
        worker.execute(number)
    assert worker.findings == []
    assert sum(worker.executions.values()) == count
    # Every target accepts some mutations: refused ones alone would test little.
    assert all(worker.accepted[target] for target in worker.executions)


@pytest.mark.parametrize("fault", [ValueError("a bug"), RecursionError()])
def test_a_fault_is_found(worker, monkeypatch, fault):
    def faulty(*arguments, **options):
        raise fault

    found = len(worker.findings)
    monkeypatch.setattr(bitstream, "parse", faulty)
    for number in range(60):
        worker.execute(number)
    named = [finding["error"] for finding in worker.findings[found:]]
    assert len(named) > 30 and all(type(fault).__name__ in error for error in named)
    del worker.findings[found:]


def test_slow_and_greedy_executions_are_found(worker, monkeypatch):
    import run

    monkeypatch.setattr(run, "SECONDS_AT_MOST", 0.0)
    worker.execute(0)
    monkeypatch.setattr(run, "SECONDS_AT_MOST", 1.0)
    monkeypatch.setattr(worker, "base_mb", -1000.0)
    worker.execute(0)
    assert [f["error"].split()[-1] for f in worker.findings] == ["s", "before"]
    worker.findings.clear()


def test_a_run_goes_on_where_it_ended_and_notes_what_was_mended(tmp_path):
    out = tmp_path / "fuzz.json"

    def run(executions: int) -> dict:
        words = [sys.executable, FUZZING / "run.py", "--executions", str(executions), "--out", out]
        subprocess.run(words, check=True, capture_output=True)  # 0: no finding is open
        return json.loads(out.read_text())

    report = run(40)
    assert report["findings"] == []
    report["findings"] = [{"number": 7, "target": "container", "error": "a bug of old"}]
    out.write_text(json.dumps(report))
    report = run(60)
    assert [(run["from"], run["to"]) for run in report["runs"]] == [(0, 40), (40, 60)]
    assert report["total"] == sum(report["executions"].values()) == 60
    (finding,) = report["findings"]
    assert finding["error"] == "a bug of old"
    assert finding["mended"] == "unknown" or len(finding["mended"]) >= 12


def test_guided_choices_come_from_the_bytes():
    import targets
    from guided import Choices

    assert Choices(b"\x05\x01").getrandbits(9) == 0x105
    assert [Choices(b"").randrange(9), Choices(b"").random()] == [0, 0]
    assert {targets.choose(Choices(bytes([0, 0, n]))) for n in range(256)} == set(targets.SHARES)


def test_a_guided_run_is_read_from_its_output():
    from guided import read_line

    report = {"executions": 0, "seconds": 0, "edges": [], "corpus": 0, "findings": []}
    for line in (
        "#5\tNEW    cov: 11 ft: 12 corp: 2/9b lim: 14 exec/s: 86 rss: 784Mb L: 13/14",
        "#9\tNEW    cov: 25 ft: 12 corp: 7/9b lim: 14 exec/s: 86 rss: 784Mb L: 13/14",
        "artifact_prefix='runs/fuzz/fault-'; Test unit written to runs/fuzz/fault-crash-12ab",
        "Done 5027 runs in 61 second(s)",
        "INFO: nothing",
    ):
        read_line(line + "\n", report)
    assert report == {
        "executions": 5027,
        "seconds": 61,
        "edges": [11, 25],
        "corpus": 7,
        "findings": ["fault-crash-12ab"],
    }


def test_the_loose_writer_writes_what_the_package_does():
    from streams import loosen, write

    for path in FOLDER.glob("*.pc"):
        data = path.read_bytes()
        assert write(loosen(bitstream.parse(data))) == data


def test_checksums_of_indexes_are_made_right_again():
    from streams import loosen
    from targets import with_index_crcs

    for name in ("rgb", "sets", "sets-upper"):
        loose = loosen(bitstream.parse((FOLDER / f"{name}.pc").read_bytes()))
        wrong = replace(loose, tiles=tuple((z, y, 0) for z, y, _ in loose.tiles))
        assert with_index_crcs(load(name), wrong) == loose


class TestFound:
    """Findings, each with the smallest file that shows it."""

    @pytest.fixture
    def files(self, tmp_path):
        def files(source: str, **changes) -> Path:
            for path in (FOLDER / source).iterdir():
                (tmp_path / path.name).write_bytes(path.read_bytes())
            (path,) = tmp_path.glob("*config.json")
            config = json.loads(path.read_text())
            (config["codec"] if "codec" in config else config).update(changes)
            path.write_text(json.dumps(config))
            return tmp_path

        return files

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"latent_channels": 2**31}, "need 1 to 8192"),
            ({"latent_channels": 8000}, "need at least as many channels at 1/16"),
            ({"hyper_channels": 9}, "does not belong to its config"),
            ({"encoder_channels": [8, 12, 16, 8000]}, "needs far more"),
            ({"encoder_blocks": ["", "", "cs", "s" * 257]}, "need at most 256 letters"),
            ({"mlp_ratio": float("inf")}, "mlp_ratio is inf"),
            ({"mlp_ratio": float("nan")}, "mlp_ratio is nan"),
            ({"encoder_blocks": ["", "c" * 256, "cs", "scs"]}, "needs far more"),
            ({"head_channels": 0}, "need 1 or more"),  # this one found by coverage
            ({"context": "econtext", "context_mlp_ratio": 1e30}, "context_mlp_ratio is 1e+30"),
            (
                {
                    "context": "econtext",
                    "context_channels": 8,
                    "context_segments": [12],
                    "context_window": 400,
                },
                "tokens in a window",
            ),
        ],
    )
    def test_a_config_asks_for_more_than_the_file_holds(self, files, changes, says):
        import run

        before = run.peak_mb()
        with pytest.raises(CheckpointError) as caught:
            read_base(files("base", **changes))
        assert says in str(caught.value)
        assert run.peak_mb() - before < 64

    def test_an_adapter_asks_for_more_than_the_file_holds(self, files):
        base = read_base(FOLDER / "base")
        with pytest.raises(CheckpointError, match="does not belong to its config"):
            read_adapter(files("prompts/rate-2", width=1000), base=base)

    def test_the_base_of_an_adapter_is_no_hash(self, files):
        base = read_base(FOLDER / "base")
        with pytest.raises(CheckpointError, match="base_sha256 is '") as caught:
            read_adapter(files("prompts/rate-2", base_sha256="a\n" * 900), base=base)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
