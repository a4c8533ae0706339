"""Imports go one way, and what a user waits for is not imported without need."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import promptcodec

PACKAGE = Path(promptcodec.__file__).parent

# Left to right, each may import what stands to the left of it, and its own group.
ORDER = (
    {"", "errors", "config", "bitstream"},
    {"io"},
    {"coding"},
    {"models", "runtime"},
    {"api"},
    {"training", "pillow"},
    {"evaluation"},
    {"corpus", "packs"},
    {"cli"},
    {"__main__"},
)
# Neighbours in the order that nevertheless do not know each other.
STRANGERS = {("models.heads", "models.adapters"), ("runtime", "models"), ("models", "runtime")}

NETWORK = {"huggingface_hub", "httpx", "httpx2", "requests"}
HEAVY_FOR_CODING = {
    "timm",
    "compressai",
    "peft",
    "accelerate",
    "transformers",
    "pandas",
    "torchvision",
    *NETWORK,
}


def area(name: str) -> str:
    """Folder or top-level module of a dotted name inside the package; "" is the package itself."""
    return name.partition(".")[2].partition(".")[0]


def inside(name: str, folder: str) -> bool:
    """Whether a dotted name is that of a folder of the package, or of something in it."""
    return f"{name}.".startswith(f"promptcodec.{folder}.")


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["promptcodec", *path.relative_to(PACKAGE).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


def imports(tree: ast.AST, *, module: str, known: set[str]) -> set[str]:
    """Modules that code imports anywhere but under `if TYPE_CHECKING`."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                found |= imports(other, module=module, known=known)
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively: name the whole module"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in known else str(node.module) for name in names}
        found |= imports(node, module=module, known=known)
    return found


def wrong_direction(module: str, imported: set[str]) -> list[str]:
    """What a module of ours must not import, of all it imports."""
    rank = {name: number for number, group in enumerate(ORDER) for name in group}
    own = area(module)
    wrong = []
    for name in sorted(imported):
        if name.split(".")[0] != "promptcodec":
            continue
        other = area(name)
        strangers = any(inside(module, a) and inside(name, b) for a, b in STRANGERS)
        if rank[other] > rank[own] or strangers:
            wrong.append(f"{module} imports {name}")
    return wrong


def test_imports_go_one_way():
    found = modules()
    assert "promptcodec.cli.main" in found and "promptcodec.bitstream" in found
    wrong = []
    for module, path in found.items():
        if module == "promptcodec":  # its lazy import of the API is looked at below
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        wrong += wrong_direction(module, imports(tree, module=module, known=set(found)))
    assert wrong == []


def test_checker_sees_a_wrong_import():
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from promptcodec.cli.main import main\n"
        "def f():\n    from promptcodec import api, errors\n"
    )
    known = {"promptcodec.api", "promptcodec.errors", "promptcodec.cli.main"}
    found = imports(ast.parse(source), module="promptcodec.io.pictures", known=known)
    assert found == {"typing", "promptcodec.api", "promptcodec.errors"}
    expected = ["promptcodec.io.pictures imports promptcodec.api"]
    assert wrong_direction("promptcodec.io.pictures", found) == expected
    assert wrong_direction("promptcodec.models.heads.x", {"promptcodec.models.adapters.y"})
    assert not wrong_direction("promptcodec.api", {"promptcodec.models.adapters.y", "torch"})


@pytest.mark.parametrize("name", ["errors", "bitstream"])
def test_foundations_need_only_the_standard_library(name):
    found = modules()
    parts = [module for module in found if module.split(".")[1:2] == [name]]
    assert parts
    roots = set()
    for module in parts:
        tree = ast.parse(found[module].read_text(encoding="utf-8"))
        names = imports(tree, module=module, known=set(found))
        roots |= {imported.split(".")[0] for imported in names}
    assert roots - sys.stdlib_module_names <= {"promptcodec"}


def imported_by(*arguments: str, stdin: bytes = b"") -> set[str]:
    """Top-level modules in a fresh process once the command line has run."""
    script = (
        "import sys; from promptcodec.cli.main import main; code = main(sys.argv[1:]);"
        "print(*sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr); sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        input=stdin,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr.decode()
    return set(result.stderr.decode().splitlines()[-1].split())


def test_package_imports_no_torch():
    script = "import sys, promptcodec; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.parametrize("area", ["bitstream", "io", "coding", "runtime", "api", "pillow"])
def test_what_needs_no_network_imports_no_torch(area):
    """Of `models` a user of pictures gets what an engine needs, when a codec is loaded."""
    names = [name for name in modules() if name.split(".")[1:2] == [area]]
    script = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert names and subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_help_imports_no_torch():
    assert not imported_by("encode", "--help") & {"torch", "numpy", "PIL", "rich", *NETWORK}


def test_info_imports_no_torch(stream):
    found = imported_by("info", str(stream))
    assert not found & {"torch", "numpy", "PIL", "constriction", "rich", *NETWORK}


def test_rates_imports_only_what_it_needs(tiny_checkpoint):
    found = imported_by("rates", "--base", str(tiny_checkpoint))
    assert not found & {"torch", "onnxruntime", "rich", *NETWORK}


def test_encode_imports_only_what_it_needs(tiny_checkpoint, photo, tmp_path):
    found = imported_by(
        "encode", str(photo), "-o", str(tmp_path / "a.pc"), "--base", str(tiny_checkpoint)
    )
    assert "onnxruntime" in found
    assert not found & {"torch", "onnx", "rich", *HEAVY_FOR_CODING}


def test_a_codec_in_torch_imports_no_more(tiny_checkpoint, photo, tmp_path):
    base = ("--base", str(tiny_checkpoint), "--engine", "torch")
    found = imported_by("encode", str(photo), "-o", str(tmp_path / "a.pc"), *base)
    assert "torch" in found
    assert not found & {"onnxruntime", "onnx", *HEAVY_FOR_CODING}


def test_decode_imports_only_what_it_needs(tiny_checkpoint, stream, tmp_path):
    found = imported_by(
        "decode", str(stream), "-o", str(tmp_path / "a.png"), "--base", str(tiny_checkpoint)
    )
    assert "onnxruntime" in found
    assert not found & {"torch", "onnx", "rich", *HEAVY_FOR_CODING}


def test_classify_imports_only_what_it_needs(tiny_checkpoint, tiny_heads, stream):
    heads = ("--heads", str(tiny_heads))
    found = imported_by("classify", str(stream), "--base", str(tiny_checkpoint), *heads)
    assert "onnxruntime" in found
    assert not found & {"torch", "onnx", "rich", *HEAVY_FOR_CODING}


@pytest.fixture
def photo(tmp_path):
    """A picture with structure; PNG keeps the test free of JPEG's versions."""
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:64, 0:80]
    pixels = np.stack([3 * x, 4 * y, x + y], axis=2).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def stream(tiny_codec, photo, tmp_path):
    path = tmp_path / "photo.pc"
    path.write_bytes(tiny_codec.encode(photo))
    return path
