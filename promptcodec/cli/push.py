"""Commands `push` and `card`: a folder to the Hub, and its README.md."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from promptcodec.cli import console
from promptcodec.cli.output import Printer
from promptcodec.cli.settings import spread_settings
from promptcodec.errors import UsageError
from promptcodec.io.atomic import write_atomically

if TYPE_CHECKING:
    from promptcodec.api.push import Pushed

BaseOfParts = Annotated[
    str | None,
    Option(
        help="Base of adapters, heads or task prompts: a folder, or owner/name on the Hub.",
        show_default="bundled",
    ),
]
Licence = Annotated[
    str | None, Option("--license", help="Licence by the Hub's name, such as apache-2.0.")
]


@spread_settings
def push(
    *,
    folder: Annotated[
        Path,
        Argument(metavar="FOLDER", help="Folder of a codec, of one network, or of several."),
    ],
    repository: Annotated[str, Argument(metavar="OWNER/NAME", help="Repository on the Hub.")],
    private: Annotated[bool, Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[
        str | None, Option(help="Branch; made if it is not there.", show_default="main")
    ] = None,
    message: Annotated[
        str | None, Option(help="First line of the commit.", show_default="Upload with promptcodec")
    ] = None,
    base: BaseOfParts = None,
    license: Licence = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Send nothing; list the files and show the card.")
    ] = False,
    force: Annotated[
        bool, Option("--force", "-f", help="Remove files of an earlier push that are gone here.")
    ] = False,
    printer: Printer,
) -> None:
    """Upload a codec, adapters, heads or task prompts to the Hub, checked, in one commit."""
    from promptcodec.api.push import push as send
    from promptcodec.io.hub.upload import Target

    target = Target(repository, revision, private=private, force=force, message=message)
    pushed = send(folder, target, **_base(base), licence=license, dry_run=dry_run)
    source = str(folder)
    if printer.as_json:
        facts = asdict(pushed) | {"input": source, "bytes": pushed.bytes, "dry_run": dry_run}
        printer.print_json("push", facts)
        return
    if dry_run:
        console.write_stdout(render_plan(pushed))
    else:
        size = f"{len(pushed.files)} files, {pushed.bytes:,} bytes"
        console.print_line(f"{source} -> {pushed.url}: {size}")
    printer.report_notes(source, [*pushed.notes, *removal_notes(pushed)])


def render_plan(pushed: "Pushed") -> str:
    """Files with their sizes, what is left out, and the card."""
    lines = [f"{size:>12,}  {path}" for path, size in pushed.files.items()]
    lines.append(f"{pushed.bytes:>12,}  bytes in {len(pushed.files)} files")
    if pushed.left_out:
        lines.append(f"left out: {', '.join(pushed.left_out)}")
    return "\n".join([*lines, "", pushed.card.rstrip()])


def removal_notes(pushed: "Pushed") -> list[str]:
    """A note on what the commit removed."""
    return [f"{', '.join(pushed.removed)} removed from the new revision"] if pushed.removed else []


def _base(base: str | None) -> dict[str, Any]:
    """A base by its folder and its name."""
    from promptcodec.io.checkpoints import hub_name, locate

    return {} if base is None else {"base": locate(base), "base_name": hub_name(base)}


@spread_settings
def card(
    *,
    folder: Annotated[
        Path, Argument(metavar="DIR", help="Folder of a codec, of one network, or of several.")
    ],
    base: BaseOfParts = None,
    license: Licence = None,
    printer: Printer,
) -> None:
    """Write the README.md of a checkpoint, or bring it up to date with the files beside it.

    A README.md that is there has markers for its tables, and its text and licence stay.
    """
    from promptcodec.api.parts import networks_of
    from promptcodec.api.push import make_plan
    from promptcodec.evaluation.reports import card as cards
    from promptcodec.io.hub.card import CARD

    readme, notes = folder / CARD, []
    if readme.exists() or not folder.is_dir():
        if readme.exists() and (license is not None or base is not None):
            raise UsageError(
                f"{readme} is there, and `card` renews its tables and figures alone: leave out "
                "--license and --base, and write them into its metadata (license, base_model)"
            )
        cards.update_card(folder)
    else:
        plan = make_plan(
            folder,
            networks_of(folder),
            repository=f"OWNER/{folder.resolve().name}",
            licence=license,
            **_base(base),
        )
        write_atomically(readme, plan.card.text.encode())
        notes = plan.card.notes
    if printer.as_json:
        printer.print_json("card", {"output": str(readme)})
    printer.report_notes(str(folder), notes)
