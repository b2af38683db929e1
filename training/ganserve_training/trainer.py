"""The alternation: one update of the critic, one of the generator. Knows nothing of files, logs or signals.

N = batch, Z = latent, C, H, W = image.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ganserve_training.augment import Augmentation
from ganserve_training.config import OptimiserConfig, TrainConfig
from ganserve_training.data import BatchSource, InMemoryBatches, Samples
from ganserve_training.ema import Ema
from ganserve_training.latents import LatentPrior
from ganserve_training.losses import build_loss
from ganserve_training.networks import build_networks
from ganserve_training.regularisers import CriticPass, build_regularisers
from ganserve_training.rng import capture_rng, noise_seed, restore_rng, seed_global
from ganserve_training.schedule import anneal, burn_in_progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Trainer:
    """Both networks, their optimisers and averages, and how to take one step.

    Args:
        config: the run's configuration.
        samples: the training samples.
        fabric: where to compute, and in which precision.
    """

    def __init__(self, config: TrainConfig, samples: Samples, fabric: "Fabric") -> None:
        self.config = config
        self.step = 0
        """Steps taken."""
        self._fabric = fabric
        seed_global(config.seed)
        self._random = torch.Generator(fabric.device).manual_seed(noise_seed(config.seed))
        self._batches: BatchSource = InMemoryBatches(samples, config.seed, fabric.device)

        self.prior = LatentPrior.of(config.networks)
        """What latents are drawn from."""
        pair = build_networks(config.networks, samples.info)
        self.generator: nn.Module = pair.generator.to(fabric.device)
        """The generator as trained; ``ema.module`` is the one to use."""
        self.critic: nn.Module = pair.critic.to(fabric.device)
        """The critic as trained."""
        self._critic_parameters = [item for item in self.critic.parameters() if item.requires_grad]
        self.ema = Ema(self.generator, config.ema)
        """The generator's moving average."""
        self.generator_optimiser = _adam(self.generator, config.optimisers.generator)
        self.critic_optimiser = _adam(self.critic, config.optimisers.critic)
        self._generate, self._step_generator = fabric.setup(self.generator, self.generator_optimiser)
        self._score, self._step_critic = fabric.setup(self.critic, self.critic_optimiser)

        self._loss = build_loss(config.loss)
        self._regularisers = build_regularisers(config.regularisers)
        self._with_gradients = any(piece.needs_input_gradients for piece in self._regularisers)
        self._augment = Augmentation(config.augmentation, self._random)
        self.measures = (
            *("critic_loss", "critic_accuracy", "real_score", "fake_score"),
            *(piece.name for piece in self._regularisers),
            "generator_loss",
        )
        """Names of the values that :meth:`run_step` returns, in the order in which a step computes them."""

    @property
    def samples_seen(self) -> int:
        """Real samples that the critic has been shown so far."""
        return self.step * self.config.batch_size

    def run_step(self) -> Tensor:
        """Update the critic, then the generator, then the average.

        Returns:
            The step's measures in the order of :attr:`measures`, [measures] on the device; reading it waits for it.
        """
        progress = burn_in_progress(self.config.schedule, self.step)
        real, labels = self._batches.batch(self.samples_seen, self.config.batch_size)
        critic_measures = self._update_critic(real, labels, progress)
        generator_loss = self._update_generator(real, labels, progress)
        self.step += 1
        self.ema.update(self.config.batch_size, self.samples_seen)
        return torch.stack([*critic_measures, generator_loss])

    def _update_critic(self, real: Tensor, labels: Tensor | None, progress: float) -> list[Tensor]:
        """Returns the step's measures of the critic; nothing of the graph outlives the call."""
        with torch.no_grad():
            fake = self._generate(self._draw_latents(len(real)), labels)
        critic_pass = CriticPass(self._augmented_score, real, fake, labels, with_gradients=self._with_gradients)
        loss = self._loss.critic(critic_pass.real_scores, critic_pass.fake_scores)
        penalties = [piece.penalty(critic_pass, progress) for piece in self._regularisers]
        self._step_critic.zero_grad()
        self._fabric.backward(torch.stack([loss, *penalties]).sum())
        _set_learning_rate(self.critic_optimiser, anneal(self.config.optimisers.critic.learning_rate, progress))
        self._step_critic.step()
        real_scores, fake_scores = critic_pass.real_scores.detach(), critic_pass.fake_scores.detach()
        accuracy = self._loss.accuracy(real_scores, fake_scores)
        return [loss.detach(), accuracy, real_scores.mean(), fake_scores.mean(), *(item.detach() for item in penalties)]

    def _update_generator(self, real: Tensor, labels: Tensor | None, progress: float) -> Tensor:
        for parameter in self._critic_parameters:
            parameter.requires_grad_(False)  # No graph for what stays as it is.
        real_scores = None
        if self._loss.generator_needs_real_scores:
            with torch.no_grad():
                real_scores = self._augmented_score(real, labels)
        fake = self._generate(self._draw_latents(len(real)), labels)
        loss = self._loss.generator(self._augmented_score(fake, labels), real_scores)
        self._step_generator.zero_grad()
        self._fabric.backward(loss)
        _set_learning_rate(self.generator_optimiser, anneal(self.config.optimisers.generator.learning_rate, progress))
        self._step_generator.step()
        for parameter in self._critic_parameters:
            parameter.requires_grad_(True)
        return loss.detach()

    def _augmented_score(self, images: Tensor, labels: Tensor | None) -> Tensor:
        scores: Tensor = self._score(self._augment(images), labels)
        return scores

    def _draw_latents(self, count: int) -> Tensor:
        return self.prior.draw(count, self._random)

    def weights_are_finite(self) -> bool:
        """Whether every weight of both networks and of the average is a finite number."""
        tensors = [*self.generator.parameters(), *self.critic.parameters(), *self.ema.module.parameters()]
        return bool(torch.stack([tensor.detach().isfinite().all() for tensor in tensors]).all())

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, in plain values and tensors."""
        return {
            "step": self.step,
            "samples_seen": self.samples_seen,
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "ema": self.ema.module.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
            "rng": capture_rng(self._random),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self.step = state["step"]
        self.generator.load_state_dict(state["generator"])
        self.critic.load_state_dict(state["critic"])
        self.ema.module.load_state_dict(state["ema"])
        self.generator_optimiser.load_state_dict(state["generator_optimiser"])
        self.critic_optimiser.load_state_dict(state["critic_optimiser"])
        restore_rng(state["rng"], self._random)


def _adam(network: nn.Module, config: OptimiserConfig) -> torch.optim.Adam:
    return torch.optim.Adam(
        network.parameters(),
        lr=config.learning_rate.start,
        betas=(config.beta1, config.beta2.start),
        fused=True,
    )


def _set_learning_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = value
