from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ganserve_export import ExportError, VerificationError
from ganserve_export.from_run.folding import fold, fold_upsampling
from ganserve_export.from_run.graph_modules import CriticGraph, GeneratorGraph
from ganserve_export.from_run.torch_to_onnx import to_onnx
from ganserve_export.package.calibration import LogisticCalibration
from ganserve_export.package.verification import verify
from ganserve_training.data import DataInfo, from_network, to_network
from ganserve_training.networks import CriticOutput
from ganserve_training.networks.blocks import UpsampleConv

GRAY = DataInfo(sample_shape=(4, 4, 1))
RGB = DataInfo(sample_shape=(4, 4, 3))


def test_pixels_are_rounded_clamped_and_channel_last() -> None:
    images = torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.0, 7.0]).reshape(1, 2, 3, 1)
    pixels = from_network(images, GRAY)
    assert pixels.shape == (1, 3, 1, 2)
    assert pixels.dtype == torch.uint8
    # (x + 1) * 127.5 is 127.5 for 0 and 191.25 for 0.5; halves go to the even neighbour.
    assert pixels[0, :, 0, 0].tolist() == [0, 0, 128]
    assert pixels[0, :, 0, 1].tolist() == [191, 255, 255]


def test_every_level_survives_the_conversion_to_floats_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(from_network(to_network(levels, GRAY), GRAY), levels)


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_folded_upsampling_computes_the_same_including_borders(size: int) -> None:
    block = UpsampleConv(3, 4).double()
    features = torch.randn(2, 3, size, size, dtype=torch.float64)
    torch.testing.assert_close(fold_upsampling(block).double()(features), block(features), rtol=1e-6, atol=1e-6)


def test_folding_copies_the_network_and_removes_parametrizations() -> None:
    network = nn.Sequential(spectral_norm(nn.Conv2d(3, 3, 3, padding=1)), nn.Sequential(UpsampleConv(3, 2))).eval()
    folded = fold(network)
    features = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(folded(features), network(features), rtol=1e-5, atol=1e-5)
    assert isinstance(network[1][0], UpsampleConv)
    assert isinstance(folded[1][0], nn.ConvTranspose2d)
    assert not any("parametrizations" in name for name in folded.state_dict())


class TinyGenerator(nn.Module):
    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(4, channels * 16)

    def forward(self, latents, labels=None):
        return torch.tanh(self.linear(latents)).unflatten(1, (-1, 4, 4))


class TinyCritic(nn.Module):
    def __init__(self, labels: int = 0) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 1)
        self.embedding = nn.Embedding(labels, 1) if labels else None

    def forward(self, images, labels=None):
        scores = self.linear(images.flatten(1)).squeeze(1)
        return scores if self.embedding is None else scores + self.embedding(labels).squeeze(1)


def latents(batch: int, random: torch.Generator) -> dict[str, torch.Tensor]:
    return {"latents": torch.randn(batch, 4, generator=random)}


def test_unconditional_graph_has_a_dynamic_batch_and_no_local_paths(tmp_path) -> None:
    module = GeneratorGraph(TinyGenerator(3), RGB).eval()
    model = to_onnx(module, latents(2, torch.Generator()), ("samples",))
    content = model.SerializeToString()
    for trace in (b"site-packages", b".py", b"stack_trace", b"TinyGenerator"):
        assert trace not in content
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        (samples,) = session.run(None, {"latents": np.zeros((batch, 4), np.float32)})
        assert samples.shape == (batch, 4, 4, 3)
        assert samples.dtype == np.uint8


@pytest.mark.parametrize("labels", [0, 3])
def test_critic_graph_applies_the_calibration(tmp_path, labels: int) -> None:
    critic = TinyCritic(labels).eval()
    intercepts = (0.5, -1.0, 2.0)[: labels or 1]
    calibration = LogisticCalibration(
        slope=1.5, intercepts=intercepts, real_count=20, generated_count=20, log_loss=0.6, auc=0.7
    )
    samples = torch.randint(0, 256, (6, 4, 4, 1), dtype=torch.uint8)
    inputs = {"samples": samples} | ({"labels": torch.arange(6) % 3} if labels else {})
    module = CriticGraph(critic, calibration, RGB).eval()
    session = ort.InferenceSession(to_onnx(module, inputs, ("scores", "probabilities")).SerializeToString())
    scores, probabilities = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    with torch.no_grad():
        expected = critic(samples.permute(0, 3, 1, 2) / 127.5 - 1, inputs.get("labels")).numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    which = np.arange(6) % 3 if labels else np.zeros(6, int)
    np.testing.assert_allclose(
        probabilities, 1 / (1 + np.exp(-(1.5 * scores + np.array(intercepts)[which]))), atol=1e-5
    )


class WritesItsBatchSize(TinyGenerator):
    def forward(self, latents, labels=None):
        return super().forward(latents).view(len(latents), 1, 4, 4)


class BranchesOnValues(TinyGenerator):
    def forward(self, latents, labels=None):
        return super().forward(latents) if latents.sum() > 0 else super().forward(-latents)


@pytest.mark.parametrize(
    ("network", "advice"), [(WritesItsBatchSize, r"Write x\.shape\[0\]"), (BranchesOnValues, r"Use torch\.where")]
)
def test_network_that_cannot_have_a_dynamic_batch_is_refused_with_advice(network: type[nn.Module], advice: str) -> None:
    with pytest.raises(ExportError, match=advice):
        to_onnx(GeneratorGraph(network(), GRAY).eval(), latents(2, torch.Generator()), ("samples",))


def test_a_graph_that_computes_something_else_is_refused(tmp_path) -> None:
    exported, other = GeneratorGraph(TinyGenerator(), GRAY).eval(), GeneratorGraph(TinyGenerator(), GRAY).eval()
    file = tmp_path / "generator.onnx"
    file.write_bytes(to_onnx(exported, latents(2, torch.Generator()), ("samples",)).SerializeToString())
    same = verify(file, exported, latents, ("samples",), seed=1)
    assert same.batch_sizes == (1, 3, 64)
    assert same.largest <= 1
    with pytest.raises(VerificationError, match=r"differs from PyTorch by .*seed|seed .*differs from PyTorch"):
        verify(file, other, latents, ("samples",), seed=1)
    with pytest.raises(VerificationError, match="outputs"):
        verify(file, exported, latents, ("images",), seed=1)
    with pytest.raises(VerificationError, match=r"\[1, 4, 4, 1\], PyTorch uint8 \[1, 4, 4, 3\]"):
        verify(file, GeneratorGraph(TinyGenerator(3), RGB).eval(), latents, ("samples",), seed=1)


# Far from zero, with very different spreads: one absolute tolerance would not fit both.
VECTORS = DataInfo(sample_shape=(2,), mean=(5000.0, -2e-6), std=(10.0, 1e-6))


class VectorGenerator(nn.Module):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, latents, labels=None):
        return latents[:, :2] * torch.tensor([1.0, self.factor])


def test_vectors_have_the_datas_units_and_tolerances_by_spread(tmp_path) -> None:
    module = GeneratorGraph(VectorGenerator(), VECTORS).eval()
    file = tmp_path / "generator.onnx"
    file.write_bytes(to_onnx(module, latents(2, torch.Generator()), ("samples",)).SerializeToString())
    given = latents(1000, torch.Generator().manual_seed(0))["latents"].numpy()
    (samples,) = ort.InferenceSession(file).run(None, {"latents": given})
    assert samples.dtype == np.float32
    expected = given[:, :2] * np.float64(VECTORS.std) + np.float64(VECTORS.mean)
    np.testing.assert_allclose((samples - expected) / VECTORS.std, 0, atol=1e-4)

    same = verify(file, module, latents, ("samples",), seed=1, scale=VECTORS.std)
    assert not same.is_pixels
    assert same.largest <= same.tolerance
    # A thousandth of the second value's spread is 1e-9, far below a tolerance in the first value's units.
    wrong = GeneratorGraph(VectorGenerator(1.001), VECTORS).eval()
    with pytest.raises(VerificationError, match="differs from PyTorch by"):
        verify(file, wrong, latents, ("samples",), seed=1, scale=VECTORS.std)


def test_the_critic_takes_vectors_in_the_datas_units() -> None:
    class Sum(nn.Module):
        def forward(self, vectors, labels=None):
            return CriticOutput(vectors.sum(dim=1), code_values=vectors)

    calibration = LogisticCalibration(
        slope=2.0, intercepts=(1.0,), real_count=20, generated_count=20, log_loss=0.6, auc=0.7
    )
    samples = {"samples": torch.randn(5, 2) * torch.tensor(VECTORS.std) + torch.tensor(VECTORS.mean)}
    model = to_onnx(CriticGraph(Sum(), calibration, VECTORS).eval(), samples, ("scores", "probabilities"))
    session = ort.InferenceSession(model.SerializeToString())
    scores, probabilities = session.run(None, {"samples": samples["samples"].numpy()})
    expected = ((samples["samples"].numpy().astype(np.float64) - VECTORS.mean) / VECTORS.std).sum(1)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-(2 * scores + 1))), rtol=1e-4)


def test_values_that_are_not_finite_are_refused(tmp_path) -> None:
    critic = TinyCritic()
    critic.linear.weight.data.fill_(float("nan"))
    calibration = LogisticCalibration(
        slope=1.0, intercepts=(0.0,), real_count=20, generated_count=20, log_loss=0.6, auc=0.7
    )
    module = CriticGraph(critic, calibration, RGB).eval()

    def samples(batch: int, random: torch.Generator) -> dict[str, torch.Tensor]:
        return {"samples": torch.randint(0, 256, (batch, 4, 4, 1), generator=random, dtype=torch.uint8)}

    outputs = ("scores", "probabilities")
    file = tmp_path / "critic.onnx"
    file.write_bytes(to_onnx(module, samples(2, torch.Generator()), outputs).SerializeToString())
    with pytest.raises(VerificationError, match="not all values are finite"):
        verify(file, module, samples, outputs, seed=0)
