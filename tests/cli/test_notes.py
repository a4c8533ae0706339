"""What a stream or a picture file has not of its source: said on one line, listed in JSON."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from picture_files import exif_with, file_bytes, lettered
from PIL import Image

from promptcodec import bitstream


def animation(path: Path) -> Path:
    frames = [Image.new("RGB", (40, 30), (n * 80, 10, 200)) for n in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


NOTE = "of 3 frames the first alone is used"


class TestFrames:
    def test_of_one_file(self, run_tiny, tmp_path):
        picture = animation(tmp_path / "a.gif")
        code, _, stderr = run_tiny("encode", picture)
        assert code == 0
        assert stderr.splitlines()[1:] == [f"promptcodec: note: {picture}: {NOTE}"]
        _, stdout, stderr = run_tiny("encode", picture, "--json", "--force")
        facts = json.loads(stdout)
        assert (facts["frames"], facts["notes"], stderr) == (3, [NOTE], "")

    def test_of_many_files_once(self, run_tiny, tmp_path):
        pictures = [animation(tmp_path / f"{name}.gif") for name in "abc"]
        Image.new("RGB", (20, 10)).save(tmp_path / "d.png")
        code, _, stderr = run_tiny("encode", "-r", tmp_path, "-o", tmp_path / "out")
        assert code == 0
        first, summary = stderr.splitlines()
        assert first == f"promptcodec: note: {pictures[0]} and 2 more: {NOTE}"
        assert summary.startswith("4 encoded, 0 failed")

    def test_in_python(self, tiny_codec, tmp_path):
        picture = animation(tmp_path / "a.gif")
        with pytest.warns(UserWarning, match=NOTE):
            data = tiny_codec.encode(picture)
        with pytest.warns(UserWarning, match=NOTE):
            assert tiny_codec.encode_batch([picture]) == [data]
        found = tiny_codec.encode_detailed(picture)
        assert (found.frames, found.notes, found.data) == (3, (NOTE,), data)

    @pytest.mark.parametrize("command", ["classify", "segment"])
    def test_of_what_is_looked_at(self, run_tiny, tmp_path, tiny_heads, command):
        picture = animation(tmp_path / "a.gif")
        code, _, stderr = run_tiny(command, picture, "--heads", tiny_heads)
        assert code == 0 and f"promptcodec: note: {picture}: {NOTE}" in stderr
        words = (picture, "--heads", tiny_heads, "--json")
        code, stdout, stderr = run_tiny(command, *words, *(["--force"] * (command == "segment")))
        facts = json.loads(stdout)
        assert stderr == "" and facts.get("files", [facts])[0]["notes"] == [NOTE]

    def test_of_what_is_measured(self, run_tiny, tmp_path):
        folder = tmp_path / "in"
        folder.mkdir()
        for name in "ab":
            animation(folder / f"{name}.gif")
        Image.new("RGB", (40, 30)).save(folder / "c.png")
        out = tmp_path / "results.json"
        words = ("eval", folder, "--rates", "4", "--against", "jpeg")
        code, _, stderr = run_tiny(*words, "--out", out)
        assert code == 0 and f"note: a.gif and 1 more: {NOTE}" in stderr.splitlines()
        assert f"a.gif and 1 more: {NOTE}" in json.loads(out.read_text())["notes"]
        words = ("compare", folder / "a.gif", "--rates", "4", "--against", "jpeg")
        code, _, stderr = run_tiny(*words)
        assert code == 0 and f"promptcodec: note: {folder / 'a.gif'}: {NOTE}" in stderr
        code, stdout, stderr = run_tiny(*words, "--json", "--force")
        assert code == 0 and json.loads(stdout)["notes"] == [NOTE]


def test_a_turned_tiff_is_finished_in_a_second_run(run_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    for n, orientation in enumerate((1, 3, 6, 8)):
        exif = b"Exif\0\0" + exif_with(orientation)
        lettered().save(tmp_path / "in" / f"{n}.tif", exif=exif)
    words = ("encode", "-r", tmp_path / "in", "-o", tmp_path / "out")
    assert run_tiny(*words)[0] == 0
    code, _, stderr = run_tiny(*words)
    assert code == 0 and "4 finished before" in stderr


def test_what_a_format_does_not_take(run_tiny, tmp_path):
    image = Image.new("RGB", (20, 10))
    image.save(tmp_path / "a.png", exif=b"II*\0\x08\0\0\0\0\0" + bytes(70_000))
    assert run_tiny("encode", tmp_path / "a.png")[0] == 0
    code, _, stderr = run_tiny("decode", tmp_path / "a.pc", "-o", tmp_path / "a.jpg")
    assert code == 0 and stderr.endswith("a.pc: .jpg is written without EXIF\n")
    out = tmp_path / "out"
    code, stdout, _ = run_tiny("decode", tmp_path / "a.pc", "--format", "jpg", "-o", f"{out}/",
                               "--json")  # fmt: skip
    assert code == 0 and json.loads(stdout.splitlines()[0])["notes"] == [
        ".jpg is written without EXIF"
    ]
    assert (out / "a.jpg").exists()


def test_a_folder_of_the_less_usual_suffixes(run_tiny, tmp_path):
    image = Image.new("RGB", (20, 10), (9, 99, 199))
    kinds = {"jfif": "JPEG", "jpe": "JPEG", "apng": "PNG", "mpo": "MPO", "dib": "DIB"}
    for suffix, kind in kinds.items():
        (tmp_path / f"{suffix}.{suffix}").write_bytes(file_bytes(image, kind))
    code, _, stderr = run_tiny("encode", "-r", tmp_path, "-o", tmp_path / "out")
    assert code == 0 and stderr.startswith("5 encoded, 0 failed;")


class TestResolution:
    @pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
    def test_goes_there_and_back(self, run_tiny, tmp_path, suffix):
        Image.new("RGB", (20, 10)).save(tmp_path / "a.png", dpi=(300, 150))
        assert run_tiny("encode", tmp_path / "a.png")[0] == 0
        assert run_tiny("decode", tmp_path / "a.pc", "-o", tmp_path / f"b.{suffix}")[0] == 0
        with Image.open(tmp_path / f"b.{suffix}") as image:
            dpi = [float(each) for each in image.info["dpi"]]
            assert np.allclose(dpi, (300, 150), atol=0.03)

    def test_strip_leaves_it_out(self, tiny_codec):
        data = file_bytes(Image.new("RGB", (20, 10)), "PNG", dpi=(300, 150))
        kept = bitstream.parse(tiny_codec.encode(data))
        assert [chunk.kind for chunk in kept.chunks] == [b"reso"]
        assert bitstream.parse(tiny_codec.encode(data, strip=True)).chunks == ()
        assert tiny_codec.decode(tiny_codec.encode(data), strip=True).info == {}

    def test_exif_that_says_so_is_enough(self, tiny_codec):
        tags = Image.Exif()
        tags[0x011A], tags[0x011B], tags[0x0128] = 300.0, 150.0, 2
        data = file_bytes(Image.new("RGB", (20, 10)), "JPEG", exif=tags)
        encoded = tiny_codec.encode(data)
        assert [chunk.kind for chunk in bitstream.parse(encoded).chunks] == [b"EXIF"]
        assert tiny_codec.decode(encoded).info["dpi"] == (300, 150)

    def test_a_damaged_chunk_is_none(self, tiny_codec):
        from dataclasses import replace

        container = bitstream.parse(tiny_codec.encode(Image.new("RGB", (20, 10))))
        chunk = bitstream.Chunk(b"reso", b"nonsense")
        data = bitstream.pack(replace(container, chunks=(chunk,)))
        assert "dpi" not in tiny_codec.decode(data).info

    def test_the_plugin_shows_it(self, tiny_codec):
        import promptcodec.pillow  # noqa: F401

        data = tiny_codec.encode(file_bytes(Image.new("RGB", (20, 10)), "PNG", dpi=(300, 150)))
        with Image.open(io.BytesIO(data)) as image:
            assert image.info["dpi"] == (300, 150)
