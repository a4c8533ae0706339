"""Joint training on pictures without labels: a trained network judges the original.

    picture -> encoder -> latents -> stem -> stages of the network -> logits
           '-> the whole network ----------------^--------------------^

    loss of the task = hints * features + cross-entropy to its probabilities

With beta 0 the codec is trained for what the head needs alone; a decoder for people can be trained
afterwards, as parts [decoder] with alpha 0. Source: Chamain et al. 2022.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from promptcodec.errors import ConfigError
from promptcodec.training.data.batch import INITIAL_STEP
from promptcodec.training.data.opening import CropStore, open_pictures
from promptcodec.training.joint.config import TaughtJointConfig
from promptcodec.training.joint.model import HeadOutput
from promptcodec.training.joint.task import JointTask, Judged
from promptcodec.training.optim import device_of
from promptcodec.training.temperature import best_temperature
from promptcodec.training.transfer import (
    TaughtHead,
    TransferLoss,
    compare,
    network_of,
    read_network,
    spread_of,
)

SCALE = 32  # crops that the scale of features is taken from
Outputs = tuple[Tensor, Tensor]  # features (B, C, h, w) and logits (B, classes) of the network


class TaughtJointTask(JointTask[Outputs]):
    """Joint training with a trained network as teacher.

    Args:
        config: recipe.
        cache: file for decoded pictures; None keeps them in memory.
    Raises:
        CheckpointError: base, adapter, head or network is missing.
        ConfigError: a rate has no adapter, or the head has no stages of such a network.
    """

    config: TaughtJointConfig
    figure = "agreement"

    def __init__(self, config: TaughtJointConfig, *, cache: Path | None = None) -> None:
        super().__init__(config, cache=cache)
        self.network = read_network(Path(config.network))
        if self.head.config.labels != self.network.config.labels:
            raise ConfigError(
                f"the head has {len(self.head.config.labels)} classes that are not those of "
                f"{config.network}: name one that a transfer from it has trained"
            )
        if config.compared < self.head.model.begins:
            raise ConfigError(
                f"compared is {config.compared}; the head's stages begin at "
                f"1/{self.head.model.begins}"
            )
        self.spread = torch.ones(1)

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> CropStore:
        """Read the pictures."""
        store = open_pictures(
            data, self.config.data, device=device, validation=validation, cache=self.cache
        )
        self.network.model.to(device)
        crops = store.batch(SCALE, seed=self.config.seed, step=INITIAL_STEP).to(device)
        features, _ = self.wanted(crops)
        self.spread = spread_of([features])
        return store

    def pictures(self, batch: Tensor) -> Tensor:
        """See `JointTask`."""
        return batch

    @torch.no_grad()
    def wanted(self, batch: Tensor) -> Outputs:
        """Features and logits of the network for originals."""
        network = TaughtHead(network_of(self.network), self.config.compared)
        return network(batch, batch.new_ones(len(batch)))

    def compare(self, found: HeadOutput, wanted: Outputs) -> TransferLoss:
        """See `JointTask`."""
        own = found.levels[self.config.compared], found.scores
        return compare(own, wanted, spread=self.spread, hints=self.config.hints)

    def held(self, store: CropStore) -> Iterator[tuple[Tensor, Outputs]]:
        """See `JointTask`."""
        device = device_of(self.network.model)
        for picture in store.validation:
            x = picture[None].float() / 255.0
            yield x, self.wanted(x.to(device))

    def judge(self, found: HeadOutput, wanted: Outputs) -> Judged:
        """See `JointTask`; counts are equal answers and all."""
        loss = self.compare(found, wanted)
        return Judged(float(loss.loss), np.array([float(loss.agreement), 1.0]))

    def score(self, counts: np.ndarray) -> float:
        """Share of the pictures whose most probable class is the network's."""
        return float(counts[0] / counts[1])

    def sample(self, store: CropStore, count: int) -> list[Tensor]:
        """See `JointTask`."""
        return list(store.sample(count))

    def temperature(self, outputs: list[Tensor], wanted: list[Outputs]) -> float:
        """See `JointTask`; by the network's probabilities."""
        targets = [logits.float().cpu().softmax(dim=1) for _, logits in wanted]
        return best_temperature(torch.cat(outputs), torch.cat(targets))
