"""Fine-tuning of a base to one rate, whole or by LoRA, to compare adapters with.

    tune: base    every weight of the base is trained, a codec for each rate: the ceiling
    tune: lora    PEFT's LoRA on every linear layer and convolution of g_a and g_s

Either may also train the gains of the rate. The result is a codec of its own, `base/`, with LoRA
merged into it, and the gains as an adapter of that codec, `prompts/rate-N/`, so that the usual
commands measure it. `lora/` has the adapter in PEFT's form.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from promptcodec.config import BaseConfig, Count
from promptcodec.errors import ConfigError
from promptcodec.models.adapters.checkpoint import read_adapter, write_adapter
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.checkpoint import read_base, write_base
from promptcodec.models.codec_model import CodecModel, TrainingOutput
from promptcodec.training.data.opening import CropStore
from promptcodec.training.entropy_tables import TABLE_PICTURES, fit_tables
from promptcodec.training.rate_adapter import RateAdapterConfig, RateAdapterTask, rescale_gains
from promptcodec.training.validation import validate

BASE, PROMPTS, LORA = "base", "prompts", "lora"  # folders of a result


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig(RateAdapterConfig):
    """Recipe of fine-tuning to one rate.

    Args:
        tune: method, "base" or "lora".
        lora_rank: rank of LoRA's updates; its scale alpha is twice the rank.
        gains: whether to train the gains of the rate as well.
    """

    tune: str = BASE
    lora_rank: Count = 8
    gains: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tune not in (BASE, LORA):
            raise ConfigError(f"tune is {self.tune!r}; need 'base' or 'lora'")


class FineTuned(nn.Module):
    """A codec in training and the gains of its rate.

    Args:
        codec: a `CodecModel`, or PEFT's wrapper of one.
        prompts: adapter whose gains alone are used.
    """

    def __init__(self, codec: nn.Module, prompts: LayerAdaptivePrompts) -> None:
        super().__init__()
        self.codec = codec
        self.prompts = prompts

    def forward(self, x: Tensor) -> TrainingOutput:
        """See `CodecModel.forward`; z is rounded, as the base's training left it."""
        return self.codec(x, round_z=True, adapter=self.prompts)

    def merged(self) -> CodecModel:
        """A separate codec with LoRA merged into its weights."""
        codec: Any = copy.deepcopy(self.codec)
        codec = codec.merge_and_unload() if isinstance(codec, PeftModel) else codec
        return codec.requires_grad_(False).eval()


class FineTuneTask(RateAdapterTask):
    """Fine-tuning of a codec to one rate.

    Args:
        config: recipe; `init_from` is the result of another run.
    """

    config: FineTuneConfig

    def __init__(self, config: FineTuneConfig) -> None:
        super().__init__(replace(config, init_from=None, width=1, rank=0, block_rank=0))
        self.config = config
        self.start_folder = None if config.init_from is None else Path(config.init_from)

    def build(self, store: CropStore) -> FineTuned:
        """The unchanged base."""
        config = self.config
        prompts = LayerAdaptivePrompts(self.base.config.codec, width=1, rank=0)
        prompts.requires_grad_(False)
        prompts.log_gains.requires_grad_(config.gains)
        codec: Any = copy.deepcopy(self.base.model)
        if config.tune == BASE:
            return FineTuned(codec.requires_grad_(True), prompts)
        if self.start_folder is not None:
            folder = str(self.start_folder / LORA)
            return FineTuned(PeftModel.from_pretrained(codec, folder, is_trainable=True), prompts)
        return FineTuned(get_peft_model(codec, lora_config(codec, rank=config.lora_rank)), prompts)

    def compiled(self, model: FineTuned) -> list[nn.Module]:
        """No modules."""
        return []

    def initialise(self, model: FineTuned, store: CropStore) -> None:
        """Start from the recipe's neighbour, or without one from the base."""
        known = self.base.config.lmbda
        if self.start_folder is not None:
            start = read_base(self.start_folder / BASE)
            if self.config.tune == BASE:
                codec: Any = model.codec
                codec.load_state_dict(start.model.state_dict())
            (folder,) = (self.start_folder / PROMPTS).iterdir()
            adapter = read_adapter(folder, base=start)
            model.prompts.load_state_dict(adapter.network.state_dict())
            known = adapter.config.lmbda
        if self.config.gains:
            rescale_gains(model.prompts, known=known, lmbda=self.config.rate_weight)

    def validate(self, model: FineTuned, store: CropStore, *, samples: Path) -> dict[str, float]:
        """Rate and distortion on held-out pictures with the gains as integers."""
        adapter = self._adapter(model)
        found = validate(
            model.merged(),
            store.validation,
            samples=samples,
            adapter=adapter,
            metric=self.config.metric,
        )
        return found.figures(lmbda=self.config.rate_weight)

    def write(self, model: FineTuned, folder: Path, *, store: CropStore) -> dict[str, Any]:
        """Write codec, gains and, with LoRA, PEFT's own folder."""
        codec = model.merged()
        config = BaseConfig(
            codec=codec.config, rate_index=self.config.rate_index, lmbda=self.config.rate_weight
        )
        tables = self.base.tables  # LoRA does not change the entropy model
        if self.config.tune == BASE:
            tables = fit_tables(codec, store.sample(TABLE_PICTURES), gains=model.prompts.gains())
        own = write_base(folder / BASE, codec, config=config, tables=tables)
        write_adapter(
            folder / PROMPTS / self.result,
            model.prompts,
            config=replace(self._adapter_config(), base_sha256=own.hex()),
        )
        if isinstance(model.codec, PeftModel):
            model.codec.save_pretrained(str(folder / LORA))
        return {
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "base_sha256": self.base.sha256.hex(),
        }

    def _adapter_config(self) -> Any:
        return replace(super()._adapter_config(), width=1, rank=0, block_rank=0)


def lora_config(codec: nn.Module, *, rank: int) -> LoraConfig:
    """LoRA on every linear layer and convolution of the two transforms."""
    targets = [
        name
        for name, module in codec.named_modules()
        if name.startswith(("g_a.", "g_s.")) and isinstance(module, nn.Linear | nn.Conv2d)
    ]
    return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets)
