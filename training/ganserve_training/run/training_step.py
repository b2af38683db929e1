"""Train one step: update the critic, then the generator. This module writes no files or logs.

N = a process's share of one part of a batch, C, H, W = image, D = values of a vector.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganserve_training.config import TrainConfig
from ganserve_training.data import BatchSource, Samples, make_batches
from ganserve_training.evaluation.modes import modes_of
from ganserve_training.evaluation.quality import check_choice
from ganserve_training.networks import NetworkPair
from ganserve_training.networks.batch_statistics import looks_across_batch
from ganserve_training.networks.critic_output import CriticOutput, as_output
from ganserve_training.networks.ema import Ema
from ganserve_training.networks.growth import Phase, enter_phase, reals_at, timetable
from ganserve_training.networks.latents import LatentPrior
from ganserve_training.objectives.adaptive_augmentation import AdaController
from ganserve_training.objectives.augmentation import Augmentation
from ganserve_training.objectives.auxiliary_terms import Codes, Heads
from ganserve_training.objectives.critic_pass import CriticPass, Scorer
from ganserve_training.objectives.penalties import clip_weights
from ganserve_training.objectives.style_training import PathLength, StyledGenerator
from ganserve_training.objectives.unrolling import DifferentiableRule, ImaginedCritic
from ganserve_training.run.checkpoint_weights import load_weights
from ganserve_training.run.compatibility import check_everything
from ganserve_training.run.distributed import Processes, running_statistics
from ganserve_training.run.memory import check_memory, check_network_memory
from ganserve_training.run.memory_format import arranged
from ganserve_training.run.network_questions import ask_networks, build_and_ask
from ganserve_training.run.optimisers import Updater
from ganserve_training.run.path_length_update import PathLengthUpdate
from ganserve_training.run.random_state import Noise, capture_rng, noise_seed, restore_rng, seed_global

Part = tuple[Tensor, Tensor | None]
"""Real samples [N, ...] and their labels int64 [N] or None."""
Row = list[Tensor]
"""Measures of an update, scalars on the device."""


class Trainer:
    """Both networks, their optimisers and averages, and one training step; refuses what `check_everything` does."""

    def __init__(self, config: TrainConfig, samples: Samples, processes: Processes | None = None) -> None:
        self.config = config
        self.step = 0
        self.samples_seen = 0
        """Real samples shown to the critic so far, by all processes together."""
        self.processes = processes or Processes()
        device = self.processes.device
        self._info = samples.info
        seed_global(config.seed)
        self._random = torch.Generator(device).manual_seed(noise_seed(config.seed))
        self._noise = Noise(self._random, self.processes.rank, self.processes.world)
        self._batches: BatchSource = make_batches(samples, config.data, config.seed, device)

        self.prior = LatentPrior.of(config.networks)
        """Distribution of latents."""
        check_network_memory(config, samples.info, self.processes)
        pair = build_and_ask(config, samples.info, device)
        check_everything(config, samples.info, pair, self.processes.world)
        if config.diagnosis.enabled:  # Fail now rather than at the first observation.
            check_choice(config.diagnosis.quality, modes_of(config.data), labelled=bool(samples.info.label_names))
        self.label_names = pair.label_names
        """Names of the generator's labels."""
        self._code_categories = config.networks.codes.categories
        self.critic_uses_labels = pair.critic_uses_labels
        """True if the critic's scores depend on labels."""
        self.generator: nn.Module = arranged(pair.generator.to(device), config.memory_format)
        """The generator as trained; `ema.module` is the one to use."""
        self.critic: nn.Module = arranged(pair.critic.to(device), config.memory_format)
        self.networks = NetworkPair(self.generator, self.critic, pair.label_names, pair.critic_uses_labels)
        """Both networks, and what their labels are."""
        check_memory(config, pair, samples.info, self.processes)
        ask_networks(config, self.networks, samples.info, device)
        self._together = not looks_across_batch(self.critic)
        self.ema = Ema(self.generator, config.ema)
        """The generator's moving average."""
        self._statistics = running_statistics(self.generator, self.critic)
        players, processes, penalties = config.optimisers, self.processes, config.regularisers
        path = penalties.path_length
        self._generator_updater = Updater(self.generator.parameters(), players.generator, processes, path.lazy_interval)
        self._critic_updater = Updater(self.critic.parameters(), players.critic, processes, penalties.lazy_interval)
        self._styled = StyledGenerator.of(self.generator, config.networks, self._noise)
        self._path_length = self._make_path_length(PathLength(path, device)) if path.weight else None

        self.loss = config.loss
        classifier = config.networks.critic_conditioning == "classifier"
        self._heads = Heads(config.loss, config.networks.codes, classifier=classifier)
        self._regularisers = config.regularisers.penalties
        self._with_gradients = any(piece.needs_input_gradients for piece in self._regularisers)
        self._others_have_gradients = self._with_gradients or config.schedule.unrolled_steps > 0
        self._augment = Augmentation(config.augmentation, samples.info, self._noise)
        self._ada = AdaController(config.augmentation.ada, self.processes) if config.augmentation.ada.target else None
        self.growth = timetable(self.generator, config.networks, config.batch_size)
        """The timetable of progressive growing, or None."""
        self._level = 0
        self.measures = (
            *("critic_loss", "critic_accuracy", "real_score", "fake_score"),
            *(piece.name for piece in self._regularisers),
            *(f"critic_{name}" for name in self._heads.names),
            *("generator_loss", "generator_gradient_norm"),
            *(f"generator_{name}" for name in self._heads.names),
            *(self._path_length.measures if self._path_length else ()),
            *(("augmentation_probability",) if self._ada else ()),
            *(("level",) if self.growth else ()),
        )
        """Names of the values that `run_step` returns, in their order."""

    def run_step(self) -> Tensor:
        """Update the critic, then the generator, then the average.

        Returns:
            This process's measures in the order of `measures`, [measures] on the device; reading them waits for it.
        """
        config, schedule = self.config, self.config.schedule
        progress = schedule.burn_in_progress(self.step)
        phase = self._enter_phase()
        batch_size = config.batch_size if phase is None else phase.batch_size
        critic_rows = []
        for _ in range(schedule.critic_steps):
            parts = self._read_parts(batch_size, phase)
            critic_rows.append(self._update_critic(parts, progress))
        generator_rows = [self._update_generator(parts, progress) for _ in range(schedule.generator_steps)]
        lengths: Row = []
        if self._path_length is not None:
            labels, sizes = [labels for _, labels in parts], [len(real) for real, _ in parts]
            lengths = self._path_length(labels, sizes, self.step, progress)
        self.processes.average(self._statistics)
        self.step += 1
        self.ema.update(batch_size * schedule.critic_steps, self.samples_seen)
        row = [*_mean(critic_rows), *_mean(generator_rows), *lengths]
        if self._ada is not None:
            self._ada.adjust(self.step)
            row.append(row[0].new_full((), self._ada.probability))
        if phase is not None:
            row.append(row[0].new_full((), phase.level - 1.0 + phase.alpha))
        return torch.stack(row)

    def _make_path_length(self, length: PathLength) -> PathLengthUpdate:
        assert self._styled is not None
        updater, noise = self._generator_updater, self._noise
        return PathLengthUpdate(length, self._styled, updater, self.prior, noise, self.processes, self._precision)

    def _enter_phase(self) -> Phase | None:
        """Return the phase of growing; a new level starts with fresh optimisers (Karras et al. 2017, appendix A.1)."""
        if self.growth is None:
            return None
        phase = self.growth.phase(self.samples_seen)
        if phase.level != self._level:
            self._level = phase.level
            self._generator_updater.reset()
            self._critic_updater.reset()
        for network in (self.generator, self.critic, self.ema.module):
            enter_phase(network, phase)
        return phase

    def _read_parts(self, batch_size: int, phase: Phase | None) -> list[Part]:
        """Return this process's share of each part of the next batch."""
        part_size = batch_size // self.config.accumulate_batches
        count = part_size // self.processes.world
        parts: list[Part] = []
        for index in range(self.config.accumulate_batches):
            position = self.samples_seen + index * part_size + self.processes.rank * count
            real, labels = self._batches.batch(position, count)
            parts.append((real if phase is None else reals_at(real, phase), labels))
        self.samples_seen += batch_size
        return parts

    def _update_critic(self, parts: list[Part], progress: float) -> Row:
        """Update the critic; return its measures."""
        self._critic_updater.forget_gradients()
        scorer = self._scorer(self._score, progress)
        rows = []
        for real, labels in parts:
            with torch.no_grad():
                fake, _, codes = self._draw_fakes(len(real), labels)
            objective, row = self._critic_objective(scorer, real, fake, labels, codes, progress)
            self._backward(objective, self._critic_updater, len(parts))
            rows.append(row)
        self._step_critic(progress)
        row = _mean(rows)
        if self.config.regularisers.own_updates and self._penalties_are_due:
            row[4 : 4 + len(self._regularisers)] = self._penalise_critic(scorer, parts, progress)
        return row

    def _step_critic(self, progress: float) -> None:
        self._critic_updater.average_gradients()
        self._critic_updater.step(progress)
        clip_weights(self._critic_updater.parameters, self.config.regularisers.weight_clip)

    def _penalise_critic(self, scorer: Scorer, parts: list[Part], progress: float) -> Row:
        """Update the critic by its penalties alone; return them."""
        self._critic_updater.forget_gradients()
        rows = []
        for real, labels in parts:
            with torch.no_grad():
                fake, _, _ = self._draw_fakes(len(real), labels)
            seen = labels if self.critic_uses_labels else None
            how = {"with_gradients": self._with_gradients, "together": self._together}
            critic_pass = CriticPass(scorer, real, fake, seen, **how)
            penalties = self._penalties(critic_pass, progress)
            # Every weight gets a gradient, if zero, so that the decay of all moments is the same.
            nothing = (critic_pass.real_scores.sum() + critic_pass.fake_scores.sum()) * 0.0
            self._backward(torch.stack([nothing, *penalties]).sum(), self._critic_updater, len(parts))
            rows.append([item.detach() for item in penalties])
        self._step_critic(progress)
        return _mean(rows)

    @property
    def _penalties_are_due(self) -> bool:
        return self.step % self.config.regularisers.interval == 0

    def _penalties(self, critic_pass: CriticPass, progress: float) -> list[Tensor]:
        interval = self.config.regularisers.interval
        return [piece.penalty(critic_pass, progress, self._noise) * interval for piece in self._regularisers]

    def _critic_objective(
        self, scorer: Scorer, real: Tensor, fake: Tensor, labels: Tensor | None, codes: Codes, progress: float
    ) -> tuple[Tensor, Row]:
        """Return the critic's objective, a scalar, and its measures."""
        seen = labels if self.critic_uses_labels else None
        due = self._penalties_are_due and not self.config.regularisers.own_updates
        with_gradients = self._with_gradients and due
        critic_pass = CriticPass(scorer, real, fake, seen, with_gradients=with_gradients, together=self._together)
        loss = self.loss.critic(critic_pass.real_scores, critic_pass.fake_scores)
        penalties = self._penalties(critic_pass, progress) if due else [loss.new_zeros(()) for _ in self._regularisers]
        terms = self._heads.terms([critic_pass.real, critic_pass.fake], labels, codes)
        real_scores, fake_scores = critic_pass.real_scores.detach(), critic_pass.fake_scores.detach()
        if self._ada is not None and not fake.requires_grad:
            threshold = self.loss.threshold(real_scores, fake_scores)
            self._ada.watch(real_scores, threshold, len(real) * self.processes.world)
        added = [*penalties, *(terms[name] for name in self._heads.names)]
        measures = [loss, self.loss.accuracy(real_scores, fake_scores), real_scores.mean(), fake_scores.mean(), *added]
        return torch.stack([loss, *added]).sum(), [item.detach() for item in measures]

    def _update_generator(self, parts: list[Part], progress: float) -> Row:
        """Update the generator; return its measures."""
        unrolled = self.config.schedule.unrolled_steps > 0
        if not unrolled:
            self._train_critic(False)  # Build no graph for unchanged weights.
        self._generator_updater.forget_gradients()
        rows = []
        for real, labels in parts:
            objective, row = self._generator_objective(real, labels, progress, unrolled=unrolled)
            self._backward(objective, self._generator_updater, len(parts))
            rows.append(row)
        if not unrolled:
            self._train_critic(True)
        self._generator_updater.average_gradients()
        norm = self._generator_updater.gradient_norm()
        self._generator_updater.step(progress)
        loss, *terms = _mean(rows)
        return [loss, norm, *terms]

    def _generator_objective(
        self, real: Tensor, labels: Tensor | None, progress: float, *, unrolled: bool
    ) -> tuple[Tensor, Row]:
        """Return the generator's objective, a scalar, and its measures without the gradient's norm."""
        seen = labels if self.critic_uses_labels else None
        if unrolled:
            fake, asked, codes = self._draw_fakes(len(real), labels)
            scorer = self._unrolled_scorer(real, fake, labels, codes, progress)
            real_scores = scorer(real, seen).scores if self.loss.unrolled_needs_real_scores else None
        else:
            scorer, real_scores = self._scorer(self._score, progress), None
            if self.loss.generator_needs_real_scores:
                with torch.no_grad():
                    real_scores = scorer(real, seen).scores
            fake, asked, codes = self._draw_fakes(len(real), labels)
        output = scorer(fake, seen)
        loss_of = self.loss.unrolled_generator if unrolled else self.loss.generator
        loss = loss_of(output.scores, real_scores)
        terms = self._heads.terms([output], asked, codes)
        added = [terms[name] for name in self._heads.names]
        return torch.stack([loss, *added]).sum(), [item.detach() for item in (loss, *added)]

    def _unrolled_scorer(
        self, real: Tensor, fake: Tensor, labels: Tensor | None, codes: Codes, progress: float
    ) -> Scorer:
        """Return the critic after its imagined updates; its weights depend on the generator's samples."""
        imagined = ImaginedCritic(self.critic)
        names = {id(parameter): name for name, parameter in self.critic.named_parameters()}
        rule = DifferentiableRule(names, self._critic_updater, progress, self.config.regularisers.weight_clip)
        scorer = self._scorer(lambda samples, seen: self._in_precision(imagined, samples, seen), progress)
        for _ in range(self.config.schedule.unrolled_steps):
            imagined.advance(lambda: self._critic_objective(scorer, real, fake, labels, codes, progress)[0], rule)
        return scorer

    def _draw_fakes(self, count: int, labels: Tensor | None) -> tuple[Tensor, Tensor | None, Codes]:
        """Return generated samples, their labels (those of the real ones, or discrete codes), and their codes."""
        latents = self._noise.latents(self.prior, count)
        if self._code_categories:
            labels = self._noise.integers(0, self._code_categories, count)
        with self._precision():
            samples: Tensor = (self._styled or self.generator)(latents, labels)
        return samples.to(torch.float32), labels, self._heads.read_codes(latents, labels)

    def _score(self, samples: Tensor, labels: Tensor | None) -> CriticOutput:
        return self._in_precision(self.critic, samples, labels)

    def _in_precision(self, critic: Callable[..., Any], samples: Tensor, labels: Tensor | None) -> CriticOutput:
        """Return the critic's output in float32, computed in the run's precision."""
        with self._precision():
            output = as_output(critic(samples, labels))
        if self.config.precision == "float32":
            return output
        return CriticOutput(*(None if item is None else item.float() for item in output))  # type: ignore[arg-type]

    def _precision(self) -> AbstractContextManager[object]:
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.processes.device.type, torch.bfloat16)

    def _backward(self, objective: Tensor, updater: Updater, parts: int) -> None:
        """Add one part's share of the gradients, to the updater's weights only."""
        share = objective if parts == 1 else objective / parts
        # Naming the weights takes time, so do it only if others have gradients.
        torch.autograd.backward(share, inputs=updater.parameters if self._others_have_gradients else None)

    def _train_critic(self, on: bool) -> None:
        for parameter in self._critic_updater.parameters:
            parameter.requires_grad_(on)

    def _scorer(self, score: Callable[[Tensor, Tensor | None], CriticOutput], progress: float) -> Scorer:
        """Return `score` behind the augmentation."""
        config = self.config.augmentation
        probability = config.probability.at(progress) if self._ada is None else self._ada.probability
        noise_std = config.instance_noise.at(progress)
        return lambda samples, labels: score(self._augment(samples, probability, noise_std), labels)

    def check(self, config: TrainConfig) -> None:
        """Raise a ConfigError if this run could not have been started with `config`."""
        check_everything(config, self._info, self.networks, self.processes.world)

    def weights_are_finite(self) -> bool:
        """Return whether every weight of both networks and of the average is finite."""
        tensors = [*self.generator.parameters(), *self.critic.parameters(), *self.ema.module.parameters()]
        return bool(torch.stack([tensor.detach().isfinite().all() for tensor in tensors]).all())

    def close(self) -> None:
        """Stop the workers that read data ahead."""
        self._batches.close()

    def share_state(self) -> None:
        """Combine the state that each process keeps of its own share; all processes call this before one saves."""
        if self._ada is not None:
            self._ada.share()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, in plain values and tensors; call `share_state` first."""
        return {
            "step": self.step,
            "samples_seen": self.samples_seen,
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "ema": self.ema.module.state_dict(),
            "generator_optimiser": self._generator_updater.optimiser.state_dict(),
            "critic_optimiser": self._critic_updater.optimiser.state_dict(),
            "level": self._level,
            "ada": None if self._ada is None else self._ada.state_dict(),
            "path_length": None if self._path_length is None else self._path_length.path_length.mean.clone(),
            "rng": capture_rng(self._random),
        }

    def load_weights(self, generator: Any, averaged: Any, critic: Any, where: Path | str) -> None:
        """Load the networks' state_dicts, which come from `where`; raise CheckpointError if they don't fit."""
        load_weights(self.generator, generator, "generator", where)
        load_weights(self.critic, critic, "critic", where)
        load_weights(self.ema.module, averaged, "generator", where)

    def load_state_dict(self, state: dict[str, Any], where: Path | str = "the checkpoint") -> None:
        """Continue from the result of `state_dict`, which was read from the file `where`.

        Raise CheckpointError if the networks don't fit its weights.
        """
        self.step = state["step"]
        self.samples_seen = state["samples_seen"]
        self.load_weights(state["generator"], state["ema"], state["critic"], where)
        self._generator_updater.optimiser.load_state_dict(state["generator_optimiser"])
        self._critic_updater.optimiser.load_state_dict(state["critic_optimiser"])
        self._level = state["level"]
        if self._ada is not None:
            self._ada.load_state_dict(state["ada"])
        if self._path_length is not None and state.get("path_length") is not None:
            self._path_length.path_length.mean.copy_(state["path_length"])
        restore_rng(state["rng"], self._random)


def _mean(rows: list[Row]) -> Row:
    return rows[0] if len(rows) == 1 else list(torch.stack([torch.stack(row) for row in rows]).mean(dim=0))
