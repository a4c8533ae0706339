"""The command line: coding, what is installed, training, evaluation.

Standard output carries a payload, a table or JSON; messages go to standard error. Every failure
is one line and an exit code of docs/errors.md. What is slow to import is imported inside the
command that needs it, so that `--help` and `info` answer at once.
"""

import os
import sys
import traceback
import warnings

import typer

from promptcodec.cli import (
    console,
    encode_decode,
    evaluate,
    info,
    options,
    predict,
    train,
    train_tasks,
)
from promptcodec.cli.groups import GroupedCommands

app = typer.Typer(
    name="promptcodec",
    cls=GroupedCommands,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help starts twice as fast
)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context, version: options.Version = False) -> None:
    """Learned picture codec: one frozen model, many rates."""
    if context.invoked_subcommand is None:
        console.say(context.get_help())
        raise typer.Exit(2)


for part in (encode_decode, info, predict, evaluate, train, train_tasks):
    app.add_typer(part.app)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and turn every failure into one line and an exit code.

    Args:
        arguments: words after the program's name; None takes them from the process.

    Returns:
        Exit code, see docs/errors.md.
    """
    console.stand_in()
    session = options.Session(verbose=os.environ.get("PROMPTCODEC_DEBUG", "") not in ("", "0"))
    try:
        with warnings.catch_warnings():
            if not session.verbose and not sys.warnoptions:
                warnings.simplefilter("ignore")  # a library's advice to us, not to the user
            code = app(arguments, prog_name="promptcodec", standalone_mode=False, obj=session)
        return code or 0
    except KeyboardInterrupt:
        return console.INTERRUPTED
    except BrokenPipeError:
        console.abandon_stdout()
        return console.BROKEN_PIPE
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):  # Typer's answer to a broken pipe
            raise
        console.abandon_stdout()
        return console.BROKEN_PIPE
    except Exception as error:
        if session.verbose:
            traceback.print_exception(error)
        message, code = _describe(error)
        console.say(f"promptcodec: error: {console.one_line(message)}")
        return code


def _describe(error: Exception) -> tuple[str, int]:
    """Message and exit code for any exception, those of the argument parser included."""
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "promptcodec"
        return f"{error.format_message().rstrip('.')}: see {command} --help", error.exit_code
    return console.describe(error)
