"""The command line: coding, what is installed, training, evaluation.

Standard output carries a payload, a table or JSON; messages go to standard error. Every failure
is one line and an exit code of docs/errors.md. What is slow to import is imported inside the
command that needs it, so that `--help` and `info` answer at once.
"""

import dataclasses
import os
import sys
import traceback
import warnings

import typer

from promptcodec import cli_evaluation, cli_files, cli_heads, cli_tasks, cli_training, console
from promptcodec import cli_options as options
from promptcodec.errors import StreamError
from promptcodec.loading import load_codec

app = typer.Typer(
    name="promptcodec",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help starts twice as fast
)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context, version: options.Version = False) -> None:
    """Learned picture codec: one frozen model, many rates."""
    if context.invoked_subcommand is None:
        console.say(context.get_help())
        raise typer.Exit(2)


cli_files.register(app)


@app.command()
def info(
    stream: options.Stream = "-",
    max_pixels: options.MaxPixels = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Check a stream and say what it holds, without decoding it."""
    from promptcodec.bitstream import MAX_PIXELS, describe, parse, parse_header

    data = console.read_input(stream, error=StreamError)
    limit = max_pixels or MAX_PIXELS
    header = parse_header(data, max_pixels=limit)
    parse(data, max_pixels=limit)  # checks what lies behind the header as well
    facts = describe(header, file_bytes=len(data))
    console.answer("info", facts, console.as_text(facts), as_json=as_json)


cli_training.register(app)


@app.command()
def rates(
    base: options.Base = None,
    prompts: options.Prompts = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """List the rates that are installed, with bpp and PSNR on record."""
    from promptcodec.installed import installed_rates, render_rates

    found = installed_rates(base, prompts or None)
    facts = {"rates": [dataclasses.asdict(rate) for rate in found]}
    console.answer("rates", facts, render_rates(found), as_json=as_json)


app.command("eval")(cli_evaluation.evaluate)
app.command()(cli_evaluation.compare)
app.command()(cli_evaluation.bench)


@app.command()
def card(
    folder: options.CardFolder, as_json: options.Json = False, verbose: options.Verbose = False
) -> None:
    """Bring the README.md of a checkpoint up to date with the files beside it."""
    from promptcodec.evaluation.report import (
        render_ladder,
        render_table,
        render_training,
        update_markers,
    )
    from promptcodec.evaluation.results import read_results

    readme = folder / "README.md"
    update_markers(readme, render_training(folder / "base"), name="training")
    if (folder / "prompts").is_dir():
        update_markers(readme, render_ladder(folder / "prompts"), name="ladder")
    update_markers(readme, render_table(read_results(folder / "results.json")))
    if as_json:
        console.write_json("card", {"output": str(readme)})


@app.command()
def complexity(
    base: options.Base = None, as_json: options.Json = False, verbose: options.Verbose = False
) -> None:
    """Count parameters and kMAC/px of each part of a codec."""
    from promptcodec.evaluation.complexity import complexity_table, render_complexity

    rows = complexity_table(load_codec(base, None).model)
    facts = {"parts": [dataclasses.asdict(row) for row in rows]}
    console.answer("complexity", facts, render_complexity(rows), as_json=as_json)


cli_heads.register(app)
cli_tasks.register(app)


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
