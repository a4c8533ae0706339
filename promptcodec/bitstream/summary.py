"""A header as plain values, for text and JSON."""

from collections.abc import Mapping
from typing import Any

from promptcodec.bitstream.fields import GAIN_STEPS, ExactRecord, Header, fixed_to_rate


def describe(header: Header, *, file_bytes: int) -> dict[str, object]:
    """Plain dict of a header for JSON; keys are only added under one `schema`.

    Args:
        header: result of `parse_header`.
        file_bytes: size of the whole file; `bpp` is 8 times this by the pixels of the picture.
    """
    rows, columns = header.tile_grid
    latents = [tile for tile in header.tiles if not isinstance(tile, ExactRecord)]
    exact = [tile for tile in header.tiles if isinstance(tile, ExactRecord)]
    return {
        "schema": "promptcodec.info/1",
        "version": header.version,
        "width": header.width,
        "height": header.height,
        "grey": header.grey,
        "rate_index": fixed_to_rate(header.rate),
        "gain_steps": header.gain / GAIN_STEPS,
        "profile": header.profile,
        "base_hash": header.base_hash.hex(),
        "adapter_hashes": [item.hex() for item in header.adapter_hashes],
        "tiles": {
            "size": header.tile_size,
            "rows": rows,
            "columns": columns,
            "exact": len(exact),
        },
        "chunks": [
            {"kind": chunk.kind.decode("ascii"), "bytes": chunk.size} for chunk in header.chunks
        ],
        "bytes": {
            "file": file_bytes,
            "header": header.size,
            "z": sum(tile.z_bytes for tile in latents),
            "y": sum(tile.y_bytes for tile in latents),
            "exact": sum(tile.size for tile in exact),
            "chunks": sum(chunk.size for chunk in header.chunks),
        },
        "bpp": 8 * file_bytes / (header.width * header.height),
    }


def as_text(facts: Mapping[str, Any]) -> str:
    """Facts of `describe` as text, a line for each."""
    colour = "grey" if facts["grey"] else "colour"
    tiles, sizes = facts["tiles"], facts["bytes"]
    chunks = [f"{each['kind'].strip()} {each['bytes']:,} bytes" for each in facts["chunks"]]
    lines = {
        "picture": f"{facts['width']}x{facts['height']} {colour}",
        "size": f"{sizes['file']:,} bytes, {facts['bpp']:.3f} bpp",
        "rate index": f"{facts['rate_index']:g}, gain {facts['gain_steps']:+g} steps",
        "base": facts["base_hash"],
        "adapters": ", ".join(facts["adapter_hashes"]) or "none",
        "tiles": f"{tiles['rows']} x {tiles['columns']}, {tiles['exact']} exact",
        "exact": f"{sizes['exact']:,} bytes",
        "latents": f"{sizes['y']:,} bytes",
        "side": f"{sizes['z']:,} bytes",
        "chunks": ", ".join(chunks) or "none",
        "header": f"{sizes['header']:,} bytes",
        "format": f"version {facts['version']}, numerics profile {facts['profile']}",
    }
    return "\n".join(f"{name + ':':<12}{value}" for name, value in lines.items())
