"""Convert tiny players of every architecture, and compare onnxruntime's results with PyTorch's."""

from __future__ import annotations

import onnx
import pytest
import torch
from torch import Tensor, nn

from ganserve_export.from_run.folding import fold
from ganserve_export.from_run.graph_modules import CriticGraph, GeneratorGraph
from ganserve_export.from_run.torch_to_onnx import to_onnx
from ganserve_export.package.calibration import LogisticCalibration
from ganserve_export.package.verification import verify
from ganserve_training.config import CodesConfig
from ganserve_training.data import DataInfo
from ganserve_training.errors import UnfinishedNetworkError
from ganserve_training.networks import as_output, build_networks
from ganserve_training.networks.config import ARCHITECTURES, NetworksConfig

LATENT = 6
LABELS = 3
CASES = {
    "mlp": {"critic_activation": "maxout", "generator_norm": "batch", "generator_conditioning": "batch-norm"},
    "convolutional": {"critic_conditioning": "concatenation", "spectral_norm": "both"},
    "dcgan": {"generator_conditioning": "batch-norm", "critic_conditioning": "classifier"},
    "residual": {"spectral_norm": "both", "minibatch_stddev_group": 2, "critic_norm": "layer"},
    "progressive": {"minibatch_stddev_group": 2},
    "r3gan": {"group_size": 2, "minibatch_stddev_group": 2},
    "stylegan2": {"w_dim": 5, "activation_clamp": 2.0},
}


class Scores(nn.Module):
    """Return scores alone, as export does."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        return as_output(self.critic(samples, labels)).scores


def config(architecture: str, **changes) -> NetworksConfig:
    small = {"latent_dim": LATENT, "generator_width": 4, "critic_width": 4}
    small |= {} if architecture == "stylegan2" else {"label_embedding_dim": 2}
    small |= {} if architecture == "mlp" else {"max_width": 8}
    return ARCHITECTURES[architecture](**small | changes)


def check(tmp_path, network: nn.Module, name: str, shape: tuple[int, ...], labels: int) -> onnx.ModelProto:
    """Fold, convert, write, and compare with the network as it was trained."""

    def inputs(batch: int, random: torch.Generator) -> dict[str, Tensor]:
        drawn = {"inputs": torch.randn(batch, *shape, generator=random)}
        if labels:
            drawn["labels"] = torch.randint(0, labels, (batch,), generator=random)
        return drawn

    network.eval()
    wrap = Scores if name == "critic" else nn.Sequential if not labels else (lambda module: module)
    file = tmp_path / f"{name}.onnx"
    model = to_onnx(wrap(fold(network)).eval(), inputs(2, torch.Generator().manual_seed(1)), ("outputs",))
    onnx.save_model(model, file)
    verify(file, wrap(network).eval(), inputs, ("outputs",), seed=1)
    return model


def train_a_little(pair, shape: tuple[int, ...], labels: int) -> None:
    """Move running statistics and power iterations away from their initial values."""
    for _ in range(2):
        given = torch.randint(0, labels, (4,)) if labels else None
        with torch.no_grad():
            pair.critic(pair.generator(torch.randn(4, LATENT), given), given if pair.critic_uses_labels else None)


# In quick runs two stand for all: the demo's architecture, and r3gan, whose blocks nest deepest.
@pytest.mark.parametrize(
    "architecture",
    [case if case in ("convolutional", "r3gan") else pytest.param(case, marks=pytest.mark.slow) for case in CASES],
)
def test_conditional_players_convert(architecture: str, tmp_path) -> None:
    torch.manual_seed(0)
    data = DataInfo(sample_shape=(8, 8, 2), label_names=tuple("abc"))
    pair = build_networks(config(architecture, **CASES[architecture]), data)
    train_a_little(pair, (2, 8, 8), LABELS)
    generator = check(tmp_path, pair.generator, "generator", (LATENT,), LABELS)
    assert [item.name for item in generator.graph.input] == ["inputs", "labels"]
    check(tmp_path, pair.critic, "critic", (2, 8, 8), LABELS if pair.critic_uses_labels else 0)


# In quick runs test_export.py exports a run in float16.
@pytest.mark.slow
@pytest.mark.parametrize("architecture", CASES)
def test_players_compute_in_float16(architecture: str, tmp_path) -> None:
    torch.manual_seed(0)
    data = DataInfo(sample_shape=(8, 8, 2), label_names=tuple("abc"))
    # A pixel norm over four features magnifies float16's rounding where all of them are small.
    wider = {"generator_width": 16, "critic_width": 16} | ({"max_width": 32} if architecture != "mlp" else {})
    pair = build_networks(config(architecture, **CASES[architecture] | wider), data)
    train_a_little(pair, (2, 8, 8), LABELS)
    calibration = LogisticCalibration.uncalibrated(LABELS if pair.critic_uses_labels else 0)

    def latents(batch: int, random: torch.Generator) -> dict[str, Tensor]:
        drawn = torch.randn(batch, LATENT, generator=random)
        return {"latents": drawn, "labels": torch.randint(0, LABELS, (batch,), generator=random)}

    def samples(batch: int, random: torch.Generator) -> dict[str, Tensor]:
        drawn = {"samples": torch.randint(0, 256, (batch, 8, 8, 2), dtype=torch.uint8, generator=random)}
        if pair.critic_uses_labels:
            drawn["labels"] = torch.randint(0, LABELS, (batch,), generator=random)
        return drawn

    for graph, inputs, outputs in (
        (lambda module: GeneratorGraph(module(pair.generator), data), latents, ("samples",)),
        (lambda module: CriticGraph(module(pair.critic), calibration, data), samples, ("scores", "probabilities")),
    ):
        file = tmp_path / "graph.onnx"
        model = to_onnx(
            graph(lambda player: fold(player).half()).eval(), inputs(2, torch.Generator().manual_seed(1)), outputs
        )
        onnx.save_model(model, file)
        weights = [tensor for tensor in model.graph.initializer if len(tensor.dims) > 1]
        assert {tensor.data_type for tensor in weights} <= {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64}
        verify(file, graph(lambda player: player.eval()).eval(), inputs, outputs, seed=1, is_half=True)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["dcgan", "residual", "r3gan"])
def test_unconditional_players_convert_at_sixteen_pixels(architecture: str, tmp_path) -> None:
    torch.manual_seed(0)
    changes = {"group_size": 4} if architecture == "r3gan" else {}
    pair = build_networks(config(architecture, **changes), DataInfo(sample_shape=(16, 16, 3)))
    train_a_little(pair, (3, 16, 16), 0)
    check(tmp_path, pair.generator, "generator", (LATENT,), 0)
    check(tmp_path, pair.critic, "critic", (3, 16, 16), 0)


def test_players_of_vectors_with_codes_convert(tmp_path) -> None:
    data = DataInfo(sample_shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0))
    pair = build_networks(config("mlp", codes=CodesConfig(categories=4, continuous=2)), data)
    assert pair.label_names == ("code-0", "code-1", "code-2", "code-3")
    check(tmp_path, pair.generator, "generator", (LATENT,), 4)
    check(tmp_path, pair.critic, "critic", (2,), 0)


def test_a_grown_network_loses_its_fades_and_a_growing_one_is_refused() -> None:
    data = DataInfo(sample_shape=(16, 16, 1))
    pair = build_networks(config("progressive"), data)
    latents = torch.randn(2, LATENT)
    folded = fold(pair.generator)
    torch.testing.assert_close(folded(latents), pair.generator.eval()(latents), rtol=1e-4, atol=1e-5)
    names = set(folded.state_dict())
    assert not any("parametrizations" in name for name in names)
    assert {name for name in names if name.startswith("to_image")} == {"to_image.0.weight", "to_image.0.bias"}
    assert len(pair.generator.to_image) == 3
    for player in (pair.generator, pair.critic):
        player.phase.set(2, 0.25)
        with pytest.raises(UnfinishedNetworkError, match=r"level 2 of 2 \(16 of 16 pixels\), 25% faded in"):
            fold(player)
        player.phase.set(1, 1.0)
        with pytest.raises(UnfinishedNetworkError, match=r"level 1 of 2 \(8 of 16 pixels\)"):
            fold(player)


@pytest.mark.parametrize(
    ("architecture", "changes", "left"),
    [
        ("mlp", {"generator_norm": "batch"}, 0),
        ("mlp", {"generator_norm": "batch", "generator_conditioning": "batch-norm"}, 0),
        ("dcgan", {"generator_conditioning": "batch-norm"}, 1),  # after the stem, with a reshape between them
        ("dcgan", {"spectral_norm": "both"}, 1),
        ("residual", {}, 3),  # before a convolution, and after a sum
    ],
)
def test_batch_normalisation_becomes_weights(architecture: str, changes: dict, left: int) -> None:
    data = DataInfo(sample_shape=(16, 16, 1), label_names=tuple("abc"))
    pair = build_networks(config(architecture, **changes), data)
    train_a_little(pair, (1, 16, 16), LABELS)
    latents, labels = torch.randn(5, LATENT), torch.tensor([0, 1, 2, 0, 1])
    folded = fold(pair.generator)
    torch.testing.assert_close(folded(latents, labels), pair.generator.eval()(latents, labels), rtol=1e-4, atol=1e-5)
    assert sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in folded.modules()) == left
    before = pair.generator.state_dict()
    fold(pair.generator)
    assert before.keys() == pair.generator.state_dict().keys()
