"""Cards: complete metadata, the text of a README.md kept, contradictions told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCardData

from promptcodec.api.push import Pushed, push
from promptcodec.coding.adapter_file import adapter_digest
from promptcodec.errors import CheckpointError, DataError, UsageError
from promptcodec.io.checkpoints import bundled
from promptcodec.io.hub.manifest import sha256_of
from promptcodec.io.hub.name import HubName
from promptcodec.io.hub.results import WEIGHTS
from promptcodec.io.hub.upload import Target

NAME = "me/tiny"


def planned(folder: Path, **options: Any) -> Pushed:
    return push(folder, Target(NAME), dry_run=True, **options)


def metadata(card: str) -> dict[str, Any]:
    values = yaml.safe_load(card.split("---\n")[1])
    ModelCardData(**values)  # the library accepts it
    return values


def text(card: str) -> str:
    return card.split("---\n", 2)[2]


def test_a_codec(codec_folder: Path) -> None:
    pushed = planned(codec_folder, licence="Apache-2.0")
    assert metadata(pushed.card) == {
        "license": "apache-2.0",
        "library_name": "promptcodec",
        "pipeline_tag": "image-to-image",
        "tags": [
            *("image-compression", "learned-codec", "rate-adapter"),
            *("image-classification", "image-segmentation", "task-prompts"),
        ],
        "metrics": ["bpp", "psnr", "accuracy", "mean_iou"],
    }
    assert pushed.notes == ()
    assert 'codec = Codec.load("me/tiny")' in text(pushed.card)
    assert "A base codec of rate 4, with adapters for rates 2, 4, 6, with heads" in pushed.card


@pytest.mark.parametrize(
    ("kind", "tag", "usage"),
    [
        ("prompts", "image-to-image", 'Codec.load("me/base@v1", prompts="me/tiny")'),
        ("heads", "image-classification", 'Codec.load("me/base@v1", heads="me/tiny")'),
        ("heads/segment", "image-segmentation", 'Codec.load("me/base@v1", heads="me/tiny")'),
        ("tasks", "image-to-image", 'Codec.load("me/base@v1", tasks="me/tiny")'),
    ],
)
def test_what_is_added_to_a_base(codec_folder: Path, kind: str, tag: str, usage: str) -> None:
    base = codec_folder / "base"
    card = planned(codec_folder / kind, base=base, base_name=HubName("me/base", "v1")).card
    values = metadata(card)
    assert (values["base_model"], values["base_model_relation"]) == ("me/base", "adapter")
    assert values["pipeline_tag"] == tag and usage in card
    unnamed = planned(codec_folder / kind, base=base)
    assert "base_model" not in unnamed.card
    assert any("name the repository of the base by --base" in note for note in unnamed.notes)


def test_several_kinds_without_a_base(copy: Path) -> None:
    """As `train-joint` writes task prompts and their head."""
    (copy / "tasks" / "classify").rename(copy / "joint")
    folder = copy / "task"
    folder.mkdir()
    (copy / "joint").rename(folder / "prompts")
    (copy / "heads").rename(folder / "heads")
    pushed = planned(folder, base=copy / "base")
    assert {"prompts/task_config.json", "heads/segment/head_config.json"} < set(pushed.files)
    assert 'Codec.load("BASE", heads="me/tiny", tasks="me/tiny")' in pushed.card
    assert pushed.left_out == ()


def test_the_bundled_codec() -> None:
    readme = (bundled() / "README.md").read_text(encoding="utf-8")
    pushed = planned(bundled())
    values = metadata(pushed.card)
    assert list(values)[:3] == ["license", "license_name", "library_name"]
    assert values["license"] == "other" and pushed.notes == ()
    assert values["tags"][:3] == ["image-compression", "learned-codec", "swin"]
    assert values["datasets"] == ["train_photos", "imagenette128.zip", "camvid_480x360.zip"]
    assert text(pushed.card) == text(readme)
    ((index,)) = values["model-index"]
    (result,) = index["results"]
    figures = {each["name"]: each["value"] for each in result["metrics"]}
    points = json.loads((bundled() / "results.json").read_text())["points"]
    assert result["dataset"] == {"name": "kodak", "type": "kodak"}
    for point in points:
        assert figures[f"PSNR (dB) at {point['label']}"] == round(point["psnr"], 6)
        assert figures[f"bpp at {point['label']}"] == round(point["bpp"], 6)
    assert index["name"] == "tiny" and len(figures) == 3 * len(points)


def test_a_whole_card_is_not_touched(copy: Path) -> None:
    own = planned(copy, licence="mit").card.replace("# tiny", "# mine\n\nA text.")
    (copy / "README.md").write_bytes(own.encode())
    assert planned(copy).card == own


@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_missing_metadata_is_added_and_the_rest_kept(copy: Path, line: str) -> None:
    lines = ["---", "license: cc-by-4.0", "tags: [mine]", "extra: 1", "---", "# Mine", "ö", ""]
    (copy / "README.md").write_bytes(line.join(lines).encode())
    pushed = planned(copy)
    assert pushed.card.endswith(f"---{line}# Mine{line}ö{line}")
    values = metadata(pushed.card.replace(line, "\n"))
    assert list(values)[:3] == ["license", "tags", "extra"]
    assert values["tags"][:2] == ["mine", "image-compression"]
    assert values["library_name"] == "promptcodec" and pushed.notes == ()
    assert "\r\n" not in pushed.card if line == "\n" else pushed.card.count("\n") > 5


def test_a_text_without_metadata(copy: Path) -> None:
    (copy / "README.md").write_bytes(b"\xef\xbb\xbf# Mine\n---\nnot metadata\n")
    pushed = planned(copy)
    assert text(pushed.card) == "# Mine\n---\nnot metadata\n"
    assert metadata(pushed.card)["license"] == "unknown"
    assert any("its license is not stated: give --license" in note for note in pushed.notes)


def test_a_licence_in_a_file(copy: Path) -> None:
    (copy / "LICENSE.md").write_bytes(b"for friends")
    pushed = planned(copy)
    values = metadata(pushed.card)
    assert (values["license"], values["license_link"]) == ("other", "LICENSE.md")
    assert pushed.notes == () and "LICENSE.md" in pushed.files


def test_contradictions(copy: Path) -> None:
    (copy / "README.md").write_bytes(b"---\nlicense: mit\nlibrary_name: peft\n---\n# Mine\n")
    with pytest.raises(UsageError, match=r"README.md states license mit, and --license apache-2.0"):
        planned(copy, licence="apache-2.0")
    pushed = planned(copy, licence="MIT")
    assert pushed.notes == (
        "README.md has library_name peft, which is kept, where promptcodec is meant",
    )
    assert metadata(pushed.card)["library_name"] == "peft"


@pytest.mark.parametrize(
    "content",
    [
        b"---\nlicense: [\n---\n# Mine\n",
        b"---\n- license\n---\n# Mine\n",
        b"---\nmodel-index: 3\n---\n# Mine\n",
        b"\xff\xfe",
    ],
)
def test_metadata_that_is_not_valid(copy: Path, content: bytes) -> None:
    (copy / "README.md").write_bytes(content)
    with pytest.raises(DataError, match=r"README.md") as caught:
        planned(copy)
    assert "\n" not in str(caught.value)


def results(base: str, **more: Any) -> bytes:
    facts = {
        "format": 2,
        "folder": "photos",
        "base_hash": base,
        "points": [{"label": "rate 2", "bpp": 0.5, "psnr": 31.25, "ms_ssim": None}],
        "provenance": {"date": "2026-01-02T03:04:05", "command": "promptcodec eval photos"},
    }
    return json.dumps(facts | more).encode()


def test_results_of_these_weights(copy: Path, tiny_codec) -> None:
    (copy / "results.json").write_bytes(results(tiny_codec.base_hash.hex()))
    pushed = planned(copy)
    assert "results.json" in pushed.files
    assert "| rate 2 | 0.500 | 31.25 |" in pushed.card
    assert metadata(pushed.card)["metrics"] == ["bpp", "psnr"]
    (copy / "README.md").write_bytes(pushed.card.encode())
    other = results(tiny_codec.base_hash.hex(), folder="others")
    (copy / "results.json").write_bytes(other)
    again = planned(copy)
    assert any("README.md has other figures than results.json" in note for note in again.notes)
    assert "others" not in again.card


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (results("ab" * 32), "was measured with base abababababababab, and this one is"),
        (results(""), "has no hashes of what was measured: measure again"),
        (b"{}", "is no results file: write it with `promptcodec eval --out`"),
        (b"[1]", "is no results file"),
        (b"no", "is not JSON"),
    ],
)
def test_results_of_other_weights(copy: Path, content: bytes, says: str) -> None:
    (copy / "results.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=says):
        planned(copy)


def test_results_of_some_of_the_adapters(copy: Path, tiny_codec) -> None:
    base = tiny_codec.base_hash.hex()
    found = [adapter_digest(copy / "prompts" / f"rate-{rate}").hex() for rate in (2, 4)]
    for measured in (found, found[:1]):
        hashes = {f"rate-{i}": each for i, each in enumerate(measured)}
        (copy / "results.json").write_bytes(results(base, adapter_hashes=hashes))
        assert "results.json" in planned(copy).files
    hashes = {"rate-2": found[0], "rate-4": "ab" * 32}
    (copy / "results.json").write_bytes(results(base, adapter_hashes=hashes))
    with pytest.raises(CheckpointError, match="was measured with other adapters"):
        planned(copy)


def accuracies(**hashes: list[str]) -> bytes:
    row = {"setting": 3, "readers": {"tiny": {"accuracy": 0.75}}}
    none = {f"{name}_sha256": [] for name in WEIGHTS} if hashes else {}
    source = {"name": "photos", "settings": [row]} | none | hashes
    return json.dumps({"data": "things", "split": "val", "sources": [source]}).encode()


def test_accuracies_of_a_head(copy: Path, tiny_codec) -> None:
    hashes = {
        "bases_sha256": [tiny_codec.base_hash.hex()],
        "heads_sha256": [sha256_of(copy / "heads" / "classify" / "head_model.safetensors")],
    }
    (copy / "heads" / "results.json").write_bytes(accuracies(**hashes))
    card = planned(copy / "heads", base=copy / "base").card
    (result,) = metadata(card)["model-index"][0]["results"]
    assert result["dataset"] == {"name": "things", "type": "things", "split": "val"}
    (metric,) = result["metrics"]
    assert metric == {
        "type": "accuracy",
        "value": 0.75,
        "name": "accuracy of tiny on photos at 3",
    }
    assert "| photos | 3 | tiny | 75.0 |" in card
    for changes, says in (
        ({}, "has no hashes of what was measured"),
        (hashes | {"bases_sha256": ["ab" * 32]}, "was measured with base abababababababab"),
        (hashes | {"heads_sha256": ["ab" * 32]}, "was measured with other heads"),
        ({"adapters_sha256": []}, "was measured with other networks"),
    ):
        (copy / "heads" / "results.json").write_bytes(accuracies(**changes))
        with pytest.raises(CheckpointError, match=says):
            planned(copy / "heads", base=copy / "base")


def test_training_data(copy: Path) -> None:
    record = {"steps": 1200, "pictures": 3, "data": "photos", "date": "2026-01-02T00:00:00"}
    (copy / "base" / "training.json").write_bytes(json.dumps(record).encode())
    card = planned(copy).card
    assert metadata(card)["datasets"] == ["photos"]
    assert "- `base`: 1,200 steps on 3 pictures of `photos`, 2026-01-02." in card
