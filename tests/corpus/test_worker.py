"""A worker turns columns into columns; a row that fails does not end a job."""

import hashlib

import numpy as np
import pytest
from small_collections import png

from promptcodec.corpus.job import identity_of
from promptcodec.corpus.tasks import task_of
from promptcodec.corpus.worker import CodecWorker
from promptcodec.errors import PromptCodecError, UsageError


@pytest.fixture
def worker(tiny_checkpoint):
    def make(task, **options):
        return CodecWorker(task, codec={"base": tiny_checkpoint}, **options)

    return make


def test_there_and_back(worker, tiny_codec):
    batch = worker("encode")({"bytes": [png(1), b"broken", None], "name": ["x/a.png", "b", "c"]})
    assert batch["id"][0] == hashlib.sha256(png(1)).hexdigest()
    assert batch["bytes"][0] == tiny_codec.encode(png(1))
    assert batch["name"] == ["x/a.pc", "b", "c"] and batch["source"] == ["x/a.png", None, None]
    assert batch["source_bytes"] == [len(png(1)), 6, None]
    assert batch["bpp"][0] == 8 * len(batch["bytes"][0]) / (40 * 24)
    assert batch["bytes"][1:] == [None, None]
    assert batch["error"][0] is None
    assert "b: is no picture" in batch["error"][1] and batch["error"][2] == "the row has no bytes"
    back = worker("decode", suffix=".webp")(batch)
    assert back["name"] == ["x/a.webp", "b", "c"] and back["width"] == [40, None, None]
    assert back["bytes"][0][8:12] == b"WEBP"
    assert back["error"] == batch["error"]  # an earlier reason is kept


def test_arrays_and_other_columns_are_kept(worker):
    batch = {"bytes": np.array([png(1), png(2)], dtype=object), "year": np.array([2001, 2002])}
    made = worker("encode")(batch)
    assert list(made["year"]) == [2001, 2002]
    assert "name" in made and made["name"] == [None, None]


def test_columns_do_not_depend_on_the_rows(worker):
    encode = worker("encode")
    whole, broken, none = ({"bytes": rows} for rows in ([png(1)], [b""], []))
    assert list(encode(whole)) == list(encode(broken)) == list(encode(none))


def test_transcode_to_another_gain(worker, tiny_codec):
    stream = tiny_codec.encode(png(1))
    (made,) = worker("transcode", gain_steps=6.0)({"bytes": [stream]})["bytes"]
    assert made == tiny_codec.encode(tiny_codec.decode(stream), gain_steps=6.0)


def test_measure(worker, tiny_codec):
    made = worker("measure")({"bytes": [png(1)]})
    shown = np.asarray(tiny_codec.decode(tiny_codec.encode(png(1)))).astype(float)
    from io import BytesIO

    from PIL import Image

    error = np.mean((np.asarray(Image.open(BytesIO(png(1)))).astype(float) - shown) ** 2)
    assert made["psnr"][0] == pytest.approx(10 * np.log10(255**2 / error))
    assert "bytes" not in made


def test_classify_streams_and_pictures(tiny_checkpoint, tiny_heads, tiny_codec):
    worker = CodecWorker("classify", codec={"base": tiny_checkpoint, "heads": tiny_heads}, top=2)
    made = worker({"bytes": [png(1), tiny_codec.encode(png(1)), b"none"]})
    assert made["classes"][0] == made["classes"][1] and len(made["classes"][0]) == 2
    assert made["predicted"][0] == made["classes"][0][0]
    assert made["predicted"][2] is None and made["error"][2]


def test_heads_are_part_of_the_identity(tiny_checkpoint, tiny_heads):
    codec = {"base": tiny_checkpoint, "heads": tiny_heads}
    digest = hashlib.sha256((tiny_heads / "classify" / "head_model.safetensors").read_bytes())
    heads = identity_of(CodecWorker("classify", codec=codec))["heads"]
    assert heads["classify"] == digest.hexdigest() and set(heads) == {"classify", "segment"}
    assert "heads" not in identity_of(CodecWorker("encode", codec=codec))


def test_a_task_without_prompts_is_refused_at_the_start(worker):
    without = worker(task_of("encode", {"task": "classify"}))
    with pytest.raises(PromptCodecError, match="tasks"):
        without.task.check(without.codec)


def test_inspect(worker, tiny_codec):
    stream = tiny_codec.encode(png(1))
    made = worker("inspect")({"bytes": [png(1), stream, stream[:-1], b"x"]})
    assert made["format"] == ["PNG", "promptcodec", None, None]
    assert made["width"] == [40, 40, None, None]


def test_a_fault_of_ours_and_lack_of_memory_are_rows_too(worker, monkeypatch):
    encode = worker("encode")
    for error, says in ((MemoryError(), "memory"), (KeyError("x"), "please report it: KeyError")):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(type(encode.codec), "encode_detailed", fail)
        assert says in encode({"bytes": [png(1)]})["error"][0]


@pytest.mark.parametrize(
    "task,options,says",
    [
        ("encore", {}, "task is 'encore'"),
        ("encode", {"rate": 3}, "rate is no option of encode"),
        ("decode", {"rate_index": 3}, "rate_index is no option of decode"),
        ("decode", {"suffix": ".xyz"}, "suffix is '.xyz'"),
    ],
)
def test_wrong_options(task, options, says):
    with pytest.raises(UsageError, match=says):
        CodecWorker(task, **options)


def test_no_column_of_bytes(worker):
    with pytest.raises(UsageError, match="columns image; need `bytes`"):
        worker("encode")({"image": [png(1)]})


def test_the_limit_of_pixels_holds_for_what_transcode_decodes(worker, tiny_codec, monkeypatch):
    transcode = worker("transcode", max_pixels=40 * 24 - 1)
    monkeypatch.setattr(type(transcode.codec), "encode_detailed", lambda *_: 1 / 0)
    (error,) = transcode({"bytes": [tiny_codec.encode(png(1))]})["error"]
    assert "959" in error
