"""Layer-adaptive prompts as a PEFT method, for training and loading adapters with PEFT.

    register()
    base = read_base(find_base(None))
    model = PeftModel.from_pretrained(base.model, "checkpoints/small/prompts/rate-2")
    config = LPMConfig(rate_index=2, lmbda=0.0067, base_sha256=base.sha256.hex())
    model = get_peft_model(base.model, config)

The adapter is in the slot of a `CodecModel`, the default of every pass without an adapter. PEFT
saves the tensors of `checkpoint`: networks in float16, log-gains as integers. Tables of z are left
out, as they are fitted to a finished adapter. Encoding and decoding never import this module:
`import peft` takes seconds.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import register_peft_method
from torch import Tensor, nn

from promptcodec.coding.adapter import PEFT_TYPE, AdapterConfig
from promptcodec.coding.adapter_file import LOG_GAINS
from promptcodec.coding.entropy.z_tables import SPANS, TABLES
from promptcodec.coding.gains import FRACTION_BITS
from promptcodec.config import CodecConfig
from promptcodec.errors import UsageError
from promptcodec.io.checkpoints import find_prompts
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.codec_model import Adapter, AdapterSlot, CodecModel

NO_MERGE = (
    "prompts depend on the picture and cannot be merged into the weights of a base: keep the "
    "adapter, or call unload() for the base alone"
)
DEFAULTS = AdapterConfig(rate_index=0, lmbda=1.0, base_sha256="")


@dataclass
class LPMConfig(PeftConfig):
    """Contents of `adapter_config.json`; see `AdapterConfig` for its own keys.

    Args:
        target_modules: name of the slot, the only place for these adapters.
    """

    rate_index: int = 0
    lmbda: float = 0.0
    base_sha256: str = ""
    width: int = DEFAULTS.width
    rank: int = DEFAULTS.rank
    block_rank: int = DEFAULTS.block_rank
    metric: str = DEFAULTS.metric
    init_from: str | None = None
    format_version: int = DEFAULTS.format_version
    target_modules: list[str] = field(default_factory=lambda: ["adapter_slot"])

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PEFT_TYPE


class LPMLayer(nn.Module, BaseTunerLayer):
    """The slot of a codec with adapters in it, by name.

    Args:
        base_layer: the empty slot.
        codec: architecture of the base.
    """

    adapter_layer_names = ("lpm_prompts",)

    def __init__(self, base_layer: AdapterSlot, codec: CodecConfig) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.codec = codec
        self.lpm_prompts = nn.ModuleDict()

    def update_layer(self, name: str, config: LPMConfig) -> None:
        """Add a fresh adapter, equal to the base."""
        self.lpm_prompts[name] = LayerAdaptivePrompts(
            self.codec, width=config.width, rank=config.rank, block_rank=config.block_rank
        )
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self) -> Adapter | None:
        """The active adapter; None while adapters are disabled.

        Raises:
            UsageError: several are active.
        """
        names = [name for name in self.active_adapters if name in self.lpm_prompts]
        if self.disable_adapters or not names:
            return None
        if len(names) > 1:
            raise UsageError(f"adapters {', '.join(names)} are active; one rate at a time: set one")
        found: Any = self.lpm_prompts[names[0]]
        return found

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Refuse: there is nothing that a base could take over.

        Raises:
            UsageError: always.
        """
        raise UsageError(NO_MERGE)

    def unmerge(self) -> None:
        """Do nothing, with PEFT's warning: no adapter is ever merged."""
        warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)


class LPMModel(BaseTuner):
    """The method in PEFT: place of an adapter, and names and types of its tensors."""

    prefix = "lpm_"
    tuner_layer_cls = LPMLayer
    target_module_mapping: dict[str, Any] = {}  # noqa: RUF012, PEFT's own attribute

    def _create_and_replace(
        self,
        peft_config: LPMConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
    ) -> None:
        if "." in adapter_name or adapter_name.isdigit():
            raise UsageError(f"adapter name {adapter_name!r} confuses PEFT: call it rate-3 or so")
        if not isinstance(target, LPMLayer):
            if not isinstance(target, AdapterSlot):
                raise UsageError(f"{current_key} takes no prompts; target 'adapter_slot'")
            target = LPMLayer(target, self.model.config)
            setattr(parent, target_name, target)
        target.update_layer(adapter_name, peft_config)
        adapter = target.lpm_prompts[adapter_name]
        # With low_cpu_mem_usage it has no memory until PEFT puts the tensors of a file there.
        if not any(parameter.is_meta for parameter in adapter.parameters()):
            adapter.to(next(self.model.parameters()).device)

    def _replace_module(
        self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module
    ) -> None:
        """Put the empty slot back; it has no weights, which PEFT would hand over."""
        setattr(parent, child_name, new_module)

    @classmethod
    def _get_adapter_state_dict(cls, model: nn.Module, *args: Any, **kwargs: Any) -> dict:
        """State in the types of the file."""
        found = super()._get_adapter_state_dict(model, *args, **kwargs)
        return {key: _stored(key, value) for key, value in found.items()}

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: Any, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """State in the types of training."""
        left = (TABLES, SPANS)
        state = {k: _trained(k, value) for k, value in state_dict.items() if k not in left}
        return super()._remap_adapter_state_dict_for_load(model, config, adapter_name, state)

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """The name is in the middle of a key, after `lpm_prompts`."""
        return key.replace(f".lpm_prompts.{adapter_name}.", ".lpm_prompts.", 1)


def load_adapters(model: CodecModel, folder: str | Path, **options: Any) -> PeftModel:
    """A base with every rate adapter of a folder; the first is active.

    Args:
        model: base, whose slot is filled.
        folder: an adapter, a folder of adapters, or a Hub id of either; each adapter is called like
            its folder.
        options: arguments of `PeftModel.from_pretrained` and `load_adapter`, `low_cpu_mem_usage`
            for instance.
    Raises:
        CheckpointError: the folder holds no adapter.
    """
    register()
    first, *others = find_prompts(folder)
    peft_model = PeftModel.from_pretrained(model, first, adapter_name=first.name, **options)
    for each in others:
        peft_model.load_adapter(each, each.name, **options)
    return peft_model


def register() -> None:
    """Register the method with PEFT; repeated calls have no effect."""
    if PEFT_TYPE in PEFT_TYPE_TO_CONFIG_MAPPING:
        return
    if PEFT_TYPE not in PeftType.__members__:
        # PEFT's methods are a closed enum; only its members can be registered.
        member = str.__new__(PeftType, PEFT_TYPE)
        member._name_ = member._value_ = PEFT_TYPE
        PeftType._member_map_[PEFT_TYPE] = member
        PeftType._value2member_map_[PEFT_TYPE] = member
        PeftType._member_names_.append(PEFT_TYPE)
        type.__setattr__(PeftType, PEFT_TYPE, member)
    register_peft_method(
        name=PEFT_TYPE.lower(), config_cls=LPMConfig, model_cls=LPMModel, prefix=LPMModel.prefix
    )


def _stored(key: str, value: Tensor) -> Tensor:
    if key.rpartition(".")[2] == LOG_GAINS:
        fixed = torch.round(value.detach().cpu().double() * (1 << FRACTION_BITS))
        return fixed.clamp(-(1 << 15), (1 << 15) - 1).to(torch.int16)
    return value.detach().half()


def _trained(key: str, value: Tensor) -> Tensor:
    if key.rpartition(".")[2] == LOG_GAINS and not value.is_floating_point():
        return value.float() / (1 << FRACTION_BITS)
    return value.float()
