"""Tables and lines of speed say what the record says, with quartiles, rates and load."""

from typing import Any

from benchmarks.tables import speed


def summary(median: float) -> dict[str, float]:
    return {"median": median, "low": 0.9 * median, "high": 1.2 * median}


def record() -> dict[str, Any]:
    ways = ("encode", "decode")
    names = {"onnx": 0.4, "torch": 0.5, "mbt2018-mean": 1.0, "jpeg": 0.004}
    comparison = {
        "engine": "onnx",
        "precision": "float32",
        "bpp": {"onnx": 0.5, "torch": 0.5, "mbt2018-mean": 0.46, "jpeg": 0.49},
        "settings": {"mbt2018-mean": "quality 4", "jpeg": "quality 32"},
        "seconds": {f"{name} {way}": summary(s) for name, s in names.items() for way in ways},
        "peer_over_ours": {
            f"{name} {way}": summary(s / 0.4)
            for name, s in names.items()
            if name != "onnx"
            for way in ways
        },
        "noisy": ["jpeg decode"],
    }
    return {
        "comparisons": [comparison | {"threads": 2}, comparison | {"threads": 1}],
        "cold": {
            kind: {name: summary(0.5) for name in ("decode", "info", "help")}
            for kind in ("cpu_seconds", "cpu_over_import_torch")
        },
        "memory": [{"engine": "onnx", "width": 768, "height": 512, "peak_rss_mb": 300.0}],
        "size": [768, 512],
        "machine": {"cpu": "A CPU", "processors": 2},
        "load_average_before": 0.25,
        "commit": "0123456789abcdef",
        "date": "2026-01-02T03:04:05",
        "command": "run",
    }


def test_the_table_has_quartiles_rates_and_load() -> None:
    lines = speed.render(record()).splitlines()
    own = "| encode, float32, 2 threads: torch | 0.500 | 500 (450 to 600) | 1.2 (1.1 to 1.5) |"
    assert own in lines
    peer = "| decode, float32, 1 thread: mbt2018-mean, quality 4 | 0.460 | 1000 (900 to 1200) "
    assert peer + "| 2.5 (2.2 to 3) |" in lines
    assert any("JPEG, quality 32, noisy |" in line for line in lines)
    assert "2 processors" in lines[-1] and "load average before the first run 0.2" in lines[-1]


def test_the_line_is_of_one_thread_with_both_engines_and_every_peer() -> None:
    line = speed.in_short(record())
    assert "\n" not in line and line.startswith("On one thread of an A CPU")
    assert "at 0.50 bpp takes 400 ms to encode and 400 ms to decode with ONNX Runtime" in line
    assert "torch 1.2 (1.1 to 1.5) and" in line
    assert "mbt2018-mean (quality 4, 0.46 bpp) 2.5 (2.2 to 3) and 2.5 (2.2 to 3)" in line
    assert "JPEG (quality 32, 0.49 bpp) 0.01 (0.009 to 0.012)" in line
