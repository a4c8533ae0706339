"""Many files on the command line: what is found, mirrored, skipped, reported, resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptcodec import bitstream
from promptcodec.cli import main
from promptcodec.cli.batch.runner import Batch
from promptcodec.cli.batch.tasks import EncodeTask
from promptcodec.cli.codec_options import CodecOptions
from promptcodec.cli.inputs import Item, Names
from promptcodec.errors import OutputError, UsageError
from promptcodec.io import atomic
from promptcodec.io.suffixes import PICTURE_SUFFIXES


def picture(seed: int, *, size: tuple[int, int] = (40, 24)) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A tree with two pictures and a copy in another format, one broken picture and a note."""
    root = tmp_path / "photos"
    (root / "deep" / "er").mkdir(parents=True)
    (root / ".hidden").mkdir()
    picture(1).save(root / "a.png")
    picture(2).save(root / "deep" / "b.JPG", "JPEG")
    picture(3).save(root / "deep" / "er" / "c.webp")
    picture(4).save(root / ".hidden" / "d.png")
    (root / "deep" / "broken.png").write_bytes((root / "a.png").read_bytes()[:60])
    (root / "note.txt").write_text("no picture")
    return root


GOOD = ["a.pc", "deep/b.pc", "deep/er/c.pc"]


def tree(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.is_file()
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in tree(folder)}


@pytest.fixture
def run(capsys, tiny_checkpoint):
    """Run a command with the tiny base: its exit code, standard output and standard error."""

    def run(*words):
        code = main.main([*map(str, words), "--base", str(tiny_checkpoint)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


class TestSelection:
    def names(self, *names, recursive=False):
        return Names(tuple(map(str, names)), PICTURE_SUFFIXES, recursive=recursive)

    def test_a_folder_is_mirrored(self, photos, tmp_path):
        chosen = self.names(photos, recursive=True).select(str(tmp_path / "out"), suffix=".pc")
        targets = [item.target.relative_to(tmp_path / "out").as_posix() for item in chosen.items]
        assert targets == ["a.pc", "deep/b.pc", "deep/broken.pc", "deep/er/c.pc"]
        assert (chosen.refused, chosen.ignored) == ((), 1)

    def test_without_an_output_results_lie_beside(self, photos):
        chosen = self.names(photos, recursive=True).select(None, suffix=".pc")
        assert all(item.target == item.source.with_suffix(".pc") for item in chosen.items)

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("*.png", ["a.pc"]),
            ("**/*.png", ["a.pc", "deep/broken.pc"]),
            ("d*/*/c.*", ["deep/er/c.pc"]),
            ("deep/[ab].JPG", ["b.pc"]),
        ],
    )
    def test_patterns_are_mirrored_from_the_first_wildcard(self, photos, pattern, found):
        chosen = self.names(photos / pattern).select("out", suffix=".pc")
        assert [str(item.target) for item in chosen.items] == [f"out/{name}" for name in found]

    def test_a_file_whose_name_looks_like_a_pattern(self, tmp_path):
        odd = tmp_path / "x[1].png"
        odd.write_bytes(b"")
        assert not self.names(odd).are_several(None)
        assert self.names(tmp_path / "y[1].png").are_several(None)

    def test_a_file_that_is_named_twice_is_done_once(self, photos):
        chosen = self.names(photos, photos / "a.png", recursive=True).select(None, suffix=".pc")
        assert [item.source.name for item in chosen.items].count("a.png") == 1

    def test_files_that_would_overwrite_each_other(self, photos):
        picture(5).save(photos / "a.jpg")
        chosen = self.names(photos, recursive=True).select("out", suffix=".pc")
        assert {Path(each.source).name for each in chosen.refused} == {"a.jpg", "a.png"}
        assert all("2 files would become out/a.pc" in str(each.error) for each in chosen.refused)
        assert all(item.source.stem != "a" for item in chosen.items)

    def test_what_gives_no_file_is_refused(self, photos, tmp_path):
        (tmp_path / "empty").mkdir()
        names = self.names(photos / "*.bmp", photos, tmp_path / "a.pc")
        says = [str(each.error) for each in names.select(None, suffix=".pc").refused]
        assert [text.split(":")[0].split(" ", 1)[-1] for text in says] == [
            f"file has a name like {photos}/*.bmp",
            "is a folder",
            "is a .pc already",
        ]
        (refused,) = (
            self.names(tmp_path / "empty", recursive=True).select(None, suffix=".pc").refused
        )
        assert "holds no file to take" in str(refused.error)

    @pytest.mark.parametrize("output", ["-", "one.pc"])
    def test_several_results_need_a_folder(self, photos, output):
        with pytest.raises(UsageError, match="name a folder by -o"):
            self.names(photos, recursive=True).select(output, suffix=".pc")

    def test_a_file_is_no_folder(self, photos):
        with pytest.raises(OutputError, match="is a file and several results need a folder"):
            self.names(photos, recursive=True).select(str(photos / "note.txt"), suffix=".pc")

    def test_standard_input_is_named_alone(self, photos):
        with pytest.raises(UsageError, match="- is one picture"):
            self.names("-", photos).select(None, suffix=".pc")

    def test_loops_of_links_end(self, photos):
        (photos / "deep" / "loop").symlink_to(photos)
        assert len(self.names(photos, recursive=True).select(None, suffix=".pc").items) == 4


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
        assert code == 2 and "--region is of one stream" in stderr


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
        item = Item(photos / "a.png", tmp_path / "a.pc")
        task = EncodeTask(CodecOptions(str(tiny_checkpoint)))
        make = EncodeTask.make

        def make_late(self, item, codec):
            made = make(self, item, codec)
            if not item.target.exists():
                atomic.write_atomically(item.target, made.content)
            return made

        monkeypatch.setattr(EncodeTask, "make", make_late)
        (row,) = Batch(task).run([item])
        assert row.status == "finished"


@pytest.mark.timeout(300)  # each process imports torch
class TestProcesses:
    """What only processes of their own can show."""

    @pytest.fixture
    def many(self, tmp_path) -> Path:
        (tmp_path / "many").mkdir()
        for number in range(12):
            picture(number).save(tmp_path / "many" / f"{number:02}.png")
        return tmp_path / "many"

    @pytest.fixture
    def start(self, tiny_checkpoint, many, tmp_path):
        def start(*options):
            words = ["encode", "-r", str(many), "-o", str(tmp_path / "out"), *options]
            words += ["--base", str(tiny_checkpoint), "--json"]
            return subprocess.Popen(
                [sys.executable, "-m", "promptcodec", *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

        return start

    def test_killed_and_resumed(self, start, run, many, tmp_path):
        process = start("--jobs", "2", "--effort", "1")
        for _ in range(3):
            json.loads(process.stdout.readline())
        process.kill()
        process.wait()
        assert _group_ends(process.pid), "the workers outlived their parent"
        out = tmp_path / "out"
        there = contents(out)
        assert 3 <= len(there) < 12
        for data in there.values():
            bitstream.parse(data)
        words = ("encode", "-r", many, "--effort", "1")
        _, stdout, _ = run(*words, "-o", out, "--json")
        summary = json.loads(stdout.splitlines()[-1])
        assert (summary["finished"], summary["done"]) == (len(there), 12 - len(there))
        whole = contents(out)
        assert all(whole[name] == data for name, data in there.items())
        assert run(*words, "-o", tmp_path / "other")[0] == 0
        assert contents(tmp_path / "other") == whole

    @pytest.mark.slow
    def test_interrupted(self, start):
        process = start("--jobs", "2", "--effort", "9")
        json.loads(process.stdout.readline())
        started = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130 and stderr == b""
        assert time.monotonic() - started < 20
        assert _group_ends(process.pid)

    @pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
    def test_what_was_done_is_told_when_it_ends_early(self, start, tmp_path, signal_number):
        failures = tmp_path / "failures.jsonl"
        words = (str(tmp_path / "missing.png"), "--failures", str(failures))
        process = start("--jobs", "2", "--effort", "3", *words)
        done = 0
        while done < 2:
            done += json.loads(process.stdout.readline())["status"] == "done"
        process.send_signal(signal_number)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 130 and stderr == b""
        summary = json.loads(stdout.splitlines()[-1])
        assert summary["schema"] == "promptcodec.summary/1" and summary["done"] >= done - 2
        assert not list((tmp_path / "out").glob("*.part")) and _group_ends(process.pid)
        rows = [json.loads(line) for line in failures.read_text().splitlines()]
        assert all(row["input"].endswith("missing.png") for row in rows)

    @pytest.mark.slow
    def test_a_process_that_dies_costs_one_file(self, many, tmp_path, tiny_checkpoint, monkeypatch):
        task = DeadlyTask(CodecOptions(str(tiny_checkpoint), threads=1))
        items = [
            Item(path, tmp_path / "out" / f"{path.stem}.pc") for path in sorted(many.iterdir())
        ]
        rows = list(Batch(task, jobs=2).run(items))
        (died,) = [row for row in rows if row.status == "failed"]
        assert died.source.endswith("05.png") and died.exit_code == 71
        assert sum(row.status == "done" for row in rows) == 11
        assert len(tree(tmp_path / "out")) == 11


class DeadlyTask(EncodeTask):
    """Ends its process at one of the files, as the system does where memory runs out."""

    def make(self, item, codec):
        if item.source.name == "05.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().make(item, codec)


def _group_ends(group: int) -> bool:
    """Whether no process of a group is left after a while."""
    for _ in range(400):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


class TestCompletion:
    """What the scripts of the shells ask for, in the way each of them asks."""

    def ask(self, shell: str, **variables: str) -> str:
        result = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from promptcodec.cli.main import main; sys.exit(main())",
            ],
            env={**os.environ, "_PROMPTCODEC_COMPLETE": f"complete_{shell}", **variables},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def test_bash(self):
        commands = self.ask("bash", COMP_WORDS="promptcodec en", COMP_CWORD="1").split()
        assert commands == ["encode"]
        found = self.ask("bash", COMP_WORDS="promptcodec decode --re", COMP_CWORD="2").split()
        assert found == ["--recursive", "--region"]

    def test_zsh(self):
        assert '"encode":' in self.ask("zsh", _TYPER_COMPLETE_ARGS="promptcodec en")

    def test_fish(self):
        found = self.ask(
            "fish",
            _TYPER_COMPLETE_ARGS="promptcodec en",
            _TYPER_COMPLETE_FISH_ACTION="get-args",
        )
        assert found.startswith("encode\t")

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_scripts(self, shell):
        result = subprocess.run(
            [sys.executable, "-c", "from promptcodec.cli.main import main; main()"],
            env={**os.environ, "_PROMPTCODEC_COMPLETE": f"source_{shell}"},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0 and f"complete_{shell}" in result.stdout
