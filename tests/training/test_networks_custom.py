"""Test custom networks, given by import path."""

import dataclasses
import re
import textwrap

import pytest
import torch

from ganserve_training.config import CodesConfig, CustomConfig, TrainConfig
from ganserve_training.config.serialisation import config_from_dict
from ganserve_training.data import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.networks import as_output, build_networks
from tiny_runs import assert_same

SOURCE = """
import math
import torch
from torch import nn
from ganserve_training.networks import CriticOutput

class Generator(nn.Module):
    def __init__(self, latent_dim, sample_shape, label_count=0, width=8):
        super().__init__()
        self.shape = tuple(sample_shape)
        self.embedding = nn.Embedding(label_count, 4) if label_count else None
        inputs = latent_dim + (4 if label_count else 0)
        self.body = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, math.prod(sample_shape)))

    def forward(self, latents, labels=None):
        if self.embedding is not None:
            latents = torch.cat([latents, self.embedding(labels)], dim=1)
        return self.body(latents).view(latents.shape[0], *self.shape)

class Critic(nn.Module):
    def __init__(self, sample_shape, **others):
        super().__init__()
        self.others = others
        self.body = nn.Linear(math.prod(sample_shape), 8)
        self.score = nn.Linear(8, 1)
        self.embedding = nn.Embedding(others["label_count"], 8) if others["label_count"] else None
        self.values = nn.Linear(8, others["continuous_codes"]) if others["continuous_codes"] else None

    def forward(self, samples, labels=None):
        features = torch.relu(self.body(samples.flatten(1)))
        scores = self.score(features).squeeze(1)
        if self.embedding is not None:
            scores = scores + (features * self.embedding(labels)).sum(1)
        return scores if self.values is None else CriticOutput(scores, code_values=self.values(features))

class Noisy(Generator):
    def forward(self, latents, labels=None):
        out = super().forward(latents, labels)
        return out + torch.randn_like(out)

class Flat(Generator):
    def forward(self, latents, labels=None):
        return super().forward(latents, labels).flatten()

class Demanding(nn.Module):
    def __init__(self, latent_dim, depth):
        super().__init__()

class Failing(nn.Module):
    def __init__(self):
        raise RuntimeError("no such weights")

class NoLabels(nn.Module):
    def __init__(self, sample_shape):
        super().__init__()
        self.body = nn.Linear(math.prod(sample_shape), 1)
    def forward(self, samples):
        return self.body(samples.flatten(1)).squeeze(1)

class Column(NoLabels):
    def forward(self, samples, labels=None):
        return self.body(samples.flatten(1))

class Comparing(NoLabels):
    def forward(self, samples, labels=None):
        scores = self.body(samples.flatten(1)).squeeze(1)
        return scores - scores.mean()

class Summing(NoLabels):
    def forward(self, samples, labels=None):
        return self.body(samples.flatten(1)).squeeze(1).cumsum(0)

class Weightless(nn.Module):
    def __init__(self):
        super().__init__()
    def forward(self, samples, labels=None):
        return samples.flatten(1).sum(1)

class Sequential(Weightless):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv1d(1, 1, 1)
    def forward(self, samples, labels=None):
        return super().forward(self.body(samples[:, None]))

class Guessing(NoLabels):
    def forward(self, samples, labels=None):
        return CriticOutput(super().forward(samples), class_logits=samples.flatten(1)[:, :2])

class Normalised(NoLabels):
    def __init__(self, sample_shape):
        super().__init__(sample_shape)
        self.norm = nn.BatchNorm1d(math.prod(sample_shape))
    def forward(self, samples, labels=None):
        return self.body(self.norm(samples.flatten(1))).squeeze(1)

class Unconditional(nn.Module):
    def __init__(self, latent_dim, sample_shape):
        super().__init__()
        self.shape = tuple(sample_shape)
        self.body = nn.Linear(latent_dim, math.prod(sample_shape))
    def forward(self, latents, labels=None):
        return self.body(latents).view(-1, *self.shape)

class Adding(Unconditional):
    def forward(self, latents, labels=None):
        return super().forward(latents.cumsum(0))

class Forgetful(Generator):
    def forward(self, latents, labels=None):
        return super().forward(latents, None if labels is None else torch.zeros_like(labels))

# The label's path starts with two zeros: an embedding, and the gate after it.
class Modulated(Unconditional):
    def __init__(self, latent_dim, sample_shape, label_count=0):
        super().__init__(latent_dim, sample_shape)
        self.embedding = nn.Embedding(2, latent_dim)
        self.gate = nn.Parameter(torch.zeros(latent_dim))
        nn.init.zeros_(self.embedding.weight)
    def forward(self, latents, labels=None):
        return super().forward(latents if labels is None else latents + self.gate * self.embedding(labels))

# These critics only shift all scores of a label: after the last layer, or inside its sum.
class Shifting(NoLabels):
    def __init__(self, sample_shape):
        super().__init__(sample_shape)
        self.shift = nn.Embedding(2, 1)
    def forward(self, samples, labels=None):
        return super().forward(samples) + self.shift(labels).squeeze(1)

class Concatenating(nn.Module):
    def __init__(self, sample_shape, hidden=0):
        super().__init__()
        self.embedding = nn.Embedding(2, 4)
        inputs = math.prod(sample_shape) + 4
        layers = [nn.Linear(inputs, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1)] if hidden else [nn.Linear(inputs, 1)]
        self.body = nn.Sequential(*layers)
    def forward(self, samples, labels=None):
        return self.body(torch.cat([samples.flatten(1), self.embedding(labels)], 1)).squeeze(1)

class Hidden(Concatenating):
    def __init__(self, sample_shape):
        super().__init__(sample_shape, hidden=8)

# A projection that starts at zero, and a shift that does not.
class Projecting(Shifting):
    def __init__(self, sample_shape):
        super().__init__(sample_shape)
        self.directions = nn.Embedding(2, math.prod(sample_shape))
        nn.init.zeros_(self.directions.weight)
    def forward(self, samples, labels=None):
        return super().forward(samples, labels) + (samples.flatten(1) * self.directions(labels)).sum(1)

# Takes two labels without an argument label_count.
class Hardwired(Unconditional):
    def forward(self, latents, labels=None):
        return super().forward(latents * (1 + labels[:, None]))

class Scoring(NoLabels):
    def forward(self, samples, labels=None):
        return super().forward(samples)

class Nowhere(Generator):
    def forward(self, latents, labels=None):
        return super().forward(latents, labels) * float("nan")

a_number = 3

def make_list():
    return []
"""

PLANE = DataInfo(sample_shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0))
PICTURES = DataInfo(sample_shape=(6, 6, 3), label_names=("a", "b"))


@pytest.fixture(autouse=True, scope="module")
def package(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("packages")
    (folder / "ganserve_test_models.py").write_text(textwrap.dedent(SOURCE))
    (folder / "ganserve_test_broken.py").write_text("import no_such_library\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


def config(generator: str = "Generator", critic: str = "Critic", **changes) -> CustomConfig:
    paths = (name if ":" in name else f"ganserve_test_models:{name}" for name in (generator, critic))
    return CustomConfig(latent_dim=5, **dict(zip(("generator_class", "critic_class"), paths, strict=True)), **changes)


def test_a_pair_for_vectors() -> None:
    pair = build_networks(config(), PLANE)
    made = pair.generator(torch.randn(4, 5), None)
    assert made.shape == (4, 2)
    assert pair.critic(made, None).shape == (4,)
    assert (pair.label_names, pair.critic_uses_labels) == ((), False)
    assert pair.critic.others == {"label_count": 0, "code_categories": 0, "continuous_codes": 0}


def test_a_pair_for_labelled_images_of_any_size() -> None:
    pair = build_networks(config(), PICTURES)
    labels = torch.tensor([0, 1, 1, 0])
    made = pair.generator(torch.randn(4, 5), labels)
    assert made.shape == (4, 3, 6, 6)
    assert pair.critic(made, labels).shape == (4,)
    assert (pair.label_names, pair.critic_uses_labels) == (("a", "b"), True)
    assert pair.generator.training
    assert pair.critic.training


def test_packing_codes_and_spectral_norm_work_with_it() -> None:
    packed = build_networks(config(packing=2, spectral_norm="critic"), PLANE)
    assert packed.critic(torch.randn(6, 2)).shape == (3,)
    assert "critic.body.parametrizations.weight.original" in packed.critic.state_dict()
    sequential = build_networks(config(critic="Sequential", spectral_norm="critic"), PLANE)
    assert "body.parametrizations.weight.original" in sequential.critic.state_dict()
    informed = build_networks(config(codes=CodesConfig(continuous=2)), PLANE)
    assert as_output(informed.critic(torch.randn(3, 2))).code_values.shape == (3, 2)


def test_checking_changes_no_running_statistics_or_random_numbers() -> None:
    pair = build_networks(config(critic="Normalised"), PLANE)
    assert pair.critic.norm.num_batches_tracked == 0


@pytest.mark.parametrize("generator", ["Modulated", "Hardwired"])
def test_labels_with_a_delayed_or_unusual_effect_are_accepted(generator: str) -> None:
    torch.manual_seed(0)
    pair = build_networks(config(generator), PICTURES)
    # The check changes neither weights nor random numbers.
    torch.manual_seed(0)
    unchecked = type(pair.generator)(5, (3, 6, 6)), type(pair.critic)((3, 6, 6), **pair.critic.others)
    for ours, theirs in zip((pair.generator, pair.critic), unchecked, strict=True):
        assert_same(dict(ours.state_dict()), dict(theirs.state_dict()))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("critic", ["Hidden", "Projecting", "Critic"])
def test_labels_that_change_the_order_of_scores_are_accepted(critic: str, seed: int) -> None:
    torch.manual_seed(seed)
    build_networks(config(critic=critic), PICTURES)


def test_unconditional_networks_accept_unlabelled_data() -> None:
    pair = build_networks(config("Unconditional", "Scoring"), DataInfo(sample_shape=(6, 6, 3)))
    assert pair.critic(pair.generator(torch.randn(4, 5), None), None).shape == (4,)
    build_networks(config("Unconditional", "Scoring"), DataInfo(sample_shape=(6, 6, 3), label_names=("all",)))


@pytest.mark.parametrize(
    ("changes", "data", "words"),
    [
        (
            {"generator": "no_such_package.models:G"},
            PLANE,
            "there is no module no_such_package. Install your package, or",
        ),
        ({"generator": "ganserve_test_broken:G"}, PLANE, "ganserve_test_broken imports no_such_library, which is not"),
        ({"generator": "Generatr"}, PLANE, "has no class Generatr (it has Generator, Critic, Noisy"),
        ({"generator": "a_number"}, PLANE, "has no class a_number"),
        ({"generator": "make_list"}, PLANE, "must be a class of torch.nn.Module (it returned a list)"),
        ({"generator": "Demanding"}, PLANE, "needs the arguments depth, which training does not pass"),
        (
            {"generator": "my/models.py:G"},
            PLANE,
            "--networks.generator-class my/models.py:G: is a file, not an import path. Write its import path, such as "
            "my.models:G",
        ),
        ({"generator": "Nowhere"}, PLANE, "Nowhere: gives NaN or infinity for ordinary latents. Look for"),
        (
            {"generator": "Failing"},
            PLANE,
            "its constructor raised RuntimeError: no such weights (ganserve_test_models.py, line ",
        ),
        ({"generator": "Noisy"}, PLANE, "different samples for the same latents in eval mode"),
        ({"generator": "Flat"}, PLANE, "must give samples float [2, 2] for two samples (got torch.float32 [4])"),
        ({"critic": "NoLabels"}, PICTURES, "NoLabels: forward takes no labels, and the data have 2. Add the argument"),
        (
            {"generator": "Unconditional"},
            PICTURES,
            "Unconditional: ignores its 2 labels: it gives the same samples for each. Take "
            "label_count in its constructor and use the labels in forward, or train without: --data.labels ignore",
        ),
        ({"generator": "Forgetful"}, PICTURES, "Forgetful: ignores its 2 labels"),
        (
            {"generator": "Unconditional", "critic": "Normalised", "codes": CodesConfig(categories=3)},
            PLANE,
            "or train without: --networks.codes.categories 0",
        ),
        (
            {"critic": "Scoring"},
            PICTURES,
            "Scoring: ignores its 2 labels, or only adds",
        ),
        (
            {"critic": "Shifting"},
            PICTURES,
            "or only adds a constant per label to the score of every sample, so no gen",
        ),
        ({"critic": "Concatenating"}, PICTURES, "combine labels and sample in forward, guess them"),
        (
            {"critic": "Guessing"},
            PICTURES,
            "gives CriticOutput.class_logits, which no loss would train. Set --networks.critic-conditioning",
        ),
        (
            {"critic": "Weightless", "spectral_norm": "critic"},
            PLANE,
            "--networks.spectral-norm critic: is set, but a Weightless has no linear layers or convolutions",
        ),
        ({"critic": "Comparing"}, PLANE, "scores a sample differently in a batch with another one, in eval mode"),
        ({"critic": "Summing"}, PLANE, "scores a sample differently in a batch with another one, in eval mode"),
        ({"generator": "Adding"}, PLANE, "makes another sample of the same latent in another batch, in eval mode"),
        (
            {"critic": "Normalised", "codes": CodesConfig(continuous=1)},
            PLANE,
            "must give CriticOutput.code_values float [2, 1] for two samples (got NoneType)",
        ),
        (
            {"critic": "Normalised", "critic_conditioning": "classifier"},
            PICTURES,
            "must give CriticOutput.class_logits float [2, 2]",
        ),
    ],
)
def test_networks_that_break_the_contract_are_refused_with_a_message(changes: dict, data: DataInfo, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        build_networks(config(**changes), data)


def test_options_without_effect_on_custom_networks_are_refused() -> None:
    fields = {item.name for item in dataclasses.fields(CustomConfig)}
    assert not fields & {"generator_width", "critic_width", "max_width", "minibatch_stddev_group"}
    for change in ({"generator_conditioning": "concatenation"}, {"critic_conditioning": "projection"}):
        with pytest.raises(ConfigError, match=r"conditioning .*: is not a choice\. Use one of auto"):
            config_from_dict({"networks": {"architecture": "custom", **change}})


@pytest.mark.parametrize("name", ["", "no_colon", "no_colon:"])
def test_the_classes_must_be_named(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^--networks.generator-class .*: must be an import path .* my_package"):
        TrainConfig(networks=CustomConfig(generator_class=name))
