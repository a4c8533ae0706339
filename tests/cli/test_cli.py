"""The command line: what it writes, and how it refuses.

Most tests call `main` in this process, which is what the installed program does; a few start one.
"""

import errno
import io
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from places import RECIPES
from safetensors.numpy import load_file, save_file

from promptcodec import bitstream
from promptcodec.cli import console, main
from promptcodec.cli.groups import GROUPS
from promptcodec.io import atomic


def program(*arguments, **options) -> subprocess.CompletedProcess:
    """The installed program in its own process."""
    return subprocess.run(
        [sys.executable, "-m", "promptcodec", *map(str, arguments)],
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **options.pop("environment", {})},
        **options,
    )


@pytest.fixture
def photo(tmp_path) -> Path:
    y, x = np.mgrid[0:48, 0:72]
    pixels = np.stack([3 * x, 5 * y, x + y], axis=2).clip(0, 255).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def base(tiny_checkpoint):
    return ("--base", tiny_checkpoint)


@pytest.fixture
def data(tiny_codec, photo) -> bytes:
    return tiny_codec.encode(photo)


@pytest.fixture
def stream(data, tmp_path) -> Path:
    path = tmp_path / "photo.pc"
    path.write_bytes(data)
    return path


class TestWhatItWrites:
    def test_default_outputs_lie_beside_the_inputs(self, run, photo, base, tiny_codec):
        outcome = run("encode", photo, *base)
        data = photo.with_suffix(".pc").read_bytes()
        assert outcome.code == 0 and outcome.out == b""
        rate = 8 * len(data) / (48 * 72)
        summary = f"{photo} -> {photo.with_suffix('.pc')}: {len(data):,} bytes, {rate:.3f} bpp\n"
        assert outcome.err == summary
        photo.unlink()
        assert run("decode", photo.with_suffix(".pc"), *base).code == 0
        with Image.open(photo) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(tiny_codec.decode(data)))

    def test_standard_input_goes_to_standard_output(self, run, photo, base, data):
        encoded = run("encode", *base, stdin=photo.read_bytes())
        assert encoded.out == data
        decoded = run("decode", "-", *base, stdin=encoded.out)
        assert Image.open(io.BytesIO(decoded.out)).format == "PNG"
        assert os.listdir(photo.parent) == ["photo.png"]

    def test_base_rate_index_is_accepted(self, run, photo, base, tiny_codec, tmp_path):
        index = tiny_codec.rates[0].index
        target = tmp_path / "out.pc"
        assert run("encode", photo, "-o", target, "--rate-index", index, *base).code == 0
        assert bitstream.parse_header(target.read_bytes()).rate == bitstream.rate_to_fixed(index)

    def test_gain_steps_move_the_size(self, run, photo, base, tmp_path, data):
        target = tmp_path / "out.pc"
        assert run("encode", photo, "-o", target, "--gain-steps", "-8", *base).code == 0
        assert target.stat().st_size < len(data)

    @pytest.mark.parametrize(
        ("suffix", "kind"), [("png", "PNG"), ("JPG", "JPEG"), ("webp", "WEBP"), ("tif", "TIFF")]
    )
    def test_suffix_chooses_the_format(self, run, stream, base, tmp_path, suffix, kind):
        target = tmp_path / f"out.{suffix}"
        assert run("decode", stream, "-o", target, *base).code == 0
        with Image.open(target) as picture:
            assert (picture.format, picture.size) == (kind, (72, 48))

    def test_json_is_all_of_standard_output(self, run, photo, base, tmp_path):
        target = tmp_path / "out.pc"
        outcome = run("encode", photo, "-o", target, "--json", *base)
        report = json.loads(outcome.out)
        assert outcome.err == ""
        assert report["bytes"] == target.stat().st_size
        assert report["bpp"] == 8 * report["bytes"] / (48 * 72)
        decoded = json.loads(run("decode", target, "-o", tmp_path / "o.png", "--json", *base).out)
        assert (decoded["width"], decoded["height"], decoded["mode"]) == (72, 48, "RGB")

    def test_info(self, run, stream, data, tiny_codec):
        text = run("info", stream)
        assert b"72x48 colour" in text.out and tiny_codec.base_hash[:8].hex().encode() in text.out
        facts = json.loads(run("info", stream, "--json").out)
        assert facts["bytes"]["file"] == len(data)
        assert run("info", stdin=data).out == text.out

    def test_force_replaces(self, run, photo, base, stream, data):
        stream.write_bytes(b"old")
        assert run("encode", photo, "--force", *base).code == 0
        assert stream.read_bytes() == data

    def test_version(self, run):
        assert run("--version").out.startswith(b"promptcodec ")

    def test_verbose_shows_seconds(self, run, photo, base):
        assert " s" in run("encode", photo, "-v", *base).err.splitlines()[1]

    def test_complexity_lists_the_parts(self, run, base):
        assert b"g_s" in run("complexity", *base).out


class TestTiles:
    @pytest.fixture
    def cut(self, run, photo, base, tmp_path) -> Path:
        target = tmp_path / "cut.pc"
        outcome = run("encode", photo, "-o", target, "--tile-size", "64", "--json", *base)
        assert json.loads(outcome.out)["tiles"] == 2
        return target

    def test_region(self, run, cut, base, tmp_path):
        target = tmp_path / "part.png"
        assert run("decode", cut, "-o", target, "--region", "60,8,12,20", *base).code == 0
        whole = tmp_path / "whole.png"
        assert run("decode", cut, "-o", whole, *base).code == 0
        with Image.open(target) as part, Image.open(whole) as picture:
            expected = np.asarray(picture.crop((60, 8, 72, 28))).astype(int)
            assert np.abs(np.asarray(part).astype(int) - expected).max() <= 1
        piped = run("decode", "--region", "60,8,12,20", *base, stdin=cut.read_bytes())
        assert piped.out == target.read_bytes()

    @pytest.mark.parametrize("region", ["1,2,3", "a,b,c,d", "0,0,-1,5", "", "1.5,0,1,1"])
    def test_no_region(self, refused, cut, base, tmp_path, region):
        target = tmp_path / "a.png"
        words = ("decode", cut, "-o", target, f"--region={region}")
        refused(2, "need four whole numbers", *words, *base, folder=tmp_path)

    def test_region_outside(self, refused, cut, base, tmp_path):
        words = ("decode", cut, "-o", tmp_path / "a.png", "--region", "70,0,9,9")
        refused(2, "not inside the picture of 72x48", *words, *base, folder=tmp_path)

    def test_what_is_whole_of_a_stream(self, run, refused, cut, base, tmp_path):
        cut.write_bytes(cut.read_bytes()[:-1])
        target = tmp_path / "part.png"
        words = ("decode", cut, "-o", target, *base)
        refused(4, "truncated", *words, folder=tmp_path)
        outcome = run(*words, "--allow-partial")
        assert outcome.code == 0 and outcome.err.endswith("72x48 RGB; missing: tile 1\n")
        report = json.loads(run(*words, "--allow-partial", "--force", "--json").out)
        assert report["missing"] == ["tile 1"]
        words = ("decode", tmp_path / "no.pc", "--allow-partial", *base)
        refused(4, "no.pc cannot be read: No such file", *words, folder=tmp_path)


class TestUsage:
    @pytest.mark.parametrize(
        ("says", "arguments"),
        [
            ("--bogus", ["encode", "--bogus"]),
            ("nope", ["nope"]),
            ("--threads", ["encode", "--threads", "0"]),
            ("--rate-index", ["encode", "--rate-index", "high"]),
            ("--precision", ["decode", "--precision", "float16"]),
            ("DIR", ["eval"]),
            ("--data", ["train-base", "recipe.yaml"]),
        ],
    )
    def test_wrong_options(self, refused, tmp_path, says, arguments):
        refused(2, says, *arguments, folder=tmp_path)

    def test_no_command_shows_help(self, run):
        outcome = run()
        assert outcome.code == 2 and "encode" in outcome.err and outcome.out == b""

    def test_terminal_gets_no_binary_data(self, refused, monkeypatch, tmp_path):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        refused(2, "terminal", "decode", folder=tmp_path, stdin=b"x")

    def test_terminal_is_no_input(self, refused, monkeypatch, tmp_path):
        terminal = io.StringIO()
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        refused(2, "no input", "info", folder=tmp_path, stdin=terminal)

    def test_json_and_payload_do_not_mix(self, refused, tmp_path):
        refused(2, "--json", "encode", "--json", folder=tmp_path, stdin=b"x")

    def test_unknown_output_format(self, refused, stream, base, tmp_path):
        refused(2, ".xyz", "decode", stream, "-o", tmp_path / "a.xyz", *base, folder=tmp_path)

    @pytest.mark.parametrize("index", ["nan", "-1", "99"])
    def test_impossible_rate(self, run, photo, base, tmp_path, index):
        outcome = run("encode", photo, f"--rate-index={index}", *base)
        assert outcome.code in (2, 6) and outcome.err.count("\n") == 1
        assert os.listdir(tmp_path) == ["photo.png"]

    def test_rate_without_adapter_says_which_are_there(self, refused, photo, base, tiny_codec):
        index = (tiny_codec.rates[0].index + 2) % 8
        refused(6, "", "encode", photo, "--rate-index", index, *base, folder=photo.parent)


class TestBadPictures:
    @pytest.mark.parametrize("content", [b"", b"not a picture\n", b"\x89PNG\r\n\x1a\n", b"\0" * 99])
    def test_no_picture(self, refused, base, tmp_path, content):
        (tmp_path / "photo.png").write_bytes(content)
        refused(3, "", "encode", tmp_path / "photo.png", *base, folder=tmp_path)

    def test_truncated_picture(self, refused, photo, base):
        photo.write_bytes(photo.read_bytes()[:-40])
        refused(3, "", "encode", photo, *base, folder=photo.parent)

    def test_16_bit(self, refused, base, tmp_path):
        pixels = np.zeros((8, 8), np.uint16)
        Image.fromarray(pixels).save(tmp_path / "deep.png")
        refused(3, "16", "encode", tmp_path / "deep.png", *base, folder=tmp_path)

    def test_bomb(self, refused, base, tmp_path):
        """A valid PNG header of 65535 x 65535 px with next to nothing behind it."""
        header = struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")]
        body = b"".join(
            struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content))
            for kind, content in chunks
        )  # fmt: skip
        (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        refused(3, "65535", "encode", tmp_path / "bomb.png", *base, folder=tmp_path)

    def test_missing_file_and_folder(self, refused, base, tmp_path):
        refused(3, "no such file", "encode", tmp_path / "no.png", *base, folder=tmp_path)
        refused(3, "--recursive", "encode", tmp_path, *base, folder=tmp_path)

    def test_name_with_terminal_codes_stays_on_one_line(self, refused, base, tmp_path):
        refused(3, r"a\nb\x1b[31m", "encode", tmp_path / "a\nb\x1b[31m", *base, folder=tmp_path)

    def test_endless_input(self, refused, monkeypatch, base, tmp_path):
        monkeypatch.setattr(console, "MAX_INPUT_BYTES", 1000)
        refused(3, "over 1000 bytes", "encode", "/dev/zero", "-o", tmp_path / "a.pc", *base,
                folder=tmp_path)  # fmt: skip


class TestBadStreams:
    def test_no_stream(self, refused, photo, base, tmp_path):
        for content in (b"", b"text\n", photo.read_bytes()):
            (tmp_path / "a.pc").write_bytes(content)
            refused(4, "", "decode", tmp_path / "a.pc", *base, folder=tmp_path)
            refused(4, "", "info", tmp_path / "a.pc", folder=tmp_path)

    @pytest.fixture
    def small(self, tiny_codec, monkeypatch):
        """A small stream, and a parser that is not built anew for each of its thousand damages."""
        monkeypatch.setattr(main, "app", typer.main.get_command(main.app))
        return tiny_codec.encode(np.full((16, 16, 3), 99, np.uint8))

    def test_truncated_at_every_byte(self, run, small, base, tmp_path):
        data, target = small, tmp_path / "out.png"
        for length in range(len(data)):
            outcome = run("decode", "-", "-o", target, *base, stdin=data[:length])
            assert outcome.code == 4, (length, outcome.err)
            assert outcome.err.count("\n") == 1 and outcome.out == b""
        assert not target.exists()

    def test_every_bit_flipped(self, run, small, base, tmp_path):
        """A flip is never decoded: each byte is under a checksum."""
        data, target = small, tmp_path / "out.png"
        for position in range(8 * len(data)):
            damaged = bytearray(data)
            damaged[position // 8] ^= 1 << position % 8
            outcome = run("decode", "-", "-o", target, *base, stdin=bytes(damaged))
            assert outcome.code == 4, (position, outcome.err)
            assert outcome.err.count("\n") == 1 and outcome.out == b""
        assert not target.exists()

    def test_payload_that_passes_every_checksum_but_makes_no_sense(
        self, refused, data, base, tmp_path
    ):
        """Whoever forges a stream writes matching checksums too."""
        container = bitstream.parse(data)
        (tile,) = container.tiles
        for forged in (
            replace(tile, y=b""),
            replace(tile, z=b""),
            replace(tile, y=bytes(len(tile.y))),
            replace(tile, y=tile.y + b"\xff" * 8),
            replace(tile, index_crc=tile.index_crc ^ 1),
        ):
            path = tmp_path / "forged.pc"
            path.write_bytes(bitstream.pack(replace(container, tiles=(forged,))))
            refused(4, "", "decode", path, *base, folder=tmp_path)

    def test_another_base(self, refused, data, base, tmp_path):
        other = bytes(8)
        path = tmp_path / "a.pc"
        path.write_bytes(bitstream.pack(replace(bitstream.parse(data), base_hash=other)))
        refused(5, other.hex(), "decode", path, *base, folder=tmp_path)

    def test_adapter_that_is_not_loaded(self, refused, data, base, tmp_path):
        path = tmp_path / "a.pc"
        container = replace(bitstream.parse(data), adapter_hashes=(b"\x01" * 8,))
        path.write_bytes(bitstream.pack(container))
        refused(5, "01" * 8, "decode", path, *base, folder=tmp_path)

    def test_version_from_the_future(self, refused, data, base, tmp_path):
        path = tmp_path / "a.pc"
        magic = len(bitstream.MAGIC)
        path.write_bytes(data[:magic] + bytes([data[magic] + 1]) + data[magic + 1 :])
        refused(4, "version", "decode", path, *base, folder=tmp_path)
        refused(4, "version", "info", path, folder=tmp_path)

    def test_bomb(self, refused, data, base, tmp_path):
        """A header that declares the largest size there is, checksum and all."""
        container = replace(bitstream.parse(data), width=2**32 - 1, height=2**32 - 1)
        path = tmp_path / "a.pc"
        path.write_bytes(bitstream.pack(container))
        refused(4, "4294967295", "decode", path, *base, folder=tmp_path)
        refused(4, "4294967295", "info", path, folder=tmp_path)

    def test_size_limit_is_an_option(self, refused, run, stream, base, tmp_path):
        refused(4, "", "decode", stream, "-o", tmp_path / "a.png", "--max-pixels", 100, *base,
                folder=tmp_path)  # fmt: skip
        assert run("info", stream, "--max-pixels", 10**6).code == 0

    def test_size_limit_holds_for_encoding_too(self, refused, photo, base):
        refused(3, "72", "encode", photo, "--max-pixels", 100, *base, folder=photo.parent)

    def test_missing_file(self, refused, base, tmp_path):
        refused(4, "no such file", "decode", tmp_path / "no.pc", *base, folder=tmp_path)
        refused(4, "no such file", "info", tmp_path / "no.pc", folder=tmp_path)


class TestBadCheckpoints:
    @pytest.fixture
    def damaged(self, tiny_checkpoint, tmp_path):
        """A copy of the checkpoint, and the file of its weights."""
        folder = shutil.copytree(tiny_checkpoint, tmp_path / "base")
        (weights,) = folder.glob("*.safetensors")
        return folder, weights

    def test_missing_folder(self, refused, photo):
        refused(7, "", "encode", photo, "--base", photo.parent / "no", folder=photo.parent)

    def test_empty_folder(self, refused, photo, tmp_path):
        (tmp_path / "empty").mkdir()
        refused(7, "", "encode", photo, "--base", tmp_path / "empty", folder=tmp_path)

    def test_not_finite(self, refused, photo, damaged, tmp_path):
        folder, weights = damaged
        tensors = load_file(weights)
        name = max((n for n in tensors if tensors[n].dtype.kind == "f"), key=str)
        tensors[name] = np.full_like(tensors[name], np.nan)
        save_file(tensors, weights)
        refused(7, name, "encode", photo, "--base", folder, folder=tmp_path)

    @pytest.mark.parametrize("which", [0, -1])
    def test_missing_tensor(self, refused, photo, damaged, tmp_path, which):
        folder, weights = damaged
        tensors = load_file(weights)
        name = sorted(tensors)[which]
        del tensors[name]
        save_file(tensors, weights)
        refused(7, name, "encode", photo, "--base", folder, folder=tmp_path)

    def test_wrong_shape(self, refused, photo, damaged, tmp_path):
        folder, weights = damaged
        tensors = load_file(weights)
        name = max(tensors, key=lambda each: tensors[each].size)
        tensors[name] = tensors[name][..., :-1].copy()
        save_file(tensors, weights)
        refused(7, name, "encode", photo, "--base", folder, folder=tmp_path)

    @pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"{}", b"\xff" * 100])
    def test_weights_of_another_format(self, refused, photo, damaged, tmp_path, content):
        folder, weights = damaged
        weights.write_bytes(content)
        refused(7, "", "encode", photo, "--base", folder, folder=tmp_path)

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"surprise": 1}', "\0"])
    def test_bad_config(self, run, photo, damaged, tmp_path, content):
        folder, _ = damaged
        (folder / "config.json").write_text(content)
        outcome = run("encode", photo, "--base", folder)
        assert outcome.code in (2, 7) and outcome.err.count("\n") == 1
        assert not photo.with_suffix(".pc").exists()


class TestBadOutputs:
    def test_existing_output(self, refused, photo, stream, base):
        refused(8, "--force", "encode", photo, "-o", stream, *base, folder=photo.parent)
        refused(8, "--force", "decode", stream, *base, folder=photo.parent)

    def test_missing_folder(self, refused, photo, base, tmp_path):
        target = tmp_path / "no" / "a.pc"
        refused(8, "create it", "encode", photo, "-o", target, *base, folder=tmp_path)

    def test_refused_before_the_work(self, refused, photo, stream):
        """The checkpoint does not exist, and is not even looked for."""
        refused(8, "--force", "encode", photo, "--base", "nowhere", folder=photo.parent)

    @pytest.mark.parametrize("force", [False, True])
    def test_full_disk(self, refused, photo, stream, base, tmp_path, monkeypatch, force):
        def full(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(atomic.os, "fsync", full)
        target = stream if force else tmp_path / "new.pc"
        options = ["--force"] if force else []
        refused(8, "disk is full", "encode", photo, "-o", target, *options, *base, folder=tmp_path)

    def test_transparency_does_not_fit_jpeg(self, refused, base, tiny_codec, tmp_path):
        path = tmp_path / "a.pc"
        path.write_bytes(tiny_codec.encode(Image.new("RGBA", (20, 20), (9, 9, 9, 9))))
        refused(8, "alpha", "decode", path, "-o", tmp_path / "a.jpg", *base, folder=tmp_path)


class TestTrainingAndEvaluation:
    RECIPE = RECIPES / "base/base-tiny.yaml"

    @pytest.mark.parametrize("text", ["surprise: 1\n", "- 1\n", "a: b: c", "steps: many\n"])
    def test_bad_recipe(self, refused, tmp_path, text):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(text)
        options = ("--data", tmp_path, "--out", tmp_path / "run")
        refused(2, "", "train-base", recipe, *options, folder=tmp_path)

    def test_missing_recipe_and_data(self, refused, tmp_path):
        options = ("--data", tmp_path / "no", "--out", tmp_path / "run")
        refused(2, "no.yaml", "train-base", "no.yaml", *options, folder=tmp_path)
        refused(9, "no", "train-base", self.RECIPE, *options, folder=tmp_path)
        assert not (tmp_path / "run").exists()

    def test_folder_without_pictures(self, refused, base, tmp_path):
        refused(9, "no picture", "eval", tmp_path, *base, folder=tmp_path)

    def test_results_are_not_overwritten(self, refused, photo, base, tmp_path):
        (tmp_path / "results.json").write_text("old")
        options = ("--out", tmp_path / "results.json")
        refused(8, "--force", "eval", tmp_path, *options, *base, folder=tmp_path)

    @pytest.mark.parametrize(
        ("says", "options"),
        [
            ("no peer 'av2'", ("--against", "jpeg,av2")),
            ("peer mbt2018 cannot run", ("--against", "mbt2018", "--weights", "/nowhere")),
            ("no metric 'vmaf'", ("--metrics", "psnr,vmaf")),
            ("give all, or numbers", ("--rates", "0,best")),
            ("curves are drawn as", ("--plot", "curves.gif")),
            ("name its file by --report", ("--show", "photo")),
            ("no picture 'nope'", ("--show", "nope", "--report", "report.html")),
        ],
    )
    def test_eval_refuses_what_it_does_not_know(
        self, refused, photo, says, options, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        refused(2, says, "eval", tmp_path, "--base", "nowhere", *options, folder=tmp_path)

    @pytest.mark.parametrize(
        ("code", "says", "options"),
        [
            (6, "rate index 9.0", ("--rates", "9")),
            (6, "rate index nan", ("--rates", "nan")),
            (2, "gain_steps is 99", ("--gain-steps", "99")),
            (8, "does not exist", ("--plot", "missing/curves.png")),
            (9, "has no place for results", ("--readme", "README.md")),
            (9, "none of its 1 pictures", ("--max-pixels", "9")),
        ],
    )
    def test_eval_refuses_before_it_measures(
        self, refused, photo, base, code, says, options, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "README.md").write_text("# Title")
        words = (*base, "--out", "results.json", *options)
        refused(code, says, "eval", tmp_path, *words, folder=tmp_path)

    def test_bench_and_its_picture(self, refused, base, tmp_path):
        missing = tmp_path / "no.png"
        refused(3, "no.png", "bench", "--picture", missing, *base, folder=tmp_path)

    def test_eval_names_a_broken_picture_and_does_the_rest(self, run, photo, base, tmp_path):
        (tmp_path / "broken.png").write_bytes(photo.read_bytes()[:100])
        results = tmp_path / "results.json"
        outcome = run("eval", tmp_path, *base, "--out", results, "--against", "jpeg,webp")
        assert outcome.code == 9
        last = outcome.err.splitlines()[-1]
        assert last.startswith("promptcodec: error: 1 of 2 pictures could not be evaluated")
        assert "broken.png" in last
        facts = json.loads(results.read_text())
        assert [each["picture"] for each in facts["points"][0]["pictures"]] == [photo.name]
        assert [each["name"] for each in facts["baselines"]] == ["jpeg", "webp"]
        assert b"| rate 4 |" in outcome.out

    def test_eval_writes_results_and_table(self, run, photo, base, tmp_path):
        readme, results = tmp_path / "README.md", tmp_path / "results.json"
        readme.write_text("# Title\n<!-- results:begin -->\na stale row\n<!-- results:end -->\n")
        outcome = run("eval", tmp_path, *base, "--out", results, "--readme", readme)
        assert outcome.code == 0, outcome.err
        assert json.loads(results.read_text())["points"]
        assert outcome.out.decode().strip() in readme.read_text()
        assert "a stale row" not in readme.read_text()


def test_the_input_is_no_output(refused, photo, base, tmp_path):
    link = tmp_path / "link.png"
    link.symlink_to(photo)
    for output in (photo, link):
        refused(8, "is the input", "encode", photo, "-o", output, "--force", *base,
                folder=tmp_path)  # fmt: skip


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_name_without_a_file_is_refused(refused, base, tmp_path, name):
    says = "take folders by --recursive" if name else "names no file"
    refused(2, says, "encode", name, *base, folder=tmp_path)
    refused(2, says, "decode", name, *base, folder=tmp_path)


class TestUnexpected:
    @pytest.fixture
    def failing(self, monkeypatch):
        def failing(error):
            def read_input(*_, **__):
                raise error

            monkeypatch.setattr(console, "read_input", read_input)

        return failing

    def test_bug_asks_for_a_report(self, refused, failing, tmp_path):
        failing(KeyError("two\nlines"))
        refused(70, "report", "info", "x", folder=tmp_path)

    @pytest.mark.parametrize(
        "error",
        [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")],
    )
    def test_memory(self, refused, failing, tmp_path, error):
        failing(error)
        refused(71, "not enough memory", "info", "x", folder=tmp_path)

    def test_traceback_on_demand(self, run, failing, monkeypatch):
        failing(KeyError("x"))
        assert "Traceback" in run("info", "x", "-v").err
        assert "Traceback" not in run("info", "x").err
        monkeypatch.setenv("PROMPTCODEC_DEBUG", "1")
        assert "Traceback" in run("info", "x").err

    def test_interrupt(self, run, failing):
        failing(KeyboardInterrupt())
        outcome = run("info", "x")
        assert outcome.code == 130 and outcome.out == b""


class TestProgram:
    """Things that only a process of its own can show."""

    def test_pipes(self, photo, data, base):
        encoded = program("encode", *base, input=photo.read_bytes())
        assert encoded.returncode == 0 and encoded.stdout == data
        assert b"standard input -> standard output" in encoded.stderr
        decoded = program("decode", *base, input=encoded.stdout)
        assert decoded.stdout.startswith(b"\x89PNG")

    def test_error_is_one_line_and_an_exit_code(self, tmp_path):
        result = program("info", tmp_path / "no.pc")
        assert result.returncode == 4 and result.stdout == b""
        assert result.stderr.decode().count("\n") == 1

    def test_disk_that_is_really_full(self, stream):
        """/dev/full answers each write as a full disk does."""
        for arguments in (["info", stream], ["info", "--help"]):
            for unbuffered in ("", "1"):
                with open("/dev/full", "wb") as full:
                    environment = {"PYTHONUNBUFFERED": unbuffered}
                    result = program(*arguments, stdout=full, environment=environment)
                assert result.returncode == 8, result.stderr
                assert result.stderr.count(b"\n") == 1 and b"disk is full" in result.stderr

    def test_write_that_fails_half_way(self, stream, base, tmp_path):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

        target = tmp_path / "out.png"
        result = program("decode", stream, "-o", target, *base, preexec_fn=limit)
        assert result.returncode == 8, result.stderr
        assert result.stderr.decode().count("\n") == 1
        assert sorted(os.listdir(tmp_path)) == ["photo.pc", "photo.png"]

    def test_reader_that_goes_away(self, stream):
        read, write = os.pipe()
        os.close(read)
        result = program("info", stream, stdout=write)
        os.close(write)
        assert (result.returncode, result.stderr) == (141, b"")


class TestClosedStreams:
    """A process may be started without standard streams, by a service manager for instance."""

    def shell(self, line: str, *, folder: Path, base: Path) -> subprocess.CompletedProcess:
        words = line.replace("CODEC", f'"{sys.executable}" -m promptcodec')
        words = words.replace("BASE", f'--base "{base}"')
        return subprocess.run(["sh", "-c", words], cwd=folder, capture_output=True, timeout=100)

    @pytest.fixture
    def there(self, tmp_path, tiny_checkpoint):
        Image.new("RGB", (40, 30), (200, 30, 90)).save(tmp_path / "a.png")
        return {"folder": tmp_path, "base": tiny_checkpoint}

    def test_messages_never_reach_the_payload(self, there, tmp_path):
        outcome = self.shell("CODEC encode a.png BASE -o - 2>&- > a.pc", **there)
        assert outcome.returncode == 0
        bitstream.parse((tmp_path / "a.pc").read_bytes())
        outcome = self.shell("CODEC decode missing.pc BASE 2>&-", **there)
        assert (outcome.returncode, outcome.stdout) == (4, b"")

    @pytest.mark.parametrize(
        ("line", "code", "says"),
        [
            ("CODEC encode - BASE -o z.pc <&-", 2, b"no input"),
            ("CODEC info <&-", 2, b"no input"),
            ("CODEC encode a.png BASE -o - >&-", 8, b"standard output is closed"),
            ("CODEC info missing.pc >&-", 4, b"no such file"),
            ("CODEC encode a.png BASE -o b.pc --json >&-", 8, b"standard output is closed"),
        ],
    )
    def test_what_is_missing_is_said(self, there, line, code, says):
        outcome = self.shell(line, **there)
        assert outcome.returncode == code and says in outcome.stderr
        assert outcome.stderr.count(b"\n") == 1 and outcome.stdout == b""
        assert [path.name for path in there["folder"].iterdir()] == ["a.png"]

    def test_messages_that_nobody_reads_cost_nothing(self, there, tmp_path):
        outcome = self.shell("CODEC encode a.png BASE -o c.pc 2>/dev/full", **there)
        assert outcome.returncode == 0
        bitstream.parse((tmp_path / "c.pc").read_bytes())
        assert self.shell("CODEC decode no.pc BASE 2>/dev/full", **there).returncode == 4


def test_every_command_has_its_place_in_the_help(run):
    commands = typer.main.get_command(main.app).commands
    placed = [name for names in GROUPS.values() for name in names]
    assert sorted(placed) == sorted(commands)
    shown = run("--help").out.decode()
    for heading, names in GROUPS.items():
        assert f"\n{heading}:\n  {names[0]} " in shown
