"""Completion in the shells."""

import os
import subprocess
import sys

import pytest


class TestCompletion:
    """What the scripts of the shells ask for, in the way each of them asks."""

    def ask(self, shell: str, **variables: str) -> str:
        result = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from promptcodec.cli.main import main; sys.exit(main())",
            ],
            env={**os.environ, "_PROMPTCODEC_COMPLETE": f"complete_{shell}", **variables},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def test_bash(self):
        commands = self.ask("bash", COMP_WORDS="promptcodec en", COMP_CWORD="1").split()
        assert commands == ["encode"]
        found = self.ask("bash", COMP_WORDS="promptcodec decode --re", COMP_CWORD="2").split()
        assert found == ["--recursive", "--region"]

    def test_zsh(self):
        assert '"encode":' in self.ask("zsh", _TYPER_COMPLETE_ARGS="promptcodec en")

    def test_fish(self):
        found = self.ask(
            "fish",
            _TYPER_COMPLETE_ARGS="promptcodec en",
            _TYPER_COMPLETE_FISH_ACTION="get-args",
        )
        assert found.startswith("encode\t")

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_scripts(self, shell):
        result = subprocess.run(
            [sys.executable, "-c", "from promptcodec.cli.main import main; main()"],
            env={**os.environ, "_PROMPTCODEC_COMPLETE": f"source_{shell}"},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0 and f"complete_{shell}" in result.stdout
