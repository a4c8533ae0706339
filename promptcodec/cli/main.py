"""Command line: coding, installed rates, training, evaluation.

Standard output is for a payload, a table or JSON, standard error for messages. Every failure is one
line and an exit code of docs/errors.md. Slow imports are inside the commands that need them, so
that `--help` and `info` are fast.
"""

import os
import sys
import traceback
import warnings
from pkgutil import resolve_name
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from promptcodec import __version__
from promptcodec.cli import console, exit_codes
from promptcodec.cli.output import Session

Groups = dict[str, dict[str, tuple[str, str]]]

GROUPS: Groups = {
    "Pictures": {
        "encode": ("encode_decode:encode", "Encode pictures."),
        "decode": ("encode_decode:decode", "Decode streams."),
        "info": ("info:info", "Check a stream and show what it holds."),
        "rates": ("info:rates", "List the installed rates, with bpp and PSNR."),
        "packs": ("packs:packs", "List the packs for kinds of pictures."),
    },
    "Understanding": {
        "classify": ("predict:classify", "Name what streams or pictures show."),
        "segment": ("predict:segment", "Write the class of each pixel of a stream."),
    },
    "Collections": {
        "corpus": ("corpus:GROUPS", "Encode, decode, classify or measure a whole collection."),
    },
    "Measuring": {
        "eval": ("evaluate:evaluate", "Measure the codec on a folder, beside peers."),
        "compare": ("evaluate:compare", "Show a picture beside its peers at equal bytes."),
        "bench": ("evaluate:bench", "Time the codec and its peers in alternation."),
        "complexity": ("evaluate:complexity", "Count parameters and kMAC/px of each part."),
        "eval-task": ("evaluate:eval_task", "Measure accuracy over rate."),
        "card": ("push:card", "Write the README.md of a checkpoint, or bring it up to date."),
        "push": ("push:push", "Upload a codec, adapters or heads to the Hub."),
    },
    "Training": {
        "train-base": ("train:train_base", "Train a base codec on a folder of pictures."),
        "train-prompt": ("train:train_prompt", "Adapt the frozen base to one rate."),
        "train-ladder": ("train:train_ladder", "Train the adapters of all rates."),
        "adapt": ("adapt:adapt", "Adapt the ladder to your own kind of pictures."),
        "train-head": ("train:train_head", "Train a classifier or a segmentation head."),
        "import-network": (
            "train:import_network",
            "Read a trained classifier that a head takes over.",
        ),
        "train-joint": ("train:train_joint", "Train codec and classifier together."),
        "train-aggregation": (
            "train:train_aggregation",
            "Train a decoder that reads the classifier.",
        ),
        "ablate": ("train:ablate", "Compare ways to adapt the base."),
        "recipe": ("train:recipe", "Print a recipe with what it extends."),
        "export": ("train:export", "Write the graphs of a base or of heads."),
        "convert-state": ("train:convert_state", "Carry a training to the current layout."),
    },
}  # by heading and name: the function, or such a table, and what it does in a line of --help


class LazyCommands(TyperGroup):
    """A program whose commands are listed by group and imported when they are needed."""

    def __init__(self, *, groups: Groups | None = None, **values: Any) -> None:
        super().__init__(**values)
        self._groups = groups or GROUPS
        self._places: dict[str, tuple[str, str]] = {}
        for entries in self._groups.values():
            for name, (place, text) in entries.items():
                self._places[name] = place, text
                self.commands[name] = TyperCommand(name, help=text)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command with its options, or None."""
        if cmd_name not in self._places:
            return None
        place, text = self._places[cmd_name]
        found = resolve_name(f"{__package__}.{place}")
        if isinstance(found, dict):
            return LazyCommands(name=cmd_name, groups=found, help=text, rich_markup_mode=None)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(cmd_name)(found)
        return typer.main.get_command(alone)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each group, every command with its line."""
        for heading, entries in self._groups.items():
            with formatter.section(heading):
                formatter.write_dl([(name, text) for name, (_, text) in entries.items()])


app = typer.Typer(
    name="promptcodec",
    cls=LazyCommands,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help starts twice as fast
)


def _show_version(value: bool) -> None:
    if value:
        print(f"promptcodec {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Learned picture codec: one frozen model, many rates."""
    if context.invoked_subcommand is None:
        console.print_message(context.get_help())
        raise typer.Exit(2)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and turn every failure into one line and an exit code.

    Args:
        arguments: words after the program's name; None is those of the process.

    Returns:
        Exit code, see docs/errors.md.
    """
    # Read when numpy is imported, later. Its products are small here: more threads would only wait.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    console.reopen_closed_streams()
    console.escape_unknown_characters()
    session = Session(verbose=os.environ.get("PROMPTCODEC_DEBUG", "") not in ("", "0"))
    try:
        with warnings.catch_warnings():
            if not session.verbose and not sys.warnoptions:
                warnings.simplefilter("ignore")  # warnings of libraries are for developers
            code = app(arguments, prog_name="promptcodec", standalone_mode=False, obj=session)
        return code or 0
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        console.abandon(sys.stdout)
        return exit_codes.BROKEN_PIPE
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):  # raised by Typer on a broken pipe
            raise
        console.abandon(sys.stdout)
        return exit_codes.BROKEN_PIPE
    except Exception as error:
        if session.verbose:
            traceback.print_exception(error)
        message, code = _describe(error)
        console.print_line(f"promptcodec: error: {message}")
        return code


def _describe(error: Exception) -> tuple[str, int]:
    """Message and exit code for any exception, those of the argument parser included."""
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "promptcodec"
        return f"{error.format_message().rstrip('.')}: see {command} --help", error.exit_code
    return exit_codes.describe(error)
