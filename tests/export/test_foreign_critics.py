"""Package critics made elsewhere with their generators: scores, labels, calibration, and the command."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from google.protobuf import json_format
from torch import nn

from foreign_graphs import (
    FLOAT,
    INT64,
    Dcgan,
    DcganCritic,
    Z,
    export,
    flat_critic,
    flat_generator,
    node,
    save,
    tanh_nchw,
    weight,
)
from foreign_packages import ABC, LABELS, LATENTS, NCHW, assert_same_pixels, by_table, levels, manifest, run, wrap
from ganserve_export import OnnxOptions, package_onnx
from ganserve_export.commands import evaluate as evaluate_command
from ganserve_export.commands import package as package_command

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def dcgan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Dcgan, DcganCritic]:
    """Export the networks of PyTorch's tutorial with their weights in separate files."""
    folder = tmp_path_factory.mktemp("dcgan")
    torch.manual_seed(0)
    generator, critic = Dcgan(), DcganCritic()
    with torch.no_grad():
        generator.main[3].weight.mul_(10)
        critic.main[3].weight.mul_(300)  # large weights, so that the sigmoid saturates
    critic(generator(torch.randn(64, Z, 1, 1)))
    files = (
        export(generator.eval(), folder / "g.onnx", torch.randn(2, Z, 1, 1), external_data=True),
        export(critic.eval(), folder / "d.onnx", torch.randn(2, 3, 8, 8), external_data=True),
    )
    return *files, generator, critic


def test_dcgan_with_weights_in_separate_files(tmp_path: Path, dcgan: tuple[Path, Path, Dcgan, DcganCritic]) -> None:
    generator_file, critic_file, generator, critic = dcgan
    packaged = wrap(tmp_path, generator_file, critic_file, range="-1..1", score_higher="real")
    assert "[batch, 6, 1, 1]" in packaged.generator_is
    assert {path.name for path in packaged.folder.iterdir()} == {
        "generator.onnx", "critic.onnx", "preview.png", "manifest.json"
    }  # fmt: skip
    (samples,) = run(packaged, latents=LATENTS)
    with torch.no_grad():
        images = generator(torch.from_numpy(LATENTS).reshape(-1, Z, 1, 1))
        assert_same_pixels(samples, levels(images.numpy()))
        # The saturated sigmoid no longer ranks samples; the log odds before it do.
        seen = torch.from_numpy(samples.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)
        logits = critic.main[:-1](seen).flatten().numpy()
    scores, probabilities = run(packaged, "critic.onnx", samples=samples)
    assert np.abs(logits).max() > 20
    np.testing.assert_allclose(scores, logits, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), atol=1e-3)

    spec = manifest(packaged)
    assert (spec.latent.dimension, list(spec.sample.shape), spec.score.loss) == (Z, [8, 8, 3], "unknown")
    assert list(spec.generator.verification.batch_sizes) == [1, 3, 64]
    assert not spec.score.HasField("calibration")
    origin = json_format.MessageToDict(spec.provenance.config)["made_elsewhere"]
    for role, file in (("generator", generator_file), ("critic", critic_file)):
        files = {each["name"]: each["sha256"] for each in origin[role]["files"]}
        assert set(files) == {file.name, f"{file.name}.data"}
        for name, sha256 in files.items():
            assert sha256 == hashlib.sha256(file.with_name(name).read_bytes()).hexdigest()
        assert origin[role]["producer"].startswith("pytorch")
    assert str(tmp_path) not in json.dumps(origin)


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    return tanh_nchw(tmp_path / "g.onnx")


def expected_logits(samples: np.ndarray) -> np.ndarray:
    """Return the logits of `flat_critic` for uint8 [N, 4, 4, 3]."""
    seen = samples.transpose(0, 3, 1, 2).reshape(len(samples), -1) / 127.5 - 1
    return (seen @ weight(48, 1, seed=1))[:, 0]


SAMPLES = np.random.default_rng(6).integers(0, 256, (9, 4, 4, 3), np.uint8)


@pytest.mark.parametrize("higher", ["real", "generated"])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_scores_higher_for_real_or_for_generated(tmp_path: Path, generator: Path, higher: str, sigmoid: bool) -> None:
    critic = flat_critic(tmp_path / "c.onnx", sigmoid=sigmoid)
    packaged = wrap(tmp_path, generator, critic, score_higher=higher, **NCHW)
    scores, probabilities = run(packaged, "critic.onnx", samples=SAMPLES)
    expected = expected_logits(SAMPLES) * (1 if higher == "real" else -1)
    assert (scores.dtype, probabilities.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-expected)), atol=1e-4)
    assert ("before the sigmoid" in packaged.critic_is) == sigmoid
    assert packaged.calibration is None


def test_a_sigmoid_used_as_a_score(tmp_path: Path, generator: Path) -> None:
    critic = flat_critic(tmp_path / "c.onnx", sigmoid=True)
    packaged = wrap(tmp_path, generator, critic, critic_output="score", **NCHW)
    scores, _ = run(packaged, "critic.onnx", samples=SAMPLES)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-expected_logits(SAMPLES))), atol=1e-4)


def test_probabilities_without_a_sigmoid(tmp_path: Path, generator: Path) -> None:
    nodes = [
        node("Reshape", "x flat", "f"), node("MatMul", "f w", "m"), node("HardSigmoid", "m", "p", alpha=0.2, beta=0.5)
    ]  # fmt: skip
    constants = {"flat": np.array([-1, 48]), "w": weight(48, 1, seed=1)}
    critic = save(tmp_path / "c.onnx", nodes, {"x": (FLOAT, ["n", 3, 4, 4])}, {"p": (FLOAT, ["n", 1])}, constants)
    packaged = wrap(tmp_path, generator, critic, critic_output="probability", **NCHW)
    scores, probabilities = run(packaged, "critic.onnx", samples=SAMPLES)
    expected = np.clip(0.2 * expected_logits(SAMPLES) + 0.5, 1e-7, 1 - 1e-7)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() < 17


def test_critics_with_labels_and_with_several_outputs(tmp_path: Path) -> None:
    generator = by_table(tmp_path / "g.onnx", INT64, ["n"], [node("Gather", "table y", "row", axis=0)])
    nodes = [
        node("Reshape", "x flat", "f"), node("MatMul", "f w", "all"), node("Identity", "all", "classes"),
        node("GatherElements", "all c", "realness", axis=1),
    ]  # fmt: skip
    constants = {"flat": np.array([-1, 48]), "w": weight(48, 3, seed=1)}
    inputs = {"x": (FLOAT, ["n", 3, 4, 4]), "c": (INT64, ["n", 1])}
    outputs = {"classes": (FLOAT, ["n", 3]), "realness": (FLOAT, ["n", 1])}
    critic = save(tmp_path / "c.onnx", nodes, inputs, outputs, constants)
    packaged = wrap(tmp_path, generator, critic, label_names=ABC, **NCHW)
    scores, _ = run(packaged, "critic.onnx", samples=SAMPLES, labels=LABELS)
    seen = SAMPLES.transpose(0, 3, 1, 2).reshape(9, -1) / 127.5 - 1
    np.testing.assert_allclose(scores, (seen @ weight(48, 3, seed=1))[np.arange(9), LABELS], rtol=1e-4, atol=1e-4)
    spec = manifest(packaged)
    assert not spec.score.label_free
    assert not spec.score.HasField("calibration")

    packaged = wrap(tmp_path, generator, flat_critic(tmp_path / "d.onnx"), label_names=ABC, **NCHW)
    assert packaged.version == 2
    run(packaged, "critic.onnx", samples=SAMPLES)
    assert manifest(packaged).score.label_free


def test_a_package_can_be_packaged_again(tmp_path: Path, generator: Path) -> None:
    first = wrap(tmp_path, generator, flat_critic(tmp_path / "c.onnx"), **NCHW)
    again = package_onnx(
        first.folder / "generator.onnx",
        first.folder / "critic.onnx",
        tmp_path / "models" / "y",
        OnnxOptions(layout="nhwc"),
    )
    np.testing.assert_array_equal(run(again, latents=LATENTS)[0], run(first, latents=LATENTS)[0])
    np.testing.assert_array_equal(
        run(again, "critic.onnx", samples=SAMPLES)[0], run(first, "critic.onnx", samples=SAMPLES)[0]
    )


@pytest.fixture(scope="module")
def of_digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Write a noise generator with labels, and a critic that scores by a label's brightness."""
    folder = tmp_path_factory.mktemp("of_digits")
    tail = [
        node("Gather", "table y", "row", axis=0), node("Add", "flat row", "sum"), node("Tanh", "sum", "t"),
        node("Reshape", "t shape", "img"),
    ]  # fmt: skip
    constants = {"table": weight(10, 64, seed=3), "shape": np.array([-1, 1, 8, 8])}
    inputs = {"z": (FLOAT, ["n", Z]), "y": (INT64, ["n"])}
    generator = flat_generator(
        folder / "g.onnx", tail, (FLOAT, ["n", 1, 8, 8]), values=64, constants=constants, inputs=inputs
    )
    nodes = [
        node("ReduceMean", "x", "mean", axes=[1, 2, 3], keepdims=0), node("Gather", "bias c", "b", axis=0),
        node("Sub", "b mean", "score"),
    ]  # fmt: skip
    bias = {"bias": np.arange(10, dtype=np.float32)}
    inputs = {"x": (FLOAT, ["n", 1, 8, 8]), "c": (INT64, ["n"])}
    critic = save(folder / "c.onnx", nodes, inputs, {"score": (FLOAT, ["n"])}, bias)
    return generator, critic


def test_calibration_on_data(tmp_path: Path, of_digits: tuple[Path, Path]) -> None:
    names = tuple(map(str, reversed(range(10))))
    packaged = wrap(tmp_path, *of_digits, label_names=names, range="-1..1", data="digits")
    assert packaged.calibration is not None
    assert packaged.calibration.real_count == packaged.calibration.generated_count == 360
    assert packaged.calibration.auc > 0.7
    spec = manifest(packaged)
    calibration = spec.score.calibration
    assert (len(calibration.intercepts), calibration.real_count) == (10, 360)
    samples, labels = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), np.uint8), np.arange(9)
    scores, probabilities = run(packaged, "critic.onnx", samples=samples, labels=labels)
    log_odds = calibration.slope * scores + np.array(calibration.intercepts)[labels]
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-log_odds)), atol=1e-5)
    # The intercept of each label cancels the critic's bias for that label.
    assert np.ptp(np.array(calibration.intercepts) + calibration.slope * np.arange(10)) < calibration.slope


def test_evaluate_accepts_the_package(
    tmp_path: Path, of_digits: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    packaged = wrap(tmp_path, of_digits[0], label_names=tuple(map(str, range(10))), range="-1..1")
    only = ("--metrics", "gan-train-test", "--samples", "200", "--json")
    assert evaluate_command.main([str(packaged.folder), *only]) == 2
    assert "--data" in capsys.readouterr().err
    assert evaluate_command.main([str(packaged.folder), "--data", "digits", *only]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["gan_test"] < 0.5


def test_the_command(tmp_path: Path, generator: Path, capsys: pytest.CaptureFixture[str]) -> None:
    critic = flat_critic(tmp_path / "c.onnx")
    out = ("--range", "-1..1", "--layout", "nchw", "--out", str(tmp_path / "models" / "x"))
    assert package_command.main([str(generator), str(critic), *out]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "x version 1, from g.onnx and c.onnx, made elsewhere",
        "  generator  latents z float32 [n, 6] (normal) -> img float32 nchw, -1..1 -> images [4, 4, 3]",
        "  critic     samples x float32 [n, 3, 4, 4], -1..1 -> logit (score; real higher, assumed)",
        "verified against the originals on random inputs at batch 1, 3, 64; largest differences:",
        lines[4],
        lines[5],
        "probabilities are sigmoid(score), which suits cross-entropy losses only: --data calibrates them",
        "real samples are assumed to score higher: --data checks that",
        "samples unlike the data are not found: --data, with 20 held-out samples or more, fits that",
        f"published {tmp_path / 'models' / 'x' / '1'}",
    ]
    assert package_command.main([str(generator), *out, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["version"], result["critic"], result["calibration"]) == (2, None, None)
    assert result["generator"]["batch_sizes"] == [1, 3, 64]


class _Planes(nn.Module):
    """A conditional pair of which both take labels as constant channels [N, 3, H, W] beside latents or images."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.make = nn.Conv2d(3 + first, 3 if first == Z else 1, 1)
        self.is_generator = first == Z

    def forward(self, values: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        if self.is_generator:
            values = values.expand(-1, -1, 4, 4)
            return torch.tanh(self.make(torch.cat([values, label], dim=1)))
        return self.make(torch.cat([values, label], dim=1)).mean(dim=(1, 2, 3))


def test_labels_as_planes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator, critic = _Planes(Z).eval(), _Planes(3).eval()
    planes = torch.zeros(2, 3, 4, 4)
    files = (
        export(generator, tmp_path / "g.onnx", torch.randn(2, Z, 1, 1), planes),
        export(critic, tmp_path / "d.onnx", torch.randn(2, 3, 4, 4), planes),
    )
    options = {"label_names": ABC, "critic_samples": "values", "layout": "nchw"}
    packaged = wrap(tmp_path, *files, **options)
    assert "label float32 [batch, 3, 4, 4] (planes)" in packaged.generator_is
    assert "(planes)" in packaged.critic_is
    one_hot = torch.eye(3)[LABELS][:, :, None, None].expand(-1, -1, 4, 4)
    with torch.no_grad():
        images = generator(torch.from_numpy(LATENTS)[:, :, None, None], one_hot)
    (ours,) = run(packaged, latents=LATENTS, labels=LABELS)
    assert_same_pixels(ours, levels(images.numpy()))
    with torch.no_grad():
        expected = critic(torch.from_numpy(ours.transpose(0, 3, 1, 2) / np.float32(127.5) - 1), one_hot)
    np.testing.assert_allclose(run(packaged, "critic.onnx", samples=ours, labels=LABELS)[0], expected, atol=1e-5)
