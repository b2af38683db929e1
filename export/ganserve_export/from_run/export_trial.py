"""Export networks that are not trained yet, to learn before the training whether a package can be made of them."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch

from ganserve_export.errors import ExportError
from ganserve_export.from_run.folding import fold
from ganserve_export.from_run.graph_modules import CriticGraph, GeneratorGraph
from ganserve_export.from_run.torch_to_onnx import to_onnx
from ganserve_export.package.calibration import LogisticCalibration
from ganserve_export.package.latent_values import LatentValues
from ganserve_export.package.onnx_graphs import save
from ganserve_export.package.random_inputs import InputMaker, RandomInputs
from ganserve_export.package.verification import verify
from ganserve_training import DataInfo
from ganserve_training.config import TrainConfig
from ganserve_training.errors import ConfigError
from ganserve_training.networks import NetworkPair
from ganserve_training.networks.custom import CustomConfig
from ganserve_training.networks.latents import LatentPrior


def try_export(config: TrainConfig, pair: NetworkPair, data: DataInfo) -> list[str]:
    """Export the generator and the critic, and compare them with PyTorch; return notes about the critic.

    Raises:
        ConfigError: The generator can't be exported.
    """
    networks = config.networks
    assert isinstance(networks, CustomConfig)
    count = len(pair.label_names)
    inputs = RandomInputs(
        prior=LatentValues.of(LatentPrior.of(networks)),
        data=data,
        label_count=count,
        critic_uses_labels=pair.critic_uses_labels,
    )
    generator = copy.deepcopy(pair.generator).cpu().eval().requires_grad_(False)
    try:
        with torch.random.fork_rng(devices=[]):
            _try(GeneratorGraph(generator, data), GeneratorGraph(fold(generator), data), inputs.for_generator, data)
    except ExportError as error:
        raise ConfigError(
            f"--networks.generator-class {networks.generator_class}: can't be exported. {error} To train it all the "
            "same, add --networks.no-check-export."
        ) from error
    if networks.packing > 1:
        return []
    critic = copy.deepcopy(pair.critic).cpu().eval().requires_grad_(False)
    calibration = LogisticCalibration.uncalibrated(count if pair.critic_uses_labels else 0)
    try:
        with torch.random.fork_rng(devices=[]):
            folded = CriticGraph(fold(critic), calibration, data)
            _try(CriticGraph(critic, calibration, data), folded, inputs.for_critic, None)
    except ExportError as error:
        return [
            f"note: --networks.critic-class {networks.critic_class} can't be exported, so the model can only be "
            f"exported with --generator-only. {error}"
        ]
    return []


def _try(
    original: GeneratorGraph | CriticGraph,
    folded: GeneratorGraph | CriticGraph,
    make_inputs: InputMaker,
    data: DataInfo | None,
) -> None:
    """Convert a network, and compare the graph with it at several batch sizes; `data` are those of a generator."""
    names = ("scores", "probabilities") if data is None else ("samples",)
    given = make_inputs(2, torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ("critic.onnx" if data is None else "generator.onnx")
        save(to_onnx(folded.eval(), given, names), file)
        verify(file, original.eval(), make_inputs, names, seed=0, scale=() if data is None else data.std)
