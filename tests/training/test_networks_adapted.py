"""Networks as people write them: adapted where that is safe, and otherwise refused, with all problems in one round."""

import io
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from ganserve_training.config import CustomConfig, DigitsConfig, LeastSquaresLoss, RegularisersConfig, TrainConfig
from ganserve_training.data import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.networks import NetworkPair, build_networks
from ganserve_training.networks.adaptation import moved
from ganserve_training.networks.custom_class import MOVES
from ganserve_training.run.network_questions import ask_networks, build_and_ask
from ganserve_training.run.network_trials import network_notes
from ganserve_training.run.training_loop import say
from tiny_runs import tiny_config

MODULE = "ganserve_test_zoo"
SOURCE = """
import math, threading
import torch
import torch.nn.functional as F
from torch import nn

class Deep(nn.Module):  # the DCGAN tutorial's
    def __init__(self, latent_dim, sample_shape):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(latent_dim, 8, 4, 1, 0, bias=False), nn.BatchNorm2d(8), nn.ReLU(True),
            nn.ConvTranspose2d(8, sample_shape[0], 4, 2, 1, bias=False), nn.Tanh())
    def forward(self, input):
        return self.main(input)

class DeepCritic(nn.Module):
    def __init__(self, sample_shape):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(sample_shape[0], 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(8, 1, 4, 1, 0, bias=False), nn.Sigmoid())
    def forward(self, input):
        return self.main(input)

class Functional(DeepCritic):
    def forward(self, input):
        return torch.sigmoid(self.main[:-1](input)).squeeze()

class Plain(nn.Module):
    def __init__(self, latent_dim, sample_shape, label_count=0):
        super().__init__()
        count = latent_dim + label_count
        self.net = nn.Sequential(nn.Linear(count, 16), nn.ReLU(), nn.Linear(16, math.prod(sample_shape)))
    def forward(self, z):
        return self.net(z).tanh()

class OneHot(Plain):
    def forward(self, z, y):
        return super().forward(torch.cat([z, y], 1))

class Judge(nn.Module):
    def __init__(self, sample_shape, label_count=0):
        super().__init__()
        count = math.prod(sample_shape) + label_count
        self.net = nn.Sequential(nn.Linear(count, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    def forward(self, x):
        return self.net(x.flatten(1))

class OneHotJudge(Judge):
    def forward(self, x, y):
        return self.net(torch.cat([x.flatten(1), y], 1))

class Mapped(nn.Module):  # conditional DCGANs
    def __init__(self, latent_dim, sample_shape, label_count):
        super().__init__()
        self.latents = nn.ConvTranspose2d(latent_dim, 4, 8)
        self.labels = nn.ConvTranspose2d(label_count, 4, 8)
        self.last = nn.Conv2d(8, sample_shape[0], 3, padding=1)
    def forward(self, z, y):
        return self.last(torch.cat([self.latents(z), self.labels(y)], 1).relu()).tanh()

class MappedJudge(nn.Module):
    def __init__(self, sample_shape, label_count):
        super().__init__()
        self.first = nn.Conv2d(sample_shape[0] + label_count, 8, 4, 2, 1)
        self.last = nn.Conv2d(8, 1, 4)
    def forward(self, x, y):
        return self.last(F.leaky_relu(self.first(torch.cat([x, y], 1)), 0.2))

class Double(Plain):
    def __init__(self, latent_dim, sample_shape):
        super().__init__(latent_dim, sample_shape)
        self.double()

class InPlace(Plain):
    def forward(self, z):
        z *= 2
        return super().forward(z)

class Lazy(nn.Module):
    def __init__(self, sample_shape):
        super().__init__()
        self.net = nn.Sequential(nn.LazyLinear(16), nn.Tanh(), nn.LazyLinear(math.prod(sample_shape)), nn.Tanh())
    def forward(self, z):
        return self.net(z)

class Bright(Plain):
    def forward(self, z):
        return torch.sigmoid(self.net(z))

class Noisy(Plain):
    def __init__(self, latent_dim, sample_shape):
        super().__init__(latent_dim, sample_shape)
        self.strength = nn.Parameter(torch.zeros(()))
    def forward(self, z):
        made = self.net(z)
        return made + self.strength * torch.randn_like(made)

class Listed(Plain):
    def __init__(self, latent_dim, sample_shape):
        super().__init__(latent_dim, sample_shape)
        self.layers = [nn.Linear(latent_dim, latent_dim)]
        self.same = [*self.net]
    def forward(self, z):
        return super().forward(self.layers[0](z))

class Locked(Plain):
    def __init__(self, latent_dim, sample_shape):
        super().__init__(latent_dim, sample_shape)
        self.lock = threading.Lock()

class Broken(Plain):
    def forward(self, z):
        hidden = torch.sigmoid(self.net[0](z))
        product = hidden * hidden.clone()
        hidden += 1
        return self.net[2](product)

class Cut(Plain):
    def forward(self, z):
        return super().forward(z).detach()

class Dropping(Judge):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.3))

class Iterating(Judge):  # spectral norm that iterates in each call
    def __init__(self, sample_shape):
        super().__init__(sample_shape)
        self.register_buffer("u", F.normalize(torch.randn(16), dim=0))
    def forward(self, x):
        weight = self.net[0].weight
        v = F.normalize(weight.detach().T @ self.u, dim=0)
        self.u = F.normalize(weight.detach() @ v, dim=0)
        return self.net[2](F.relu(F.linear(x.flatten(1), weight / (self.u @ weight @ v))))

class SoftJudge(Judge):
    def forward(self, x):
        return torch.softmax(self.net(x.flatten(1)), dim=1)

class RoundingJudge(Judge):
    def forward(self, x):
        return self.net(x.flatten(1)).round()

class ZeroJudge(Judge):
    def __init__(self, sample_shape, label_count=0):
        super().__init__(sample_shape, label_count)
        torch.nn.init.zeros_(self.net[2].weight)

class Stateful(Judge):
    def get_extra_state(self):
        return threading.Thread
    def set_extra_state(self, state):
        pass

class Optimising(Judge):
    def __init__(self, sample_shape):
        super().__init__(sample_shape)
        self.optim = torch.optim.Adam(self.parameters())

class Empty(nn.Module):
    def forward(self, x):
        return x.flatten(1).sum(1)

SHARED = nn.Linear(6, 6)

class SharedPlain(Plain):
    def __init__(self, latent_dim, sample_shape):
        super().__init__(latent_dim, sample_shape)
        self.shared = SHARED

class SharedJudge(Judge):
    def __init__(self, sample_shape):
        super().__init__(sample_shape)
        self.shared = SHARED
"""
PLAIN = DataInfo(sample_shape=(8, 8, 1))
LABELLED = DataInfo(sample_shape=(8, 8, 1), label_names=("a", "b", "c"))
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder: Path = tmp_path_factory.mktemp("zoo")
    (folder / f"{MODULE}.py").write_text(textwrap.dedent(SOURCE))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield
    sys.modules.pop(MODULE, None)


def config(generator: str = "Plain", critic: str = "Judge", changes: dict[str, object] | None = None) -> TrainConfig:
    networks = CustomConfig(
        latent_dim=6, generator_class=f"{MODULE}:{generator}", critic_class=f"{MODULE}:{critic}", **(changes or {})
    )
    return tiny_config(networks=networks, data=DigitsConfig(labels="ignore"))


def asked(asked_config: TrainConfig, info: DataInfo = PLAIN) -> tuple[NetworkPair, str]:
    torch.manual_seed(0)
    pair = build_and_ask(asked_config, info, CPU)
    ask_networks(asked_config, pair, info, CPU)
    return pair, "\n".join(network_notes(asked_config, pair))


@pytest.mark.parametrize(
    ("generator", "critic", "told"),
    [
        ("Deep", "Judge", ["Deep: its latents are given as [N, Z, 1, 1]", "Judge: its output [2, 1] is read as [2]"]),
        ("Plain", "Judge", ["Plain: its output [2, 64] is read as [2, 1, 8, 8]"]),
        ("Double", "Judge", ["Double: its weights are torch.float64, and are trained as float32"]),
        ("InPlace", "Judge", ["InPlace: it changes its input in place, so it gets a copy"]),
        ("Lazy", "Judge", []),
        ("Plain", "Optimising", ["Optimising: its own optimiser (optim) is not used; see --optimisers.critic.name"]),
    ],
)
def test_networks_of_other_forms_are_adapted(generator: str, critic: str, told: list[str]) -> None:
    pair, notes = asked(config(generator, critic))
    latents = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    kept = latents.clone()
    for count in (3, 1):
        made = pair.generator.eval()(latents[:count], None)
        assert (tuple(made.shape), made.dtype) == ((count, 1, 8, 8), torch.float32)
        assert tuple(pair.critic.eval()(made, None).shape) == (count,)
    assert torch.equal(latents, kept)
    for line in told:
        assert line in notes


def test_labels_are_given_one_hot_to_networks_that_take_them_so() -> None:
    pair, notes = asked(config("OneHot", "OneHotJudge"), LABELLED)
    latents, labels = torch.randn(3, 6), torch.tensor([0, 2, 1])
    given = torch.cat([latents, torch.eye(3)[labels]], 1)
    made = pair.generator(latents, labels)
    torch.testing.assert_close(made.flatten(1), pair.generator.network.net(given).tanh())
    assert notes.count("its labels are given as float32 [N, K], one-hot") == 2


def test_labels_are_given_as_channels_to_networks_that_take_them_so() -> None:
    pair, notes = asked(config("Mapped", "MappedJudge"), LABELLED)
    latents, labels = torch.randn(3, 6), torch.tensor([0, 2, 1])
    one_hot = torch.eye(3)[labels][:, :, None, None]
    made = pair.generator(latents, labels)
    torch.testing.assert_close(made, pair.generator.network(latents[:, :, None, None], one_hot))
    expected = pair.critic.network(made, one_hot.expand(-1, -1, 8, 8)).flatten()
    torch.testing.assert_close(pair.critic(made, labels), expected)
    assert notes.count("its labels are given as constant channels, [N, K, H, W]") == 2
    assert "[N, K], one-hot" not in notes


def test_wide_networks_do_not_explode_where_weights_are_changed_for_a_trial() -> None:
    """Rounding would then depend on the batch, and the network seem to mix samples."""
    wide = nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(8)))
    inputs = torch.randn(4, 512)
    for by in MOVES:
        grown = moved(wide, by)(inputs).std() / wide(inputs).std()
        assert 0.5 < grown < 2.0
    silent = nn.Linear(512, 512, bias=False)
    nn.init.zeros_(silent.weight)
    assert moved(silent, 0.01)(inputs).std() > 1e-3, "weights of zero become visible"


def test_a_sigmoid_is_left_out_or_inverted_on_request() -> None:
    samples = torch.rand(4, 1, 8, 8) * 2 - 1
    for critic, note in (("DeepCritic", "its last sigmoid is left out"), ("Functional", "become logits, inexactly")):
        pair, notes = asked(config("Deep", critic, {"critic_output": "probabilities"}))
        network = pair.critic.network.main
        torch.testing.assert_close(pair.critic(samples, None), network[:3](samples).flatten(), rtol=1e-3, atol=1e-3)
        assert note in notes
    ask_networks(*_probabilities_for_least_squares(), PLAIN, CPU)


def _probabilities_for_least_squares() -> tuple[TrainConfig, NetworkPair]:
    networks = config("Deep", "DeepCritic").networks
    fields = {"loss": LeastSquaresLoss(), "regularisers": RegularisersConfig.none()}
    squares = tiny_config(networks=networks, data=DigitsConfig(labels="ignore"), **fields)
    return squares, build_networks(networks, PLAIN)


def test_images_from_0_to_1_are_scaled_on_request() -> None:
    pair, _ = asked(config("Bright", changes={"generator_range": "unit"}))
    latents = torch.randn(4, 6)
    expected = 2 * torch.sigmoid(pair.generator.network.net(latents)) - 1
    torch.testing.assert_close(pair.generator(latents, None).flatten(1), expected)


@pytest.mark.parametrize(
    ("generator", "critic", "changes", "told"),
    [
        ("Deep", "DeepCritic", {}, ["DeepCritic: gives 0 to 1 even for extreme", "Give the logit: leave out the last"]),
        ("Deep", "Functional", {}, ["Functional: gives 0 to 1 even for", "--networks.critic-output probabilities"]),
        ("Plain", "Judge", {"critic_output": "probabilities"}, ["Judge gives values outside 0 to 1. Leave the option"]),
        ("Plain", "Judge", {"generator_range": "unit"}, ["Plain gives values outside 0 to 1. Leave the option out"]),
        ("Bright", "Dropping", {}, ["2 problems", "Bright: gives 0 to 1", "Dropping: gives different scores"]),
        ("Listed", "Iterating", {}, ["2 problems", "keeps weights in layers, where", "changes u in eval mode"]),
        ("Noisy", "Empty", {}, ["Noisy: gives different samples for the same latents", "Empty: has no weights to tr"]),
        (
            "Locked",
            "Stateful",
            {},
            ["Locked: can't be copied, as averaging and export need: copying raised TypeError: cannot pickle"],
        ),
        ("Broken", "Stateful", {}, ["a step of training fails, though it works in eval", "_extra_state, which a"]),
        ("Cut", "Judge", {}, ["Cut: no gradient reaches its weights"]),
        ("Plain", "SoftJudge", {}, ["SoftJudge: its scores have no gradient", "softmax over one value"]),
        ("Plain", "RoundingJudge", {}, ["RoundingJudge: its scores have no gradient with respect to its samples"]),
        ("SharedPlain", "SharedJudge", {}, ["shares shared.weight, shared.bias with the critic"]),
    ],
)
def test_what_is_not_safe_is_refused_in_one_round(
    generator: str, critic: str, changes: dict[str, object], told: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        asked(config(generator, critic, changes))
    for words in told:
        assert words in str(caught.value)


def test_a_critic_whose_last_layer_starts_at_zero_is_trained() -> None:
    asked(config("Plain", "ZeroJudge"))


def test_notes_are_printed_as_they_are() -> None:
    printed = io.StringIO()
    say(Console(file=printed), "note: zoo:CD: [2, 1] is read as [2]")  # Rich would make a picture of the name.
    assert printed.getvalue() == "note: zoo:CD: [2, 1] is read as [2]\n"
