"""Find out what the scores of critics made elsewhere mean: their sign, and whether they are probabilities.

N = batch, C, H, W = image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from foreign_graphs import FLOAT, Z, flat_critic, node, save, tanh_nchw
from foreign_packages import NCHW, run, wrap
from ganserve_export import ExportError
from ganserve_export.commands import package as package_command
from ganserve_export.package.calibration import fit_calibration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEPS, BATCH = 200, 64
GRAY = {"range": "-1..1", "layout": "nchw"}


def digits() -> Tensor:
    """Return scikit-learn's digits, float32 [1797, 1, 8, 8] in [-1, 1]."""
    return torch.from_numpy(load_digits().images.astype(np.float32)).unsqueeze(1) / 8 - 1


def hinge(real: Tensor, generated: Tensor) -> Tensor:
    return functional.relu(1 - real).mean() + functional.relu(1 + generated).mean()


def wasserstein(real: Tensor, generated: Tensor) -> Tensor:
    return generated.mean() - real.mean() + 0.01 * (real.square().mean() + generated.square().mean())


def least_squares(real: Tensor, generated: Tensor) -> Tensor:
    return (real - 1).square().mean() + generated.square().mean()


def cross_entropy(real: Tensor, generated: Tensor) -> Tensor:
    return -(real.clamp(min=1e-6).log().mean() + (1 - generated).clamp(min=1e-6).log().mean())


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": hinge, "wasserstein": wasserstein, "least squares": least_squares, "cross-entropy": cross_entropy
}  # fmt: skip


def trained(file: Path, loss: str, *, reversed_sign: bool) -> Path:
    """Train a critic on digits and noise, and write it; with `reversed_sign` its outputs mean the opposite."""
    torch.manual_seed(0)
    first, second = nn.Linear(64, 32), nn.Linear(32, 1)
    is_probability = loss == "cross-entropy"
    last = nn.Sigmoid() if is_probability else nn.Identity()
    critic = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, last)
    optimiser = torch.optim.Adam(critic.parameters(), 3e-3)
    real = digits()
    for _ in range(STEPS):
        some = real[torch.randint(0, 1400, (BATCH,))]
        pair = (critic(some), critic(torch.tanh(torch.randn_like(some))))
        optimiser.zero_grad()
        LOSSES[loss](*(pair[::-1] if reversed_sign else pair)).backward()
        optimiser.step()
    nodes = [
        node("Flatten", "x", "f"), node("Gemm", "f w0 b0", "g", transB=1), node("Relu", "g", "r"),
        node("Gemm", "r w1 b1", "logit", transB=1), node("Sigmoid" if is_probability else "Identity", "logit", "out"),
    ]  # fmt: skip
    constants = {
        f"{name}{place}": getattr(layer, full).detach().numpy()
        for place, layer in enumerate((first, second))
        for name, full in (("w", "weight"), ("b", "bias"))
    }
    return save(file, nodes, {"x": (FLOAT, ["n", 1, 8, 8])}, {"out": (FLOAT, ["n", 1])}, constants)


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    return tanh_nchw(tmp_path / "g.onnx", (1, 8, 8))


def ranking(packaged: Any) -> float:
    """Return how often digits score above noise, by the package's graph."""
    real = np.rint((digits()[1400:].numpy().transpose(0, 2, 3, 1) + 1) * 127.5).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, real.shape, np.uint8)
    (real_scores, _), (noise_scores, _) = (run(packaged, "critic.onnx", samples=each) for each in (real, noise))
    return float((real_scores[:, None] > noise_scores[None]).mean())


@pytest.mark.parametrize("reversed_sign", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_data_tell_the_sign(tmp_path: Path, generator: Path, loss: str, reversed_sign: bool) -> None:
    critic = trained(tmp_path / "c.onnx", loss, reversed_sign=reversed_sign)
    packaged = wrap(tmp_path, generator, critic, data="digits", **GRAY)
    assert packaged.critic_is.endswith("; generated higher)" if reversed_sign else "; real higher)")
    assert packaged.calibration is not None
    assert packaged.calibration.raw_auc > 0.9
    assert ranking(packaged) > 0.9


def test_an_option_overrules_the_data(tmp_path: Path, generator: Path, capsys: pytest.CaptureFixture[str]) -> None:
    critic = trained(tmp_path / "c.onnx", "hinge", reversed_sign=True)
    told = ("--range", "-1..1", "--data", "digits", "--score-higher", "real", "--out", str(tmp_path / "models" / "x"))
    assert package_command.main([str(generator), str(critic), *told]) == 0
    said = capsys.readouterr().out
    assert "(score; real higher)" in said
    assert (
        "does not rank held-out real samples above generated ones (0% of the time): all probabilities are 0.5" in said
    )


def test_asks_if_real_samples_score_somewhat_lower(tmp_path: Path) -> None:
    # Pixel 12 of a digit is brighter than this generator's 62 % of the time; the score is minus that pixel.
    even = {"w": np.full((Z, 64), 0.5, np.float32)}
    generator = tanh_nchw(tmp_path / "g.onnx", (1, 8, 8), constants=even)
    nodes = [node("Flatten", "x", "f"), node("Gather", "f place", "p", axis=1), node("Neg", "p", "score")]
    ports = ({"x": (FLOAT, ["n", 1, 8, 8])}, {"score": (FLOAT, ["n"])})
    critic = save(tmp_path / "c.onnx", nodes, *ports, {"place": np.array(12)})
    with pytest.raises(ExportError, match=r"only 3\d% of the time \(chance 50%\): .* Say --score-higher real or"):
        wrap(tmp_path, generator, critic, data="digits", **GRAY)
    for higher in ("real", "generated"):
        packaged = wrap(tmp_path, generator, critic, data="digits", score_higher=higher, **GRAY)
        assert packaged.calibration is not None
        assert packaged.calibration.informative == (higher == "generated")


def test_assumes_the_sign_without_data_and_says_so(tmp_path: Path) -> None:
    generator, critic = tanh_nchw(tmp_path / "g.onnx"), flat_critic(tmp_path / "c.onnx")
    assert wrap(tmp_path, generator, critic, **NCHW).critic_is.endswith("(score; real higher, assumed)")
    assert wrap(tmp_path, generator, critic, score_higher="real", **NCHW).critic_is.endswith("(score; real higher)")


def test_asks_about_a_probability_near_1_of_generated_samples(tmp_path: Path, generator: Path) -> None:
    critic = trained(tmp_path / "c.onnx", "cross-entropy", reversed_sign=True)
    with pytest.raises(ExportError, match=r"near 1: if its 1 means real, say --score-higher real; if it means gen"):
        wrap(tmp_path, generator, critic, **GRAY)
    packaged = wrap(tmp_path, generator, critic, score_higher="generated", **GRAY)
    assert ranking(packaged) > 0.9


def test_the_sign_is_compared_within_labels() -> None:
    # A relativistic critic's scores are defined up to a constant per label, far larger here than the difference.
    random = np.random.default_rng(0)
    labels = np.arange(3_000) % 3
    shifts = np.array([-90.0, 0.0, 60.0])[labels]
    fitted = fit_calibration(
        random.normal(-1, 1, 3_000) + shifts, random.normal(1, 1, 3_000) + shifts, labels=labels, label_count=3
    )
    assert fitted.raw_auc == pytest.approx(1 - 0.921, abs=0.02)
    assert fitted.below_chance
    even = fit_calibration(random.normal(0, 1, 3_000), random.normal(0, 1, 3_000))
    assert not even.below_chance
