"""Public class of the codec."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from promptcodec.api.engines import check_torch, load_engine
from promptcodec.api.origin import Origin
from promptcodec.coding.codec import PictureCodec
from promptcodec.coding.encoder import Candidate
from promptcodec.coding.engine import Engine, EngineName, EngineOptions, Progress
from promptcodec.coding.settings import EncodeSettings
from promptcodec.errors import UsageError
from promptcodec.io.checkpoints import (
    PromptsSource,
    bundled,
    find_prompts,
    hub_name,
    locate,
    locate_each,
)
from promptcodec.io.packs import PacksSource, StoredPack, find_packs, packs_beside

if TYPE_CHECKING:
    from promptcodec.api.push import Pushed


class Codec(PictureCodec):
    """A base codec and its rates, safe to share among threads."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._source: tuple[Path, EngineOptions] | None = None
        self._installed: list[list[Path]] = []
        self._stored_packs: list[StoredPack] = []
        self._in_torch: Codec | None = None
        self._origin: Origin | None = None

    @classmethod
    def load(
        cls,
        base: str | Path | None = None,
        prompts: PromptsSource | None = None,
        *,
        packs: PacksSource | None = None,
        engine: EngineName | None = None,
        local_files_only: bool = False,
        **options: Unpack[EngineOptions],
    ) -> Self:
        """Load a base codec and the adapters of its rates.

        Args:
            base: folder of a base, or of a codec with `base/`, `prompts/`, `heads/` and `tasks/`;
                or a Hub id of either, "owner/name" or "owner/name@revision", with a branch, tag or
                commit; None is the bundled codec, small.
            prompts: an adapter, a folder of adapters, the folder of a codec, a Hub id of any,
                several of these, or a dict of them by rate index; None is `prompts/` in the folder
                of `base`, where there is one. An empty list is the base alone.
            packs: domain packs for `encode(pack=...)`, whose streams are read as well: a pack, a
                folder of packs, a Hub id of either, or several of these; None is those in
                `packs/` in the folder of `base` and beside the bundled codecs.
            engine: "onnx", ONNX Runtime on the CPU; "openvino", the same with g_a and g_s in
                OpenVINO; or "torch". None is torch for a GPU, bfloat16, task prompts or a base
                without graphs, and ONNX Runtime for all else; a call that needs gradients or task
                prompts is then made in torch.
            local_files_only: whether repositories of the Hub have to be in the cache; nothing is
                sent then. So it is in any case where HF_HUB_OFFLINE is set.
            options: fields of `EngineOptions`: heads, tasks, device, precision, threads.
        Raises:
            CheckpointError: `base`, `prompts` or `packs` has nothing usable; a repository or its
                revision does not exist, is not in the cache and cannot be fetched, or was damaged.
            ModelMismatchError: an adapter belongs to another base.
            UsageError: engine, device or precision is unknown or not installed, a key of a dict is
                not the rate index of its adapter, or two packs have one name.
        Examples:
            >>> codec = Codec.load()
            >>> [rate.index for rate in codec.rates]
            [0, 1, 2, 3, 4, 5, 6, 7]
            >>> Codec.load(prompts=[]).rates[0].index
            4
        """
        # Each repository is looked up once.
        find = cache(partial(locate, local_files_only=local_files_only))
        root = bundled() if base is None else find(base)
        prompts = locate_each(prompts, find)
        for name in ("heads", "tasks"):
            if (place := options.get(name)) is not None:
                options[name] = find(place)
        codec = cls(load_engine(root, engine, **options))
        if engine is None and codec.engine.name != "torch":
            codec._source = root, options
        named = None if base is None else hub_name(base)
        codec._origin = Origin(
            root, base is None, named, options.get("heads"), options.get("tasks")
        )
        codec.install(prompts, find_prompts(prompts, base=root))
        codec.install_packs(
            packs_beside(root, base_sha256=codec.base_hash)
            if packs is None
            else find_packs(packs, locate=find)
        )
        return codec

    def weights_sha256(self, part: Literal["heads", "tasks"]) -> dict[str, str]:
        """SHA-256 of the files of weights of its heads or task prompts, by the name of the folder.

        Args:
            part: heads, or task prompts.
        Returns:
            Hexadecimal digits by name; empty if there are none.
        """
        if self._origin is None:
            return {}
        from promptcodec.api.parts import networks_of_codec

        found = networks_of_codec(self._origin, [])
        own = [(n.folder, n.part.weights) for n in found if n.part.folder == part]
        return {
            folder.name: hashlib.sha256((folder / weights).read_bytes()).hexdigest()
            for folder, weights in own
        }

    def push_to_hub(
        self,
        repository: str,
        folder: str | Path | None = None,
        *,
        private: bool = False,
        revision: str | None = None,
        message: str | None = None,
        license: str | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> Pushed:
        """Upload this codec, or networks of its base, to the Hub in one commit.

        Only files that belong to networks are uploaded, after all were read as by `load`, with a
        list of their hashes. README.md is completed, or written, with metadata of the Hub.

        Args:
            repository: owner/name; made if it is not there.
            folder: folder of a codec, of an adapter, a head or task prompts, or of several of
                these; None is this codec, with the adapters that are installed now.
            private: whether a new repository can be read by its owners alone.
            revision: branch, made if it is not there; None is main.
            message: first line of the commit.
            license: licence by the Hub's name, "apache-2.0" for instance; None leaves what
                README.md states.
            force: whether files of an earlier upload that are not in this one are removed.
            dry_run: whether nothing is sent.
        Returns:
            Files, card, notes, and the commit, whose hash is a revision for `load`.
        Raises:
            CheckpointError: a file is missing, damaged, or not of its config.
            DataError: README.md cannot be read, or its metadata is not valid.
            ModelMismatchError: a network belongs to another base.
            OutputError: the Hub cannot be reached or refuses the upload.
            UsageError: the name has another form, there is no token, or README.md states another
                licence.
        """
        from promptcodec.api import parts
        from promptcodec.api.push import push
        from promptcodec.io.hub.upload import Target

        origin = self._origin
        if origin is None:
            raise UsageError("this codec was not made by Codec.load, and has no folder to upload")
        if folder is None:
            networks = parts.networks_of_codec(origin, self._installed)
        else:
            networks = parts.networks_of(Path(folder))
        return push(
            origin.root if folder is None else folder,
            Target(repository, revision, private=private, force=force, message=message),
            networks=networks,
            base=None if origin.is_bundled else origin.root,
            base_name=origin.name,
            licence=license,
            dry_run=dry_run,
        )

    def install(self, prompts: PromptsSource | None, folders: Sequence[Path]) -> None:
        """Install the adapters in `folders`, found for `prompts`; see `add_prompts`."""
        super().install(prompts, folders)
        with self._adding:
            self._installed.append(list(folders))
            self._in_torch = None

    def install_packs(self, packs: Sequence[StoredPack]) -> None:
        """Install packs, each beside the ladder; one of the same name is replaced."""
        super().install_packs(packs)
        with self._adding:
            self._stored_packs.extend(packs)
            self._in_torch = None

    def _encode(
        self, source: Any, settings: EncodeSettings, *, progress: Progress | None
    ) -> tuple[bytes, Candidate, int, bool, dict[str, float]]:
        if self._source is not None and (settings.effort or settings.task is not None):
            return self._torch()._encode(source, settings, progress=progress)
        return super()._encode(source, settings, progress=progress)

    def _torch(self) -> Codec:
        """The same base and adapters in torch, loaded at its first use."""
        assert self._source is not None
        base, options = self._source
        with self._adding:
            if self._in_torch is None:
                check_torch("an effort above 0, or a task,")
                other = Codec(load_engine(base, "torch", **options))
                for folders in self._installed:
                    other.install(None, folders)
                other.install_packs(self._stored_packs)
                self._in_torch = other
            return self._in_torch
