import json
from pathlib import Path

import pytest
from PIL import Image
from places import ROOT

from promptcodec.cli.main import main
from promptcodec.errors import DataError, UsageError
from promptcodec.evaluation.reports.markdown import (
    BEGIN,
    END,
    render_ladder,
    render_quarters,
    render_table,
    render_training,
    update_markers,
)
from promptcodec.evaluation.reports.plot import plot_curves
from promptcodec.io import provenance


def comparison(
    rival: str,
    metric: str,
    values: tuple[float | None, ...],
    range_bpp: tuple[float, float] | None,
    *,
    published: bool = False,
    parts: tuple[float | None, ...] = (),
) -> dict:
    """A comparison as in results.json; "parts" are the values of its quarters."""
    estimates = [dict(zip(("value", "low", "high"), values, strict=True))]
    estimates += [{"value": value, "low": None, "high": None} for value in parts]
    segments = [
        {"low_bpp": k / 2, "high_bpp": (k + 1) / 2, "bd_rate": each}
        for k, each in enumerate(estimates[1:])
    ]
    own = {"bd_rate": estimates[0], "range_bpp": range_bpp, "segments": segments}
    return {"rival": rival, "metric": metric, "published": published, "deltas": own}


RESULTS = {
    "format": 1,
    "folder": "kodak",
    "base_hash": "0123456789abcdef" * 4,
    "precision": "float32",
    "provenance": {
        "date": "2026-01-02T03:04:05+00:00",
        "commit": "abc123",
        "command": "promptcodec eval kodak",
        "versions": {},
        "machine": {"cpu": "A processor", "processors": 2, "threads": 1, "system": "Linux"},
    },
    "metrics": ["psnr", "ms-ssim"],
    "jobs": 1,
    "points": [
        {
            "label": label,
            "bpp": bpp,
            "psnr": psnr,
            "ms_ssim": similarity,
            "encode_seconds": 0.25,
            "decode_seconds": 0.5,
            "pictures": [{}] * 24,
        }
        for label, bpp, psnr, similarity in (
            ("rate 5", 1.25, 35.0, 0.98765),
            ("rate 4", 0.5, 32.125, None),
        )
    ],
    "baselines": [{"name": "jpeg"}, {"name": "webp"}],
    "comparisons": [
        comparison("jpeg", "psnr", (-45.48, -47.5, -43.56), (0.25, 1.2), parts=(-1.0, None)),
        comparison("jpeg", "ms-ssim", (-30.0, -31.0, -29.0), (0.2, 1.1)),
        comparison("webp", "psnr", (None, None, None), None),
        comparison("VTM", "psnr", (25.0, None, None), (0.5, 1.25), published=True),
        comparison("QARV", "psnr", (9.0, None, None), (0.5, 1.25), published=True),
    ],
    "bd_rate": {"VTM": 25.0, "jpeg": -45.48, "webp": None},
    "failures": [{"picture": "x.png", "reason": "broken"}],
    "notes": [],
}


def test_table_shows_what_the_file_says() -> None:
    lines = render_table(RESULTS).splitlines()
    assert lines[0] == "| rate | bpp | PSNR (dB) | MS-SSIM | encode (s) | decode (s) |"
    assert lines[2] == "| rate 4 | 0.500 | 32.12 | n/a | 0.25 | 0.50 |"
    assert lines[3] == "| rate 5 | 1.250 | 35.00 | 0.9877 | 0.25 | 0.50 |"
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert lines[5:10] == [
        "| BD-rate against | our bpp | by PSNR | by MS-SSIM |",
        "| --- | ---: | ---: | ---: |",
        "| JPEG | 0.25 to 1.20 | -45.5 % (-47.5 to -43.6) | -30.0 % (-31.0 to -29.0) |",
        "| WebP | n/a | n/a | n/a |",
        "| VTM (published) | 0.50 to 1.25 | +25.0 % | n/a |",
    ]
    assert "QARV" not in "".join(lines)  # documents have it
    for fact in ("24 pictures of `kodak`", "1 more could not", "abc123", "2026-01-02", "A proc"):
        assert fact in lines[-1]


def test_times_of_processes_side_by_side_are_left_out() -> None:
    lines = render_table(RESULTS | {"jobs": 2}).splitlines()
    assert lines[0] == "| rate | bpp | PSNR (dB) | MS-SSIM |"
    assert lines[2] == "| rate 4 | 0.500 | 32.12 | n/a |"
    assert "2 processes, so that there are no times" in lines[-1]


def test_files_without_the_range_are_still_read() -> None:
    older = json.loads(json.dumps(RESULTS))
    for each in older["comparisons"]:
        del each["deltas"]["range_bpp"]
    assert "| JPEG | n/a | -45.5 % (-47.5 to -43.6) |" in render_table(older)


def test_quarters_are_of_every_rival() -> None:
    lines = render_quarters(RESULTS).splitlines()
    assert lines[0] == "| by PSNR | our bpp | all | 0.00 to 0.50 bpp | 0.50 to 1.00 bpp |"
    assert lines[2] == "| JPEG | 0.25 to 1.20 | -45.5 % (-47.5 to -43.6) | -1.0 % | n/a |"
    assert lines[3] == "| WebP | n/a | n/a | n/a | n/a |"
    assert lines[5] == "| QARV (published) | 0.50 to 1.25 | +9.0 % | n/a | n/a |"
    assert lines[7] == "| by MS-SSIM | our bpp | all |"


def test_markers_are_filled_and_the_rest_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(f"# Title\r\n{BEGIN}\nold\n{END}\nrest é".encode())
    update_markers(path, "| new |\n")
    filled = path.read_bytes()
    assert filled == f"# Title\r\n{BEGIN}\n| new |\n{END}\nrest é".encode()
    update_markers(path, "| new |")
    assert path.read_bytes() == filled


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_documents_without_a_place_for_results_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(DataError, match="add the lines"):
        update_markers(path, "table")
    assert path.read_text() == text


def test_missing_document(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        update_markers(tmp_path / "README.md", "table")


def test_command_lines_show_no_absolute_paths() -> None:
    argv = [
        "/home/me/bin/promptcodec",
        "eval",
        "/data/my set",
        "--out=/tmp/r.json",
        "--rate=4",
        "x/y",
        "../other/photos",
    ]
    expected = "promptcodec eval 'my set' --out=r.json --rate=4 x/y photos"
    assert provenance.command_line(argv) == expected
    assert provenance.command_line(["/x/promptcodec/__main__.py", "info"]) == "promptcodec info"
    script = ROOT / "benchmarks" / "speed" / "run.py"
    assert provenance.command_line([str(script)]) == "python -m benchmarks.speed.run"


def test_card_says_how_a_base_was_trained(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps({"rate_index": 4, "lmbda": 0.025}))
    training = {
        "steps": 1000,
        "hours": 1.5,
        "processes": 2,
        "data": "photos",
        "pictures": 3000,
        "date": "2026-01-02T03:04:05+00:00",
        "commit": "abc123",
        "machine": {"cpu": "A processor", "threads": 1},
        "recipe": {
            "batch": 4,
            "accumulate": 1,
            "precision": "bf16",
            "data": {"crop": 192},
            "optimizer": {"name": "muon", "learning_rate": 0.002},
        },
    }
    (base / "training.json").write_text(json.dumps(training))
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    markers = [f"<!-- {n}:{e} -->" for n in ("training", "results") for e in ("begin", "end")]
    (tmp_path / "README.md").write_text("\n".join(markers))
    assert main(["card", str(tmp_path)]) == 0
    text = (tmp_path / "README.md").read_text()
    for fact in ("lambda 0.025", "3,000 pictures of `photos`", "8 crops of 192 px", "1.50 hours"):
        assert fact in text
    assert "| rate 4 | 0.500 |" in text and "Part" not in text
    (base / "history").mkdir()
    (base / "history" / "1.json").write_text(json.dumps({**training, "steps": 2000}))
    for index, start in ((10, "rate-9"), (9, None)):
        adapter = tmp_path / "prompts" / f"rate-{index}"
        adapter.mkdir(parents=True)
        config = {"rate_index": index, "lmbda": 0.5}
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        recipe = {**training["recipe"], "init_from": start and f"runs/x/{start}"}
        (adapter / "training.json").write_text(json.dumps({**training, "recipe": recipe}))
    with (tmp_path / "README.md").open("a") as readme:
        readme.write("\n<!-- ladder:begin -->\n<!-- ladder:end -->\n")
    assert main(["card", str(tmp_path)]) == 0
    text = (tmp_path / "README.md").read_text()
    assert "Part 1: 2,000 steps" in text and "Part 2: 1,000 steps" in text
    rows = [line for line in text.splitlines() if line.startswith(("| 9 ", "| 10 "))]
    assert [row.split(" | ")[2] for row in rows] == ["the base", "rate-9"]
    assert "| 8,000 |" in rows[0]
    (adapter / "training.json").unlink()
    with pytest.raises(DataError, match="has no record of its training"):
        render_ladder(tmp_path / "prompts")
    (base / "training.json").write_text("{}")
    with pytest.raises(DataError, match="has no record of its training"):
        render_training(base)


def test_curves_are_drawn(tmp_path: Path) -> None:
    drawn = json.loads(json.dumps(RESULTS))
    drawn["points"][0]["pictures"] = [{"picture": f"kodim{n:02d}.png"} for n in range(1, 25)]
    drawn["points"][1]["pictures"] = drawn["points"][0]["pictures"]
    for baseline in drawn["baselines"]:
        baseline["averages"] = [{"bpp": 0.4, "psnr": 30.0}, {"bpp": 1.0, "psnr": 34.0}]
    plot_curves(drawn, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        colours = picture.convert("RGB").getcolors(1 << 20)
    assert colours is not None and len(colours) > 50
    plot_curves(drawn, tmp_path / "curves.svg")
    text = (tmp_path / "curves.svg").read_text()
    assert text.count("<path") > 10
    with pytest.raises(UsageError, match=r"\.png"):
        plot_curves(drawn, tmp_path / "curves.docx")
