"""Many files on the command line: what is found, mirrored, skipped, reported, resumed."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_trees import contents, picture, tree

from promptcodec import bitstream
from promptcodec.cli import main
from promptcodec.cli.batch.jobs import EncodeJob
from promptcodec.cli.batch.runner import run_batch
from promptcodec.cli.codec_options import CodecOptions
from promptcodec.cli.inputs import FilePair
from promptcodec.io import atomic

GOOD = ["a.pc", "deep/b.pc", "deep/er/c.pc"]


@pytest.fixture
def run(run_tiny):
    return run_tiny


class TestRun:
    def test_tree_there_and_back(self, run, photos, tmp_path, tiny_codec):
        out, back = tmp_path / "out", tmp_path / "back"
        code, stdout, stderr = run("encode", "-r", photos, "-o", out)
        assert (code, stdout) == (3, "")
        failure, summary = stderr.splitlines()
        assert failure.startswith("promptcodec: failed: ") and "broken.png" in failure
        assert summary.startswith("3 encoded, 1 failed, 1 other files ignored; ")
        assert tree(out) == GOOD
        assert (out / "a.pc").read_bytes() == tiny_codec.encode(photos / "a.png")
        code, _, stderr = run("decode", "-r", out, "-o", back, "--format", "tif")
        assert code == 0 and stderr.startswith("3 decoded, 0 failed; ")
        assert tree(back) == [name.replace(".pc", ".tif") for name in GOOD]
        with Image.open(back / "a.tif") as decoded:
            expected = tiny_codec.decode((out / "a.pc").read_bytes())
            assert np.array_equal(np.asarray(decoded), np.asarray(expected))

    def test_bytes_do_not_depend_on_the_number_of_processes(self, run, photos, tmp_path):
        assert run("encode", "-r", photos, "-o", tmp_path / "one")[0] == 3
        assert run("encode", "-r", photos, "-o", tmp_path / "two", "--jobs", 2)[0] == 3
        assert contents(tmp_path / "one") == contents(tmp_path / "two")

    def test_files_and_a_folder_for_one(self, run, photos, tmp_path):
        (tmp_path / "out").mkdir()
        assert run("encode", photos / "a.png", "-o", tmp_path / "out")[0] == 0
        assert run("encode", photos / "a.png", "-o", f"{tmp_path}/new/")[0] == 0
        assert run("encode", photos / "a.png", photos / "deep" / "b.JPG")[0] == 0
        assert tree(tmp_path / "out") == tree(tmp_path / "new") == ["a.pc"]
        assert (photos / "a.pc").exists() and (photos / "deep" / "b.pc").exists()

    def test_failures_of_several_kinds(self, run, photos, tmp_path):
        failures = tmp_path / "failures.jsonl"
        failures.write_text('{"schema": "promptcodec.failure/1", "of": "another run"}\n')
        words = ("encode", "-r", photos, photos / "no.bmp", photos / "*.x", "-o", tmp_path / "out")
        code, _, stderr = run(*words, "--failures", failures)
        assert code == 1 and stderr.endswith(f"see {failures}\n") and stderr.count("\n") == 1
        rows = [json.loads(line) for line in failures.read_text().splitlines()]
        assert {row["schema"] for row in rows} == {"promptcodec.failure/1"}
        assert [(row["error"], row["exit_code"]) for row in rows] == [
            ("UsageError", 2),
            ("PictureError", 3),
            ("PictureError", 3),
        ]
        assert rows[1]["output"] == str(tmp_path / "out/deep/broken.pc")
        assert "no such file" in rows[2]["message"]

    @pytest.mark.parametrize("name", ["photos/a.png", "photos/note.txt"])
    def test_failures_replace_nothing_but_failures(self, run, photos, tmp_path, name):
        before = contents(tmp_path)
        words = ("encode", "-r", photos, "-o", tmp_path / "out")
        code, _, stderr = run(*words, "--failures", tmp_path / name)
        assert code == 8 and stderr.count("\n") == 1
        assert "is the input" in stderr or "lists no failures" in stderr
        assert contents(tmp_path) == before

    def test_a_result_is_no_list_of_failures(self, run, photos, tmp_path):
        words = ("encode", "-r", photos, "-o", tmp_path / "out")
        code, _, stderr = run(*words, "--failures", tmp_path / "out" / "a.pc")
        assert code == 8 and "is a result too" in stderr
        assert not (tmp_path / "out" / "a.pc").exists()

    def test_names_that_cannot_be_looked_at_are_told(self, run, photos, tmp_path):
        long = tmp_path / f"{'x' * 300}.png"
        code, _, stderr = run("encode", long, photos / "a.png", "-o", tmp_path / "out")
        assert code == 3 and "1 encoded, 1 failed" in stderr and "name too long" in stderr
        assert tree(tmp_path / "out") == ["a.pc"]

    def test_pipes_are_not_waited_for(self, run, photos, tmp_path):
        os.mkfifo(photos / "pipe.png")
        os.mkfifo(tmp_path / "named.png")
        words = ("encode", "-r", photos, tmp_path / "named.png", "-o", tmp_path / "out")
        code, _, stderr = run(*words)
        assert code == 1 and "named.png is no regular file" in stderr
        assert tree(tmp_path / "out") == GOOD

    def test_an_empty_output_is_no_folder(self, run, photos):
        for words in (("-r", photos), (photos / "a.png",), (photos / "a.png", "--dry-run")):
            code, _, stderr = run("encode", *words, "-o", "")
            assert code == 2 and stderr.count("\n") == 1
        assert not list(photos.rglob("*.pc"))

    def test_what_is_decoded_in_part_is_said(self, run, photos, tmp_path):
        run("encode", "-r", photos, "-o", tmp_path / "out", "--tile-size", "64")
        picture(5, size=(200, 60)).save(photos / "wide.png")
        run("encode", photos / "wide.png", "-o", tmp_path / "out/wide.pc", "--tile-size", "64")
        stream = tmp_path / "out" / "wide.pc"
        stream.write_bytes(stream.read_bytes()[:-1])
        words = ("decode", "-r", tmp_path / "out", "-o", tmp_path / "back", "--allow-partial")
        code, _, stderr = run(*words)
        lines = stderr.splitlines()
        assert code == 0 and lines[0].endswith("wide.pc: missing: tile 3")
        assert "4 decoded, 1 of them in part, 0 failed" in lines[1]
        code, stdout, _ = run(*words, "--json", "--force")
        assert json.loads(stdout.splitlines()[-1])["partial"] == 1

    def test_json(self, run, photos, tmp_path):
        code, stdout, stderr = run("encode", "-r", photos, "-o", tmp_path / "out", "--json")
        *rows, summary = map(json.loads, stdout.splitlines())
        assert {row["schema"] for row in rows} == {"promptcodec.encode/1"}
        assert {row["status"] for row in rows} == {"done"}
        assert sorted(row["output"] for row in rows) == [
            str(tmp_path / "out" / name) for name in GOOD
        ]
        (failed,) = map(json.loads, stderr.splitlines())
        assert failed["input"].endswith("broken.png") and failed["exit_code"] == code == 3
        assert summary["schema"] == "promptcodec.summary/1"
        assert (summary["done"], summary["failed"], summary["ignored"]) == (3, 1, 1)
        assert summary["output_bytes"] == sum(row["bytes"] for row in rows)

    def test_a_line_a_file(self, run, photos, tmp_path):
        _, stdout, stderr = run("encode", photos / "*.png", "-o", tmp_path / "out", "-v")
        assert stdout == ""
        assert stderr.startswith(f"{photos}/a.png -> {tmp_path}/out/a.pc: ")

    def test_no_bar_without_a_terminal(self, run, photos, tmp_path):
        _, _, stderr = run("encode", photos / "*.png", "-o", tmp_path / "out")
        assert stderr.count("\n") == 1 and "\r" not in stderr and "\x1b" not in stderr

    def test_a_broken_setup_is_one_error(self, run, photos, capsys):
        code, _, stderr = run("encode", "-r", photos, "--rate-index", "7", "--jobs", "2")
        assert code == 6 and stderr.splitlines()[0].startswith("promptcodec: error: ")
        assert stderr.count("\n") == 1
        code = main.main(["encode", "-r", str(photos), "--base", str(photos)])
        assert code == 7 and capsys.readouterr().err.count("\n") == 1

    def test_one_region_for_many_is_refused(self, run, photos):
        code, _, stderr = run("decode", "-r", photos, "--region", "0,0,1,1")
        assert code == 2 and "--region is for one stream" in stderr


class TestDryRun:
    def test_nothing_is_written(self, run, photos, tmp_path):
        before = contents(tmp_path)
        code, stdout, stderr = run("encode", "-r", photos, "-o", tmp_path / "out", "--dry-run")
        assert (code, contents(tmp_path)) == (0, before)
        assert f"{photos}/a.png -> {tmp_path}/out/a.pc: planned" in stdout.splitlines()
        assert stderr == "4 to encode, 0 failed, 1 other files ignored\n"

    def test_one_file(self, run, photos):
        assert run("encode", photos / "a.png", "--dry-run")[1].endswith("a.pc: planned\n")
        assert not (photos / "a.pc").exists()

    def test_one_result_may_be_named(self, run, photos, tmp_path):
        words = ("encode", photos / "a.png", "-o", tmp_path / "b.pc")
        assert run(*words, "--dry-run")[1] == f"{photos}/a.png -> {tmp_path}/b.pc: planned\n"
        assert run(*words, "--failures", tmp_path / "failed.jsonl")[0] == 0
        assert (tmp_path / "b.pc").exists() and (tmp_path / "failed.jsonl").read_bytes() == b""

    def test_finished_work_is_told_apart(self, run, photos, tmp_path):
        words = ("encode", "-r", photos, "-o", tmp_path / "out")
        run(*words)
        _, stdout, stderr = run(*words, "--dry-run", "--json")
        *rows, summary = map(json.loads, stdout.splitlines())
        assert [row["status"] for row in rows] == ["finished"] * 3 + ["planned"]
        assert (summary["finished"], summary["planned"]) == (3, 1) and stderr == ""


class TestFinished:
    @pytest.fixture
    def words(self, photos, tmp_path):
        return ("encode", "-r", photos, "-o", tmp_path / "out")

    def statuses(self, run, *words) -> dict[str, str]:
        _, stdout, stderr = run(*words, "--json")
        rows = [json.loads(line) for line in (stdout + stderr).splitlines()]
        found = {Path(row["input"]).name: row for row in rows if "input" in row}
        return {name: row.get("status") or row["message"] for name, row in found.items()}

    def test_a_second_run_does_nothing(self, run, words, tmp_path):
        run(*words)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.pc")}
        found = self.statuses(run, *words)
        assert [found[name] for name in ("a.png", "b.JPG", "c.webp")] == ["finished"] * 3
        assert {path: path.stat().st_mtime_ns for path in before} == before
        assert self.statuses(run, *words, "--force")["a.png"] == "done"

    def test_only_what_is_missing_is_done(self, run, words, tmp_path):
        run(*words)
        (tmp_path / "out/a.pc").unlink()
        found = self.statuses(run, *words)
        assert (found["a.png"], found["b.JPG"]) == ("done", "finished")

    @pytest.mark.parametrize(
        ("says", "options"),
        [
            ("of other settings", ("--gain-steps", "1")),
            ("of other settings", ("--target-bytes", "3000")),
            ("finished", ("--target-psnr", "30")),
            ("finished", ("--max-pixels", "5000")),
            ("finished", ("--tile-size", "64")),
        ],
    )
    def test_settings(self, run, words, says, options):
        run(*words)
        assert says in self.statuses(run, *words, *options)["a.png"]

    def test_a_target_of_size_is_recognised(self, run, photos, tmp_path):
        words = ("encode", "-r", photos, "-o", tmp_path / "out", "--gain-steps", "2")
        run(*words)
        size = (tmp_path / "out/a.pc").stat().st_size
        target = ("--target-bytes", size)
        again = ("encode", photos / "*.png", "-o", tmp_path / "out", *target)
        assert self.statuses(run, *again) == {"a.png": "finished"}

    def test_rates_and_adapters(self, run, photos, tmp_path, tiny_ladder):
        words = ("encode", photos / "*.png", "-o", tmp_path / "out", "--prompts", tiny_ladder)
        for rate in ("2", "3.5"):
            assert self.statuses(run, *words, "--rate-index", rate, "--force") == {"a.png": "done"}
            again = self.statuses(run, *words, "--rate-index", rate)
            assert again == {"a.png": "finished"}
        assert "of other settings" in self.statuses(run, *words)["a.png"]
        assert "of other settings" in self.statuses(run, *words[:-2])["a.png"]

    def test_what_stands_in_the_way(self, run, words, photos, tmp_path):
        run(*words)
        out = tmp_path / "out"
        a, b, c = (out / name for name in GOOD)
        a.write_bytes(a.read_bytes()[:-1])
        os.utime(b, ns=(1, 1))
        c.write_bytes(a.with_name("deep").joinpath("b.pc").read_bytes())
        picture(3, size=(24, 40)).save(photos / "deep/er/c.webp")
        os.utime(photos / "deep/er/c.webp", ns=(1, 1))
        before = contents(out)
        found = self.statuses(run, *words)
        assert f"{a} exists and is no whole stream: pass --force" in found["a.png"]
        assert f"{b} exists and is older than" in found["b.JPG"]
        assert f"{c} exists and is a stream of another picture" in found["c.webp"]
        assert contents(out) == before
        assert set(self.statuses(run, *words, "--force").values()) >= {"done"}

    def test_another_base_is_another_setting(self, run, words, tmp_path):
        from dataclasses import replace

        run(*words)
        path = tmp_path / "out/a.pc"
        container = replace(bitstream.parse(path.read_bytes()), base_hash=bytes(8))
        path.write_bytes(bitstream.pack(container))
        assert "of other settings" in self.statuses(run, *words)["a.png"]

    def test_originals_are_never_replaced(self, run, photos):
        """Streams beside the pictures they were made of: what is decoded has the same names."""
        run("encode", photos / "a.png", photos / "deep/b.JPG")
        before = (photos / "a.png").read_bytes()
        found = self.statuses(run, "decode", photos / "*.pc")
        assert "a.png exists and is older than" in found["a.pc"]
        assert (photos / "a.png").read_bytes() == before

    def test_decoded_pictures(self, run, words, tmp_path):
        run(*words)
        back = ("decode", "-r", tmp_path / "out", "-o", tmp_path / "back")
        assert set(self.statuses(run, *back).values()) == {"done"}
        assert set(self.statuses(run, *back).values()) == {"finished"}
        picture(1, size=(9, 9)).save(tmp_path / "back/a.png")
        assert "is another picture" in self.statuses(run, *back)["a.pc"]

    @pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif"])
    def test_half_a_picture_is_in_the_way(self, run, words, tmp_path, kind):
        run(*words)
        back = ("decode", "-r", tmp_path / "out", "-o", tmp_path / "back", "--format", kind)
        run(*back)
        assert "3 finished before, 0 failed" in run(*back)[2]
        half = tmp_path / "back" / f"a.{kind}"
        half.write_bytes(half.read_bytes()[: half.stat().st_size * 3 // 4])
        code, _, stderr = run(*back)
        assert code == 8 and "2 finished before, 1 failed" in stderr
        assert "no whole picture" in stderr or "another picture" in stderr

    def test_half_a_stream_is_not_finished(self, run, words, tmp_path):
        run(*words)
        back = ("decode", "-r", tmp_path / "out", "-o", tmp_path / "back")
        run(*back)
        stream = tmp_path / "out" / "a.pc"
        times = stream.stat()
        stream.write_bytes(stream.read_bytes()[:-1])
        os.utime(stream, ns=(times.st_atime_ns, times.st_mtime_ns))
        code, _, stderr = run(*back)
        assert code != 0 and "2 finished before, 1 failed" in stderr

    def test_another_run_that_is_faster(self, run, photos, tmp_path, tiny_checkpoint, monkeypatch):
        """The same file twice at once: both runs end well, and the file is written once."""
        pair = FilePair(photos / "a.png", tmp_path / "a.pc")
        job = EncodeJob(CodecOptions(str(tiny_checkpoint)))
        make = EncodeJob.make

        def make_late(self, pair, codec):
            made = make(self, pair, codec)
            if not pair.target.exists():
                atomic.write_atomically(pair.target, made.content)
            return made

        monkeypatch.setattr(EncodeJob, "make", make_late)
        (row,) = run_batch(job, [pair])
        assert row.status == "finished"
