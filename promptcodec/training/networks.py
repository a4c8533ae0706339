"""Trained classifiers from elsewhere, as heads on pixels: teachers, and what a head takes over.

    file of weights -> network of timm -> EfficientNet-Lite: inverted residuals without batch norm
                                       '-> any other: as it is

A head on pixels is the whole network. `taken_over` has its later stages for a head on latents.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.data.imagenet_info import ImageNetInfo
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from promptcodec.coding.head_config import PIXELS, HeadConfig
from promptcodec.coding.trunk import CHANNELS, PIXEL, TIMM, StageConfig, TrunkConfig
from promptcodec.errors import CheckpointError, ConfigError, UsageError
from promptcodec.io.checkpoints import HEAD_CONFIG, HEAD_WEIGHTS
from promptcodec.models.heads.checkpoint import write_head
from promptcodec.models.heads.inverted_residuals import InvertedTrunk, fold_norm
from promptcodec.models.heads.network import Classifier
from promptcodec.models.heads.timm_trunk import TimmTrunk, create, cut, normalisation
from promptcodec.training.record import write_record

logger = logging.getLogger(__name__)

SAME = 1e-3  # largest difference of logits, of a deviation of about 1, after a conversion
ALIKE = {"n02012849": "crane (bird)", "n03126707": "crane (machine)"}  # one word for two classes


def import_network(
    name: str,
    weights: Path,
    folder: Path,
    *,
    labels: Sequence[str] | None = None,
    mean: float | None = None,
    spread: float | None = None,
    licence: str = "",
) -> None:
    """Write a trained classifier as a head on pixels.

    Args:
        name: name of the network in timm.
        weights: file of its weights: safetensors, or a state of torch, of which only tensors are
            read. The names are timm's, or there are as many tensors of the same shapes in the
            same order.
        folder: folder to write, which holds no head.
        labels: names of the classes; None are those of ImageNet's thousand.
        mean: mean of the normalisation of pixels; None is timm's.
        spread: divisor of that normalisation; None is timm's.
        licence: licence of the weights, for the record.
    Raises:
        CheckpointError: the file is unreadable or has other tensors.
        ConfigError: timm has no such network, or it cannot be cut at 1/8 and 1/16.
        UsageError: the number of labels is not that of the classes, or the folder holds a head.
        OutputError: the folder cannot be written.
    """
    if (folder / HEAD_CONFIG).exists() or (folder / HEAD_WEIGHTS).exists():
        raise UsageError(f"{folder} holds a head: choose another folder, or remove it")
    state = _read(weights)
    model = create(name, classes=1)
    state = _named(state, model, where=str(weights))
    classes = len(state[f"{_classifier(model)}.bias"])
    names = tuple(imagenet_labels() if labels is None else labels)
    if len(names) != classes:
        raise UsageError(
            f"{weights} has {classes} classes and there are {len(names)} labels: give a file of "
            "one label a line by --labels"
        )
    model = create(name, classes=classes)
    _load(model, state, where=str(weights))
    known = normalisation(model)
    means = known[0] if mean is None else (mean,) * CHANNELS
    spreads = known[1] if spread is None else (spread,) * CHANNELS
    config, arrays = _converted(model, name)
    config = replace(config, mean=means, spread=spreads)
    head = HeadConfig(labels=names, reads=PIXELS, trunk=config)
    network = Classifier(head)
    network.trunk.load_state_dict(arrays)
    _check_same(network.eval(), model, config)
    write_head(folder, network, config=head)
    record = {
        "network": name,
        "weights": weights.name,
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "licence": licence,
    }
    write_record(folder, record)


def imagenet_labels() -> list[str]:
    """Usual names of ImageNet's thousand classes, all different: WordNet's first word of each."""
    info = ImageNetInfo()
    found: list[str] = []
    for synset in info.label_names():
        words = info.label_name_to_description(synset).split(", ")
        word = ALIKE.get(synset) or next((w for w in words if w not in found), words[0])
        found.append(word)
    return found


def read_labels(path: Path) -> list[str]:
    """Names of classes from a file, one a line.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"labels {path} cannot be read: {error}") from None


def begin_at(whole: TrunkConfig, begins: int) -> TrunkConfig:
    """The part of a whole network from the features at 1/4, 1/8 or 1/16 on; 1 is all of it.

    Raises:
        ConfigError: the network has no such features.
    """
    if begins == PIXEL:
        return whole
    if whole.is_timm:
        name = whole.network
        channels = cut(create(name.removeprefix(TIMM), classes=2), name=name)[1]
        if begins not in channels:
            raise ConfigError(f"{whole.network} has no features at 1/{begins}")
        return replace(whole, begins=begins, channels=channels[begins])
    first = _first_stage(whole, begins)
    return replace(
        whole,
        begins=begins,
        channels=whole.stages[first - 1].width,
        entry=0,
        stages=whole.stages[first:],
    )


def taken_over(weights: Mapping[str, Tensor], whole: TrunkConfig, begins: int) -> dict[str, Tensor]:
    """Weights of a whole network by their names in a part that begins somewhere in it.

    Args:
        weights: weights of the trunk of a head on pixels, by name.
        whole: its network.
        begins: px between two features where the other begins, or 1.
    """
    if begins == PIXEL:
        return dict(weights)
    first = begins + 1 if whole.is_timm else _first_stage(whole, begins)
    shift = 0 if whole.is_timm else first  # a part of timm's is named by its resolution
    found = {}
    for name, value in weights.items():
        group, _, rest = name.partition(".")
        number, _, own = rest.partition(".")
        if group not in ("parts", "stages"):
            found |= {} if group == "entry" else {name: value}
        elif int(number) >= first:
            found[f"{group}.{int(number) - shift}.{own}"] = value
    return found


def _first_stage(whole: TrunkConfig, begins: int) -> int:
    places = [n for n in whole.ends if whole.strides[n] == begins]
    if not places:
        raise ConfigError(f"{whole.network} has no features at 1/{begins}")
    return places[0] + 1


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch raises many types on damaged files
        line = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} holds no weights that can be read: {line}") from None
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    tensors = isinstance(found, Mapping) and all(isinstance(v, Tensor) for v in found.values())
    if not tensors or not found:
        raise CheckpointError(f"{path} holds no tensors by name: give the weights of a network")
    return dict(found)


def _named(state: dict[str, Tensor], model: nn.Module, *, where: str) -> dict[str, Tensor]:
    """Tensors by timm's names: their own, or those of the same place."""
    names = list(model.state_dict())
    if set(names) <= set(state):
        return {name: state[name] for name in names}
    if len(names) != len(state):
        missing = next(name for name in names if name not in state)
        raise CheckpointError(
            f"{where} has {len(state)} tensors, the network {len(names)}, and {missing} is not "
            "among them: give the file of that network"
        )
    return dict(zip(names, state.values(), strict=True))


def _load(model: nn.Module, state: Mapping[str, Tensor], *, where: str) -> None:
    for name, value in model.state_dict().items():
        if state[name].shape != value.shape:
            raise CheckpointError(
                f"{where}: tensor {name} is {tuple(state[name].shape)}, the network has "
                f"{tuple(value.shape)}: give the file of that network"
            )
    model.load_state_dict(state)


def _classifier(model: nn.Module) -> str:
    name: Any = model.pretrained_cfg["classifier"]  # type: ignore[index]
    return name if isinstance(name, str) else name[0]


def _converted(model: nn.Module, name: str) -> tuple[TrunkConfig, dict[str, Tensor]]:
    """A network as inverted residuals if it is made of them, else as it is."""
    if isinstance(model, EfficientNet) and _is_lite(model):
        config, arrays = _folded(model, name)
        trunk = InvertedTrunk(config, classes=len(arrays["out.bias"]))
        shapes = {key: value.shape for key, value in trunk.state_dict().items()}
        if shapes == {key: value.shape for key, value in arrays.items()}:
            return config, arrays
    logger.warning("%s%s runs in torch alone: it is no EfficientNet-Lite", TIMM, name)
    config = TrunkConfig(network=TIMM + name, begins=PIXEL, channels=CHANNELS)
    parts = TimmTrunk(config, classes=2)
    own = {f"parts.{stride}": part for stride, part in parts.parts.items()} | {"out": parts.out}
    weights = model.state_dict()
    arrays = {
        f"{prefix}.{key}": weights[key]
        for prefix, part in own.items()
        if part is not None
        for key in part.state_dict()
    }
    return config, arrays


def _is_lite(model: EfficientNet) -> bool:
    """Whether its activations and borders of convolutions are those of EfficientNet-Lite."""
    acts = {type(m.act) for m in model.modules() if isinstance(m, BatchNormAct2d)}
    return isinstance(model.conv_stem, Conv2dSame) and acts <= {nn.ReLU6, nn.Identity}


def _folded(model: EfficientNet, name: str) -> tuple[TrunkConfig, dict[str, Tensor]]:
    found: dict[str, Tensor] = {}

    def put(target: str, conv: nn.Module, norm: nn.Module) -> None:
        found[f"{target}.weight"], found[f"{target}.bias"] = fold_norm(conv, norm)

    put("entry", model.conv_stem, model.bn1)
    stages = []
    for number, blocks in enumerate(model.blocks):
        for place, block in enumerate(blocks):  # type: ignore[arg-type]
            target = f"stages.{number}.{place}"
            if hasattr(block, "conv_pwl"):
                put(f"{target}.expand", block.conv_pw, block.bn1)
                put(f"{target}.depthwise", block.conv_dw, block.bn2)
                put(f"{target}.project", block.conv_pwl, block.bn3)
            else:
                put(f"{target}.depthwise", block.conv_dw, block.bn1)
                put(f"{target}.project", block.conv_pw, block.bn2)
        first, last = blocks[0], blocks[-1]  # type: ignore[index]
        narrow = first.conv_pw.in_channels if hasattr(first, "conv_pwl") else 0
        stage = StageConfig(
            width=getattr(last, "conv_pwl", last.conv_pw).out_channels,
            blocks=len(blocks),  # type: ignore[arg-type]
            kernel=first.conv_dw.kernel_size[0],
            stride=first.conv_dw.stride[0],
            expansion=first.conv_pw.out_channels // narrow if narrow else 1,
        )
        stages.append(stage)
    put("last", model.conv_head, model.bn2)
    found["out.weight"], found["out.bias"] = model.classifier.weight, model.classifier.bias  # type: ignore
    config = TrunkConfig(
        network=name.removeprefix("tf_").replace("_", "-"),
        begins=PIXEL,
        channels=CHANNELS,
        entry=model.conv_stem.out_channels,  # type: ignore[arg-type]
        stages=tuple(stages),
        last=model.conv_head.out_channels,  # type: ignore[arg-type]
    )
    return config, {key: value.detach() for key, value in found.items()}


@torch.no_grad()
def _check_same(network: Classifier, model: nn.Module, config: TrunkConfig) -> None:
    """Refuse a conversion that changes the logits."""
    x = torch.rand(1, CHANNELS, 224, 224, generator=torch.Generator().manual_seed(0))
    mean, spread = (torch.tensor(v)[:, None, None] for v in (config.mean, config.spread))
    wanted = model((x - mean) / spread)
    apart = float((network(x, torch.ones(1)) - wanted).abs().max() / wanted.std())
    if not apart < SAME:
        raise ConfigError(
            f"{config.network} differs by {apart:.2g} after its conversion: its activations, or "
            "the borders of its convolutions, are not those of EfficientNet-Lite"
        )
