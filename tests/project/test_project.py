"""What is installed, what the Makefile and CI do, and that the documents tell the truth."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from typing import Any

import pytest
from places import ROOT

import promptcodec

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory):
    """Names in a wheel built from a copy whose checkpoint folder holds the remains of a run."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, copy)
    for name in ("promptcodec", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in (
        "nano/base/model.safetensors",
        "nano/base/training-state/state.safetensors",
        "packs/screens/pack.json",
        "small/base/model.safetensors",
    ):
        path = copy / "checkpoints" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(copy / "out")]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (wheel,) = (copy / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_the_package_and_its_checkpoint(wheel_names):
    assert "promptcodec/cli/main.py" in wheel_names
    assert "promptcodec/evaluation/anchors.json" in wheel_names
    assert "promptcodec/evaluation/reports/templates/report.html" in wheel_names
    assert "promptcodec/checkpoints/nano/base/model.safetensors" in wheel_names
    assert "promptcodec/checkpoints/packs/screens/pack.json" in wheel_names


def test_wheel_holds_nothing_else(wheel_names):
    folders = {name.split("/")[0] for name in wheel_names}
    assert folders == {"promptcodec", f"promptcodec-{promptcodec.__version__}.dist-info"}
    assert not [name for name in wheel_names if "training-state" in name or "small" in name]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (packed,) = folder.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    packed.unlink()
    return folder / packed.name.removesuffix(".tar.gz")


@pytest.mark.parametrize(
    "name",
    [
        *(".ci/run", ".pre-commit-config.yaml", "Makefile", "pyproject.toml"),
        *("CHANGELOG.md", "CONTRIBUTING.md", "FORMAT.md", "LICENSE", "README.md"),
        *(
            "benchmarks/tables/fill.py",
            "tests/fuzz/run.py",
            "promptcodec/cli/main.py",
            "tests/conftest.py",
        ),
        *("docs/command-line.md", "docs/results/kodak.json", "recipes/base/base-tiny.yaml"),
        *("checkpoints/nano/base/model.safetensors", "tests/golden/base/model.safetensors"),
    ],
)
def test_source_distribution_holds_what_its_tests_and_contributors_read(source, name):
    assert (source / name).is_file()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_source_distribution_passes_tests_that_read_other_folders(source):
    names = ("documents", "benchmarks", "reliability")
    tests = [f"tests/project/test_{name}.py" for name in names]
    tests.append("tests/coding/test_tables.py")
    tests.append("tests/fuzz/test_fuzzing.py::test_the_loose_writer_writes_what_the_package_does")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout


def test_licence_is_whole():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text


def test_changelog_speaks_of_the_bitstream():
    assert "### Bitstream" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_readme_has_a_place_for_results():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("<!-- results:begin -->") == text.count("<!-- results:end -->") == 1


def make(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    command = [shutil.which("make") or "make", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
class TestMake:
    def test_another_python_is_refused_clearly(self, tmp_path):
        for name in ("python3", "python3.11", "python3.12", "python3.13"):
            program = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(
                '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.1 && exit 0\nexit 1\n'
            )
            program.chmod(0o755)
        result = make("test", f"VENV={tmp_path}/venv", path=f"{tmp_path}/bin:/usr/bin:/bin")
        assert result.returncode != 0
        assert "needs Python 3.11 to 3.13; here is Python 3.9.1" in result.stderr
        assert not (tmp_path / "venv").exists()

    def test_given_environment_is_used(self, tmp_path):
        result = make("-n", "test", f"VENV={tmp_path}/mine")
        assert f"{tmp_path}/mine/bin/python -m pytest" in result.stdout
        assert ".venv" not in result.stdout


@pytest.mark.parametrize(
    ("closing", "status", "code"),
    [
        ("5 passed in 1s", 0, 0),
        ("10 passed, 1 skipped in 1s", 0, 0),
        ("3 skipped in 1s", 0, 1),
        ("no tests ran in 1s", 2, 2),
        ("1 failed, 5 passed in 1s", 2, 2),
    ],
)
def test_ci_needs_passed_tests(tmp_path, closing, status, code):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    program = tmp_path / "bin/make"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '=== {closing} ==='\nexit {status}\n")
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    result = subprocess.run([tmp_path / ".ci/run"], env=environment, capture_output=True, text=True)
    assert result.returncode == code
    assert closing in result.stdout


def test_every_command_gives_json_with_a_documented_schema():
    import typer

    from promptcodec.cli.main import app

    text = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `promptcodec\.([\w-]+)/1`", text, re.MULTILINE))
    program: Any = typer.main.get_command(app)
    for name in program.commands:
        command = program.get_command(None, name)
        parts = getattr(command, "commands", {})
        for each in [command.get_command(None, part) for part in parts] or [command]:
            assert any("--json" in parameter.opts for parameter in each.params), each.name
    assert documented == set(program.commands) | {"summary", "failure"}
