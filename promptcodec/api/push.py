"""Upload of a folder to the Hub: choice and check of its files, its card, one commit."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from promptcodec import __version__
from promptcodec.api.card_facts import facts_of
from promptcodec.api.parts import Checked, Network, check, networks_of
from promptcodec.coding.base_file import StoredBase, read_stored_base
from promptcodec.errors import CheckpointError, ModelMismatchError, UsageError
from promptcodec.io.checkpoints import BASE, HEADS, TASKS, Part, find_base
from promptcodec.io.config_files import read_json
from promptcodec.io.hub.card import CARD, Card, make_card
from promptcodec.io.hub.fetch import FETCHED
from promptcodec.io.hub.manifest import MANIFEST, manifest_of, sha256_of
from promptcodec.io.hub.name import HubName, check_repository
from promptcodec.io.hub.results import RESULTS, Results, Weights, read_figures
from promptcodec.io.hub.upload import Target, upload
from promptcodec.io.packs import PACK_FACTS, checked_facts

LICENCES = re.compile(r"(licen[cs]e|copying|notice)(\.(txt|md|rst))?", re.IGNORECASE)


@dataclass(frozen=True)
class Pushed:
    """Result of an upload, or what it would be.

    Args:
        repository: owner/name.
        files: size of each file in bytes, by path in the repository.
        card: content of README.md.
        notes: what a reader of the card or the repository will miss, each in a few words.
        left_out: names in the folder that do not belong to it; those of folders end in a slash.
        revision: hash of the commit; None if nothing was sent.
        url: address of the commit; None if nothing was sent.
        removed: paths of an earlier upload that the commit removed.
    """

    repository: str
    files: dict[str, int]
    card: str
    notes: tuple[str, ...]
    left_out: tuple[str, ...]
    revision: str | None = None
    url: str | None = None
    removed: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(self.files.values())


@dataclass
class Plan:
    """Files of an upload.

    Args:
        files: files or their content, by path in the repository.
        card: card, which is among them.
        left_out: names in the folder that are not among them.
        notes: what will be missed, each in a few words.
    """

    files: dict[str, Path | bytes]
    card: Card
    left_out: list[str]
    notes: list[str] = field(default_factory=list)


def push(
    folder: str | Path,
    target: Target,
    *,
    networks: Sequence[Network] | None = None,
    base: Path | None = None,
    base_name: HubName | None = None,
    licence: str | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Check a folder and upload what belongs to it; errors as `Codec.push_to_hub`.

    Args:
        folder: folder of a codec, of one network or of several; README.md and the licence are
            looked for there.
        target: repository, branch, message.
        networks: networks to upload; None is all in the folder.
        base: folder with the base of networks that come without one; None is the bundled one.
        base_name: repository of that base; None if it is not known.
        licence: identifier of the licence.
        dry_run: whether nothing is sent.
    """
    check_repository(target.repository)
    plan = make_plan(
        Path(folder),
        networks_of(Path(folder)) if networks is None else networks,
        repository=target.repository,
        base=base,
        base_name=base_name,
        licence=licence,
    )
    pushed = Pushed(
        repository=target.repository,
        files={path: size_of(content) for path, content in plan.files.items()},
        card=plan.card.text,
        notes=(*plan.notes, *plan.card.notes),
        left_out=tuple(plan.left_out),
    )
    if dry_run:
        return pushed
    done = upload(plan.files, target)
    notes = (
        pushed.notes if done.is_new else (*pushed.notes, "nothing has changed since this commit")
    )
    return replace(pushed, notes=notes, revision=done.sha, url=done.url, removed=done.removed)


def make_plan(
    root: Path,
    networks: Sequence[Network],
    *,
    repository: str,
    base: Path | None = None,
    base_name: HubName | None = None,
    licence: str | None = None,
) -> Plan:
    """Files and card of an upload; arguments and errors as those of `push`."""
    has_base = any(network.part is BASE for network in networks)
    stored, checked = check(networks, None if has_base else _base_for(networks, base))
    files: dict[str, Path | bytes] = {}
    for each in checked:
        for name in each.files:
            files[join(each.network.path, name)] = each.network.folder / name
    own = {network.folder: network.path for network in networks} | {root: ""}
    results = {}
    for folder, place in own.items():
        texts = [path for path in sorted(folder.glob("*")) if LICENCES.fullmatch(path.name)]
        texts += [folder / CARD] if folder != root else []
        files |= {join(place, path.name): path for path in texts if path.is_file()}
        if (folder / PACK_FACTS).is_file():
            files[join(place, PACK_FACTS)] = checked_facts(folder)
        if (folder / RESULTS).is_file():
            path = join(place, RESULTS)
            files[path] = folder / RESULTS
            results[path] = checked_results(folder / RESULTS, stored, checked)
    check_names(files)
    facts = facts_of(
        checked,
        stored,
        repository=repository,
        base=base,
        base_name=base_name,
        licence=licence,
        licence_file=next((path for path in files if LICENCES.fullmatch(path)), None),
        results=list(results.values()),
    )
    card = make_card(root / CARD, facts)
    listed = {path: content for path, content in files.items() if is_fetched(path)}
    manifest = manifest_of(listed, version=__version__)
    files |= {CARD: card.text.encode(), MANIFEST: manifest.as_bytes()}
    in_place = all(network.folder == root / network.path for network in networks)
    others = left_out(root, files) if in_place else []
    return Plan(dict(sorted(files.items())), card, others, notes_on(checked))


def _base_for(networks: Sequence[Network], base: Path | None) -> StoredBase:
    """The base that networks belong to."""
    stored = read_stored_base(find_base(base))
    network = networks[0]
    config = read_json(network.folder / network.part.config, what=network.part.folder)
    wanted = str(config.get("base_sha256", "")) if isinstance(config, dict) else ""
    if base is None and wanted != stored.sha256.hex():
        raise ModelMismatchError(
            f"{network.folder} belongs to base {wanted[:16]}, which is not the bundled one: name "
            "the folder or the repository of its base by --base"
        )
    return stored


def checked_results(path: Path, base: StoredBase, checked: Sequence[Checked]) -> Results:
    """Results of these networks.

    Raises:
        CheckpointError: the file has another layout or no hashes, or other networks were measured.
    """
    found = read_figures(path)
    reason = None if found.weights is None else _differing(found.weights, base, checked)
    if found.weights is not None and reason is None:
        return found
    what = "has no hashes of what was measured" if reason is None else f"was measured with {reason}"
    raise CheckpointError(
        f"{path} {what}: measure again with `promptcodec eval --out` or `promptcodec eval-task "
        "--out`, or remove it"
    )


def _differing(measured: Weights, base: StoredBase, checked: Sequence[Checked]) -> str | None:
    """Which networks were measured that are not these; None if there are none."""
    own = base.sha256.hex()
    adapters = {each.sha256.hex() for each in checked if each.sha256 is not None}
    heads, tasks = (_weights_in(checked, part) for part in (HEADS, TASKS))
    if others := sorted(measured.bases - {own}):
        return f"base {others[0][:16]}, and this one is {own[:16]}"
    if adapters and not (measured.adapters <= adapters or adapters <= measured.adapters):
        return "other adapters"
    if heads and not measured.heads <= heads:
        return "other heads"
    if tasks and not measured.tasks <= tasks:
        return "other task prompts"
    return None if measured.bases or measured.heads & heads else "other networks"


def _weights_in(checked: Sequence[Checked], part: Part) -> set[str]:
    """Hashes of the weights of the networks of one kind, hexadecimal."""
    networks = [each.network for each in checked if each.network.part is part]
    return {sha256_of(network.folder / part.weights) for network in networks}


def notes_on(checked: Sequence[Checked]) -> list[str]:
    """What loading will need."""
    alone = [each for each in checked if each.network.part in (BASE, HEADS)]
    return [
        f"{each.network.path or each.network.folder.name} has no graphs, so that it needs torch: "
        f"`promptcodec export {each.network.folder}` makes them"
        for each in alone
        if not any(name.endswith(".onnx") for name in each.files)
    ]


def left_out(root: Path, taken: Iterable[str]) -> list[str]:
    """Names in a folder that are not taken; those of whole folders end in a slash."""
    found, taken = [], set(taken)
    folders = {parent.as_posix() for path in taken for parent in PurePosixPath(path).parents}
    for place in sorted(folders):
        if not (root / place).is_dir():
            continue
        for entry in sorted(os.scandir(root / place), key=lambda entry: entry.name):
            name = join("" if place == "." else place, entry.name)
            if name not in taken and name not in folders:
                found.append(name + ("/" if entry.is_dir() else ""))
    return found


def check_names(paths: Iterable[str]) -> None:
    """Refuse names that are not text.

    Raises:
        UsageError: there is one.
    """
    for path in paths:
        if not path.isprintable():  # bytes that are not UTF-8 are not, either
            raise UsageError(f"{path!r} is no name for the Hub: rename it")


def is_fetched(path: str) -> bool:
    """Whether a download takes a file."""
    return any(fnmatch.fnmatch(path, pattern) for pattern in FETCHED)


def join(place: str, name: str) -> str:
    """Path in a repository."""
    return f"{place}/{name}" if place else name


def size_of(content: Path | bytes) -> int:
    """Size in bytes."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size
