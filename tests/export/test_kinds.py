"""Train every kind of system briefly, export it, serve it, and use it through the SDK."""

from __future__ import annotations

import io
import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from ganserve import BestOf, Client, LatentControl, Rejection, UnsupportedByModel
from ganserve_export import Exported, ExportError, export_run
from ganserve_export.commands import export_onnx as command
from ganserve_training import TrainedModel, load_split, load_trained, train
from ganserve_training.config import (
    Anneal,
    AugmentationConfig,
    CodesConfig,
    ConvolutionalConfig,
    DcganConfig,
    DigitsConfig,
    MlpConfig,
    ModifiedMinimaxLoss,
    OutputConfig,
    ProgressiveConfig,
    RegularisersConfig,
    RingConfig,
    ScheduleConfig,
    TrainConfig,
)
from ganserve_training.config.choices import converted
from ganserve_training.data import from_network, to_network
from ganserve_training.networks import as_output
from server_process import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RING = RingConfig(count=400)
MLP = MlpConfig(latent_dim=6, generator_width=16, critic_width=16)
TINY = ConvolutionalConfig(latent_dim=8, generator_width=4, critic_width=4, max_width=8)
OFF = Anneal.constant(0.0)
UNREGULARISED = RegularisersConfig(r1_gamma=OFF, r2_gamma=OFF)
CONFIGS = {
    # InfoGAN, trained in bfloat16, from uniform latents.
    "codes": TrainConfig(
        data=RING,
        precision="bfloat16",
        networks=replace(MLP, latent_distribution="uniform", codes=CodesConfig(categories=3, continuous=2)),
    ),
    "packed": TrainConfig(
        data=RING,
        networks=replace(MLP, packing=2, codes=CodesConfig()),
        loss=ModifiedMinimaxLoss(),
    ),
    # AC-GAN, with both networks' batch normalisation.
    "classified": TrainConfig(
        networks=replace(converted(TINY, DcganConfig), critic_conditioning="classifier"),
        loss=ModifiedMinimaxLoss(),
        regularisers=UNREGULARISED,
    ),
    # Remedies that do not change the graph, and spectral norm, which is folded.
    "remedied": TrainConfig(
        data=RING,
        networks=replace(MLP, spectral_norm="both"),
        loss=ModifiedMinimaxLoss(label_smoothing=0.25),
        regularisers=replace(UNREGULARISED, roth_gamma=Anneal(start=1.0, end=0.1)),
        schedule=ScheduleConfig(generator_steps=2, unrolled_steps=2),
        augmentation=AugmentationConfig(instance_noise=Anneal(start=0.1, end=0.0)),
    ),
    "grown": TrainConfig(
        data=DigitsConfig(labels="ignore"),
        networks=ProgressiveConfig(
            latent_dim=8,
            generator_width=4,
            critic_width=4,
            max_width=8,
            minibatch_stddev_group=4,
            fade_kimg=0.032,
            stable_kimg=0.032,
        ),
    ),
}


def trained_run(folder: Path, config: TrainConfig, steps: int = 6) -> Path:
    config = replace(config, steps=steps, batch_size=16)
    train(config, folder, device="cpu", console=Console(file=io.StringIO()))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: trained_run(folder / name, config) for name, config in CONFIGS.items()}


@pytest.fixture(scope="module")
def exported(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    models = tmp_path_factory.mktemp("models")
    return {name: export_run(run, models / name) for name, run in runs.items()}


@pytest.fixture(scope="module")
def client(exported: dict[str, Exported]) -> Iterator[Client]:
    with running_server(exported["codes"].folder.parent.parent) as server, Client(server.address) as client:
        yield client


def ours(trained: TrainedModel, latents: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Return the samples of the PyTorch network as it was trained."""
    with torch.inference_mode():
        given = None if labels is None else torch.from_numpy(labels)
        return from_network(trained.generator(torch.from_numpy(latents), given), trained.data).numpy()


def our_scores(trained: TrainedModel, samples: np.ndarray) -> np.ndarray:
    """Return PyTorch's scores of a critic that takes no labels."""
    with torch.inference_mode():
        network = as_output(trained.critic(to_network(torch.from_numpy(samples), trained.data), None))
        return network.scores.numpy()


def test_vectors_with_codes(client: Client, runs: dict[str, Path], exported: dict[str, Exported]) -> None:
    trained = load_trained(runs["codes"])
    info = client.model("codes")
    assert str(info.sample) == "vector float32 [2]"
    assert (info.latent_distribution, info.latent_dim) == ("uniform", 6)
    assert info.label_names == ("code-0", "code-1", "code-2")
    assert (info.conditional, info.critic_takes_labels) == (True, False)
    assert [(control.name, control.index, control.low, control.high) for control in info.controls] == [
        ("c0", 4, -1.0, 1.0),
        ("c1", 5, -1.0, 1.0),
    ]
    assert isinstance(info.controls[0], LatentControl)
    assert info.generator.precision == "float32"

    drawn = client.sample(50, model="codes", seed=3, return_latents=True, return_scores=True)
    np.testing.assert_allclose(drawn.samples, ours(trained, drawn.latents, drawn.labels), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(drawn.scores, our_scores(trained, drawn.samples), rtol=1e-4, atol=1e-5)
    left = client.sample(50, "code-2", model="codes", seed=3, controls={"c1": -1.0}, return_latents=True)
    np.testing.assert_array_equal(left.latents[:, :5], drawn.latents[:, :5])
    assert set(left.latents[:, 5]) == {-1.0}
    np.testing.assert_allclose(left.samples, ours(trained, left.latents, left.labels), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(client.score(drawn.samples, model="codes").scores, drawn.scores, rtol=1e-5, atol=1e-6)
    with pytest.raises(UnsupportedByModel, match="scores without labels, though the generator takes them"):
        client.score(drawn.samples, "code-1", model="codes")
    with pytest.raises(UnsupportedByModel, match="uniform latents, truncation applies to normal ones"):
        client.sample(1, model="codes", truncation=0.5)
    assert exported["codes"].generator.tolerance < 1e-3 * max(trained.data.std)


def test_the_preview_of_points_is_dots_on_white(exported: dict[str, Exported]) -> None:
    with Image.open(exported["codes"].folder / "preview.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert 0.005 < (pixels != 255).any(axis=-1).mean() < 0.9


def test_a_packed_critic_is_left_out_with_a_reason(client: Client, exported: dict[str, Exported]) -> None:
    package = exported["packed"]
    assert (package.critic, package.calibration) == (None, None)
    assert package.critic_absence.startswith("it judges 2 samples together (networks.packing, PacGAN)")
    assert not (package.folder / "critic.onnx").exists()
    info = client.model("packed")
    assert (info.critic, info.critic_absence, info.calibration) == (None, package.critic_absence, None)
    versions = {model.name: model.versions[0] for model in client.models()}
    assert {name: version.has_critic for name, version in versions.items()} == {
        "classified": True,
        "codes": True,
        "grown": True,
        "packed": False,
        "remedied": True,
    }
    batch = client.sample(4, model="packed")
    assert (batch.samples.shape, batch.samples.dtype) == ((4, 2), np.float32)
    for refused in (
        lambda: client.score(batch.samples, model="packed"),
        lambda: client.sample(1, model="packed", return_scores=True),
    ):
        with pytest.raises(UnsupportedByModel, match=r"has no critic and cannot score: it judges 2 samples together"):
            refused()


def test_batch_norm_is_frozen_and_acgans_critic_takes_no_labels(client: Client, runs: dict[str, Path]) -> None:
    trained = load_trained(runs["classified"])
    info = client.model("classified")
    assert (len(info.label_names), info.critic_takes_labels) == (10, False)
    assert len(info.calibration.intercepts) == 1
    reals = load_split(trained.config.data, "held_out").read(np.arange(40))
    scores = client.score(reals, model="classified").scores
    np.testing.assert_allclose(scores, our_scores(trained, reals), rtol=1e-4, atol=1e-4)
    alone = [client.score(real, model="classified").scores[0] for real in reals[:3]]
    np.testing.assert_allclose(alone, scores[:3], rtol=1e-4, atol=1e-5)
    batch = client.sample(8, "7", model="classified", seed=1, return_latents=True, return_scores=True)
    levels = np.abs(ours(trained, batch.latents, batch.labels).astype(int) - batch.images.astype(int))
    assert levels.max() <= 1
    with pytest.raises(UnsupportedByModel, match="scores without labels"):
        client.score(reals, 7, model="classified")


def test_a_grown_network_is_served_at_its_final_level(client: Client, runs: dict[str, Path]) -> None:
    trained = load_trained(runs["grown"])
    batch = client.sample(8, model="grown", seed=1, return_latents=True, return_scores=True)
    assert batch.images.shape == (8, 8, 8, 1)
    levels = np.abs(ours(trained, batch.latents, None).astype(int) - batch.images.astype(int))
    assert levels.max() <= 1
    np.testing.assert_allclose(batch.scores, our_scores(trained, batch.images), rtol=1e-3, atol=1e-4)


def test_training_remedies_do_not_change_serving(client: Client, runs: dict[str, Path]) -> None:
    trained = load_trained(runs["remedied"])
    batch = client.sample(8, model="remedied", seed=1, return_latents=True, return_scores=True)
    np.testing.assert_allclose(batch.samples, ours(trained, batch.latents, None), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(batch.scores, our_scores(trained, batch.samples), rtol=1e-3, atol=1e-4)


def test_a_growing_network_is_refused_with_the_missing_samples(tmp_path: Path) -> None:
    often = OutputConfig(checkpoint_every_steps=4)
    run = trained_run(tmp_path / "run", replace(CONFIGS["grown"], output=often))
    for newest in (run / "checkpoints").glob("step-00000006.pt*"):
        newest.unlink()  # as if training had stopped at step 4
    # 64 samples were seen, and the last level is complete after 64, but takes effect with the next batch.
    with pytest.raises(
        ExportError, match=r"still growing: level 1 of 1 \(8 of 8 pixels\), 50% faded in\. Train on for 16"
    ):
        export_run(run, tmp_path / "models" / "grown")
    # Earlier versions kept best checkpoints of growing networks.
    (grown,) = (run / "checkpoints").glob("step-00000004.pt")
    shutil.copy(grown, best := grown.with_name("best-00000004.pt"))
    best.with_name(f"{best.name}.sha256").write_text(grown.with_name(f"{grown.name}.sha256").read_text())
    with pytest.raises(
        ExportError, match=r"^the best checkpoint of \S+, of step 4, .* 50% faded in\. Use --checkpoint"
    ):
        export_run(run, tmp_path / "models" / "grown", checkpoint="best")
    assert not (tmp_path / "models").exists()


def test_a_critic_with_too_little_data_is_served_uncalibrated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = RingConfig(count=60, held_out_fraction=0.3)
    run = trained_run(tmp_path / "run", TrainConfig(data=few, networks=MLP))
    assert command.main([str(run), "--out", str(tmp_path / "models" / "few")]) == 0
    line = capsys.readouterr().out.splitlines()[4]
    assert line.startswith(
        "the critic is not calibrated, as fewer than 20 real samples are held out: its probabilities"
    )
    with Client.local(tmp_path / "models") as client:
        info = client.model()
        assert (info.critic is not None, info.calibration) == (True, None)
        scored = client.score(np.zeros((3, 2), np.float32))
        np.testing.assert_allclose(scored.probabilities, 1 / (1 + np.exp(-scored.scores)), rtol=1e-5)
        assert client.sample(2, select=BestOf(4)).samples.shape == (2, 2)
        with pytest.raises(UnsupportedByModel, match="is not calibrated, and SELECTION_METHOD_REJECTION needs"):
            client.sample(2, select=Rejection())


def test_generator_only_exports_no_critic(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(runs["codes"]), "--out", str(tmp_path / "alone"), "--generator-only"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "alone version 1, from step 6"
    assert re.fullmatch(r"  generator  \d\.\de-\d\d \(allowed \d\.\de-\d\d\)", lines[2])
    assert lines[3] == "without its critic, so the server cannot score: it was exported without one"
    assert lines[4] == f"published {tmp_path / 'alone' / '1'}"
    files = {path.name for path in (tmp_path / "alone" / "1").iterdir()}
    assert files == {"generator.onnx", "preview.png", "manifest.json"}
