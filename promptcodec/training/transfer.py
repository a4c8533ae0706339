"""Training of a head that keeps what a trained network knows, on pictures without labels.

    picture -> codec -> latents -> stem -> features -> later stages of the network -> logits
           '-> the whole network, the teacher ---^ ---------------------------------------^

    loss = hints * mean squared error of the features, standardised + cross-entropy to the teacher's
           probabilities

At first the stem learns alone; the stages follow, at a lower learning rate. With pixels of a codec
as input the whole network learns, from its own answers to the original. Sources: Hinton et al.
2015, arXiv:1503.02531 (soft targets); Romero et al. 2015, arXiv:1412.6550 (features).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.head_config import CLASSIFY, LATENTS, PIXELS, HeadConfig
from promptcodec.coding.head_file import read_head_config
from promptcodec.coding.trunk import BEGINS, COARSE, PIXEL, StemConfig, Stride
from promptcodec.config import Count, NotNegative, Positive, Share
from promptcodec.errors import ConfigError
from promptcodec.io.checkpoints import HEAD_WEIGHTS
from promptcodec.io.config_files import read_json
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import Head, build_head, read_head, write_head
from promptcodec.models.heads.latent_stem import LatentStem
from promptcodec.models.heads.network import Classifier
from promptcodec.training.config import DataConfig, LoopConfig, OptimizerConfig, Rise
from promptcodec.training.data.inputs import INPUTS, input_of
from promptcodec.training.data.pictures import PictureStore
from promptcodec.training.data.taught_views import TaughtBatch, TaughtViewConfig, TaughtViews
from promptcodec.training.losses import rounded
from promptcodec.training.networks import begin_at, taken_over
from promptcodec.training.optim import device_of
from promptcodec.training.record import TRAINING_FILE
from promptcodec.training.start import copy_start, read_start
from promptcodec.training.task import Task
from promptcodec.training.temperature import best_temperature

PIXELS_FILE = "pictures"  # in the folder of the cache
PASS = 32  # pictures in a pass of the teacher
SAMPLE = 24  # groups that the stem is fitted to
SCALE = 8  # groups that the scale of the features is taken from


@dataclass(frozen=True, kw_only=True)
class TransferConfig(LoopConfig):
    """Recipe of a head with stages of a trained network; what every recipe has is in `LoopConfig`.

    Args:
        teacher: folder of the network, a classifier on pixels, as `import-network` writes it.
        task: "transfer".
        base: folder of the frozen base, or a Hub id; None is the bundled one.
        input: kind of input: "latents", "decoded" pixels, the "original", or pixels of "jpeg",
            "webp" or "avif" files.
        begins: px between two features where the taken stages begin: 4, 8 or 16; 1 takes the whole
            network, whose pixels the stem makes. With pixels it is 1.
        compared: px between the features that are compared with the teacher's, `begins` or more.
        stem: blocks of the stem, with latents.
        start: folder of a head of the same kind to start from, whose stem and stages are kept;
            None takes over the teacher.
        hints: weight of the loss on features.
        thaw: share of the run after which the taken stages learn; 1 keeps them. With pixels they
            learn from the start.
        body_factor: learning rate of the taken stages, and of the fitted linear map, over that of
            the rest of the stem.
        data: pictures; crops of them are those of `views`.
        views: views of the pictures.
    """

    teacher: str
    task: str = "transfer"
    max_rise: Rise | None = None
    base: str | None = None
    input: str = LATENTS
    begins: Stride = PIXEL
    compared: Stride = COARSE
    stem: StemConfig = field(default_factory=StemConfig)
    start: str | None = None
    hints: NotNegative = 1.0
    thaw: Share = 0.6
    body_factor: Positive = 0.1
    data: DataConfig = field(default_factory=lambda: DataConfig(validation_pictures=64))
    views: TaughtViewConfig = field(default_factory=TaughtViewConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw",
            learning_rate=3e-4,
            warmup_steps=100,
            decay_fraction=0.7,
            ema_decay=0.998,
            weight_decay=0.02,
        )
    )
    batch: Count = 32
    validate_every: Count = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task != "transfer":
            raise ConfigError(f"task is {self.task!r}; need 'transfer'")
        if self.input not in INPUTS:
            raise ConfigError(f"input is {self.input!r}; need one of {', '.join(INPUTS)}")
        if self.begins not in BEGINS or (self.input != LATENTS and self.begins != PIXEL):
            known = ", ".join(map(str, BEGINS))
            raise ConfigError(
                f"begins is {self.begins}; need one of {known}, with {LATENTS} alone other than 1"
            )
        if self.start is not None and (self.begins, self.stem) != (PIXEL, StemConfig()):
            raise ConfigError("start has stages and a stem: leave begins and stem out")
        if self.compared not in BEGINS[1:] or self.compared < self.begins:
            raise ConfigError(
                f"compared is {self.compared}; need 4, 8 or 16, and {self.begins} or more"
            )
        if self.batch % self.views.group:
            raise ConfigError(
                f"batch is {self.batch}; need a multiple of views.group {self.views.group}"
            )


@dataclass(frozen=True)
class TransferLoss:
    """One step's loss and its parts; scalars.

    Args:
        loss: sum that is differentiated.
        features: mean squared error of the features, standardised.
        divergence: Kullback-Leibler divergence from the teacher's probabilities, nats.
        agreement: share of the pictures whose most probable class is the teacher's.
    """

    loss: Tensor
    features: Tensor
    divergence: Tensor
    agreement: Tensor

    def figures(self) -> dict[str, float]:
        """All of them."""
        return rounded(**vars(self))


def compare(
    found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor], *, spread: Tensor, hints: float
) -> TransferLoss:
    """Loss of a head's outputs against those of a network.

    Args:
        found: features (B, C, H, W) and logits (B, classes) of the head.
        wanted: those of the network.
        spread: deviation of each channel of the network's features, (C, 1, 1).
        hints: weight of the loss on features.
    """
    (features, logits), (wanted_features, wanted_logits) = (
        tuple(each.float() for each in pair) for pair in (found, wanted)
    )
    error = ((features - wanted_features) / spread.to(features.device)).square().mean()
    divergence = F.kl_div(
        logits.log_softmax(dim=1),
        wanted_logits.log_softmax(dim=1),
        log_target=True,
        reduction="batchmean",
    )
    same = (logits.argmax(dim=1) == wanted_logits.argmax(dim=1)).float().mean()
    loss = hints * error + divergence
    return TransferLoss(loss, features=error, divergence=divergence, agreement=same)


def spread_of(features: Sequence[Tensor]) -> Tensor:
    """Deviation of each channel, (C, 1, 1), mean over batches (B, C, H, W)."""
    spreads = [each.std(dim=(0, 2, 3)) for each in features]
    return torch.stack(spreads).mean(dim=0).clamp_min(1e-3)[:, None, None]


class TaughtHead(nn.Module):
    """A head whose features are compared with a teacher's.

    Args:
        head: the head.
        compared: px between two of these features.
    """

    def __init__(self, head: Classifier, compared: int) -> None:
        super().__init__()
        self.head, self.compared = head, compared

    def forward(self, x: Tensor, lmbda: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, H, W), and logits (B, classes)."""
        levels = self.head.levels(x, lmbda)
        return levels[self.compared], self.head.judge(levels)


class TransferTask(Task):
    """Training of a head with stages of a trained network.

    Args:
        config: recipe.
        cache: folder for decoded pictures and for the views; None keeps them in memory.
    """

    result = "head"
    resting = True

    def __init__(self, config: TransferConfig, *, cache: Path | None = None) -> None:
        self.config, self.cache = config, cache
        self.codec = TorchCodec.load(config.base)
        self.teacher = read_network(Path(config.teacher))
        self._start = None
        if config.start is not None:
            latents = config.input == LATENTS
            self._start = read_start(config.start, codec=self.codec, latents=latents, task=CLASSIFY)
            self._check_start(self._start.config)
        self._spread = torch.ones(1)

    def _check_start(self, start: HeadConfig) -> None:
        """Refuse a start that cannot be compared with the teacher."""
        config, classes = self.config, len(self.teacher.config.labels)
        if start.labels != self.teacher.config.labels:
            raise ConfigError(
                f"start {config.start} has {len(start.labels)} classes that are not the "
                f"{classes} of the teacher: name its teacher"
            )
        if start.trunk.begins > config.compared:
            raise ConfigError(
                f"start {config.start} has no features at 1/{config.compared}: it begins at "
                f"1/{start.trunk.begins}, so compare those, or coarser ones"
            )

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> TaughtViews:
        """Read the pictures."""
        config = self.config
        self.teacher.model.to(device)
        digest = hashlib.sha256((Path(config.teacher) / HEAD_WEIGHTS).read_bytes()).hexdigest()
        pixels = None
        if self.cache is not None:
            self.cache.mkdir(parents=True, exist_ok=True)
            pixels = self.cache / PIXELS_FILE
        store = TaughtViews(
            PictureStore(data, config.data, validation=validation, cache=pixels),
            head_input=input_of(config.input, self.codec),
            teach=self._teach,
            teacher=f"{digest} at {config.compared}",
            config=config.views,
            cache=self.cache,
        )
        self._spread = spread_of([group.features for group in store.sample(SCALE)])
        return store

    @torch.inference_mode()
    def _teach(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        model = TaughtHead(network_of(self.teacher), self.config.compared)
        device = device_of(model)
        ones = torch.ones(PASS, device=device)
        parts = [
            model(part.to(device).float() / 255.0, ones[: len(part)])
            for part in pictures.split(PASS)
        ]
        features, logits = (torch.cat(each).cpu() for each in zip(*parts, strict=True))
        return features, logits

    def build(self, store: TaughtViews) -> TaughtHead:
        """The head with the weights that it takes over."""
        head = build_head(self._head_config())
        assert isinstance(head, Classifier)
        if self._start is not None:
            copy_start(head, self._start, labels=self._start.config.labels)
        else:
            head.trunk.load_state_dict(self._taken())
        return TaughtHead(head, self.config.compared)

    def _head_config(self) -> HeadConfig:
        config, own = self.config, self.teacher.config
        if self._start is not None:
            return replace(self._start.config, temperature=1.0)
        if config.input != LATENTS:
            return replace(own, temperature=1.0)
        return replace(
            own,
            reads=LATENTS,
            latent_channels=self.codec.config.codec.latent_channels,
            stem=config.stem,
            trunk=begin_at(own.trunk, config.begins),
            base_sha256=self.codec.base_hash.hex(),
            temperature=1.0,
        )

    def _taken(self) -> dict[str, Tensor]:
        """Weights of the stages that are taken over."""
        weights = self.teacher.model.trunk.state_dict()
        return taken_over(weights, self.teacher.config.trunk, self.config.begins)

    def factor(self, name: str) -> float:
        """What is taken or fitted learns more slowly than what begins at zero."""
        return self.config.body_factor if ".trunk." in name or ".direct." in name else 1.0

    @torch.inference_mode()
    def initialise(self, model: TaughtHead, store: TaughtViews) -> None:
        """Fit the stem's linear map to what the network reads of the original pictures."""
        stem = model.head.stem
        if self._start is not None or not isinstance(stem, LatentStem):
            return
        network, y_hat, wanted = network_of(self.teacher), [], []
        device = device_of(network)
        for number in range(SAMPLE):
            pictures, setting = store.originals(number)
            y_hat.append(store.head_input.transmit(pictures, setting).float())
            x = pictures.to(device).float() / 255.0
            levels = network.levels(x, x.new_ones(len(x)))
            wanted.append(levels[self.config.begins].cpu())
        stem.fit(y_hat, wanted)

    def loss(
        self, model: nn.Module, batch: TaughtBatch, *, step: int, share: float = 0.0
    ) -> TransferLoss:
        """Loss on features and probabilities."""
        learns = share >= self.config.thaw
        for name, parameter in model.named_parameters():
            if ".trunk." in name:
                parameter.requires_grad_(learns or self.config.input != LATENTS)
        return self._compare(model(batch.inputs, batch.lmbda), batch)

    def _compare(self, found: tuple[Tensor, Tensor], batch: TaughtBatch) -> TransferLoss:
        wanted = batch.features, batch.logits
        return compare(found, wanted, spread=self._spread, hints=self.config.hints)

    @torch.inference_mode()
    def validate(self, model: TaughtHead, store: TaughtViews, *, samples: Path) -> dict[str, float]:
        """Agreement with the teacher on held-out pictures at every held setting."""
        found: dict[str, float] = {}
        losses, device = [], device_of(model)
        for setting, held in store.held.items():
            loss = self._compare(self._outputs(model, held), held.to(device))
            figures = loss.figures()
            losses.append(figures["loss"])
            found |= {f"{name}_{setting:g}": value for name, value in figures.items()}
        agreements = [found[f"agreement_{setting:g}"] for setting in store.held]
        means = {"loss": sum(losses) / len(losses), "agreement": sum(agreements) / len(agreements)}
        return means | found

    def _outputs(self, model: TaughtHead, held: TaughtBatch) -> tuple[Tensor, Tensor]:
        device, parts = device_of(model), []
        for part in range(0, len(held.lmbda), PASS):
            x = held.inputs[part : part + PASS]
            x = x.float() / 255.0 if x.dtype == torch.uint8 else x.float()
            parts.append(model(x.to(device), held.lmbda[part : part + PASS].to(device)))
        features, logits = (torch.cat(each) for each in zip(*parts, strict=True))
        return features, logits

    def write(self, model: TaughtHead, folder: Path, *, store: TaughtViews) -> dict[str, Any]:
        """Fit the temperature to the teacher's probabilities and write the head."""
        with torch.inference_mode():
            outputs = [self._outputs(model.eval(), held)[1].cpu() for held in store.held.values()]
        wanted = [held.logits.float().softmax(dim=1) for held in store.held.values()]
        temperature = best_temperature(torch.cat(outputs), torch.cat(wanted))
        config = replace(self._head_config(), temperature=temperature)
        write_head(folder, model.head, config=config)
        own = self.codec.base_hash.hex()
        facts: dict[str, Any] = {"base_sha256": own, "classes": len(config.labels)}
        imported = Path(self.config.teacher) / TRAINING_FILE
        if imported.is_file():  # origin and licence of what was taken over
            facts["network"] = read_json(imported, what="network")
        return facts


def read_network(folder: Path) -> Head:
    """A trained classifier on pixels whose stages a head takes over.

    Raises:
        CheckpointError: the folder has no usable head.
        ConfigError: it is a head of another kind.
    """
    _check_network(read_head_config(folder))
    return read_head(folder, base_sha256=b"")


def _check_network(config: HeadConfig) -> None:
    if config.task != CLASSIFY or config.reads != PIXELS:
        raise ConfigError(
            f"the head to {config.task} on {config.reads} is no network to take over: name a "
            "folder that `promptcodec import-network` wrote"
        )


def network_of(head: Head) -> Classifier:
    """The network of a head that classifies."""
    assert isinstance(head.model, Classifier)
    return head.model
