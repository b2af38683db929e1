"""An exported model package as something to evaluate. N = samples, Z = latent, H, W, C = image, D = vector."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import torch
from google.protobuf import json_format

from ganserve.v1 import model_spec_pb2
from ganserve_export.errors import ExportError
from ganserve_export.package.manifest import MADE_ELSEWHERE
from ganserve_export.package.publishing import MANIFEST, digest
from ganserve_training import config_from_dict
from ganserve_training.networks.latents import LatentPrior

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from ganserve_training.config import DataConfig, TrainConfig

BATCH = 256


class PackageSubject:
    """The generator of a package, run by onnxruntime on the CPU.

    Args:
        folder: The package: the folder of manifest.json.

    Raises:
        ExportError: The manifest can't be read, or the generator is not the file that it names.
        ConfigError: The package comes from a newer version of ganserve.
    """

    def __init__(self, folder: Path) -> None:
        try:
            text = (folder / MANIFEST).read_text(encoding="utf-8")
            self._spec = json_format.Parse(text, model_spec_pb2.ModelSpec(), ignore_unknown_fields=True)
        except (OSError, json_format.ParseError) as error:
            raise ExportError(f"{folder / MANIFEST} cannot be read: {error}") from error
        file = folder / self._spec.generator.file
        expected = {entry.name: entry.sha256 for entry in self._spec.files}.get(file.name)
        if not file.is_file() or digest(file) != expected:
            raise ExportError(f"{file} is not the file that the manifest names: export the package again")
        try:
            self._session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise ExportError(f"onnxruntime cannot load {file}: {error}") from error
        self._config = self._read_config()

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of one sample: (H, W, C) or (D,)."""
        return tuple(self._spec.sample.shape)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Of the labels that the generator takes; empty: none."""
        return tuple(self._spec.label_names)

    @property
    def learned_from(self) -> DataConfig | None:
        """As the manifest's provenance has it."""
        return None if self._config is None else self._config.data

    @property
    def step(self) -> int:
        """Training step of the checkpoint."""
        return int(self._spec.provenance.step)

    @property
    def checkpoint_sha256(self) -> str:
        """Of the checkpoint that was exported."""
        return self._spec.provenance.checkpoint_sha256

    def draw(self, labels: npt.NDArray[np.int64] | None, count: int, seed: int) -> npt.NDArray[Any]:
        """Sample uint8 [count, H, W, C] or float32 [count, D], from the latents that a run would use with this seed.

        Args:
            labels: Int64 [count], or None.
            count: How many.
            seed: Of the latents.
        """
        latents = self._prior().draw(count, torch.Generator().manual_seed(seed)).numpy()
        parts = []
        for start in range(0, count, BATCH):
            inputs: dict[str, npt.NDArray[Any]] = {"latents": latents[start : start + BATCH]}
            if labels is not None:
                inputs["labels"] = labels[start : start + BATCH]
            parts.append(self._session.run(None, inputs)[0])
        return np.concatenate(parts)

    def _prior(self) -> LatentPrior:
        if self._config is not None:
            return LatentPrior.of(self._config.networks)
        latent = self._spec.latent
        uniform = latent.distribution == model_spec_pb2.LATENT_DISTRIBUTION_UNIFORM
        return LatentPrior(
            dim=latent.dimension,
            distribution="uniform" if uniform else "normal",
            continuous_codes=len(latent.controls),
        )

    def _read_config(self) -> TrainConfig | None:
        config = self._spec.provenance.config
        if not config.fields or MADE_ELSEWHERE in config.fields:
            return None
        return config_from_dict(json.loads(json_format.MessageToJson(config)))
