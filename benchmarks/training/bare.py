"""Train with loops written by hand in plain PyTorch, as in a researcher's script.

    python benchmarks/training/bare.py PRESET --threads 1 [--backend inductor]

It reads a number of steps from each line of its input, takes them, and prints their CPU time and wall time in seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import math
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ganserve_training import PRESETS
from ganserve_training.data import load_split, to_network
from ganserve_training.networks import build_networks

if TYPE_CHECKING:
    from ganserve_training import TrainConfig


class BareLoop:
    """The networks, data, batch size and precision of a preset, and a loop for its loss.

    Args:
        config: The preset.
        device: The device of networks and data.
        backend: The backend of torch.compile; empty: nothing is compiled.
    """

    def __init__(self, config: TrainConfig, device: str = "cpu", backend: str = "") -> None:
        torch.manual_seed(config.seed)
        samples = load_split(config.data, "train")
        everything = torch.from_numpy(samples.read(np.arange(len(samples))))
        self.device = device
        self.samples = to_network(everything, samples.info).to(device)
        self.labels = None if samples.labels is None else torch.from_numpy(samples.labels).to(device)
        pair = build_networks(config.networks, samples.info)
        self.generator, self.critic = pair.generator.to(device), pair.critic.to(device)
        quick = (lambda network: torch.compile(network, backend=backend)) if backend else (lambda network: network)
        self.networks = {"generator": quick(self.generator), "critic": quick(self.critic), "penalised": self.critic}
        self.gradient_of = torch.compile(self.traced_gradient, backend=backend) if backend else self.gradient
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.config = config
        self.batch = config.batch_size
        self.seen = 0
        self.order = torch.randperm(len(self.samples))
        self.optimisers = [
            torch.optim.Adam(
                network.parameters(),
                lr=player.learning_rate.start,
                betas=(player.beta1, player.beta2.start),
                fused=True,
            )
            for network, player in (
                (self.generator, config.optimisers.generator),
                (self.critic, config.optimisers.critic),
            )
        ]
        self.step = {"relativistic-pairing": self.relativistic, "modified-minimax": self.classic}[config.loss.name]

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()

    def call(self, name: str, inputs: Tensor, labels: Tensor | None) -> Tensor:
        """Compute a network in the preset's precision and return its output in float32."""
        half = self.config.precision == "bfloat16"
        with torch.autocast(self.device, torch.bfloat16) if half else contextlib.nullcontext():
            output: Tensor = self.networks[name](inputs, labels)
        return output.float()

    def latents(self) -> Tensor:
        return torch.randn(self.batch, self.config.networks.latent_dim, device=self.device)

    def next_batch(self) -> tuple[Tensor, Tensor | None]:
        start = self.seen % len(self.samples)
        indices = self.order[start : start + self.batch]
        if len(indices) < self.batch:
            self.order = torch.randperm(len(self.samples))
            indices = torch.cat([indices, self.order[: self.batch - len(indices)]])
        self.seen += self.batch
        indices = indices.to(self.device)
        return self.samples[indices], None if self.labels is None else self.labels[indices]

    def annealed(self) -> float:
        """Set the learning rates of this step; return how far values have moved from their start to their end."""
        config = self.config
        passed = min(1.0, self.seen / self.batch / config.schedule.burn_in_steps)
        weight = 0.5 - 0.5 * math.cos(math.pi * passed)
        for adam, player in zip(self.optimisers, (config.optimisers.generator, config.optimisers.critic), strict=True):
            rate = player.learning_rate
            adam.param_groups[0]["lr"] = rate.start + (rate.end - rate.start) * weight
        return weight

    def gradient(self, samples: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the gradient of each score with respect to its sample, and the scores."""
        samples.requires_grad_()
        scores = self.call("penalised", samples, labels)
        (gradient,) = torch.autograd.grad(scores.sum(), samples, create_graph=True)
        return gradient, scores

    def traced_gradient(self, samples: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Do the same for torch.compile: it differentiates a graph that holds a gradient, but no autograd.grad."""

        def total(samples: Tensor) -> tuple[Tensor, Tensor]:
            scores = self.call("penalised", samples, labels)
            return scores.sum(), scores

        gradient, scores = torch.func.grad(total, has_aux=True)(samples)
        return gradient, scores

    def relativistic(self) -> None:
        """Train a step of RpGAN + R1 + R2, annealed along half a cosine, with an averaged generator."""
        regularisers, weight = self.config.regularisers, self.annealed()
        generator_adam, critic_adam = self.optimisers
        gammas = [g.start + (g.end - g.start) * weight for g in (regularisers.r1_gamma, regularisers.r2_gamma)]
        real, labels = self.next_batch()
        both_labels = None if labels is None else torch.cat([labels, labels])
        with torch.no_grad():
            fake = self.call("generator", self.latents(), labels)
        gradient, scores = self.gradient_of(torch.cat([real, fake]), both_labels)
        real_scores, fake_scores = scores.chunk(2)
        real_norms, fake_norms = gradient.square().flatten(1).sum(1).chunk(2)
        loss = F.softplus(fake_scores - real_scores).mean()
        loss = loss + gammas[0] / 2 * real_norms.mean() + gammas[1] / 2 * fake_norms.mean()
        critic_adam.zero_grad()
        loss.backward()
        critic_adam.step()

        self.critic.requires_grad_(False)
        with torch.no_grad():
            real_scores = self.call("critic", real, labels)
        fake = self.call("generator", self.latents(), labels)
        loss = F.softplus(real_scores - self.call("critic", fake, labels)).mean()
        generator_adam.zero_grad()
        loss.backward()
        generator_adam.step()
        self.critic.requires_grad_(True)
        self.follow()

    def classic(self) -> None:
        """Train a step of DCGAN: modified minimax, real and generated samples in separate batches."""
        self.annealed()
        generator_adam, critic_adam = self.optimisers
        real, labels = self.next_batch()
        with torch.no_grad():
            fake = self.call("generator", self.latents(), labels)
        loss = (
            F.softplus(-self.call("critic", real, labels)).mean() + F.softplus(self.call("critic", fake, labels)).mean()
        )
        critic_adam.zero_grad()
        loss.backward()
        critic_adam.step()

        self.critic.requires_grad_(False)
        fake = self.call("generator", self.latents(), labels)
        loss = F.softplus(-self.call("critic", fake, labels)).mean()
        generator_adam.zero_grad()
        loss.backward()
        generator_adam.step()
        self.critic.requires_grad_(True)
        self.follow()

    @torch.no_grad()
    def follow(self) -> None:
        half_life = min(self.config.ema.half_life_kimg * 1000, self.seen * self.config.ema.warm_up_fraction)
        weight = 1 - 0.5 ** (self.batch / half_life)
        for ours, theirs in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            ours.lerp_(theirs, weight)
        for ours, theirs in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            ours.copy_(theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=sorted(PRESETS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backend", default="", help="backend of torch.compile, such as inductor")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    loop = BareLoop(PRESETS[arguments.preset], backend=arguments.backend)
    for line in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        loop.run(int(line))
        print(time.process_time() - cpu, time.perf_counter() - wall, flush=True)


if __name__ == "__main__":
    main()
