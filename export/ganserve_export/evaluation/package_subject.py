"""Evaluate an exported model package. N = samples, Z = latent, H, W, C = image, D = vector."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from google.protobuf import json_format

from ganserve.v1 import model_spec_pb2
from ganserve_export.errors import ExportError
from ganserve_export.package.latent_values import DeclaredControl, LatentValues
from ganserve_export.package.manifest import MADE_ELSEWHERE, read_manifest
from ganserve_export.package.onnx_graphs import open_on_cpu
from ganserve_export.package.style_inputs import default_style_inputs
from ganserve_training import config_from_dict
from ganserve_training.config import TrainConfig
from ganserve_training.evaluation.evaluate import Subject
from ganserve_training.files import file_sha256
from ganserve_training.networks.latents import LatentPrior

BATCH = 256


def package_subject(folder: Path) -> Subject:
    """Return the generator of the package in `folder`, run by onnxruntime on the CPU.

    Raises:
        ExportError: The manifest cannot be read, or the generator differs from the file that it names.
        ConfigError: The package comes from a newer version of ganserve.
    """
    spec = read_manifest(folder)
    file = folder / spec.generator.file
    expected = {entry.name: entry.sha256 for entry in spec.files}.get(file.name)
    if not file.is_file() or file_sha256(file) != expected:
        raise ExportError(f"{file} is not the file that the manifest names: export the package again")
    session = open_on_cpu(file)
    config = _config(spec)
    prior = LatentValues.of(LatentPrior.of(config.networks)) if config is not None else _latents(spec.latent)

    def draw(labels: npt.NDArray[np.int64] | None, count: int, seed: int) -> npt.NDArray[Any]:
        latents = prior.draw(count, torch.Generator().manual_seed(seed), at_defaults=True).numpy()
        inputs: dict[str, npt.NDArray[Any]] = {"latents": latents}
        if labels is not None:
            inputs["labels"] = labels
        if spec.HasField("style"):
            inputs |= default_style_inputs(spec.style, latents)
        return np.concatenate(
            [
                session.run(["samples"], {name: values[start : start + BATCH] for name, values in inputs.items()})[0]
                for start in range(0, count, BATCH)
            ]
        )

    return Subject(
        sample_shape=tuple(spec.sample.shape),
        label_names=tuple(spec.label_names),
        learned_from=None if config is None else config.data,
        step=int(spec.provenance.step),
        checkpoint_sha256=spec.provenance.checkpoint_sha256,
        draw=draw,
    )


def _latents(latent: model_spec_pb2.LatentSpec) -> LatentValues:
    name: Literal["uniform", "normal"] = "normal"
    if latent.distribution == model_spec_pb2.LATENT_DISTRIBUTION_UNIFORM:
        name = "uniform"
    controls = tuple(
        DeclaredControl(
            name=control.name,
            low=control.low,
            high=control.high,
            default=control.default if control.HasField("default") else None,
            description=control.description,
        )
        for control in latent.controls
    )
    dim = latent.dimension - len(controls)
    return LatentValues(prior=LatentPrior(dim=dim, distribution=name, continuous_codes=0), controls=controls)


def _config(spec: model_spec_pb2.ModelSpec) -> TrainConfig | None:
    """Return the configuration of the run that the package comes from; None: it was made elsewhere."""
    config = spec.provenance.config
    if not config.fields or MADE_ELSEWHERE in config.fields:
        return None
    return config_from_dict(json.loads(json_format.MessageToJson(config)))
