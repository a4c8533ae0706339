"""The commands `push` and `card`, as a user sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hub_server import Hub

NAME = "me/tiny"


def test_push_and_load(hub: Hub, codec_folder: Path, run) -> None:
    outcome = run("push", codec_folder, NAME, "--license", "apache-2.0", "--message", "first")
    assert (outcome.code, outcome.out) == (0, b"")
    sha = hub.repositories[NAME].refs["main"]
    assert outcome.err.startswith(f"{codec_folder} -> {hub.url}/{NAME}/commit/{sha}: 28 files, ")
    assert outcome.err.count("\n") == 1
    assert hub.repositories[NAME].messages[-1] == "first"
    rates = json.loads(run("rates", "--base", f"{NAME}@{sha}", "--json").out)["rates"]
    assert [rate["rate_index"] for rate in rates] == [2, 4, 6]


def test_adapters_with_their_base(hub: Hub, codec_folder: Path, run) -> None:
    run("push", codec_folder / "base", "me/base")
    outcome = run("push", codec_folder / "prompts", NAME, "--base", "me/base", "--json")
    facts = json.loads(outcome.out)
    assert facts["schema"] == "promptcodec.push/1" and facts["revision"] in facts["url"]
    card = hub.files(NAME)["README.md"].decode()
    assert card == facts["card"]
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == "me/base"
    rates = run("rates", "--base", "me/base", "--prompts", NAME, "--json").out
    assert len(json.loads(rates)["rates"]) == 3


def test_a_dry_run(hub: Hub, codec_folder: Path, run, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    outcome = run("push", codec_folder, NAME, "--dry-run")
    assert outcome.code == 0 and hub.requests == []
    lines = outcome.out.decode().splitlines()
    size = (codec_folder / "base" / "model.safetensors").stat().st_size
    assert f"{size:>12,}  base/model.safetensors" in lines
    assert "library_name: promptcodec" in lines and "# tiny" in lines
    assert outcome.err == (
        f"promptcodec: note: {codec_folder}: its license is not stated: give --license, or write "
        "it into README.md\n"
    )
    facts = json.loads(run("push", codec_folder, NAME, "--dry-run", "--json").out)
    assert facts["dry_run"] and facts["revision"] is None
    assert facts["bytes"] == sum(facts["files"].values())


def test_what_is_left_out_and_what_is_removed(hub: Hub, copy: Path, run) -> None:
    run("push", copy, NAME)
    (copy / "state.safetensors").write_bytes(b"x")
    (copy / "tasks" / "classify" / "task_config.json").unlink()
    lines = run("push", copy, NAME, "--dry-run").out.decode().splitlines()
    assert "left out: state.safetensors, tasks/" in lines
    outcome = run("push", copy, NAME)
    assert outcome.code == 8 and "pass --force to remove them" in outcome.err
    outcome = run("push", copy, NAME, "--force", "--license", "mit")
    assert outcome.code == 0
    assert "tasks/classify/task_config.json" in outcome.err.splitlines()[-1]
    assert "removed from the new revision" in outcome.err
    again = run("push", copy, NAME, "--license", "mit")
    assert "nothing has changed since" in again.err


@pytest.mark.parametrize(
    ("code", "says", "words"),
    [
        (7, "no such folder: check the name", ("nothing", NAME)),
        (7, "is a file: name the folder", ("base/config.json", NAME)),
        (7, "this is an address", ("https://a.org/b", NAME)),
        (2, "give owner/name", ("base", "tiny")),
        (2, "give owner/name", ("base", "me/my codec")),
        (2, "give owner/name", ("base", b"me/\xff")),
        (2, "name the branch by --revision", ("base", f"{NAME}@main")),
        (5, "name the folder or the repository of its base by --base", ("prompts", NAME)),
        (7, "no checkpoint at", ("prompts", NAME, "--base", "nowhere")),
    ],
)
def test_refusals(hub: Hub, copy: Path, refused, monkeypatch, code, says, words) -> None:
    monkeypatch.chdir(copy)
    words = [w.decode(errors="surrogateescape") if isinstance(w, bytes) else w for w in words]
    refused(code, says, "push", *words, folder=copy)
    assert hub.requests == []


def test_no_token(hub: Hub, copy: Path, refused, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    refused(2, "needs a token: set HF_TOKEN, or log in", "push", copy, NAME, folder=copy)


def test_names_of_folders_that_are_not_text(hub: Hub, copy: Path, run) -> None:
    folder = copy / "prompts" / b"rate-\xff".decode(errors="surrogateescape")
    (copy / "prompts" / "rate-2").rename(folder)
    outcome = run("push", copy, NAME)
    assert outcome.code == 2 and "rename it" in outcome.err and outcome.err.count("\n") == 1
    outcome = run("push", folder, NAME, "--base", copy / "base")
    assert outcome.code == 0, outcome.err


def test_a_card_is_written(copy: Path, run) -> None:
    outcome = run("card", copy, "--license", "mit")
    assert outcome.code == 0 and outcome.err == ""
    text = (copy / "README.md").read_text()
    assert "license: mit" in text and 'Codec.load("OWNER/codec")' in text
    assert run("push", copy, NAME, "--dry-run", "--json").code == 0
    for option in (("--license", "mit"), ("--base", "nowhere/at-all")):
        outcome = run("card", copy, *option)
        assert outcome.code == 2 and "leave out --license and --base" in outcome.err
    assert (copy / "README.md").read_text() == text


def test_figures_of_a_card_are_renewed(copy: Path, run) -> None:
    from promptcodec.io.checkpoints import bundled

    folder = copy / "small"
    folder.mkdir()
    for name in ("base", "prompts"):
        (folder / name).symlink_to(bundled() / name)
    results = json.loads((bundled() / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results))
    pushed = json.loads(run("push", bundled(), NAME, "--dry-run", "--json").out)
    (folder / "README.md").write_text(pushed["card"])
    assert run("card", folder).code == 0
    assert (folder / "README.md").read_text() == pushed["card"]
    results["points"][0]["psnr"] = 77.0
    (folder / "results.json").write_text(json.dumps(results))
    assert run("card", folder).code == 0
    text = (folder / "README.md").read_text()
    assert "value: 77.0" in text and "| 77.00 |" in text
    (folder / "results.json").write_text(json.dumps(results | {"base_hash": "ab" * 32}))
    outcome = run("card", folder)
    assert outcome.code == 7 and "was measured with base abababababababab" in outcome.err
    assert (folder / "README.md").read_text() == text
