"""The command line: what it writes, and which options it takes."""

import io
import json
import os
import re
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from promptcodec import bitstream
from promptcodec.cli import main
from promptcodec.cli.file_options import DECODE, ENCODE
from promptcodec.coding.settings import DecodeSettings, EncodeSettings


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
        refused(4, "no.pc: no such file: check the name", *words, folder=tmp_path)


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


def test_every_command_has_its_place_in_the_help(run):
    shown = run("--help").out.decode()
    sections = dict(re.findall(r"^(\w+):\n((?:  .*\n)+)", shown, re.MULTILINE))
    assert list(sections) == ["Options", *main.GROUPS]
    placed = re.findall(r"^  (\S+) ", "".join(sections[name] for name in main.GROUPS), re.MULTILINE)
    assert sorted(placed) == sorted(typer.main.get_command(main.app).commands)
    assert [placed[0], placed[-1]] == ["encode", "convert-state"]
    assert "..." not in "".join(sections[name] for name in main.GROUPS)


@pytest.mark.parametrize("name", [name for group in main.GROUPS.values() for name in group])
def test_every_command_shows_its_options(run, name):
    shown = run(name, "--help")
    assert shown.code == 0
    assert shown.out.decode().startswith(f"Usage: promptcodec {name} [OPTIONS]")


@pytest.mark.parametrize(
    ("settings", "table"), [(EncodeSettings, ENCODE), (DecodeSettings, DECODE)]
)
def test_every_setting_is_an_option(settings, table):
    """A new field of the Python API is not forgotten on the command line."""
    assert list(table) == [field.name for field in fields(settings)]


def test_options_have_the_defaults_of_the_settings():
    encode = typer.main.get_command(main.app).get_command(None, "encode")
    options = {each.name: each.default for each in encode.params}
    assert {each.name: options[each.name] for each in fields(EncodeSettings)} == vars(
        EncodeSettings()
    )
