"""`promptcodec corpus`: its commands, messages and exit codes."""

import json
import sys

import pytest


def test_there_and_back_in_json(run_tiny, photos, tmp_path):
    code, out, err = run_tiny("corpus", "encode", photos, tmp_path / "a", "--json")
    values = json.loads(out)
    assert code == 0 and values["schema"] == "promptcodec.corpus/1"
    assert values["task"] == "encode"
    assert (values["rows"], values["failed"], values["files"]) == (4, 1, 1)
    assert "promptcodec: failed: deep/broken.png" in err
    code, out, _ = run_tiny("corpus", "decode", tmp_path / "a", tmp_path / "b", "--to", "tar")
    assert code == 0 and out.startswith("rows    4, 1 failed\n")


def test_a_second_run_says_that_there_was_nothing_to_do(run_tiny, photos, tmp_path):
    run_tiny("corpus", "encode", photos, tmp_path / "a")
    code, out, _ = run_tiny("corpus", "encode", photos, tmp_path / "a")
    assert code == 0 and "4, 1 failed; 0 done now, others before" in out


@pytest.fixture
def call(capsys):
    from promptcodec.cli import main

    def call(*words):
        code = main.main([*map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_stats_of_pictures_and_of_a_result(call, run_tiny, photos, tmp_path):
    (photos / "text.png").write_text("none")
    code, out, err = call("corpus", "stats", photos)
    assert code == 0 and "PNG 2, JPEG 1, WEBP 1" in out  # of broken.png the header is whole
    assert "text.png: is no picture and no stream" in err
    run_tiny("corpus", "encode", photos, tmp_path / "a")
    code, out, _ = call("corpus", "stats", tmp_path / "a")
    assert code == 0 and "bpp" in out and "rate" in out


def test_measure(run_tiny, photos, tmp_path):
    code, out, _ = run_tiny("corpus", "measure", photos, tmp_path / "a")
    assert code == 0 and " dB, mean of rows" in out


def test_nothing_that_succeeds_is_an_error(run_tiny, tmp_path):
    (tmp_path / "a.png").write_bytes(b"none")
    code, _, err = run_tiny("corpus", "encode", tmp_path / "a.png", tmp_path / "out")
    assert code == 9 and "a.png" in err


@pytest.mark.parametrize(
    "words,code,says",
    [
        ((), 2, "Missing command"),
        (("encore",), 2, "No such command 'encore'"),
        (("encode", "nowhere", "out"), 9, "nowhere does not exist"),
        (("encode", ".", "out", "--address", "auto"), 2, "add --engine ray"),
        (("encode", ".", "out", "--rate-index", "99"), 6, "99"),
        (("decode", ".", "out", "--region", "0,0,1,1"), 2, "No such option"),
    ],
)
def test_refusals(call, photos, monkeypatch, words, code, says):
    monkeypatch.chdir(photos)
    found, out, err = call("corpus", *words)
    assert (found, out) == (code, "") and says in err and err.count("\n") == 1
    assert not (photos / "out").exists()


def test_without_pyarrow(call, photos, tmp_path, monkeypatch):
    from promptcodec.cli import corpus

    monkeypatch.setattr(corpus, "find_spec", lambda name: None)
    code, _, err = call("corpus", "encode", photos, tmp_path / "out")
    assert code == 2 and "pip install 'promptcodec[corpus]'" in err


def test_help_loads_no_pyarrow(call):
    before = set(sys.modules)
    code, out, _ = call("corpus", "encode", "--help")
    assert code == 0 and "--concurrency" in out
    assert not any(name.startswith(("pyarrow", "ray")) for name in set(sys.modules) - before)
