"""A base codec on numpy and ONNX Runtime, as coding needs it: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from promptcodec.coding.adapter import RateAdapter
from promptcodec.coding.adapter_file import read_stored_adapter
from promptcodec.coding.base_file import StoredBase, read_stored_base
from promptcodec.coding.engine import Array, EngineName, EngineOptions, OfBase, Progress
from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.entropy.tables import NUM_SCALES, Z_MAX, Z_MIN
from promptcodec.coding.gains import Gains
from promptcodec.coding.latents import Latents
from promptcodec.coding.scale_path import table_indexes
from promptcodec.config import LATENT_STRIDE
from promptcodec.errors import UsageError
from promptcodec.io.checkpoints import find_base, find_heads, root_of
from promptcodec.runtime.catalogue import NAMES, PROMPTED
from promptcodec.runtime.files import GraphFiles, read_graphs
from promptcodec.runtime.heads import HeadFolders
from promptcodec.runtime.network import Network, between
from promptcodec.runtime.ort import OnnxModels
from promptcodec.runtime.sessions import Models, Sessions


class OnnxEngine(OfBase):
    """A base codec on the CPU; `coding.engine.Engine` describes its methods.

    Args:
        base: weights, tables and hash.
        graphs: graphs of the base.
        models: loading of graphs.
        heads: folders of heads.
    """

    name: EngineName = "onnx"

    def __init__(
        self,
        base: StoredBase,
        graphs: GraphFiles,
        *,
        models: Models,
        heads: Sequence[Path] = (),
    ) -> None:
        super().__init__(base)
        self.base = base
        weights = {
            name: value.astype(np.float32, copy=False)
            for name, value in base.weights.items()
            if value.dtype.kind == "f"
        }
        self._pull = weights.get("centroids.pull")
        self._sessions = Sessions(graphs, weights, base.config.codec, models=models)
        self._heads = HeadFolders(heads, base_sha256=base.sha256, models=models)

    @classmethod
    def load(cls, base: str | Path | None, **options: Unpack[EngineOptions]) -> Self:
        """Read a base and its graphs; arguments and errors as `Codec.load`."""
        if options.get("device", "cpu") != "cpu":
            _needs_torch("a device other than cpu")
        models = cls.models(options)
        root = root_of(base)
        folder = find_base(root)
        stored = read_stored_base(folder)
        graphs = read_graphs(folder, stored.config.codec)
        heads = find_heads(options.get("heads"), base=root)
        return cls(stored, graphs, models=models, heads=heads)

    def prepare(self) -> None:
        """Load every graph of the base alone; raises a CheckpointError for a missing tensor."""
        for name in NAMES:
            if not name.endswith(PROMPTED):
                self._sessions.get(name, None)

    @classmethod
    def models(cls, options: EngineOptions) -> Models:
        """Loading of graphs for options; errors as `Codec.load`."""
        if options.get("precision", "float32") != "float32":
            raise UsageError(
                "engine 'onnx' computes in float32; bfloat16 needs engine 'torch' or 'openvino': "
                "pip install 'promptcodec[train]' or 'promptcodec[openvino]'"
            )
        return OnnxModels(options.get("threads") or 0)

    def analyse(self, rgb: NDArray[np.uint8], *, network: Network | None) -> Array:
        """g_a."""
        _, height, width, _ = rgb.shape
        session = self._sessions.get("analyse", network)
        patches = {name: _patches(rgb, int(name.partition(".")[2])) for name in session.patches}
        (y,) = session.run(height, width, **patches)
        return _grid(y, height, width)

    def hyper_analyse(self, y: Array) -> Array:
        """h_a."""
        height, width = _size(y)
        (z,) = self._sessions.get("hyper_analyse", None).run(height, width, y=y)
        return z

    def quantise(
        self, y: Array, z: Array, *, gains: Gains, network: Network | None
    ) -> Latents[Array]:
        """Everything that is written of y and z."""
        height, width = _size(y)
        z_hat = np.clip(np.rint(z), Z_MIN, Z_MAX)
        indexes = self.indexes(z_hat, gains=gains)
        symbols, y_hat = self._sessions.get("quantise", network).run(
            height,
            width,
            z_hat=z_hat.astype(np.float32),
            y=_tokens(y),
            indexes=_tokens(indexes),
            gain=gains.multipliers(),
        )
        return Latents(
            z_hat=z_hat.astype(np.int16),
            indexes=indexes,
            symbols=np.ascontiguousarray(_grid(symbols, height, width)),
            y_hat=_grid(y_hat, height, width),
        )

    def indexes(self, z_hat: Array, *, gains: Gains) -> NDArray[np.uint8]:
        """Table index of every symbol."""
        raw = table_indexes(z_hat, self.base.layers) + gains.offsets()[:, None, None]
        return raw.clip(0, NUM_SCALES - 1).astype(np.uint8)

    def reconstruct(
        self, z_hat: Array, symbols: Array, indexes: Array, *, gains: Gains, network: Network | None
    ) -> Array:
        """y_hat of what was transmitted."""
        height, width = _size(symbols)
        residuals = self._rebuild(symbols, indexes) / gains.multipliers()[:, None, None]
        (y_hat,) = self._sessions.get("reconstruct", network).run(
            height, width, z_hat=z_hat.astype(np.float32), residuals=_tokens(residuals)
        )
        return _grid(y_hat, height, width)

    def synthesise(self, y_hat: Array, *, network: Network | None) -> NDArray[np.uint8]:
        """g_s."""
        height, width = _size(y_hat)
        session = self._sessions.get("synthesise", network)
        (levels,) = session.run(height, width, y_hat=_tokens(y_hat))
        pictures, channels, rows, columns = levels.shape
        edge = height // rows
        levels = levels.reshape(pictures, channels // edge**2, edge, edge, rows, columns)
        return levels.transpose(0, 4, 2, 5, 3, 1).reshape(pictures, height, width, -1)

    def refine(
        self,
        rgb: NDArray[np.uint8],
        *,
        size: tuple[int, int],
        tables: EntropyTables,
        gains: Gains,
        lmbda: float,
        effort: int,
        network: Network | None,
        progress: Progress | None,
    ) -> Latents[Array]:
        """Not possible here: there are no gradients."""
        _needs_torch("an effort above 0")

    def between(self, low: Network, high: Network, share: float) -> Network:
        """A network on the line between two."""
        return between(low, high, share)

    def with_task(self, network: Network | None, task: str) -> Network:
        """Not possible here."""
        _needs_torch(f"task {task!r}")

    def read_adapter(self, folder: Path) -> RateAdapter:
        """The rate adapter in a folder."""
        config = self.config.codec
        stored = read_stored_adapter(folder, codec=config, base_sha256=self.base_hash)
        arrays = {
            name: value.astype(np.float32, copy=False) for name, value in stored.weights.items()
        }
        return RateAdapter(
            stored.config, Network(arrays), stored.gains, stored.sha256, stored.z_sets
        )

    def labels(self, task: str) -> tuple[str, ...]:
        """Classes of the head of a task."""
        return self._heads.head(task).config.labels

    def predict(self, task: str, y_hat: Array, *, lmbdas: Sequence[float]) -> Array:
        """Scores of the head of a task."""
        return self._heads.head(task).scores(y_hat, lmbdas=lmbdas)

    def _rebuild(self, symbols: Array, indexes: Array) -> NDArray[np.float32]:
        """Residuals in quantisation steps; see `models.centroids`."""
        found = symbols.astype(np.float32)
        if self._pull is None:
            return found
        places = np.nonzero(symbols.ravel())[0]
        own = found.ravel()[places]
        pull = self._pull[(np.abs(own) > 1).astype(np.intp), indexes.ravel()[places]]
        np.put(found, places, own - np.sign(own) * pull)
        return found


def _needs_torch(what: str) -> NoReturn:
    raise UsageError(f"{what} needs torch: pip install 'promptcodec[train]' and engine='torch'")


def _size(latents: Array) -> tuple[int, int]:
    """Rows and columns, px, of the padded picture of latents (B, M, h, w)."""
    return latents.shape[2] * LATENT_STRIDE, latents.shape[3] * LATENT_STRIDE


def _patches(rgb: NDArray[np.uint8], edge: int) -> NDArray[np.uint8]:
    """Squares of pixels, row by row, (B, n, edge * edge * 3)."""
    pictures, height, width, _ = rgb.shape
    cut = rgb.reshape(pictures, height // edge, edge, width // edge, edge * 3)
    return cut.transpose(0, 1, 3, 2, 4).reshape(pictures, -1, edge * edge * 3)


def _tokens(grid: Array) -> Array:
    """(B, C, h, w) as (B, h * w, C)."""
    pictures, channels = grid.shape[:2]
    tokens = grid.transpose(0, 2, 3, 1).reshape(pictures, -1, channels)
    return np.ascontiguousarray(tokens)


def _grid(tokens: Array, height: int, width: int) -> Array:
    """Undo `_tokens`, channels last in memory; sizes in px."""
    pictures, _, channels = tokens.shape
    shape = (pictures, height // LATENT_STRIDE, width // LATENT_STRIDE, channels)
    return tokens.reshape(shape).transpose(0, 3, 1, 2)
