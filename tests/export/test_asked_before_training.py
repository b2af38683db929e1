"""Test that custom networks are checked before the first step for what training and export need of them."""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from commands import ganserve
from ganserve_export.from_run.export_trial import try_export
from ganserve_training.config import (
    CustomConfig,
    DigitsConfig,
    GradientPenalty,
    MinimaxLoss,
    RegularisersConfig,
    ScheduleConfig,
    TrainConfig,
)
from ganserve_training.data import DataInfo
from ganserve_training.errors import CheckpointError, ConfigError
from ganserve_training.networks import build_networks
from ganserve_training.run.network_questions import check_derivatives
from ganserve_training.run.start_or_resume import train
from ganserve_training.run.trained_model import load_trained
from tiny_runs import tiny_config

SOURCE = """
import math
import torch
import torch.nn.functional as F
from torch import nn

class Generator(nn.Module):
    def __init__(self, latent_dim, sample_shape, width=WIDTH):
        super().__init__()
        self.shape = tuple(sample_shape)
        self.body = nn.Sequential(nn.Linear(latent_dim, width), nn.Tanh(), nn.Linear(width, math.prod(sample_shape)))
        self.normal = nn.BatchNorm1d(latent_dim, track_running_stats=False)
        self.gate = nn.Parameter(torch.zeros(()))
        self.weight = nn.Parameter(torch.randn(1, 4, 3, 3) / 6)
        self.constant = nn.Parameter(torch.randn(4, *self.shape[1:]))
        self.styles = nn.Linear(latent_dim, 4)

    def make(self, latents):
        return self.body(latents).view(latents.shape[0], *self.shape)

    def forward(self, latents, labels=None):
        return self.make(latents)

class Comparing(Generator):
    def forward(self, latents, labels=None):
        return self.make(latents - latents.mean(0))

class Normalising(Generator):
    def forward(self, latents, labels=None):
        return self.make(self.normal(latents))

class Hidden(Generator):
    def forward(self, latents, labels=None):
        return self.make(latents + self.gate * latents.flip(0))

class Modulating(Generator):
    def forward(self, latents, labels=None):
        count = latents.shape[0]
        weight = self.weight[None] * self.styles(latents)[:, None, :, None, None]
        inputs = self.constant[None].expand(count, -1, -1, -1).reshape(1, count * 4, *self.shape[1:])
        made = F.conv2d(inputs, weight.reshape(count, 4, 3, 3), padding=1, groups=count)
        return made.view(count, 1, *self.shape[1:])

class Scaling(Generator):
    def forward(self, latents, labels=None):
        return F.conv2d(self.constant * self.styles(latents)[:, :, None, None], self.weight, padding=1)

class Looping(Generator):
    def forward(self, latents, labels=None):
        return torch.stack([self.make(latents[i : i + 1])[0] for i in range(len(latents))])

class Branching(Generator):
    def forward(self, latents, labels=None):
        made = self.make(latents)
        return made if self.body[0].weight.sum() > -1e9 and (made < 1e9).all() else -made

class Leaving(Generator):
    def forward(self, latents, labels=None):
        made = self.make(latents)
        return made + torch.from_numpy(made.detach().numpy()) * 0

class Decomposing(Generator):
    def forward(self, latents, labels=None):
        left, values, right = torch.linalg.svd(self.make(latents), full_matrices=False)
        return (left * values[..., None, :]) @ right

class Critic(nn.Module):
    def __init__(self, sample_shape):
        super().__init__()
        self.embed = nn.Linear(sample_shape[-1], 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.prototypes = nn.Parameter(torch.randn(4, 8))
        self.score = nn.Linear(8, 1)

    def rows(self, samples):
        return self.embed(samples.flatten(1, -2))

    def end(self, rows):
        return self.score(torch.tanh(rows).mean(1)).squeeze(1)

    def forward(self, samples, labels=None):
        return self.end(self.rows(samples))

class Attending(Critic):
    def forward(self, samples, labels=None):
        rows = self.rows(samples)
        return self.end(F.scaled_dot_product_attention(rows[:, None], rows[:, None], rows[:, None])[:, 0])

class Heads(Critic):
    def forward(self, samples, labels=None):
        rows = self.rows(samples)
        return self.end(self.attention(rows, rows, rows, need_weights=False)[0])

class ByHand(Critic):
    def forward(self, samples, labels=None):
        rows = self.rows(samples)
        return self.end(torch.softmax(rows @ rows.mT / 8**0.5, -1) @ rows)

class Distant(Critic):
    def forward(self, samples, labels=None):
        return torch.cdist(self.rows(samples), self.prototypes).mean((1, 2)) + self.end(self.rows(samples))

class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient

class OnlyOnce(Critic):
    def forward(self, samples, labels=None):
        return self.end(Once.apply(self.rows(samples)))

class Detached(Critic):
    def forward(self, samples, labels=None):
        return self.end(self.rows(samples.detach()))

class Rooted(Critic):
    def forward(self, samples, labels=None):
        rows = self.rows(samples)
        return self.end(rows) + (rows - rows).norm(dim=-1).mean(1)

class Squeezing(Critic):
    def end(self, rows):
        return self.score(torch.tanh(rows).mean(1)).squeeze()

class Probable(Critic):
    def __init__(self, sample_shape):
        super().__init__(sample_shape)
        self.score = nn.Sequential(self.score, nn.Sigmoid())

class Alone(Generator):
    def forward(self, latents):
        return self.make(latents).flatten(1)

class Dropping(Critic):
    def forward(self, samples, labels=None):
        return self.end(F.dropout(self.rows(samples), 0.5, self.training))
"""
MODULE = "ganserve_test_questions"
INFO = DataInfo(sample_shape=(8, 8, 1))
CPU = torch.device("cpu")
OFF = RegularisersConfig.none()


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "code").mkdir()
    file = tmp_path / "code" / f"{MODULE}.py"
    file.write_text(SOURCE.replace("WIDTH", "16"))
    monkeypatch.syspath_prepend(tmp_path / "code")
    yield file
    sys.modules.pop(MODULE, None)


def config(generator: str = "Generator", critic: str = "Critic", **changes: object) -> TrainConfig:
    networks = CustomConfig(latent_dim=6, generator_class=f"{MODULE}:{generator}", critic_class=f"{MODULE}:{critic}")
    fields = {"steps": 2, "networks": networks, "data": DigitsConfig(labels="ignore"), **changes}
    return tiny_config(**fields)


def ask(asked: TrainConfig) -> None:
    check_derivatives(asked, build_networks(asked.networks, INFO), INFO, CPU)


# Derivatives


@pytest.mark.parametrize("critic", ["Attending", "Heads", "Distant", "OnlyOnce"])
def test_critics_without_a_second_derivative_are_refused_where_penalties_need_it(critic: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        train(config(critic=critic), tmp_path / "run", device="cpu", console=Console(quiet=True))
    told = str(caught.value)
    assert "\n" not in told
    assert told.startswith(
        f"--networks.critic-class {MODULE}:{critic}: has no second derivative, which "
        "--regularisers.r1-gamma.{start,end} and --regularisers.r2-gamma.{start,end} need: "
    )
    remedies = {"Attending": "SDPBackend.MATH", "Heads": "SDPBackend.MATH", "Distant": ".square().sum(-1)"}
    assert remedies.get(critic, "Use operations that have one") in told
    assert told.endswith(
        "or train without: --regularisers.r1-gamma.{start,end} 0 --regularisers.r2-gamma.{start,end} 0."
    )
    assert not (tmp_path / "run").exists()
    ask(config(critic=critic, regularisers=OFF, loss=MinimaxLoss()))


def test_each_user_of_second_derivatives_asks_for_them() -> None:
    penalty = replace(OFF, gradient_penalty=GradientPenalty(weight=10.0))
    with pytest.raises(ConfigError, match=r"which --regularisers.gradient-penalty.weight need"):
        ask(config(critic="Distant", regularisers=penalty))
    with pytest.raises(ConfigError, match=r"which --schedule.unrolled-steps need"):
        ask(config(critic="Distant", regularisers=OFF, schedule=ScheduleConfig(burn_in_steps=10, unrolled_steps=2)))


def test_critics_with_all_derivatives_pass_and_nothing_is_drawn_from_the_run() -> None:
    for critic in ("Critic", "ByHand", "Dropping"):
        asked = config(critic=critic)
        pair = build_networks(asked.networks, INFO)
        before = torch.random.get_rng_state(), [item.clone() for item in pair.critic.state_dict().values()]
        check_derivatives(asked, pair, INFO, CPU)
        assert torch.equal(torch.random.get_rng_state(), before[0])
        assert all(map(torch.equal, pair.critic.state_dict().values(), before[1]))
        assert all(item.grad is None for item in pair.critic.parameters())


def test_critics_that_teach_nothing_or_nonsense_are_refused() -> None:
    for regularisers in (OFF, RegularisersConfig()):
        with pytest.raises(ConfigError, match="has no gradient with respect to its samples, from which the generator"):
            ask(config(critic="Detached", regularisers=regularisers))
    with pytest.raises(ConfigError, match=r"second derivative is NaN or infinite"):
        ask(config(critic="Rooted"))


# Eval mode


@pytest.mark.parametrize("generator", ["Comparing", "Normalising", "Hidden"])
def test_generators_that_look_across_their_batch_are_refused_at_the_start(generator: str) -> None:
    with pytest.raises(ConfigError, match=f"{MODULE}:{generator}: makes another sample of the same latent in"):
        build_networks(config(generator).networks, INFO)


# Export


@pytest.mark.parametrize(
    ("generator", "why"),
    [
        ("Modulating", "StyleGAN2's grouped modulated convolution. Scale the input by the styles"),
        ("Looping", "it works with one batch size alone. Write x.shape[0]"),
        ("Branching", "it branches on values of a tensor, or reads one as a Python number"),
        ("Leaving", "it leaves PyTorch for NumPy"),
        ("Decomposing", "ONNX has no operation for torch's _linalg_svd"),
    ],
)
def test_generators_that_can_t_be_exported_are_told_in_a_line(
    generator: str, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = config(generator)
    with pytest.raises(ConfigError) as caught:
        try_export(asked, build_networks(asked.networks, INFO), INFO)
    told = str(caught.value)
    assert told.startswith(f"--networks.generator-class {MODULE}:{generator}: can't be exported. ")
    assert why in told
    assert told.endswith("To train it all the same, add --networks.no-check-export.")
    assert len(told) < 600
    assert "\n" not in told
    assert capfd.readouterr() == ("", "")


def test_networks_that_can_be_exported_pass() -> None:
    asked = config("Scaling")
    assert try_export(asked, build_networks(asked.networks, INFO), INFO) == []


def test_adapted_networks_can_be_exported_with_any_batch() -> None:
    for critic, changes in (("Squeezing", {}), ("Probable", {"critic_output": "probabilities"})):
        asked = config("Alone", critic)
        asked = replace(asked, networks=replace(asked.networks, **changes))
        assert try_export(asked, build_networks(asked.networks, INFO), INFO) == []


FLAGS = (
    *("--networks.architecture", "custom", "--networks.latent-dim", 6, "--data.labels", "ignore"),
    *("--networks.critic-class", f"{MODULE}:Critic", "--steps", 2, "--device", "cpu", "--batch-size", 16),
)


def test_the_command_asks_before_the_first_step_and_trains_all_the_same_on_request(tmp_path: Path) -> None:
    words = ("train", "digits", "--out", tmp_path / "run", *FLAGS)
    named = ("--networks.generator-class", f"{MODULE}:Modulating")
    done = ganserve(*words, *named)
    assert done.returncode == 2
    assert re.search(
        r"error: --networks.generator-class .*:Modulating: can't be exported\. .*no-check-export\.\n$", done.stderr
    )
    assert not (tmp_path / "run").exists()
    assert ganserve(*words, *named, "--networks.no-check-export").returncode == 0


# Classes that were changed


def test_a_class_that_was_changed_since_is_one_line_of_each_command(module: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("train", "digits", "--out", run, "--networks.generator-class", f"{MODULE}:Generator", *FLAGS)
    assert ganserve(*words).returncode == 0
    sys.modules.pop(MODULE)
    module.write_text(SOURCE.replace("WIDTH", "12"))
    why = r"doesn't fit the generator Generator: body.0.weight is \[12, 6\] in the class and \[16, 6\] in the check"
    for command in (
        (*words, "--steps", 3),
        ("evaluate", run),
        ("export-onnx", run, "--out", tmp_path / "models" / "mine"),
    ):
        done = ganserve(*command)
        errors = [line for line in done.stderr.splitlines() if "error: " in line]
        assert (done.returncode, len(errors)) == (1, 1), done.stderr
        assert "Traceback" not in done.stderr
        assert re.search(why, errors[0])
    source = SOURCE.replace("WIDTH", "16")
    for changed, told in (
        (source.replace("self.gate =", "self.extra = self.gate ="), "the class has extra, which the checkpoint lacks"),
        (
            source.replace("self.score", "self.judge"),
            "doesn't fit the critic Critic: the class has judge.weight",
        ),
    ):
        sys.modules.pop(MODULE, None)
        module.write_text(changed)
        with pytest.raises(CheckpointError, match=told):
            load_trained(run)
    sys.modules.pop(MODULE, None)
    module.write_text(SOURCE.replace("WIDTH", "16").replace("Generator", "Renamed"))
    with pytest.raises(ConfigError, match=f"{MODULE} has no class Generator"):
        load_trained(run)
