"""Training of two parameters on tar shards: a run of milliseconds that every crop changes."""

from pathlib import Path
from typing import Any

from torch import Tensor
from two_parameters import LineTask

from promptcodec.training.config import DataConfig, LoopConfig
from promptcodec.training.data.opening import CropStore, open_pictures
from promptcodec.training.losses import RateDistortion

STREAM = DataConfig(crop=64, validation_pictures=2, shuffle_buffer=5, crops_per_picture=1)


class ShardLineTask(LineTask):
    """A line whose numbers are the means of crops."""

    def __init__(self, config: LoopConfig) -> None:
        super().__init__(config, [])

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> CropStore:
        return open_pictures(data, STREAM, device=device, validation=validation)

    def loss(self, model: Any, batch: Tensor, *, step: int, share: float = 0.0) -> RateDistortion:
        return super().loss(model, batch.mean(dim=(1, 2, 3))[:, None], step=step, share=share)
