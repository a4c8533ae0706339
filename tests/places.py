"""Where tests find what lies beside the package."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "recipes"
GOLDEN_FOLDER = ROOT / "tests" / "golden"
ASSETS = ROOT / "promptcodec" / "io" / "assets"
SMALL = ROOT / "checkpoints" / "small"
