"""Command line: coding, installed rates, training, evaluation.

Standard output is for a payload, a table or JSON, standard error for messages. Every failure is one
line and an exit code of docs/errors.md. Slow imports are inside the commands that need them, so
that `--help` and `info` are fast.
"""

import os
import sys
import traceback
import warnings
from itertools import chain
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from promptcodec import __version__
from promptcodec.cli import console, encode_decode, evaluate, exit_codes, info, predict, train
from promptcodec.cli.output import Session

GROUPS = {
    "Pictures": (encode_decode, info),
    "Understanding": (predict,),
    "Measuring": (evaluate,),
    "Training": (train,),
}  # modules of commands by heading


class GroupedCommands(TyperGroup):
    """A program whose commands are listed by group."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each group, every command with its first line of help."""
        limit = formatter.width - 6 - max(map(len, self.commands))
        for heading, modules in GROUPS.items():
            registered = chain(*(module.app.registered_commands for module in modules))
            names = [each.name or each.callback.__name__ for each in registered]
            with formatter.section(heading):
                formatter.write_dl(
                    [(name, self.commands[name].get_short_help_str(limit)) for name in names]
                )


app = typer.Typer(
    name="promptcodec",
    cls=GroupedCommands,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help starts twice as fast
)
for module in chain(*GROUPS.values()):
    app.add_typer(module.app)


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
