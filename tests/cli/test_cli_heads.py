"""`promptcodec classify` and `segment`: what they print, write and refuse."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptcodec import bitstream
from promptcodec.api import Codec
from promptcodec.coding.head_file import read_head_config
from promptcodec.errors import UsageError
from promptcodec.io.tensors import read_arrays
from promptcodec.models.heads.checkpoint import build_head, write_head
from promptcodec.training.classifier import ClassifierTrainingConfig


@pytest.fixture(scope="module")
def codec(tiny_checkpoint: Path, tiny_heads: Path) -> Codec:
    return Codec.load(tiny_checkpoint, heads=tiny_heads)


@pytest.fixture
def options(base: tuple, tiny_heads: Path) -> tuple:
    return (*base, "--heads", tiny_heads)


@pytest.fixture
def stream(codec: Codec, photo: Path, tmp_path: Path) -> Path:
    path = tmp_path / "street.pc"
    path.write_bytes(codec.encode(photo))
    return path


def shown(codec: Codec, source: Path | str, data: bytes, *, top: int = 5) -> str:
    labels = codec.classify(data, top=top)
    return f"{source}: " + ", ".join(f"{name} {value:.3f}" for name, value in labels)


class TestClassify:
    def test_stream(self, run, codec, stream, options):
        outcome = run("classify", stream, *options)
        assert outcome.code == 0 and outcome.err == ""
        assert outcome.out.decode() == shown(codec, stream, stream.read_bytes()) + "\n"

    def test_picture_is_encoded_first(self, run, codec, photo, stream, options):
        outcome = run("classify", photo, *options)
        assert outcome.out.decode() == shown(codec, photo, stream.read_bytes()) + "\n"

    def test_rate_of_a_picture(self, run, tiny_checkpoint, tiny_ladder, tiny_heads, photo, options):
        codec = Codec.load(tiny_checkpoint, tiny_ladder, heads=tiny_heads)
        rate = ("--prompts", tiny_ladder, "--rate-index", 6, "--json")
        (row,) = json.loads(run("classify", photo, *options, *rate).out)["files"]
        expected = codec.classify(codec.encode(photo, rate_index=6))
        assert row["labels"] == [label._asdict() for label in expected]
        assert row["labels"] != [
            label._asdict() for label in codec.classify(codec.encode(photo, rate_index=2))
        ]

    def test_top(self, run, codec, stream, options):
        outcome = run("classify", stream, "--top", 1, *options)
        assert outcome.out.decode() == shown(codec, stream, stream.read_bytes(), top=1) + "\n"
        assert outcome.out.count(b",") == 0

    def test_standard_input(self, run, codec, photo, stream, options):
        expected = shown(codec, "-", stream.read_bytes()) + "\n"
        assert run("classify", "-", *options, stdin=stream.read_bytes()).out.decode() == expected
        assert run("classify", "-", *options, stdin=photo.read_bytes()).out.decode() == expected

    def test_several_and_a_folder(self, run, codec, photo, stream, options, tmp_path):
        (tmp_path / "notes.txt").write_text("no picture")
        lines = [shown(codec, path, stream.read_bytes()) for path in (photo, stream)]
        both = run("classify", stream, photo, *options)
        assert both.out.decode().splitlines() == lines[::-1]
        assert run("classify", tmp_path, *options).out.decode().splitlines() == lines

    def test_json(self, run, codec, photo, stream, options):
        rows = json.loads(run("classify", stream, photo, "--json", *options).out)["files"]
        labels = [label._asdict() for label in codec.classify(stream.read_bytes())]
        assert [row["input"] for row in rows] == [str(stream), str(photo)]
        assert rows[0]["labels"] == labels and set(labels[0]) == {"label", "probability"}

    def test_one_that_fails_does_not_stop_the_others(self, run, photo, stream, options, tmp_path):
        (tmp_path / "a-cut.pc").write_bytes(stream.read_bytes()[:-1])
        other = replace(bitstream.parse(stream.read_bytes()), base_hash=bytes(8))
        (tmp_path / "b-other.pc").write_bytes(bitstream.pack(other))
        outcome = run("classify", tmp_path, *options)
        assert outcome.code == 1  # for different reasons
        lines = outcome.err.splitlines()
        assert [line.split(": ")[1] for line in lines] == ["failed"] * 2
        assert [line.split(": ")[2] for line in lines] == [
            str(tmp_path / "a-cut.pc"),
            str(tmp_path / "b-other.pc"),
        ]
        assert len(outcome.out.splitlines()) == 2
        rows = json.loads(run("classify", tmp_path, "--json", *options).out)["files"]
        failed = {"input", "error", "exit_code", "message"}
        named = {"input", "labels", "notes"}
        assert [set(row) for row in rows] == [failed] * 2 + [named] * 2
        (tmp_path / "b-other.pc").unlink()
        assert run("classify", tmp_path, *options).code == 4  # for one reason

    def test_a_name_of_nothing_does_not_stop_the_others(self, run, stream, options, tmp_path):
        outcome = run("classify", tmp_path / "*.gif", stream, *options)
        assert outcome.code == 2 and len(outcome.out.splitlines()) == 1
        (line,) = outcome.err.splitlines()
        assert line.startswith("promptcodec: failed: ") and "check the pattern" in line

    def test_what_a_folder_or_a_pattern_holds(self, run, photo, stream, options, tmp_path):
        folder = tmp_path / "gifs"
        (folder / "deep.png").mkdir(parents=True)
        with Image.open(photo) as picture:
            picture.save(folder / "deep.png" / "a.gif")
        (folder / "._a.png").write_bytes(b"what some systems leave beside a file")
        (folder / "notes.txt").write_text("no picture")
        outcome = run("classify", folder, *options)
        assert outcome.code == 0 and outcome.out.decode().count("\n") == 1
        assert run("classify", folder / "**" / "*.gif", *options).out == outcome.out
        assert outcome.out.decode().startswith(str(folder / "deep.png" / "a.gif"))

    def test_one_pixel(self, run, codec, options, tmp_path):
        path = tmp_path / "dot.pc"
        path.write_bytes(codec.encode(np.full((1, 1, 3), 9, np.uint8)))
        outcome = run("classify", path, *options)
        assert outcome.code == 0 and outcome.out.decode().startswith(f"{path}: ")

    def test_refusals(self, refused, stream, base, options, tmp_path):
        (tmp_path / "empty").mkdir()
        folder = {"folder": tmp_path}
        refused(2, "holds no file to take", "classify", tmp_path / "empty", *options,
                **folder)  # fmt: skip
        refused(4, "no such file", "classify", tmp_path / "no.pc", *options, **folder)
        refused(3, "no such file", "classify", tmp_path / "no.png", *options, **folder)
        refused(2, "--top", "classify", stream, "--top", 0, *options, **folder)
        refused(7, "no head to classify", "classify", stream, *base, **folder)
        refused(7, "no head was found", "classify", stream, *base, "--heads", tmp_path / "empty",
                **folder)  # fmt: skip
        (tmp_path / "text.png").write_text("no picture")
        refused(3, "text.png", "classify", tmp_path / "text.png", *options, **folder)

    def test_a_missing_head_is_said_before_many_are_read(self, refused, base, tmp_path):
        names = tmp_path / "no.pc", tmp_path / "neither.pc"
        refused(7, "--heads", "classify", *names, *base, folder=tmp_path)

    def test_a_missing_input_is_said_before_weights_are_loaded(self, refused, tmp_path):
        words = ("--base", tmp_path / "nowhere")
        refused(4, "no such file", "classify", tmp_path / "no.pc", *words, folder=tmp_path)
        refused(3, "no such file", "segment", tmp_path / "no.png", *words, folder=tmp_path)

    def test_head_of_another_base(self, refused, stream, base, tiny_heads, tmp_path):
        config = replace(read_head_config(tiny_heads / "classify"), base_sha256="cd" * 32)
        write_head(tmp_path / "other", build_head(config), config=config)
        refused(5, "belongs to base cdcd", "classify", stream, *base, "--heads",
                tmp_path / "other", folder=tmp_path)  # fmt: skip

    def test_labels_that_do_not_fit_the_weights(self, refused, stream, base, tiny_heads, tmp_path):
        folder = shutil.copytree(tiny_heads / "classify", tmp_path / "head")
        config = json.loads((folder / "head_config.json").read_text())
        config["labels"] = [*config["labels"], "one more"]
        (folder / "head_config.json").write_text(json.dumps(config))
        refused(7, "does not belong to its config", "classify", stream, *base,
                "--heads", folder, folder=tmp_path)  # fmt: skip


class TestSegment:
    def test_stream(self, run, codec, stream, options, tmp_path):
        outcome = run("segment", stream, *options)
        target = tmp_path / "street.mask.png"
        assert outcome.code == 0 and outcome.out == b""
        mask = codec.segment(stream.read_bytes())
        share = (mask == 1).mean()
        assert 0 < share < 1
        assert outcome.err.startswith(f"{stream} -> {target}: 72x48: ")
        assert f"sky {100 * share:.1f} %" in outcome.err
        with Image.open(target) as picture:
            assert picture.mode == "P" and np.array_equal(np.asarray(picture), mask)

    def test_picture_and_standard_input(self, run, codec, photo, stream, options, tmp_path):
        target = tmp_path / "mask.png"
        assert run("segment", photo, "-o", target, *options).code == 0
        outcome = run("segment", *options, stdin=stream.read_bytes())
        assert outcome.out == target.read_bytes()

    def test_overlay(self, run, codec, stream, options, tmp_path):
        for name, kind in (("street.overlay.png", "PNG"), ("out.jpg", "JPEG")):
            named = ("-o", tmp_path / name) if name == "out.jpg" else ()
            assert run("segment", stream, "--overlay", *named, *options).code == 0
            with Image.open(tmp_path / name) as picture:
                assert picture.format == kind and picture.mode == "RGB"
                assert picture.width >= 72 and picture.height > 48

    def test_json(self, run, codec, stream, options, tmp_path):
        target = tmp_path / "mask.png"
        facts = json.loads(run("segment", stream, "-o", target, "--json", *options).out)
        mask = codec.segment(stream.read_bytes())
        assert (facts["width"], facts["height"]) == (72, 48)
        assert facts["output"] == str(target)
        found = {each["label"]: each["share"] for each in facts["classes"]}
        assert found == {"sky": (mask == 1).mean(), "road": (mask == 0).mean()}
        assert sum(found.values()) == pytest.approx(1.0)

    def test_one_pixel(self, run, codec, options, tmp_path):
        path = tmp_path / "dot.pc"
        path.write_bytes(codec.encode(np.full((1, 1, 3), 9, np.uint8)))
        assert run("segment", path, *options).code == 0
        assert run("segment", path, "--overlay", *options).code == 0
        with Image.open(tmp_path / "dot.mask.png") as picture:
            assert picture.size == (1, 1)

    def test_the_stream_is_not_decoded(self, run, stream, options, monkeypatch, tmp_path):
        def synthesise(*_, **__):
            raise AssertionError("g_s ran")

        for engine in ("models.engine.TorchEngine", "runtime.engine.OnnxEngine"):
            monkeypatch.setattr(f"promptcodec.{engine}.synthesise", synthesise)
        assert run("segment", stream, *options).code == 0
        assert run("classify", stream, *options).code == 0
        assert run("segment", stream, "--overlay", *options).code == 70  # the check does see it

    def test_refusals(self, refused, stream, base, options, tiny_heads, tmp_path):
        folder = {"folder": tmp_path}
        (tmp_path / "street.mask.png").write_bytes(b"old")
        refused(8, "--force", "segment", stream, *options, **folder)
        target = ("-o", tmp_path / "new.png")
        refused(
            2,
            "no mask is written as '.jpg'",
            "segment",
            stream,
            "-o",
            tmp_path / "a.jpg",
            *options,
            **folder,
        )
        gif = ("-o", tmp_path / "a.gif")
        refused(2, "as '.gif'", "segment", stream, "--overlay", *gif, *options, **folder)
        refused(4, "no such file", "segment", tmp_path / "no.pc", *target, *options, **folder)
        refused(7, "no head to segment", "segment", stream, *target, *base, **folder)
        refused(7, "no head to segment", "segment", stream, *target, *base, "--heads",
                tiny_heads / "classify", **folder)  # fmt: skip
        refused(2, "--json", "segment", stream, "-o", "-", "--json", *options, **folder)
        (tmp_path / "cut.pc").write_bytes(stream.read_bytes()[:-1])
        refused(4, "", "segment", tmp_path / "cut.pc", *target, *options, **folder)

    def test_head_of_another_base(self, refused, stream, base, tiny_heads, tmp_path):
        config = replace(read_head_config(tiny_heads / "segment"), base_sha256="cd" * 32)
        write_head(tmp_path / "other", build_head(config), config=config)
        refused(5, "belongs to base cdcd", "segment", stream, *base, "--heads",
                tmp_path / "other", folder=tmp_path)  # fmt: skip


class TestTrainHead:
    @pytest.fixture
    def scenes(self, tmp_path: Path) -> Path:
        rng = np.random.default_rng(0)
        for kind in ("images", "masks"):
            (tmp_path / "data" / "train" / kind).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"data/train/images/{number}.png")
            mask = Image.fromarray(rng.integers(0, 2, (64, 64), dtype=np.uint8))
            mask.save(tmp_path / f"data/train/masks/{number}.png")
        return tmp_path / "data"

    @pytest.fixture
    def recipe(self, tmp_path: Path, tiny_checkpoint: Path, tiny_heads: Path) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(
            f"task: segment\nbase: {tiny_checkpoint}\nstart: {tiny_heads / 'classify'}\n"
            "labels: [road, sky]\none_in: 2\nsteps: 2\nbatch: 1\nprecision: 'no'\n"
            "scenes: {height: 64, width: 64, crop: 64, views: 1, settings: [4], held_settings: [4]}"
        )
        return path

    def test_what_it_writes_segments(self, run, stream, base, scenes, recipe, tmp_path):
        out = tmp_path / "run"
        outcome = run("train-head", recipe, "--data", scenes, "--out", out, "--device", "cpu")
        assert outcome.code == 0 and f"use it with --heads {out / 'head'}" in outcome.err
        mask = tmp_path / "mask.png"
        assert run("segment", stream, "-o", mask, *base, "--heads", out / "head").code == 0
        with Image.open(mask) as picture:
            assert json.loads(picture.text["labels"]) == ["road", "sky"]

    def test_refusals(self, refused, scenes, recipe, tmp_path):
        options = ("--out", tmp_path / "run", "--device", "cpu")
        folder = {"folder": tmp_path / "data"}
        Image.new("L", (64, 60)).save(scenes / "train/masks/0.png")
        refused(9, "is 64x60 and its picture 64x64", "train-head", recipe, "--data", scenes,
                *options, **folder)  # fmt: skip
        (scenes / "train/masks/0.png").unlink()
        refused(9, "train/0 has no mask", "train-head", recipe, "--data", scenes, *options,
                **folder)  # fmt: skip
        (tmp_path / "none" / "train").mkdir(parents=True)
        refused(9, "no pictures in 'train'", "train-head", recipe, "--data", tmp_path / "none",
                *options, **folder)  # fmt: skip
        recipe.write_text(recipe.read_text().replace("[road, sky]", "[road]"))
        refused(2, "1 labels", "train-head", recipe, "--data", scenes, *options, **folder)
        recipe.write_text(recipe.read_text().replace("task: segment", "task: guess"))
        refused(2, "recipe.yaml", "train-head", recipe, "--data", scenes, *options, **folder)


class TestOwnClasses:
    """`train-head --body`: the classes of a folder of pictures, on what a head knows."""

    @pytest.fixture
    def recipe(self, tmp_path: Path, tiny_checkpoint: Path) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(
            f"base: {tiny_checkpoint}\nsteps: 6\nbatch: 4\none_in: 4\nthaw: 0.5\n"
            "precision: 'no'\nviews: {size: 64, views: 1, settings: [4]}"
        )
        return path

    @pytest.fixture
    def body(self, tiny_heads: Path) -> Path:
        return tiny_heads / "classify"

    def test_folders_without_splits(self, run, stream, base, recipe, labelled_pictures, body,
                                    caplog, tmp_path):  # fmt: skip
        data = shutil.copytree(labelled_pictures / "train", tmp_path / "data")
        (data / "red" / "broken.png").write_bytes(b"no picture")
        out = tmp_path / "run"
        options = ("--data", data, "--out", out, "--device", "cpu", "--body", body)
        outcome = run("train-head", recipe, *options)
        assert outcome.code == 0, outcome.err
        said = caplog.text
        assert "broken.png: " in said and "1 of 25 pictures skipped" in said
        config = read_head_config(out / "head")
        assert config.labels == ("blue", "red")
        assert config.trunk == read_head_config(body).trunk
        old, new = (read_arrays(p / "head_model.safetensors") for p in (body, out / "head"))
        same = {name for name in new if np.array_equal(old.get(name), new[name])}
        assert "stem.center" in same and "trunk.stages.0.0.project.weight" not in same
        line = run("classify", stream, *base, "--heads", out / "head").out.decode()
        assert "red" in line and "blue" in line

    def test_without_a_recipe(self, run, labelled_pictures, body, monkeypatch, tmp_path):
        """The start is the bundled head, and the recipe that of few pictures."""
        seen = []

        def task(config, *, cache):
            seen.append(config)
            raise UsageError("stop here")

        monkeypatch.setattr("promptcodec.training.classifier.ClassifierTask", task)
        options = ("--data", labelled_pictures, "--out", tmp_path / "run")
        assert run("train-head", *options).code == run("train-head", *options, "--body", body).code
        assert [config.start for config in seen] == ["bundled", str(body)]
        assert seen[0] == ClassifierTrainingConfig()

    def test_refusals(self, refused, recipe, labelled_pictures, tiny_heads, tiny_network, body,
                      tmp_path):  # fmt: skip
        folder = {"folder": tmp_path}
        options = ("--data", labelled_pictures, "--out", tmp_path / "run", "--device", "cpu")
        refused(2, "is a head on pixels; need one on latents", "train-head", recipe, *options,
                "--body", tiny_network, **folder)  # fmt: skip
        refused(2, "is a head to segment; need one to classify", "train-head", recipe, *options,
                "--body", tiny_heads / "segment", **folder)  # fmt: skip
        refused(7, "no head at", "train-head", recipe, *options, "--body", tmp_path / "no",
                **folder)  # fmt: skip
        (tmp_path / "bare").mkdir()
        refused(9, "has 0 classes in 'train'", "train-head", recipe, "--data", tmp_path / "bare",
                "--body", body, "--out", tmp_path / "run", **folder)  # fmt: skip
        refused(5, "belongs to base", "train-head", "--data", labelled_pictures, "--body",
                body, "--out", tmp_path / "run", **folder)  # fmt: skip
        refused(7, "holds no weights", "import-network", "tf_efficientnet_lite0", "--weights",
                tmp_path / "no.pth", "--out", tmp_path / "net", **folder)  # fmt: skip
