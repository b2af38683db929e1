"""One version of a model, loaded: its engines and the batchers before them.

N = samples, Z = values of one latent.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logit

from ganserve.v1 import gan_service_pb2
from ganserve_server.draw.latents import Purpose, draw_latents, labels_from_words, latents_from_words, random_words
from ganserve_server.engine.engine import Engine, TensorPort
from ganserve_server.engine.providers import choose_buckets
from ganserve_server.errors import PackageError
from ganserve_server.models.leases import Leases
from ganserve_server.queue.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ganserve_server.engine.engine import EngineConfig
    from ganserve_server.models.package import ModelInfo, Package
    from ganserve_server.queue.batcher import BatchConfig
    from ganserve_server.queue.lanes import Slice, WorkT

    Labels = int | NDArray[np.int64] | None
    Feed = dict[str, NDArray[np.generic]]

# How alike results must be that a provider computes in batches of different sizes: one of 255 levels, or 1 %.
_ALIKE_LEVELS, _ALIKE = 1, 0.01
_SATURATED, _ODDS_ALIKE = 1e-5, 0.1
_FLOAT32, _INT64 = np.dtype(np.float32), np.dtype(np.int64)


@dataclasses.dataclass(kw_only=True, slots=True)  # made for every request: freezing it would cost
class GeneratorWork:
    """Samples to draw."""

    seed: int = 0
    offset: int = 0
    """Index of the first sample."""
    truncation: float | None = None
    labels: Labels = None
    """One for all, int64 [N] for each, or None: drawn from (seed, index), or the model is unconditional."""
    controls: tuple[tuple[int, float], ...] = ()
    """Latent values that are set: index and value, for all samples."""
    latents: NDArray[np.float32] | None = None
    """float32 [N, Z] instead of drawing them."""

    def from_sample(self, start: int, count: int) -> GeneratorWork:
        """Return the work of `count` of these samples, from `start` on, by itself."""
        labels = self.labels[start : start + count] if isinstance(self.labels, np.ndarray) else self.labels
        latents = None if self.latents is None else self.latents[start : start + count]
        return dataclasses.replace(self, offset=self.offset + start, labels=labels, latents=latents)


@dataclasses.dataclass(kw_only=True, slots=True)  # made for every request: freezing it would cost
class CriticWork:
    """Samples to score."""

    samples: NDArray[np.generic]
    """[N, ...] in the model's shape and type."""
    labels: Labels = None
    """One for all, or int64 [N]; None for critics that take none."""


class Model:
    """A model that answers requests: `generator` and `critic` are batchers (`critic` is None without one)."""

    def __init__(self, package: Package, engine_config: EngineConfig, batch_config: BatchConfig) -> None:
        """Make the sessions, checks them against the manifest and warms them up: seconds, so not on an event loop.

        Raises:
            PackageError: A graph is not what the manifest says, or a trial run fails.
            ProviderError: The execution provider cannot be had.
        """
        self.info = package.info
        self.spec = package.spec
        batch_config = batch_config.for_samples_of(package.info.sample_bytes)
        if engine_config.buckets:
            buckets = choose_buckets(engine_config.provider, engine_config.buckets, batch_config.max_batch_size)
            engine_config = dataclasses.replace(engine_config, buckets=buckets)
        self.max_batch_size = batch_config.max_batch_size
        self.leases = Leases()
        """The requests that use it."""
        self._controls = tuple(package.info.controls.values())
        latents, labels, samples, scores = _ports(package.info)
        self._generator = Engine(
            package.spec.generator.file, package.generator, engine_config, [latents, *labels], [samples]
        )
        critic_inputs = [samples, *labels] if package.info.critic_takes_labels else [samples]
        self._critic = (
            Engine(package.spec.critic.file, package.critic, engine_config, critic_inputs, scores)
            if package.critic is not None
            else None
        )
        feeds, critic_feeds = self._warm_up()
        self.generator = self._batcher("generator", self._generate, self._generator, feeds, batch_config)
        self.critic = None
        if self._critic is not None:
            try:
                self.critic = self._batcher("critic", self._score, self._critic, critic_feeds, batch_config)
            except BaseException:
                self.generator.close()
                raise

    def _batcher(
        self,
        graph: str,
        run: Callable[[Sequence[Slice[WorkT]], int], tuple[NDArray[np.generic], ...]],
        engine: Engine,
        feeds: Sequence[Feed],
        config: BatchConfig,
    ) -> Batcher[WorkT]:
        return Batcher(
            f"{self.info.name}/{self.info.version}/{graph}",
            run,
            config,
            inline_samples=engine.quick_samples(feeds[0], feeds[-1], config.inline_below_s),
            prepare=functools.partial(engine.prepare, feeds),
        )

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that run it, first choice first."""
        return self._generator.providers

    def engine_infos(self) -> list[gan_service_pb2.EngineInfo]:
        """Describe how each graph is run."""
        engines = [self._generator] if self._critic is None else [self._generator, self._critic]
        return [
            gan_service_pb2.EngineInfo(
                file=engine.file,
                providers=engine.providers,
                nodes_by_provider=engine.nodes_by_provider,
                max_batch_size=self.max_batch_size,
                batch_buckets=engine.config.buckets,
                instances=engine.instances,
                cuda_graphs=engine.cuda_graphs,
                tf32=engine.tf32,
                threads=engine.config.threads,
            )
            for engine in engines
        ]

    def close(self) -> None:
        """End the batchers; may block for one call."""
        self.generator.close()
        if self.critic is not None:
            self.critic.close()

    def _warm_up(self) -> tuple[list[Feed], list[Feed]]:
        """Try the graphs out at every size that calls are padded to, on every session.

        The first sample must come out the same alone and in a full batch: a network that looks across its batch (batch
        or minibatch statistics) would let a request's result depend on the other requests beside it.

        Returns:
            What the generator and the critic were tried out with, the smallest first; nothing for no critic.
        """
        sizes = sorted({1, self.max_batch_size, *self._generator.config.buckets})
        feeds = [self._trial_feed(size) for size in sizes]
        drawn = self._generator.warm_up(feeds)
        self._compare("samples", drawn[0][0], drawn[-1][0])
        if self._critic is None:
            return feeds, []
        critic_feeds: list[Feed] = [
            {"samples": samples} | ({"labels": feed["labels"]} if self.info.critic_takes_labels else {})
            for (samples,), feed in zip(drawn, feeds, strict=True)
        ]
        judged = self._critic.warm_up(critic_feeds)
        for _, probabilities in judged:
            if probabilities.min() < 0 or probabilities.max() > 1:
                raise PackageError(f"{self._critic.file}: a trial run gave probabilities outside 0 to 1")
        self._compare("scores", judged[0][0], judged[-1][0])
        self._compare("probabilities", judged[0][1], judged[-1][1])
        scores, probabilities = judged[-1]
        self._check_calibration(scores, probabilities, critic_feeds[-1].get("labels"))
        return feeds, critic_feeds

    def _compare(self, name: str, alone: NDArray[np.generic], among_others: NDArray[np.generic]) -> None:
        difference = np.abs(alone.astype(np.float64) - among_others[:1].astype(np.float64)).max()
        most = _ALIKE_LEVELS if alone.dtype == np.uint8 else _ALIKE * max(1.0, float(np.abs(alone).max()))
        if difference > most:
            raise PackageError(
                f"the {name} of a latent differ by {difference:g} alone and in a batch of {len(among_others)}: "
                "the network looks across its batch; freeze such statistics and export again"
            )

    def _check_calibration(
        self, scores: NDArray[np.generic], probabilities: NDArray[np.generic], labels: NDArray[np.generic] | None
    ) -> None:
        """Check that the manifest's calibration is the graph's: rejection goes by the former."""
        if not self.spec.score.HasField("calibration"):
            return
        calibration = self.spec.score.calibration
        intercepts = np.array(calibration.intercepts, np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            odds = calibration.slope * scores.astype(np.float64) + intercepts[0 if labels is None else labels]
        # Beyond these, float32 tells probabilities too coarsely for their odds.
        bound = logit(1 - _SATURATED)
        given = np.clip(logit(probabilities.astype(np.float64)), -bound, bound)
        difference = np.abs(np.clip(odds, -bound, bound) - given).max()
        if not (np.isfinite(odds).all() and difference <= _ODDS_ALIKE):
            raise PackageError(
                f"score.calibration gives log-odds that differ by {difference:g} from those of the probabilities of "
                f"{self.spec.critic.file}: export again"
            )

    def _trial_feed(self, count: int) -> Feed:
        info = self.info
        feed: Feed = {
            "latents": draw_latents(0, 0, count, info.latent_dimension, info.distribution, controls=self._controls)
        }
        if info.label_names:
            # The last label first, so that every batch has it: a graph with fewer labels fails here.
            feed["labels"] = np.arange(-1, -1 - count, -1, dtype=np.int64) % len(info.label_names)
        return feed

    def _generate(self, slices: Sequence[Slice[GeneratorWork]], worker: int) -> tuple[NDArray[np.generic], ...]:
        """Return samples [N, ...], latents float32 [N, Z] and, of conditional models, labels int64 [N]."""
        total = sum(part.count for part in slices)
        latents = self._latents(slices, total)
        if not self.info.label_names:
            return self._generator.run({"latents": latents}, worker)[0], latents
        labels = self._labels(slices, total)
        return self._generator.run({"latents": latents, "labels": labels}, worker)[0], latents, labels

    def _latents(self, slices: Sequence[Slice[GeneratorWork]], total: int) -> NDArray[np.float32]:
        """Draws the words of each slice, then maps all of them at once."""
        drawn: list[NDArray[np.uint64]] = []
        truncations: NDArray[np.float64] | None = None
        dimension, at = self.info.latent_dimension, 0
        for part in slices:
            work, rows = part.work, slice(at, at + part.count)
            at += part.count
            if work.latents is not None:
                drawn.append(np.zeros((part.count, dimension), np.uint64))
                continue
            start = work.offset + part.start
            drawn.append(random_words(work.seed, Purpose.LATENTS, start, part.count, dimension))
            if work.truncation is not None:
                if truncations is None:
                    truncations = np.full(total, np.inf)
                truncations[rows] = work.truncation
        words = drawn[0] if len(drawn) == 1 else np.concatenate(drawn)
        latents = latents_from_words(words, self.info.distribution, truncations, self._controls)
        at = 0
        for part in slices:
            work, rows = part.work, slice(at, at + part.count)
            at += part.count
            if work.latents is not None:
                latents[rows] = work.latents[part.start : part.start + part.count]
            for index, value in work.controls:
                latents[rows, index] = value
        return latents

    def _labels(self, slices: Sequence[Slice[GeneratorWork]], total: int) -> NDArray[np.int64]:
        labels = np.empty(total, np.int64)
        at = 0
        for part in slices:
            work, rows = part.work, slice(at, at + part.count)
            at += part.count
            if work.labels is None:
                words = random_words(work.seed, Purpose.LABELS, work.offset + part.start, part.count, 1)
                labels[rows] = labels_from_words(words[:, 0], len(self.info.label_names))
            else:
                labels[rows] = _of_slice(work.labels, part)
        return labels

    def _score(self, slices: Sequence[Slice[CriticWork]], worker: int) -> tuple[NDArray[np.generic], ...]:
        """Return scores and probabilities, each float32 [N]."""
        assert self._critic is not None
        parts = [part.work.samples[part.start : part.start + part.count] for part in slices]
        feed: dict[str, NDArray[np.generic]] = {"samples": parts[0] if len(parts) == 1 else np.concatenate(parts)}
        if self.info.critic_takes_labels:
            labels = np.empty(len(feed["samples"]), np.int64)
            at = 0
            for part in slices:
                assert part.work.labels is not None
                labels[at : at + part.count] = _of_slice(part.work.labels, part)
                at += part.count
            feed["labels"] = labels
        scores, probabilities = self._critic.run(feed, worker)
        return scores, probabilities


def _of_slice(
    labels: int | NDArray[np.int64], part: Slice[GeneratorWork] | Slice[CriticWork]
) -> int | NDArray[np.int64]:
    return labels if isinstance(labels, int) else labels[part.start : part.start + part.count]


def _ports(info: ModelInfo) -> tuple[TensorPort, list[TensorPort], TensorPort, list[TensorPort]]:
    """Return the ports of latents, labels (none if unconditional), samples, and scores and probabilities."""
    labels = [TensorPort(name="labels", dtype=_INT64, sample_shape=())] if info.label_names else []
    return (
        TensorPort(name="latents", dtype=_FLOAT32, sample_shape=(info.latent_dimension,)),
        labels,
        TensorPort(name="samples", dtype=info.sample_dtype, sample_shape=info.sample_shape),
        [TensorPort(name=name, dtype=_FLOAT32, sample_shape=()) for name in ("scores", "probabilities")],
    )
