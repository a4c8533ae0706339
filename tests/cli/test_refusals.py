"""What the command line refuses: pictures, streams, checkpoints, outputs."""

import errno
import shutil
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import typer
from PIL import Image
from safetensors.numpy import load_file, save_file

from promptcodec import bitstream
from promptcodec.cli import console, main
from promptcodec.errors import StreamError
from promptcodec.io import atomic


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

    def test_every_bit_flipped(self, run, small, base, tmp_path, tiny_codec):
        """A flip is never decoded: each byte is under a checksum."""
        data, target = small, tmp_path / "out.png"
        for position in range(8 * len(data)):
            damaged = bytearray(data)
            damaged[position // 8] ^= 1 << position % 8
            with pytest.raises(StreamError):
                tiny_codec.decode(bytes(damaged))
            if position % 8 != position // 8 % 8:  # of each byte one, by the command line too
                continue
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
        path.write_bytes(data[:magic] + bytes([data[magic] + 2]) + data[magic + 1 :])
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
