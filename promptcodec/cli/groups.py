"""Commands of `promptcodec --help`, under the heading of what they are for."""

from typing import Any

from typer.core import TyperGroup

GROUPS = {
    "Pictures": ("encode", "decode", "info", "rates"),
    "Understanding": ("classify", "segment"),
    "Measuring": ("eval", "compare", "bench", "complexity", "eval-task", "card"),
    "Training": (
        "train-base",
        "train-prompt",
        "train-ladder",
        "train-head",
        "train-joint",
        "train-aggregation",
        "ablate",
        "recipe",
        "convert-state",
    ),
}


class GroupedCommands(TyperGroup):
    """A program whose commands are listed by group."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each group, every command with its first line of help."""
        for heading, names in GROUPS.items():
            with formatter.section(heading):
                limit = formatter.width - 6 - max(map(len, self.commands))
                commands = ((name, self.commands[name]) for name in names)
                formatter.write_dl(
                    [(name, command.get_short_help_str(limit)) for name, command in commands]
                )
